"""The compiled evaluator: a whole population over windows of one dataset. numba is imported from here on.

Tier 1 takes the fast path (`kernels.hop`): rules as bitmaps, exits from tables or by blocks. Which of them serves a genome
depends on what is asked, how often, and on budgets of memory; the bits do not. One evaluator serves one thread at a time.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles, DatasetInfo
from domain.execution import ExecutionModel
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing
from domain.metrics import TIER1
from domain.specs import Window
from kernels.bitmaps import BITMAP_BYTES, RuleBits, fill_enterable, row_words
from kernels.blocks import SHIFTS
from kernels.combinations import Combinations, fill_factors
from kernels.hop import hop_batch
from kernels.ladder import build_ladder
from kernels.lanes import GENOMES_LISTED, HOPS_LISTED, LANES, TILE, hop_in_lanes, room_for_hops
from kernels.layout import operands_of, rule_records
from kernels.plain import PlainEvaluator
from kernels.plans import ALONE, BY_LADDER, BY_TABLES, PLAN_COLUMNS, mark_ways
from kernels.population import Population
from kernels.sizes import SizeTables
from kernels.tables import TABLE_BYTES, WORTH, TouchTables
from kernels.terms import check_window

#: Candles x genomes a compiled call: at fifty nanoseconds each, the worst there is, half a second. Lanes end theirs by
#: themselves.
VISITS_PER_CALL = 10_000_000
#: Parts of the work a thread: the last to finish keeps the others waiting for a part of its share alone.
PARTS_A_THREAD = 4

#: Genomes that the plain loop walks beyond the candles reached so far before these are reached.
BEYOND = 64
#: Combinations whose order is kept; of more, those of each call are ordered.
FEW_COMBINATIONS = 1_000
#: Bitmaps filled together: their operands must fit the feature matrix.
RULES_AT_ONCE = 64
#: Records, rules as rows of bitmaps, combination of every genome; of every combination: factors, slots, rows of sizes.
Encoded = tuple[
    NDArray[Any], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]
]


class CompiledEvaluator(PlainEvaluator):
    """Implements `kernels.protocol.Evaluator`; raises BadInput for candles, costs, genomes or windows out of range.

    `threads` cores are used. `table_bytes` and `bitmap_bytes` bound what is kept between calls; a table is built for a
    level once `worth` genomes have walked the dataset with it. `tile`: candles that lanes walk together, a multiple of 4,096;
    `hops`: how many they list before they are settled.
    """

    def __init__(
        self,
        candles: Candles,
        execution: ExecutionModel,
        threads: int = 1,
        table_bytes: int = TABLE_BYTES,
        bitmap_bytes: int = BITMAP_BYTES,
        worth: float = WORTH,
        shifts: tuple[int, int] = SHIFTS,
        tile: int = TILE,
        hops: int = HOPS_LISTED,
    ) -> None:
        super().__init__(candles, execution)
        self._threads = max(1, threads)
        self._tile, self._hops = tile, hops
        self._bytes, self._worth, self._shifts = (bitmap_bytes, table_bytes), worth, shifts
        self._reach, self._beyond = 0, 0
        self._free_scratch: list[tuple[NDArray[Any], ...]] = []

    def reach_to(self, stop: int) -> None:
        """Hold what the fast path needs of the candles before `stop`: those of a search's fitness windows first, all of them
        once anybody looks further. Rules and levels look at a window's candles and earlier ones alone: no bit changes."""
        if stop <= self._reach:
            return
        self._reach = len(self._candles) if self._reach else stop
        self._head = c = self._candles.head(self._reach)
        bitmap_bytes, table_bytes = self._bytes
        self._bits = RuleBits(len(c), bitmap_bytes)
        self._enterable = np.zeros(self._bits.bits.shape[1], dtype=np.uint64)
        fill_enterable(c.time_ms, self._costs.granularity_ms, self._costs.max_missing, self._enterable)
        terms = (self._costs.tick_scale, self._costs.slippage_frac)
        self._touch = TouchTables(c, *terms, table_bytes, self._worth, self._shifts)
        self._ladder, self._rungs = build_ladder(*self._touch.later)
        self._orderly = bool(np.array_equal(self._touch.edges, self._touch.later))
        # Amounts are few however many levels there are: their tables pay as they always did.
        self._sizes = SizeTables(c.open, self._market[0], min(self._worth, WORTH))
        self._combinations = Combinations()
        self._levels, self._factors_of = np.empty((0, 8), dtype=np.int64), np.empty((0, 8))
        self._rank_of = np.empty(0, dtype=np.int64)
        self._free_scratch.clear()

    def tier1_of(self, population: Population, windows: Sequence[Window]) -> NDArray[np.float64]:
        """Closed-trade figures of encoded genomes, shape (G, W, len(TIER1)); NaN where undefined."""
        n = len(self._candles)
        for window in windows:
            check_window(window, n)
        out = np.empty((len(windows), len(population), len(TIER1)))
        if not out.size:
            return np.empty((len(population), len(windows), len(TIER1)))
        last = max(w.stop for w in windows)
        if last > self._reach > 0:
            # What a search asks of its few finds is no reason to prepare candles that nothing else looks at.
            self._beyond += len(population)
            if self._beyond <= BEYOND:
                return super().tier1_of(population, windows)
        self.reach_to(last)
        place, example, factors, levels, rank, uses = self._combine(population)
        weights = uses * (sum(w.stop - w.start for w in windows) / self._reach)
        slots = self._touch.slots_of(levels, weights)
        sizes = self._sizes_of(population.records[example], weights)
        # Genomes that share levels follow each other, so that their tables stay in the cache.
        order = np.argsort(rank[place], kind="stable")
        for part, index in self._with_bitmaps(population, order):
            self._run(part, (population.records, index, place, factors, slots, sizes), windows, out)
        return np.ascontiguousarray(out.transpose(1, 0, 2))

    def _combine(self, population: Population) -> tuple[Any, ...]:
        """(the combination (G,) of every genome; of every combination (R,): one genome, its factors and levels (R, 8), its rank
        by levels, how many genomes have it)."""
        known = self._combinations.count
        afresh, (numbers, example, place), uses = self._combinations.number(population.records)
        if afresh:
            known = 0
            self._touch.forget_levels()
        if known < self._combinations.count:
            # New ones are numbered in the order in which they are met, as `numbers` lists what it has.
            new = numbers >= known
            factors = self._factors(population.records[example[new]])
            self._factors_of = np.concatenate((self._factors_of[:known], factors))
            self._levels = np.concatenate((self._levels[:known], self._touch.levels_of(factors)))
            if self._combinations.count <= FEW_COMBINATIONS:
                self._rank_of = _ranks(self._factors_of)
        factors = self._factors_of[numbers]
        rank = self._rank_of[numbers] if self._combinations.count <= FEW_COMBINATIONS else _ranks(factors)
        return place, example, factors, self._levels[numbers], rank, uses

    def _sizes_of(self, records: NDArray[np.void], weights: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of the tables of sizes for combinations (R,), -1 where there is none: then sizes are computed trade by trade."""
        if not records["amount"].any():
            return np.full(len(records), -1, dtype=np.int64)
        long = records["long_exit"] > records["long_entry"]
        keys = list(zip(long.tolist(), records["amount"].tolist(), records["leverage"].tolist(), strict=True))
        return self._sizes.rows_for(keys, weights.tolist())

    def _factors(self, records: NDArray[np.void]) -> NDArray[np.float64]:
        """Levels as multiples of the entry's open, (R, 8) as in `kernels.hop`; each the expression of `kernels.loop`."""
        factors = np.zeros((len(records), 8))
        fill_factors(records, self._costs.maintenance_frac, factors)
        return factors

    def _with_bitmaps(
        self, population: Population, order: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Parts of `order` whose rules fit the store of bitmaps together, each with the population's index as its rows."""
        parts = [order]
        while parts:
            part = parts.pop()
            seen = np.zeros(len(population.rules), dtype=np.bool_)
            seen[_index_of(population, part)] = True
            distinct = np.flatnonzero(seen)
            if len(distinct) > self._bits.most:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            missing = self._bits.missing(population.rules, distinct)
            for first in range(0, len(missing), RULES_AT_ONCE):
                some = missing[first : first + RULES_AT_ONCE]
                rules = [population.rules[i] for i in some.tolist()]
                self._features.ensure(operands_of(rules), self._reach)
                self._bits.add(some, rule_records(rules, self._features.rows), self._features.matrix)
            yield part, self._bits.row_of[population.index]

    def _run(
        self, order: NDArray[np.int64], genomes: Encoded, windows: Sequence[Window], out: NDArray[np.float64]
    ) -> None:
        """Fill out[w, i] for every i of `order`, in calls below a second, on as many cores as allowed."""
        ways = np.empty(len(order), dtype=np.int8)
        mark_ways(order, genomes[0], genomes[2], genomes[3], genomes[4], ways)
        longest = max(w.stop - w.start for w in windows)
        jobs = []
        parts = 1 if self._threads == 1 else PARTS_A_THREAD * self._threads
        for way in (BY_TABLES, BY_LADDER, ALONE):
            some = order[ways == way]
            step = max(1, -(-len(some) // parts))
            if way == ALONE:
                step = max(1, min(step, VISITS_PER_CALL // longest))
            for w, window in enumerate(windows):
                jobs += [(way, some[i : i + step], window, out[w]) for i in range(0, len(some), step)]
        if self._threads == 1 or len(jobs) == 1:
            scratch = self._take_scratch(longest)
            for job in jobs:
                self._call(*job, genomes, scratch)
            self._free_scratch.append(scratch)
            return
        # Each row is written by one job alone, from inputs that nobody writes: threads cannot change a bit.
        local = threading.local()
        taken: list[tuple[NDArray[Any], ...]] = []

        def work(job: tuple[int, NDArray[np.int64], Window, NDArray[np.float64]]) -> None:
            if not hasattr(local, "scratch"):
                local.scratch = self._take_scratch(longest)
                taken.append(local.scratch)
            self._call(*job, genomes, local.scratch)

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(work, jobs))
        self._free_scratch += taken

    def _take_scratch(self, longest: int) -> tuple[NDArray[Any], ...]:
        """Kept between calls, as to touch fresh memory costs more than a small population's walks; one of a thread each."""
        try:
            scratch = self._free_scratch.pop()
        except IndexError:
            return self._new_scratch(longest)
        return scratch if len(scratch[1]) >= longest else self._new_scratch(longest)

    def _new_scratch(self, longest: int) -> tuple[NDArray[Any], ...]:
        """`words` and `returns`, which serve every kernel, then the further scratch of `lanes.hop_in_lanes`. Memory is touched
        as far as it is used."""
        words = np.zeros((max(5, 2 * LANES), row_words(self._reach)), dtype=np.uint64)
        room = room_for_hops(longest, self._hops)
        return (
            words,
            np.empty(longest),
            np.zeros((LANES, 6), dtype=np.uint64),
            np.zeros(GENOMES_LISTED + 2),
            np.zeros((2, GENOMES_LISTED)),
            np.zeros((GENOMES_LISTED, PLAN_COLUMNS), dtype=np.int64),
            np.zeros((2, GENOMES_LISTED), dtype=np.int64),
            np.zeros((2, longest // self._tile + 2, GENOMES_LISTED), dtype=np.int64),
            np.empty((2, LANES * longest), dtype=np.int32),
            np.empty((2, room), dtype=np.int32),
            np.empty((4, room)),
        )

    def _call(
        self,
        way: int,
        order: NDArray[np.int64],
        window: Window,
        rows: NDArray[np.float64],
        genomes: Encoded,
        scratch: tuple[NDArray[Any], ...],
    ) -> None:
        c, touch = self._head, self._touch
        words, returns, *of_lanes = scratch
        records, index, place, factors, slots, sizes = genomes
        common = (
            self._market[0], c.time_ms, c.open, c.close, touch.edges, touch.later, touch.small, touch.large, touch.shifts,
            window.start, window.stop,
        )  # fmt: skip
        if way != ALONE:
            done = 0
            while done < len(order):
                done += hop_in_lanes(
                    order[done:], way == BY_LADDER, records, index, place, factors, slots, sizes, self._bits.bits,
                    self._enterable, touch.tables, touch.fills, self._sizes.tables, self._ladder, self._rungs, self._orderly,
                    *common, self._tile, self._hops, words[:LANES], words[LANES : 2 * LANES], *of_lanes, returns, rows,
                )  # fmt: skip
        else:
            hop_batch(
                order, records, index, place, factors, slots, self._bits.bits, self._enterable, touch.tables, *common,
                words, returns, rows,
            )  # fmt: skip


def _index_of(population: Population, part: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of all rules of the genomes of `part`, repeats included."""
    if len(part) == len(population):
        return population.index
    first, last = population.records["long_entry"][part], population.records["end"][part]
    return np.concatenate([population.index[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)])


def _ranks(factors: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of every row of `factors` (R, 8) in their order."""
    rank = np.empty(len(factors), dtype=np.int64)
    rank[np.lexsort(factors.T)] = np.arange(len(factors))
    return rank


def warm_candles(n: int) -> Candles:
    """Something to compile with: `n` candles that move up and down."""
    ramp = np.arange(n, dtype=np.int64)
    price = 1_000 + (ramp * 37) % 50
    columns = {
        "time_ms": ramp * 60_000,
        "open": price,
        "high": price + 9,
        "low": price - 9,
        "close": price,
        "volume": ramp,
    }
    return Candles(DatasetInfo("none", "NONE", 60, 2, 0, n, 0, (n - 1) * 60_000), columns)


def warm_up() -> None:
    """Compile, or load from the cache, every kernel with the signatures used later, those of the search too; seconds when
    nothing is cached."""
    from kernels.evolution.warm import warm_search  # it searches with this evaluator, but not the other way round

    n = 64
    candles = warm_candles(n)
    close = Operand("close")
    kinds = [Operand("sma", 5), Operand("ema", 5), Operand("ema", 7)]
    entries = (
        Rule(close, ">", kinds[0]),
        Rule(close, ">", kinds[1]),
        Rule(close, ">", kinds[2]),
        Rule(Operand("rsi", 5), ">", Operand("const", value=1.0)),
    )
    volume = RuleSet((Rule(Operand("volume"), ">", Operand("volume_sma", 5)),))
    risk = Risk(100, 100, 100, sizing=Sizing(fraction_bps=1_000))
    genome = Genome("both", risk, RuleSet(entries, volume.entry), volume)
    whole = [Window(0, n)]
    for kind in (PlainEvaluator, CompiledEvaluator):
        kind(candles, ExecutionModel()).tier1([genome], whole)
    evaluator = CompiledEvaluator(candles, ExecutionModel(), worth=0.0)
    in_a_lane = [
        Genome("long", Risk(100, 100, sizing=sizing), RuleSet(entries))
        for sizing in (Sizing(fraction_bps=1_000), Sizing("fixed", amount=100.0))
    ]
    evaluator.tier1([genome, *in_a_lane], whole)
    evaluator.tier2(genome, whole[0])
    warm_search(evaluator, n)
