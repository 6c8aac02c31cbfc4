"""The plain evaluator: genome after genome, candle after candle. It needs nothing prepared but the indicators.

It is the baseline of every benchmark, lists trades, and takes whatever the fast path does not cover. Rows of indicators
are computed once a dataset and kept between calls. A call into compiled code stays well below one second: genomes x
candles per call are bounded by `VISITS_PER_CALL`. One evaluator serves one thread at a time.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.execution import ExecutionModel
from domain.genome import Genome, Operand
from domain.metrics import TIER1
from domain.specs import Window
from kernels import summary
from kernels.daily import tier2_row
from kernels.indicators import compute_feature, exponential_means
from kernels.layout import TRADE, decode_trade, encode_costs, operands_of, rule_records
from kernels.population import SPANS, Numbering, Population
from kernels.terms import BUY_AND_HOLD, DAY_MS, check_candles, check_window, costs_of
from kernels.trade import Trade

VISITS_PER_CALL = 10_000_000
MATRIX_BYTES = 256 << 20


#: Rows that a matrix begins with, within its limit: memory is touched as far as it is used.
FIRST_ROWS = 32


class FeatureMatrix:
    """Rows of operands, float64[K, n]; grows, and starts afresh above `limit` bytes.

    A row is filled as far as it was asked for: indicators look back alone, so that what lies behind changes no bit of it.
    """

    def __init__(self, candles: Candles, limit: int = MATRIX_BYTES) -> None:
        self._candles = candles
        self._most = max(1, limit // (8 * len(candles)))
        self.rows: dict[Operand, int] = {}
        self._filled: dict[Operand, int] = {}
        self.matrix = np.empty((min(FIRST_ROWS, self._most), len(candles)))

    def ensure(self, operands: Iterable[Operand], stop: int) -> None:
        """Every one of `operands` has a row in `matrix` afterwards, filled for the first `stop` candles at least; other rows
        may be gone."""
        wanted = dict.fromkeys(operands)
        for operand in wanted:
            if self._filled.get(operand, stop) < stop:
                self._fill(operand, stop)
        missing = [o for o in wanted if o not in self.rows]
        if missing and len(self.rows) + len(missing) > self._most:
            self.rows.clear()
            self._filled.clear()
            missing = list(wanted)
        needed = len(self.rows) + len(missing)
        if needed > len(self.matrix):
            grown = np.empty((max(needed, min(2 * len(self.matrix), self._most)), len(self._candles)))
            grown[: len(self.rows)] = self.matrix[: len(self.rows)]
            self.matrix = grown
        for operand in missing:
            self.rows[operand] = len(self.rows)
        averages = [o for o in missing if o.kind == "ema"]
        if len(averages) > 1:
            periods, rows = (
                np.array(v, dtype=np.int64) for v in zip(*((o.period, self.rows[o]) for o in averages), strict=True)
            )
            exponential_means(self._candles.close[:stop], periods, rows, self.matrix)
            self._filled.update(dict.fromkeys(averages, stop))
        for operand in missing:
            if operand not in self._filled:
                self._fill(operand, stop)

    def _fill(self, operand: Operand, stop: int) -> None:
        compute_feature(self._candles.head(stop), operand, self.matrix[self.rows[operand], :stop])
        self._filled[operand] = stop


class PlainEvaluator:
    """Implements `kernels.protocol.Evaluator`; raises BadInput for candles, costs, genomes or windows out of range."""

    def __init__(self, candles: Candles, execution: ExecutionModel) -> None:
        check_candles(candles)
        self._costs = costs_of(execution, candles.info.granularity_s)
        # Arrays read from a file may be read-only, which is another type to numba: copies keep one signature.
        if not all(column.flags.writeable for column in candles.ints.values()):
            candles = Candles(candles.info, {k: v.copy() for k, v in candles.ints.items()})
        self._candles = candles
        c = self._candles
        self._market = (encode_costs(self._costs), c.time_ms, c.open, c.high, c.low, c.close)
        self._features = FeatureMatrix(self._candles)
        self._numbering = Numbering()
        self._scratch = np.empty(0, dtype=TRADE)
        self._day_ends: NDArray[np.int64] | None = None

    @property
    def candles(self) -> Candles:
        return self._candles

    def _room(self, window: Window) -> tuple[NDArray[np.void], NDArray[np.float64]]:
        """Scratch for the trades of a window, of which there is at most one a candle, and for their returns."""
        if len(self._scratch) < window.stop - window.start:
            self._scratch = np.empty(window.stop - window.start, dtype=TRADE)
        return self._scratch, np.empty(window.stop - window.start)

    def encode(self, genomes: Sequence[Genome]) -> Population:
        """Genomes as `tier1_of` takes them; raises BadInput for one out of range. They may be evaluated many times."""
        return self._numbering.encode(genomes)

    def tier1(self, genomes: Sequence[Genome], windows: Sequence[Window]) -> NDArray[np.float64]:
        """Closed-trade figures, shape (G, W, len(TIER1)); NaN where undefined."""
        return self.tier1_of(self.encode(genomes), windows)

    def tier1_of(self, population: Population, windows: Sequence[Window]) -> NDArray[np.float64]:
        """The same of encoded genomes."""
        for window in windows:
            check_window(window, len(self._candles))
        out = np.full((len(windows), len(population), len(TIER1)), np.nan)
        longest = max((w.stop - w.start for w in windows), default=1)
        stop = max((w.stop for w in windows), default=0)
        step = max(1, VISITS_PER_CALL // longest)
        for first in range(0, len(population), step):
            records, rules = self._rules_of(population, first, min(first + step, len(population)), stop)
            for w, window in enumerate(windows):
                trades, returns = self._room(window)
                rows = out[w, first : first + step]
                market = (self._features.matrix, rules, records, *self._market)
                summary.tier1_batch(*market, window.start, window.stop, trades, returns, rows)
        out[np.isnan(out)] = np.nan
        return np.ascontiguousarray(out.transpose(1, 0, 2))

    def _rules_of(
        self, population: Population, first: int, last: int, stop: int
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """(records of genomes first..last-1, the rules that their spans index); every operand has its row of features, filled
        before candle `stop`."""
        records = population.records[first:last].copy()
        low, high = int(records["long_entry"][0]), int(records["end"][-1])
        for name in SPANS:
            records[name] -= low
        distinct, place = np.unique(population.index[low:high], return_inverse=True)
        rules = [population.rules[i] for i in distinct]
        self._features.ensure(operands_of(rules), stop)
        return records, rule_records(rules, self._features.rows)[place]

    def _trade_records(self, genome: Genome, window: Window) -> NDArray[np.void]:
        check_window(window, len(self._candles))
        records, rules = self._rules_of(self.encode([genome]), 0, 1, window.stop)
        trades, _ = self._room(window)
        count = summary.list_trades(
            self._features.matrix, rules, records, *self._market, window.start, window.stop, trades
        )
        return trades[:count]

    def trades(self, genome: Genome, window: Window) -> list[Trade]:
        """Every round trip in order."""
        return [decode_trade(r) for r in self._trade_records(genome, window)]

    def daily_equity(self, genome: Genome, window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(UTC day numbers since 1970, equity at each day's last close), both (days,), without holes."""
        return self._daily(self._trade_records(genome, window), window)

    def _daily(self, trades: NDArray[np.void], window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        costs, time_ms, *_, close = self._market
        first, last = int(time_ms[window.start]) // DAY_MS, int(time_ms[window.stop - 1]) // DAY_MS
        equity = np.empty(last - first + 1)
        ends = self._ends_of_days()
        # The day of the window's last candle ends with it.
        low, high = np.searchsorted(ends, (window.start, window.stop - 1))
        some = ends[low : high + 1]
        summary.daily_marks(trades, len(trades), costs, time_ms, close, some, window.start, window.stop, equity)
        return np.arange(first, last + 1, dtype=np.int64), equity

    def _ends_of_days(self) -> NDArray[np.int64]:
        """The last candle of every UTC day, ascending."""
        if self._day_ends is None:
            days = self._candles.time_ms // DAY_MS
            self._day_ends = np.append(np.flatnonzero(days[1:] != days[:-1]), len(days) - 1)
        return self._day_ends

    def tier2(self, genome: Genome, window: Window) -> NDArray[np.float64]:
        """Figures of the daily equity, shape (len(TIER2),); NaN where undefined."""
        trades = self._trade_records(genome, window)
        return tier2_row(self._daily(trades, window)[1], self._costs.start_equity, len(trades) > 0)

    def buy_and_hold(self, window: Window) -> NDArray[np.float64]:
        """Tier 2 figures of buying with all equity at the window's second open and selling at its last close, with costs."""
        return self.tier2(BUY_AND_HOLD, window)
