"""The genetic search of one unit: a pure function of spec, seed and what the evaluator says of the fitness windows."""

import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput
from domain.grammar import Space, search_space
from domain.hashing import derived_seed, sha256_hex
from domain.results import UnitOutcome
from domain.specs import SearchSpec, validate_search
from kernels.evolution.breeding import MAX_STRENGTH, breed
from kernels.evolution.choice import Chooser
from kernels.evolution.finds import finds_for, front_point
from kernels.evolution.operators import layout_of
from kernels.evolution.ranking import COLUMNS, OBJECTIVE, fitness_of, measure
from kernels.evolution.state import Candidate, Group, State, checkpoint_bytes, state_from_checkpoint
from kernels.evolution.tried import Tried
from kernels.integers import Coding, Rows, coding_of
from kernels.joint import fitness_counts, fitness_windows
from kernels.protocol import EncodedEvaluator, Evaluator

#: Parts of what a generation breeds: systematic neighbours of the best, random newcomers (twice as many once it stalls),
#: and, at a restart, mutants of the hall.
_LOCAL_PART, _FRESH_PART, _MUTANT_PART = 2, 10, 10
#: One in so many of a population's size goes on to the next generation's parents.
_PARENT_PART = 4
_STALLED = 3
#: Tried genomes that a unit names, so that luck can be measured on what was not chosen.
SAMPLE = 50


class Search:
    """One unit. `step` until `done`, then `outcome`; a checkpoint between any two steps changes no bit of it.

    Raises BadInput for a spec out of range, an unknown grammar, or a grammar smaller than the population.
    """

    def __init__(
        self,
        spec: SearchSpec,
        seed: int,
        evaluator: Evaluator,
        state: State | None = None,
        packed: bytes = b"",
        space: Space | None = None,
    ) -> None:
        """`evaluator`: of all the spec's markets (`kernels.joint`). `state` and `packed`: from a checkpoint; `space`: instead of
        the spec's, for a trial on a part of it."""
        validate_search(spec)
        self._spec, self._seed, self._evaluator = spec, seed, evaluator
        self._windows, self._counts = fitness_windows(spec), fitness_counts(spec)
        self._encoded = evaluator if isinstance(evaluator, EncodedEvaluator) else None
        space = space or search_space(spec.grammar, spec.risk, spec.venue)
        if space.size() < spec.population:
            raise BadInput(f"the grammar leaves {space.size()} strategies, the population is {spec.population}")
        self._coding = coding_of(space)
        self._layout = layout_of(self._coding)
        self._state = state or State()
        self._tried = Tried(self._coding, packed)
        self._choose = Chooser(spec, self._tried)
        self._scratch = np.empty((2, self._coding.width), dtype=np.int16)

    @classmethod
    def resume(cls, spec: SearchSpec, seed: int, evaluator: Evaluator, data: bytes) -> "Search":
        """Go on from `checkpoint`; raises BadInput when the bytes are damaged or of another search."""
        return cls(spec, seed, evaluator, *state_from_checkpoint(spec, seed, data))

    @property
    def generation(self) -> int:
        """Generations evaluated so far."""
        return self._state.generation

    @property
    def done(self) -> bool:
        return self.generation >= self._spec.generations or self._state.stale >= self._spec.patience

    @property
    def best(self) -> float | None:
        """Objective of the best genome so far; None while none has traded within the safety limits."""
        return float(self._state.hall.fits[0, OBJECTIVE]) if len(self._state.hall) else None

    @property
    def champion(self) -> Candidate | None:
        """The best genome so far, by standing."""
        best = self._candidates(self._state.hall.take(np.arange(min(1, len(self._state.hall)))))
        return best[0] if best else None

    @property
    def evaluated(self) -> int:
        """Distinct genomes evaluated so far."""
        return self._tried.count

    @property
    def restarts(self) -> int:
        """How often a stalled population gave way to a new one."""
        return self._state.restarts

    @property
    def population(self) -> tuple[Candidate, ...]:
        """Those that the next generation descends from, best first."""
        return self._candidates(self._state.population)

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The genomes with enough trades that no other one dominates, best objective first."""
        return self._candidates(self._state.front)

    @property
    def coding(self) -> Coding:
        """How this search writes genomes as rows."""
        return self._coding

    def tried_rows(self) -> Rows:
        """The rows of all evaluated genomes in the order of their evaluation."""
        return self._tried.rows[: self._tried.count].copy()

    def tried_bytes(self) -> bytes:
        """The 32-byte hashes of all evaluated genomes, sorted, one after the other."""
        return self._tried.sorted_keys()

    def checkpoint(self) -> bytes:
        return checkpoint_bytes(self._spec, self._seed, self._state, self._tried.packed())

    def step(self) -> None:
        """Breed one generation and evaluate what is new in it with one `tier1` call over the fitness windows."""
        before, choose = self._state, self._choose
        restarts = 0 < self._spec.restart_after <= before.stalled
        parents = before.population.take(np.arange(0)) if restarts else before.population
        new = self._evaluated(self._breed(parents, restarts))
        population = choose.population(parents.with_(new), max(2, self._spec.population // _PARENT_PART))
        hall = choose.hall(before.hall.with_(new))
        self._state = State(
            generation=before.generation + 1,
            stale=0 if self._better(hall, before.hall) else before.stale + 1,
            stalled=0 if self._better(population, parents) else before.stalled + 1,
            restarts=before.restarts + restarts,
            population=population,
            hall=hall,
            front=choose.front(before.front, new),
        )

    def outcome(self) -> UnitOutcome:
        """The finds with all their figures. Only here are walk-forward windows read, when the choice is made."""
        genomes = [c.genome for c in self._candidates(self._state.hall)]
        return UnitOutcome(
            dataset=self._spec.dataset,
            seed=self._seed,
            generations=self.generation,
            evaluated=self.evaluated,
            tried_sha256=sha256_hex(self.tried_bytes()),
            finds=finds_for(genomes, self._spec, self._evaluator),
            front=tuple(front_point(c.genome, c.fitness) for c in self.front),
            sample=tuple(self._coding.genome(row) for row in self._tried.lowest(SAMPLE)),
        )

    def _breed(self, parents: Group, restarts: bool) -> int:
        """Enter one generation of new genomes among the tried; returns how many there are then."""
        spec, tried, before = self._spec, self._tried, self._state
        wanted = spec.population
        local = wanted // _LOCAL_PART if len(parents) else 0
        fresh = wanted // _FRESH_PART * (2 if before.stalled >= _STALLED else 1)
        mutants = wanted // _MUTANT_PART if restarts else 0
        if not len(parents):
            fresh = wanted - mutants
        tried.make_room(wanted)
        draws = np.array([derived_seed(self._seed, "generation", before.generation)], dtype=np.uint64)
        return int(
            breed(
                self._layout, draws, tried.rows, tried.slots, tried.cursor, tried.count, parents.index, before.hall.index,
                wanted, local, fresh, mutants, min(1 + before.stalled, MAX_STRENGTH), *self._scratch,
            )
        )  # fmt: skip

    def _evaluated(self, count: int) -> Group:
        """The genomes entered last, named and measured; they are `count` in all."""
        first = self._tried.count
        self._tried.name(count)
        rows = self._tried.rows[first:count]
        fits = measure(self._table(rows), self._counts) if len(rows) else np.empty((0, COLUMNS))
        return Group(np.arange(first, count), fits)

    def _table(self, rows: Rows) -> NDArray[np.float64]:
        if self._encoded is not None:
            return self._encoded.tier1_of(self._coding.population(rows), self._windows)
        return self._evaluator.tier1([self._coding.genome(row) for row in rows], self._windows)

    def _candidates(self, group: Group) -> tuple[Candidate, ...]:
        tried = self._tried
        return tuple(
            Candidate(tried.keys[i].tobytes(), self._coding.genome(tried.rows[i]), fitness_of(fit))
            for i, fit in zip(group.index, group.fits, strict=True)
        )

    def _better(self, now: Group, before: Group) -> bool:
        """Is the best of a group better than that of another? One of equal standing that only wins by its hash is not."""
        if not len(now) or not len(before):
            return len(now) > len(before)
        return self._choose.best_score(now) < self._choose.best_score(before)
