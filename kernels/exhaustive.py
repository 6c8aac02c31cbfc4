"""The exhaustive search of one unit: every rule set of a grammar with one stop and one target, on the fitness windows.

What it finds first is proven to be the best there is: `evaluated` is all sets, each of which stands in the distribution.
Objective, trades and flags are those of the evaluator, bit for bit; all other figures are asked for the top alone.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput
from domain.execution import ExecutionModel
from domain.grammar import search_space
from domain.hashing import content_hash, sha256_hex
from domain.results import Distribution, Histogram, UnitOutcome
from domain.specs import SearchSpec, Window, Windows, validate_search
from domain.sweep import set_count, swept_genome
from domain.tasks import Sweep, space_of
from domain.tried import swept_sets
from kernels.evaluator import CompiledEvaluator, warm_candles
from kernels.evolution.finds import find_for
from kernels.evolution.ranking import Fitness, rank_key, standing
from kernels.evolution.sealed import seal, unseal
from kernels.evolution.state import Candidate, genome_key
from kernels.exhaustive_field import VISITS_PER_CALL, Results, Walk, grounds
from kernels.exhaustive_walk import HIGHEST, LOWEST, count_sets, measure_sets

_MAGIC = b"SLUICE-SWEEP-1\n"
_BINS = HIGHEST - LOWEST + 1
_NO_BUDGET = 2**62
_SINGLE, _PAIRS = -2, -1


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    """Where a sweep stands: the next set is {first, second, ...}; what it has counted and kept so far."""

    spec: str
    task: Sweep
    first: int
    second: int
    hall: tuple[Candidate, ...]
    others: tuple[int, int]
    few: Histogram
    enough: Histogram


class ExhaustiveSearch:
    """One unit. `step` until `done`, then `outcome`; a checkpoint between any two steps changes no bit of it.

    `visits`: what a step may do before it ends, for tests of how little it matters. Raises BadInput for a spec out of range
    or a task that is none of its pairs.
    """

    def __init__(
        self, spec: SearchSpec, seed: int, task: Sweep, evaluator: CompiledEvaluator, visits: int = VISITS_PER_CALL
    ) -> None:
        validate_search(spec)
        space = space_of(spec)
        if spec.method != "sweep" or task.stop_bps not in space.stop_bps or task.target_bps not in space.target_bps:
            raise BadInput(f"stop {task.stop_bps} and target {task.target_bps} bps are no part of this search")
        self._spec, self._seed, self._task, self._evaluator, self._visits = spec, seed, task, evaluator, visits
        self._space, self._rules = space, len(space.rules)
        self._first, self._second = 0, 1
        self._hall: tuple[Candidate, ...] = ()
        self._others = np.zeros(2, np.int64)
        self._few, self._enough = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
        self._walks: list[Walk] = []

    @classmethod
    def resume(
        cls, spec: SearchSpec, seed: int, task: Sweep, evaluator: CompiledEvaluator, data: bytes
    ) -> "ExhaustiveSearch":
        """Go on from `checkpoint`; raises BadInput when the bytes are damaged or of another search."""
        saved = unseal(_MAGIC, data, _Saved)
        if saved.spec != content_hash(spec) or saved.task != task:
            raise BadInput("the checkpoint belongs to another search")
        search = cls(spec, seed, task, evaluator)
        search._first, search._second, search._hall = saved.first, saved.second, saved.hall
        search._others[:] = saved.others
        for bins, histogram in ((search._few, saved.few), (search._enough, saved.enough)):
            begin = histogram.first - LOWEST
            bins[begin : begin + len(histogram.counts)] = histogram.counts
        return search

    @property
    def generation(self) -> int:
        """First rules whose sets have all been evaluated."""
        return self._first

    @property
    def done(self) -> bool:
        return self._first >= self._rules

    @property
    def best(self) -> float | None:
        return self._hall[0].fitness.objective if self._hall else None

    @property
    def evaluated(self) -> int:
        return int(self._others.sum() + self._few.sum() + self._enough.sum())

    def distribution(self) -> Distribution:
        """Of all sets evaluated so far."""
        untraded, flagged = self._others.tolist()
        return Distribution(self.evaluated, untraded, flagged, _histogram(self._few), _histogram(self._enough))

    def checkpoint(self) -> bytes:
        d = self.distribution()
        others = (d.without_objective, d.flagged)
        where = (self._first, self._second)
        return seal(_MAGIC, _Saved(content_hash(self._spec), self._task, *where, self._hall, others, d.few, d.enough))

    def tried_bytes(self) -> bytes:
        """All of it, as a descriptor for the trial ledger."""
        return swept_sets(self._spec, self._space, self._task.stop_bps, self._task.target_bps).to_bytes()

    def step(self) -> None:
        """The sets of one first rule, or as many of them as fit a compiled call."""
        windows = self._spec.windows.fitness
        if not self._walks:
            pair = (self._task.stop_bps, self._task.target_bps)
            ground = grounds(self._space, windows, self._evaluator)
            self._walks = [Walk(g, self._space, *pair, self._evaluator) for g in ground]
        low, high = self._space.entry_rules
        first, second = self._first, self._second
        if second == first + 1:
            if low == 1:
                self._count([w.singles.part(first, first + 1) for w in self._walks], first, _SINGLE)
            if low <= 2 <= high:
                self._count([w.pairs(first) for w in self._walks], first, _PAIRS)
        if high == 3:
            room = (self._rules - second) * (self._rules - second - 1) // 2
            found = [Results.of(room) for _ in self._walks]
            after = self._walks[0].triples(first, second, self._rules, self._visits, found[0])
            for walk, out in zip(self._walks[1:], found[1:], strict=True):
                walk.triples(first, second, after, _NO_BUDGET, out)
            made = room - (self._rules - after) * (self._rules - after - 1) // 2
            self._count([out.part(0, made) for out in found], first, second)
            second = after
        if high < 3 or second >= self._rules:
            first, second = first + 1, first + 2
        self._first, self._second = first, second

    def _count(self, found: list[Results], first: int, second: int) -> None:
        """Count sets that begin with `first` and keep the best: {first}, {first, k}, or triples from {first, second} on."""
        count = len(found[0].net)
        if not count:
            return
        net, trades, flags = (np.stack([np.ascontiguousarray(r[c]) for r in found]) for c in range(3))
        objective, total, union = Results.of(count)
        measure_sets(net, trades, flags, self._spec.execution.start_equity, objective, total, union)
        worst, least = 2, 0.0
        if len(self._hall) >= self._spec.top:
            # No better than this by its figures; of equals the hash decides, so that equals are looked at too.
            worst, value = standing(self._hall[-1].fitness, self._spec.trades_wanted)
            least = -value
        chosen = np.empty(count, np.int64)
        listed = count_sets(
            objective,
            total,
            union,
            self._spec.trades_wanted,
            self._few,
            self._enough,
            self._others,
            worst,
            least,
            chosen,
        )
        picks = self._best_of(chosen[:listed], objective, total)
        new = [
            self._candidate(_members(n, first, second, self._rules), _fitness(float(objective[n]), int(total[n])))
            for n in picks.tolist()
        ]
        if new:
            wanted = self._spec.trades_wanted
            ranked = sorted([*self._hall, *new], key=lambda c: rank_key(c.fitness, c.key, wanted))
            self._hall = tuple(ranked[: self._spec.top])

    def _best_of(
        self, listed: NDArray[np.int64], objective: NDArray[np.float64], trades: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Those of `listed` that may be among the top, equals of the last included."""
        top = self._spec.top
        if len(listed) <= top:
            return listed
        rank, value = (trades[listed] < self._spec.trades_wanted).astype(np.int64), objective[listed]
        last = np.lexsort((-value, rank))[top - 1]
        kept: NDArray[np.int64] = listed[(rank < rank[last]) | ((rank == rank[last]) & (value >= value[last]))]
        return kept

    def _candidate(self, rules: tuple[int, ...], fitness: Fitness) -> Candidate:
        genome = swept_genome(self._space, self._task.stop_bps, self._task.target_bps, rules)
        return Candidate(genome_key(genome), genome, fitness)

    def outcome(self) -> UnitOutcome:
        """The finds with all their figures. Only here are walk-forward windows read, when the choice is made."""
        if self.evaluated != set_count(self._space):
            raise BadInput(f"{self.evaluated} sets were counted, there are {set_count(self._space)}")
        return UnitOutcome(
            dataset=self._spec.dataset,
            seed=self._seed,
            generations=self.generation,
            evaluated=self.evaluated,
            tried_sha256=sha256_hex(self.tried_bytes()),
            finds=tuple(find_for(c.genome, self._spec, self._evaluator) for c in self._hall),
            distribution=self.distribution(),
        )


def _fitness(objective: float, trades: int) -> Fitness:
    """Of a set within the safety limits; what does not rank it is not computed in a sweep."""
    return Fitness(objective, math.nan, math.nan, trades, 0)


def _histogram(bins: NDArray[np.int64]) -> Histogram:
    """From the first bin that is not empty to the last."""
    used = np.flatnonzero(bins)
    if not len(used):
        return Histogram(0, ())
    return Histogram(int(used[0]) + LOWEST, tuple(bins[used[0] : used[-1] + 1].tolist()))


def _members(n: int, first: int, second: int, rules: int) -> tuple[int, ...]:
    """The rules of the n-th set of a part, as `ExhaustiveSearch._count` is given it."""
    if second == _SINGLE:
        return (first,)
    if second == _PAIRS:
        return (first, first + 1 + n)
    while n >= rules - 1 - second:
        n -= rules - 1 - second
        second += 1
    return (first, second, second + 1 + n)


def warm_up() -> None:
    """Compile, or load from the cache, the kernels of this search with the signatures used later."""
    n = 128
    execution = ExecutionModel()
    space = search_space("primer", "MEDIUM", "none")
    spec = SearchSpec(
        "", "none", "NONE", 60, Windows((Window(0, n),), (), Window(0, n)), execution, grammar="primer",
        generations=len(space.rules), method="sweep",
    )  # fmt: skip
    evaluator = CompiledEvaluator(warm_candles(n), execution)
    ExhaustiveSearch(spec, 1, Sweep(space.stop_bps[0], space.target_bps[0]), evaluator).step()
