"""Equity, drawdown and trades of one strategy over one range, computed on request by the readable reference.

The hold-out is not among the ranges: each look at it is an event, and a page that is opened by chance must not cost one.
"""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from bus.artifacts import get_artifact
from bus.client import Bus
from domain.candles import Candles
from domain.errors import BadInput, Unreachable
from domain.genome import Genome
from domain.metrics import Figures
from domain.specs import SearchSpec, Window
from kernels.portfolio import against_holding
from kernels.reference import ReferenceEvaluator
from kernels.terms import BUY_AND_HOLD, DAY_MS
from kernels.trade import Trade
from market.store import DatasetStore
from projections.queries import Json

Range = Literal["walk_forward", "fitness"]
RANGES: tuple[Range, ...] = get_args(Range)
MAX_CANDLES = 900
CACHED, DATASETS = 64, 2
_STEPS = (1, 2, 3, 4, 6, 12, 24, 36, 48, 72, 96, 144, 288)


#: (`2025-07`, return of the strategy, of buy & hold); null after ruin.
Month = tuple[str, float | None, float | None]


class Curves(msgspec.Struct, frozen=True):
    """`days`: UTC midnights in s; equity of strategy and of buy & hold at their last closes, net of costs (quote currency).

    `candles`: (open time in s, open, high, low, close), merged by `merged`; `trades` as the evaluator gives them, with
    times in ms. `figures` and `hold_figures` are `domain.metrics.PORTFOLIO` of both over the range; `months`: (month,
    return of the strategy, of buy & hold), the first and the last as far as the range goes.
    """

    range: Range
    first_ms: int
    last_ms: int
    start_equity: float
    days: list[int]
    equity: list[float]
    hold: list[float]
    drawdown: list[float]
    hold_drawdown: list[float]
    merged: int
    candles: list[tuple[int, float, float, float, float]]
    trades: list[Json]
    figures: Figures
    hold_figures: Figures
    months: list[Month]


def span(search: SearchSpec, name: Range) -> Window:
    """From the first window's start to the last one's stop."""
    windows = search.windows.fitness if name == "fitness" else search.windows.walk_forward
    return Window(windows[0].start, windows[-1].stop)


def drawdown(equity: list[float], start: float) -> list[float]:
    """Fall below the running peak as a fraction, 0 or negative; the start equity is the first peak."""
    peak, out = start, []
    for e in equity:
        peak = max(peak, e)
        out.append(e / peak - 1.0)
    return out


def months(days: list[int], equity: list[float], hold: list[float], start: float) -> list[Month]:
    """By the last equity of each month; `days` as in `Curves`, without holes."""
    last = {datetime.fromtimestamp(day, UTC).strftime("%Y-%m"): i for i, day in enumerate(days)}
    out: list[Month] = []
    before, hold_before = start, start
    for month, i in last.items():
        out.append((month, _growth(before, equity[i]), _growth(hold_before, hold[i])))
        before, hold_before = equity[i], hold[i]
    return out


def _growth(before: float, after: float) -> float | None:
    return round(after / before - 1.0, 5) if before > 0.0 else None


def merged_candles(candles: Candles, window: Window) -> tuple[int, list[tuple[int, float, float, float, float]]]:
    """(candles in each bucket, buckets): at most `MAX_CANDLES`, by position, so that a gap stays a gap."""
    n = window.stop - window.start
    least = -(-n // MAX_CANDLES)
    k = next((s for s in _STEPS if s >= least), least)
    starts = np.arange(window.start, window.stop, k)
    ends = np.minimum(starts + k, window.stop) - 1
    high = np.maximum.reduceat(candles.high[: window.stop], starts)
    low = np.minimum.reduceat(candles.low[: window.stop], starts)
    times = candles.time_ms[starts] // 1000
    columns = (times, candles.open[starts], high, low, candles.close[ends])
    return k, list(zip(*(c.tolist() for c in columns), strict=True))


def compute(genome: Genome, search: SearchSpec, candles: Candles, name: Range) -> Curves:
    """Everything the charts show; seconds of work at most, no numba."""
    window = span(search, name)
    evaluator = ReferenceEvaluator(candles, search.execution)
    days, equity = evaluator.daily_equity(genome, window)
    _, hold = evaluator.daily_equity(BUY_AND_HOLD, window)
    start = search.execution.start_equity
    days_s = (days * (DAY_MS // 1000)).tolist()
    figures, hold_figures = against_holding(evaluator, genome, window)
    k, buckets = merged_candles(candles, window)
    return Curves(
        name,
        int(candles.time_ms[window.start]),
        int(candles.time_ms[window.stop - 1]),
        start,
        days_s,
        [round(e, 2) for e in equity.tolist()],
        [round(e, 2) for e in hold.tolist()],
        [round(d, 5) for d in drawdown(equity.tolist(), start)],
        [round(d, 5) for d in drawdown(hold.tolist(), start)],
        k,
        buckets,
        [_trade(t, candles) for t in evaluator.trades(genome, window)],
        figures,
        hold_figures,
        months(days_s, equity.tolist(), hold.tolist(), start),
    )


def _trade(trade: Trade, candles: Candles) -> dict[str, Any]:
    times = candles.time_ms
    fields = {name: getattr(trade, name) for name in ("side", "entry_price", "exit_price", "fees", "pnl", "reason")}
    return fields | {"entry_ms": int(times[trade.entry_index]), "exit_ms": int(times[trade.exit_index])}


class CurveService:
    """Computes one at a time in a thread and keeps the last ones."""

    def __init__(self, bus: Bus, store: DatasetStore) -> None:
        self._bus, self._store = bus, store
        self._kept: OrderedDict[tuple[str, str, str], Curves] = OrderedDict()
        self._candles: OrderedDict[str, Candles] = OrderedDict()
        self._one = asyncio.Lock()

    async def of(self, strategy: Json, name: str) -> Curves:
        """`strategy` as `ranking.strategy` gives it. BadInput for an unknown range, Unreachable without the candles."""
        chosen = next((r for r in RANGES if r == name), None)
        if chosen is None:
            raise BadInput(f"a range is one of {', '.join(RANGES)}, not {name[:20]!r}")
        key = (strategy["id"], strategy["dataset"], chosen)
        async with self._one:
            if key not in self._kept:
                genome = msgspec.convert(strategy["genome"], Genome)
                search = msgspec.convert(strategy["search"], SearchSpec)
                candles = await self._load(search.dataset)
                self._kept[key] = await asyncio.to_thread(compute, genome, search, candles, chosen)
                if len(self._kept) > CACHED:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    async def _load(self, digest: str) -> Candles:
        """From the local store, else over the bus, as miners do."""
        if digest not in self._candles:
            if not self._store.has(digest):
                await asyncio.to_thread(self._store.put_bytes, await get_artifact(self._bus, digest))
            try:
                self._candles[digest] = await asyncio.to_thread(self._store.get, digest)
            except BadInput as e:
                raise Unreachable(str(e)) from e
            if len(self._candles) > DATASETS:
                self._candles.popitem(last=False)
        self._candles.move_to_end(digest)
        return self._candles[digest]
