"""The genetic search of one unit: a pure function of spec, seed and what the evaluator says of the fitness windows."""

from domain.errors import BadInput
from domain.genome import Genome
from domain.grammar import search_space
from domain.hashing import derived_seed, sha256_hex
from domain.results import UnitOutcome
from domain.specs import SearchSpec, validate_search
from kernels.evolution.finds import find_for
from kernels.evolution.operators import crossover, mutate, random_genome, tournament
from kernels.evolution.ranking import measure, rank_key, standing
from kernels.evolution.rng import Rng
from kernels.evolution.state import (
    HASH_BYTES,
    Candidate,
    State,
    checkpoint_bytes,
    genome_key,
    state_from_checkpoint,
)
from kernels.protocol import Evaluator

_ELITE_PART = 8  # one in so many of a population survives as it is
_FRESH_PART = 10  # one in so many is a random newcomer; twice as many once the search stalls
_STALLED = 3
_MAX_STRENGTH = 4
_RETRIES = 16
#: Tried genomes that a unit names, so that luck can be measured on what was not chosen.
SAMPLE = 50


class Search:
    """One unit. `step` until `done`, then `outcome`; a checkpoint between any two steps changes no bit of it.

    Raises BadInput for a spec out of range, an unknown grammar, or a grammar smaller than the population.
    """

    def __init__(self, spec: SearchSpec, seed: int, evaluator: Evaluator, state: State | None = None) -> None:
        validate_search(spec)
        self._spec, self._seed, self._evaluator = spec, seed, evaluator
        self._space = search_space(spec.grammar, spec.risk, spec.venue)
        if self._space.size() < spec.population:
            raise BadInput(f"the grammar leaves {self._space.size()} strategies, the population is {spec.population}")
        self._state = state or State()
        tried = self._state.tried
        self._tried = {tried[i : i + HASH_BYTES] for i in range(0, len(tried), HASH_BYTES)}

    @classmethod
    def resume(cls, spec: SearchSpec, seed: int, evaluator: Evaluator, data: bytes) -> "Search":
        """Go on from `checkpoint`; raises BadInput when the bytes are damaged or of another search."""
        return cls(spec, seed, evaluator, state_from_checkpoint(spec, seed, data))

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
        return self._state.hall[0].fitness.objective if self._state.hall else None

    @property
    def champion(self) -> Candidate | None:
        """The best genome so far, by standing."""
        return self._state.hall[0] if self._state.hall else None

    @property
    def evaluated(self) -> int:
        """Distinct genomes evaluated so far."""
        return len(self._tried)

    @property
    def population(self) -> tuple[Candidate, ...]:
        """The latest population, best first."""
        return self._state.population

    def tried_bytes(self) -> bytes:
        """The 32-byte hashes of all evaluated genomes, sorted, one after the other."""
        return b"".join(sorted(self._tried))

    def checkpoint(self) -> bytes:
        state = self._state
        full = State(state.generation, state.stale, state.population, state.hall, self.tried_bytes(), state.sample)
        return checkpoint_bytes(self._spec, self._seed, full)

    def step(self) -> None:
        """Breed one generation and evaluate what is new in it with one `tier1` call over the fitness windows."""
        spec, before = self._spec, self._state
        rng = Rng(derived_seed(self._seed, "generation", before.generation))
        bred = self._breed(rng)
        new: list[Candidate] = []
        if bred:
            table = self._evaluator.tier1(list(bred.values()), spec.windows.fitness)
            measured = measure(table)
            new = [Candidate(key, genome, f) for (key, genome), f in zip(bred.items(), measured, strict=True)]
        self._tried.update(bred)
        hall = self._ranked([*before.hall, *(c for c in new if c.fitness.eligible)])[: spec.top]
        sample = sorted({**dict(before.sample), **bred}.items())[:SAMPLE]
        self._state = State(
            generation=before.generation + 1,
            stale=0 if self._better(hall, before.hall) else before.stale + 1,
            population=self._ranked([*before.population[: self._elite], *new]),
            hall=hall,
            sample=tuple(sample),
        )

    def outcome(self) -> UnitOutcome:
        """The finds with all their figures. Only here are walk-forward windows read, when the choice is made."""
        return UnitOutcome(
            dataset=self._spec.dataset,
            seed=self._seed,
            generations=self.generation,
            evaluated=self.evaluated,
            tried_sha256=sha256_hex(self.tried_bytes()),
            finds=tuple(find_for(c.genome, self._spec, self._evaluator) for c in self._state.hall),
            sample=tuple(genome for _, genome in self._state.sample),
        )

    @property
    def _elite(self) -> int:
        return max(2, self._spec.population // _ELITE_PART)

    def _ranked(self, candidates: list[Candidate]) -> tuple[Candidate, ...]:
        wanted = self._spec.trades_wanted
        return tuple(sorted(candidates, key=lambda c: rank_key(c.fitness, c.key, wanted)))

    def _better(self, hall: tuple[Candidate, ...], before: tuple[Candidate, ...]) -> bool:
        """A best of equal standing that only wins by its hash is no improvement."""
        wanted = self._spec.trades_wanted
        if not before:
            return bool(hall)
        return standing(hall[0].fitness, wanted) < standing(before[0].fitness, wanted)

    def _breed(self, rng: Rng) -> dict[bytes, Genome]:
        """New genomes by key, none tried before: as many as the population lacks beside its elite.

        Fewer, down to none, only where a small space is nearly used up.
        """
        parents, stale = self._state.population, self._state.stale
        wanted = self._spec.population - min(len(parents), self._elite)
        fresh = self._spec.population // _FRESH_PART * (2 if stale >= _STALLED else 1) if parents else wanted
        strength = min(1 + stale, _MAX_STRENGTH)
        bred: dict[bytes, Genome] = {}
        for place in range(wanted):
            child = random_genome(self._space, rng) if place < fresh else self._child(parents, strength, rng)
            for _ in range(_RETRIES):
                key = genome_key(child)
                if key not in self._tried and key not in bred:
                    bred[key] = child
                    break
                child = mutate(child, self._space, rng, _MAX_STRENGTH)
        return bred

    def _child(self, parents: tuple[Candidate, ...], strength: int, rng: Rng) -> Genome:
        """Three in four by crossover, half of these mutated too; the rest are mutants. The search adapts by
        `strength`: edits grow bolder the longer the best stays the same."""
        first = parents[tournament(len(parents), rng)].genome
        if not rng.below(4):
            return mutate(first, self._space, rng, strength)
        second = parents[tournament(len(parents), rng)].genome
        child = crossover(first, second, self._space, rng)
        return mutate(child, self._space, rng, strength) if rng.below(2) else child
