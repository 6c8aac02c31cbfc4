"""The datasets of one search: names, and windows that lie at the same times, so that no dataset shows another's future.

A search over several datasets must not be fitted on times in which another of them is walked forward or held out: what
happens to one asset happens to the others too, and the same asset is the same at every granularity.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.errors import BadInput
from domain.specs import MIN_CANDLES, Market, SearchSpec, Window, Windows, gap_after, split_windows, walk_windows

#: A fitness range with fewer candles is too short to search on, as in `split_windows`.
MIN_FITNESS = MIN_CANDLES * 6 // 10


class Timed(NamedTuple):
    """When the candles of a dataset open, int64 ms UTC ascending, and how long each lasts."""

    time_ms: NDArray[np.int64]
    step_ms: int

    def range_of(self, window: Window) -> tuple[int, int]:
        """From the first candle's open to the last one's close, in ms; the window is not empty."""
        return int(self.time_ms[window.start]), int(self.time_ms[window.stop - 1]) + self.step_ms

    def within(self, first_ms: int, end_ms: int) -> Window:
        """The candles that open at `first_ms` or later and have closed by `end_ms`; may be empty."""
        start = int(np.searchsorted(self.time_ms, first_ms))
        stop = int(np.searchsorted(self.time_ms, end_ms - self.step_ms, side="right"))
        return Window(start, max(start, stop))


def timed(candles: Candles) -> Timed:
    return Timed(candles.time_ms, candles.info.granularity_s * 1_000)


def granularity_label(seconds: int) -> str:
    """`5m` for 300, `1h`, `6h`, `1d`; `7s` for what is no whole minute."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def market_name(market: Market | SearchSpec) -> str:
    return f"{market.venue} {market.symbol} {granularity_label(market.granularity_s)}"


def windows_beside(
    others: Sequence[tuple[Windows, Timed]], here: Timed, purge: int | None = None, embargo: int = 0
) -> Windows:
    """Windows of a further dataset at the times of the first of `others` that it shares times with.

    Fitness and walk-forward lie within those of the other dataset, the latter after as many candles of its own as
    `split_windows` leaves out; the hold-out begins with the other one's. Where it shares times with none, it is split as if
    it were alone. BadInput when too little is left.
    """
    for windows, there in others:
        begin, end = there.range_of(Window(windows.fitness[0].start, _last(windows)))
        shared = here.within(begin, end)
        if shared.start < shared.stop:
            return _at_the_same_times(windows, there, here, purge, embargo)
    return split_windows(len(here.time_ms), purge=purge, embargo=embargo)


def _last(windows: Windows) -> int:
    return max(windows.hold_out.stop, *(w.stop for w in (*windows.fitness, *windows.walk_forward)))


def _at_the_same_times(windows: Windows, there: Timed, here: Timed, purge: int | None, embargo: int) -> Windows:
    fitness = tuple(here.within(*there.range_of(w)) for w in windows.fitness)
    found = sum(w.stop - w.start for w in fitness)
    if found < MIN_FITNESS or any(w.start == w.stop for w in fitness):
        raise BadInput(
            f"only {found} of its candles lie in the fitness range of the dataset that it is searched with; at least "
            f"{MIN_FITNESS} are needed"
        )
    n, held = len(here.time_ms), windows.hold_out
    opens = there.range_of(held)[0] if held.start < held.stop else int(here.time_ms[-1]) + here.step_ms
    kept = Window(int(np.searchsorted(here.time_ms, opens)), n)
    walk: tuple[Window, ...] = ()
    if windows.walk_forward:
        first, last = windows.walk_forward[0].start, windows.walk_forward[-1].stop
        whole = here.within(*there.range_of(Window(first, last)))
        start = max(whole.start, fitness[-1].stop + gap_after(whole.stop - fitness[-1].stop, purge))
        walk = walk_windows(start, min(whole.stop, kept.start - embargo), len(windows.walk_forward))
    return Windows(fitness, walk, kept)


def fitted_on_the_future(search: SearchSpec, timed: Sequence[Timed]) -> str:
    """Which dataset of the search is fitted on times that another one keeps for later, or nothing. `timed` as `markets`."""
    markets = search.markets
    for fitted, at in zip(markets, timed, strict=True):
        for kept, there in zip(markets, timed, strict=True):
            if fitted is kept:
                continue
            later = [w for w in (*kept.windows.walk_forward, kept.windows.hold_out) if w.start < w.stop]
            spans = [(at.range_of(f), there.range_of(w)) for f in fitted.windows.fitness for w in later]
            if any(a[0] < b[1] and b[0] < a[1] for a, b in spans):
                return (
                    f"{market_name(fitted)} would be fitted on times that {market_name(kept)} keeps for walk-forward or the "
                    "hold-out: windows of all datasets must be split at the same times"
                )
    return ""
