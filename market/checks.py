"""What every row of a table of candles must fulfil, and exact integers from its floats.

Each check looks at whole columns and answers with the first row that breaks it (0-based) and why; the
earliest row of all checks is the one that is reported. Nothing is repaired: a price that is not a number
never becomes another price.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.granularity import granularity_name

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
#: Longest period of the search's indicators; RSI is NaN for its first `period` candles and needs one more.
LONGEST_PERIOD = 200
MIN_IMPORT_CANDLES = LONGEST_PERIOD + 1
MAX_DECIMALS = 12
#: A rolling sum over the longest period that a genome may ask for (1000) must stay below 2**63.
MAX_INT = (2**63 - 1) // 1_000
#: That many equal steps of another size are no outage: the file changes its granularity there.
RUN_OF_OTHER_STEPS = 24

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Fault(NamedTuple):
    """Row (0-based; None when the table as a whole is at fault) and what is wrong with it, as a clause."""

    row: int | None
    reason: str


def when(time_ms: int) -> str:
    """`2025-10-25 15:15` UTC; seconds and milliseconds only where they are not zero."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    text = moment.strftime("%Y-%m-%d %H:%M:%S" if time_ms % 60_000 else "%Y-%m-%d %H:%M")
    return f"{text}.{time_ms % 1000:03d}" if time_ms % 1000 else text


def _first(mask: NDArray[np.bool_], reason: str, **columns: str | Floats | Ints) -> Iterator[Fault]:
    """The first row of the mask, with the reason's fields filled from that row (an integer column holds times)."""
    if not mask.any():
        return
    row = int(np.argmax(mask))
    words = {}
    for name, column in columns.items():
        value = column[row] if isinstance(column, np.ndarray) else column
        words[name] = when(int(value)) if isinstance(value, np.int64) else str(value)
    yield Fault(row, reason.format(**words))


def _time_faults(time_ms: Ints, granularity_s: int, now_ms: int) -> Iterator[Fault]:
    step = granularity_s * 1000
    off_grid = "time {t} is not aligned to {name}; the table mixes granularities or has another one"
    yield from _first(time_ms % step != 0, off_grid, t=time_ms, name=granularity_name(granularity_s))
    before = np.concatenate((time_ms[:1] - 1, time_ms[:-1]))
    yield from _first(time_ms < before, "times are not sorted: {t} comes after {before}", t=time_ms, before=before)
    yield from _first(time_ms == before, "time {t} is there twice", t=time_ms)
    yield from _first(time_ms > now_ms - step, "the candle of {t} is not finished yet", t=time_ms)


def _value_faults(values: dict[str, Floats]) -> Iterator[Fault]:
    for name, column in values.items():
        yield from _first(~np.isfinite(column), "{name} is {value}, not a number", name=name, value=column)
        if name in PRICES:
            yield from _first(column <= 0, "{name} is {value}, it must be above 0", name=name, value=column)
    yield from _first(values["volume"] < 0, "volume is {value}, it must not be negative", value=values["volume"])


def _range_faults(values: dict[str, Floats]) -> Iterator[Fault]:
    low, high = values["low"], values["high"]
    yield from _first(high < low, "high {high} is below low {low}", high=high, low=low)
    for name in ("open", "close"):
        column = values[name]
        outside = (column < low) | (column > high)
        reason = "{name} {value} lies outside low {low} to high {high}"
        yield from _first(outside, reason, name=name, value=column, low=low, high=high)


def _step_faults(time_ms: Ints, granularity_s: int) -> Iterator[Fault]:
    """The most frequent step must be the granularity, and no long run may have another (thin markets have gaps, no runs)."""
    steps = np.diff(time_ms) // 1000
    sizes, counts = np.unique(steps, return_counts=True)
    usual = int(sizes[np.argmax(counts)])
    if usual != granularity_s:
        row = int(np.argmax(steps != granularity_s)) + 1
        yield Fault(
            row, f"most candles are {usual} s apart, not {granularity_s} s as {granularity_name(granularity_s)}"
        )
        return
    starts = np.flatnonzero(np.concatenate(([True], np.diff(steps) != 0)))
    lengths = np.diff(np.append(starts, len(steps)))
    other = (steps[starts] != granularity_s) & (lengths >= RUN_OF_OTHER_STEPS)
    if other.any():
        at = int(starts[np.argmax(other)])
        yield Fault(at + 1, f"the granularity changes here: from now on candles are {int(steps[at])} s apart")


def first_fault(time_ms: Ints, values: dict[str, Floats], granularity_s: int, now_ms: int) -> Fault | None:
    """The earliest row that breaks a rule, or None for a sound table.

    `time_ms` and each of `values` (open, high, low, close, volume) have shape (n,); times are open times in
    ms UTC; a candle that ends after `now_ms` is still forming. NaN and infinity are faults in every column.
    """
    with np.errstate(invalid="ignore"):
        faults = [*_time_faults(time_ms, granularity_s, now_ms), *_value_faults(values), *_range_faults(values)]
    if faults:
        return min(faults, key=lambda f: f.row or 0)
    if len(time_ms) < MIN_IMPORT_CANDLES:
        least = f"at least {MIN_IMPORT_CANDLES} are needed for the longest indicator ({LONGEST_PERIOD} candles)"
        return Fault(None, f"{len(time_ms)} candles are too few: {least}")
    return next(_step_faults(time_ms, granularity_s), None)


def _exact(column: Floats, decimals: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Multiples of 10**-decimals and where they give back the very float they came from."""
    unit = 10.0**decimals
    with np.errstate(over="ignore"):  # infinite means: does not fit
        scaled = np.rint(column * unit)
    fits = np.abs(scaled) <= MAX_INT
    ints = np.where(fits, scaled, 0.0).astype(np.int64)
    return ints, fits & (ints / unit == column)


def _decimals_of(column: Floats) -> Ints:
    """The fewest decimals (0 to 12) at which each value is exact; -1 where there are none."""
    need = np.full(len(column), -1, dtype=np.int64)
    for decimals in range(MAX_DECIMALS + 1):
        open_rows = np.flatnonzero(need < 0)
        if not len(open_rows):
            break
        need[open_rows[_exact(column[open_rows], decimals)[1]]] = decimals
    return need


def exact_ints(values: dict[str, Floats]) -> tuple[int, dict[str, Ints]] | Fault:
    """(decimals, int64 columns) with the fewest decimals (0 to 12) at which every value is exact, or the first fault.

    Exact means that `int / 10.0**decimals` is the same float64. More decimals than 12, or integers whose sum
    over 1000 candles could leave int64, are refused.
    """
    needs = {name: _decimals_of(column) for name, column in values.items()}
    for name, need in needs.items():
        why = f"{name} {{value}} has more than {MAX_DECIMALS} decimals, or too many digits to be summed exactly"
        for fault in _first(need < 0, why, value=values[name]):
            return fault
    name, need = max(needs.items(), key=lambda item: int(item[1].max(initial=0)))
    decimals = int(need.max(initial=0))
    exact = {name: _exact(column, decimals) for name, column in values.items()}
    for column, (_, fits) in exact.items():
        why = f"{column} {{value}} is too large for the {decimals} decimals of {name} in row {int(need.argmax()) + 1}"
        for fault in _first(~fits, why, value=values[column]):
            return fault
    return decimals, {column: ints for column, (ints, _) in exact.items()}
