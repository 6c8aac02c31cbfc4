"""The time column of a table as milliseconds UTC: ISO 8601, timestamps, or whole unix seconds, ms, us or ns."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from market.checks import Fault, Ints, when

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Candles lie in 1980 to 2199: a time outside is a wrong unit or a slip.
_EARLIEST_MS, _LATEST_MS = 315_532_800_000, 7_258_118_400_000
#: Upper bound of a number's magnitude, and how many of its unit make one second.
_UNITS = ((100_000_000_000, 1), (100_000_000_000_000, 10**3), (10**17, 10**6), (2**63, 10**9))
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def times_ms(column: pl.Series) -> Ints | Fault:
    """Milliseconds UTC, shape (n,). A time without a zone is UTC; the unit of numbers is told by the first one.

    Missing, unreadable and fractional times, and those outside 1980 to 2199, are faults.
    """
    if column.is_null().any():
        return Fault(int(column.is_null().to_numpy().argmax()), "time is missing")
    kind = column.dtype
    if isinstance(kind, pl.Datetime):
        return _in_range(column.to_physical().to_numpy(), _PER_SECOND[kind.time_unit])
    if kind == pl.Date:
        return _in_range(column.to_physical().to_numpy().astype(np.int64) * 86_400, 1)
    if kind == pl.String:
        return _texts(column)
    if kind.is_float():
        return _whole(column)
    if kind.is_integer():
        return _numbers(column.cast(pl.Int64, strict=False))
    return Fault(None, f"column time holds {kind}, not times")


def _numbers(column: pl.Series) -> Ints | Fault:
    if column.is_null().any():
        return Fault(int(column.is_null().to_numpy().argmax()), "time is not a unix time")
    numbers = column.to_numpy().astype(np.int64)
    size = abs(int(numbers[0]))
    return _in_range(numbers, next(per_second for limit, per_second in _UNITS if size <= limit))


def _whole(column: pl.Series) -> Ints | Fault:
    floats = column.cast(pl.Float64).to_numpy()
    whole = (np.abs(floats) < 2.0**53) & (np.floor(floats) == floats)
    if not whole.all():
        row = int(np.argmin(whole))
        return Fault(row, f"time {floats[row]} is not a whole unix time")
    return _numbers(pl.Series("time", floats.astype(np.int64)))


def _texts(column: pl.Series) -> Ints | Fault:
    first = str(column[0]).strip()
    if first.lstrip("-").replace(".", "", 1).isdecimal():
        stripped = column.str.strip_chars()
        numbers = stripped.cast(pl.Float64 if "." in first else pl.Int64, strict=False)
        if numbers.is_null().any():
            row = int(numbers.is_null().to_numpy().argmax())
            return Fault(row, f"time {str(column[row])[:40]!r} is not a unix time like row 1")
        return _whole(numbers) if "." in first else _numbers(numbers)
    micros = np.empty(len(column), dtype=np.int64)
    for row, text in enumerate(column):
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            return Fault(row, f"time {text[:40]!r} is not ISO 8601")
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        micros[row] = (aware - _EPOCH) // _MICROSECOND
    return _in_range(micros, 10**6)


def _in_range(numbers: Ints, per_second: int) -> Ints | Fault:
    """Whole milliseconds of times counted in `per_second` units; a fraction of a millisecond is a fault."""
    finer = max(per_second // 1000, 1)
    inside = (numbers >= _EARLIEST_MS // 1000 * per_second) & (numbers < _LATEST_MS // 1000 * per_second)
    if not inside.all():
        row = int(np.argmin(inside))
        return Fault(row, f"time {int(numbers[row])} does not lie in the years 1980 to 2199")
    if per_second < 1000:
        return np.asarray(numbers * (1000 // per_second), dtype=np.int64)
    exact = numbers % finer == 0
    if not exact.all():
        row = int(np.argmin(exact))
        return Fault(row, f"time {when(int(numbers[row]) // finer)} is not a whole millisecond")
    return np.asarray(numbers // finer, dtype=np.int64)
