"""What a simulated trade is, and the readable evaluator that defines it. No numba here or in what is imported.

Entry rules of a side must all hold, of the exit rules any one; a rule with a NaN operand is false, a cross needs both
candles. With `both`, a close at which both sides want to enter enters nobody.

1. Signals are taken at closes inside the window, so that the first entry is at candle start + 1 and none is at `stop` or
   later. Indicators run over the whole dataset; a cross at the window's start looks at the candle before it.
2. An entry fills at the next open, unless more than `max_missing_candles` candles are missing in between, or the size
   comes out below one lot or `min_notional`, or the budget above equity. Later signals are looked at as if nothing was.
3. Stop, target, trailing stop and liquidation are measured from the entry open before slippage. Within a candle:
   (a) an exit rule true at the close before, or the holding limit of H candles reached (open of entry + H);
   (b) an open at or beyond the protective level, then an open strictly beyond the target;
   (c) the protective level touched; (d) the target strictly traded through. On the entry candle only (c) and (d) apply.
   The protective level is the nearest of stop, trailing and liquidation. No exit fills better than the candle's open.
4. The trailing level starts at the entry open, moves at closes from the entry candle's on, and counts from the next candle.
5. After an exit in candle x the close of x may signal again. A position open at the window's end is sold at its last close.
6. Every fill is a market order (taker fee, slippage against us) but the target (maker fee, no slippage). Fills round to
   ticks against us; a long's protective levels round down, its target up (shorts mirrored), so that rounding never helps.
7. Entry fee once, on entry notional; opening fee and rollover (per full four hours held) on margin positions, that is
   shorts and leverage above 1. Fills at an open happen at the candle's open time, others at its end.
8. Liquidation of margin positions at open * (1 -+ (1/leverage - maintenance)); the loss is what the fill makes it.
9. The budget (fixed amount, or fraction of equity before the entry) pays margin and entry costs together.
10. Safety limits set flags on the row (`domain.metrics`); results stay as they are.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.execution import ExecutionModel
from domain.genome import Genome, validate_genome
from domain.metrics import TIER1
from domain.specs import Window
from kernels import reference_figures
from kernels.daily import tier2_row
from kernels.reference_rules import Features, all_hold, any_holds
from kernels.reference_walk import Closed, Columns, Signals, walk
from kernels.terms import BUY_AND_HOLD, check_candles, check_window, costs_of
from kernels.trade import Trade


class ReferenceEvaluator:
    """Implements `kernels.protocol.Evaluator`; raises BadInput for candles, costs, genomes or windows out of range."""

    def __init__(self, candles: Candles, execution: ExecutionModel) -> None:
        check_candles(candles)
        self._costs = costs_of(execution, candles.info.granularity_s)
        self._candles = candles
        self._columns = Columns(candles)
        self._features = Features(candles)

    def _signals(self, genome: Genome) -> Signals:
        n = len(self._candles)
        buys = all_hold(genome.long.entry, self._features, n)
        sells = all_hold(genome.short.entry, self._features, n)
        return Signals(
            np.flatnonzero(buys & ~sells),
            np.flatnonzero(sells & ~buys),
            np.flatnonzero(any_holds(genome.long.exit, self._features, n)).tolist(),
            np.flatnonzero(any_holds(genome.short.exit, self._features, n)).tolist(),
        )

    def _closed(self, genome: Genome, window: Window) -> list[Closed]:
        validate_genome(genome)
        check_window(window, len(self._candles))
        return walk(genome, self._signals(genome), window, self._costs, self._columns)

    def tier1(self, genomes: Sequence[Genome], windows: Sequence[Window]) -> NDArray[np.float64]:
        """Closed-trade figures, shape (G, W, len(TIER1)); NaN where undefined."""
        out = np.full((len(genomes), len(windows), len(TIER1)), np.nan)
        for w, window in enumerate(windows):
            check_window(window, len(self._candles))
            for i, genome in enumerate(genomes):
                closed = self._closed(genome, window)
                named = reference_figures.tier1(closed, self._costs, window.stop - window.start)
                out[i, w] = [named.get(name, math.nan) for name in TIER1]
        out[np.isnan(out)] = np.nan
        return out

    def trades(self, genome: Genome, window: Window) -> list[Trade]:
        """Every round trip in order."""
        return [c.trade() for c in self._closed(genome, window)]

    def daily_equity(self, genome: Genome, window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(UTC day numbers since 1970, equity at each day's last close), both (days,), without holes."""
        return self._daily(self._closed(genome, window), window)

    def _daily(self, closed: Sequence[Closed], window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        marks = reference_figures.daily_equity(closed, window, self._costs, self._columns)
        return np.array(list(marks), dtype=np.int64), np.array(list(marks.values()))

    def tier2(self, genome: Genome, window: Window) -> NDArray[np.float64]:
        """Figures of the daily equity, shape (len(TIER2),); NaN where undefined."""
        closed = self._closed(genome, window)
        return tier2_row(self._daily(closed, window)[1], self._costs.start_equity, len(closed) > 0)

    def buy_and_hold(self, window: Window) -> NDArray[np.float64]:
        """Tier 2 figures of buying with all equity at the window's second open and selling at its last close, with costs."""
        return self.tier2(BUY_AND_HOLD, window)
