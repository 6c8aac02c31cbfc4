"""What a person should know of a dataset before trusting it: gaps, empty candles, jumps, broken rows."""

import msgspec
import numpy as np

from domain.candles import Candles
from market.checks import VALUES, first_fault, when

#: A close (or a wick beyond the body) that is a fifth away from its neighbour is a crash, a split or a bad print.
JUMP_FRAC = 0.2
#: How many places a detail names before it only counts.
NAMED = 20


class Problem(msgspec.Struct, frozen=True):
    """`kind` of problem, how many candles it concerns, and where, in words."""

    kind: str
    count: int
    detail: str


class Gap(msgspec.Struct, frozen=True):
    """`missing` candles after the one that opened at `after_ms` (UTC)."""

    after_ms: int
    missing: int


def gaps(candles: Candles) -> list[Gap]:
    """Every place where candles are missing between the first and the last one."""
    step = candles.info.granularity_s * 1000
    missing = np.diff(candles.time_ms) // step - 1
    return [Gap(int(candles.time_ms[i]), int(missing[i])) for i in np.flatnonzero(missing > 0)]


def places(words: list[str]) -> str:
    """The first NAMED places, and how many more there are."""
    more = f", and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more


def verify(candles: Candles) -> list[Problem]:
    """Problems of one dataset; `gaps` counts missing candles, the others candles. An empty list is a clean bill."""
    return [*_broken(candles), *_gap_problems(candles), *_empty(candles), *_jumps(candles)]


def _broken(candles: Candles) -> list[Problem]:
    """Datasets are checked at import; those that came another way are checked here by the same rules."""
    values = {name: getattr(candles, name) for name in VALUES}
    end_ms = candles.info.last_ms + candles.info.granularity_s * 1000
    fault = first_fault(candles.time_ms, values, candles.info.granularity_s, end_ms)
    if fault is None:
        return []
    where = f"row {fault.row + 1}: " if fault.row is not None else ""
    return [Problem("broken", 1, where + fault.reason)]


def _gap_problems(candles: Candles) -> list[Problem]:
    found = gaps(candles)
    if not found:
        return []
    missing = sum(g.missing for g in found)
    where = places([f"{g.missing} after {when(g.after_ms)}" for g in found])
    return [Problem("gaps", missing, f"{missing} candles are missing in {len(found)} gaps: {where}")]


def _empty(candles: Candles) -> list[Problem]:
    rows = np.flatnonzero(candles.ints["volume"] == 0)
    if not len(rows):
        return []
    where = places([when(int(candles.time_ms[i])) for i in rows])
    return [Problem("zero volume", len(rows), f"{len(rows)} candles without volume: {where}")]


def _jumps(candles: Candles) -> list[Problem]:
    limit = 1.0 + JUMP_FRAC
    before = np.concatenate((candles.close[:1], candles.close[:-1]))
    adjacent = np.concatenate(([False], np.diff(candles.time_ms) == candles.info.granularity_s * 1000))
    moved = adjacent & ((candles.close > before * limit) | (before > candles.close * limit))
    top, bottom = np.maximum(candles.open, candles.close), np.minimum(candles.open, candles.close)
    spiked = (candles.high > top * limit) | (bottom > candles.low * limit)
    rows = np.flatnonzero(moved | spiked)
    if not len(rows):
        return []
    where = places([f"{when(int(candles.time_ms[i]))} ({before[i]} to {candles.close[i]})" for i in rows])
    share = f"{JUMP_FRAC:.0%}"
    return [Problem("jumps", len(rows), f"{len(rows)} candles jump by more than {share} (close to close): {where}")]
