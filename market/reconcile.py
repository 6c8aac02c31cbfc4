"""Two granularities of one market against each other: a coarse candle must be what its fine ones add up to.

A candle that was stored while it was still forming shows up here: its volume is too small, its close too early.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.errors import BadInput
from market.checks import VALUES, when
from market.granularity import granularity_name
from market.resample import resample
from market.verify import Problem, places


class Difference(msgspec.Struct, frozen=True):
    """A coarse candle (open time in ms UTC) and its columns that differ from the rebuilt one."""

    time_ms: int
    columns: tuple[str, ...]


class Reconciliation(msgspec.Struct, frozen=True):
    """`comparable` coarse candles had all their fine ones; those that differ, by time."""

    comparable: int
    differences: tuple[Difference, ...]


def compare(fine: Candles, coarse: Candles) -> Reconciliation:
    """Rebuild every coarse candle of which all fine ones are there and compare exactly, column by column.

    Raises BadInput when the two are of different markets or `coarse` is not a multiple of `fine`.
    """
    if (fine.info.venue, fine.info.symbol) != (coarse.info.venue, coarse.info.symbol):
        raise BadInput(
            f"{fine.info.venue} {fine.info.symbol} and {coarse.info.venue} {coarse.info.symbol} are different markets"
        )
    rebuilt = resample(fine, coarse.info.granularity_s)
    times, mine, theirs = np.intersect1d(rebuilt.time_ms, coarse.time_ms, assume_unique=True, return_indices=True)
    differs = {name: _unequal(rebuilt, coarse, name, mine, theirs) for name in VALUES}
    rows = np.flatnonzero(np.logical_or.reduce(list(differs.values())))
    found = [Difference(int(times[i]), tuple(name for name in VALUES if differs[name][i])) for i in rows]
    return Reconciliation(len(times), tuple(found))


def reconcile(fine: Candles, coarse: Candles) -> list[Problem]:
    """Problems found by `compare`: none, or one that counts and names the differing candles."""
    result = compare(fine, coarse)
    own, other = granularity_name(coarse.info.granularity_s), granularity_name(fine.info.granularity_s)
    if not result.comparable:
        return [Problem("not comparable", 0, f"no {own} candle has all its {other} candles in the other dataset")]
    if not result.differences:
        return []
    count = len(result.differences)
    shares = ", ".join(f"{name} {sum(name in d.columns for d in result.differences)}" for name in VALUES)
    where = places([f"{when(d.time_ms)} ({' '.join(d.columns)})" for d in result.differences])
    detail = f"{count} of {result.comparable} {own} candles differ from their {other} candles ({shares}): {where}"
    return [Problem("disagreement", count, detail)]


def _unequal(a: Candles, b: Candles, name: str, in_a: NDArray[np.intp], in_b: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Where two integer columns of possibly different decimals differ; plain Python integers, as scaling may pass int64."""
    attribute = "volume_decimals" if name == "volume" else "price_decimals"
    decimals_a, decimals_b = getattr(a.info, attribute), getattr(b.info, attribute)
    left, right = a.ints[name][in_a], b.ints[name][in_b]
    if decimals_a == decimals_b:
        return np.asarray(left != right)
    common = max(decimals_a, decimals_b)
    scaled_left = left.astype(object) * 10 ** (common - decimals_a)
    scaled_right = right.astype(object) * 10 ** (common - decimals_b)
    return np.asarray(scaled_left != scaled_right, dtype=np.bool_)
