"""A null repetition: the campaign's searches once more, on candles without a message. What it finds is luck.

The largest of many objectives is what a campaign shows; the largest of as many on bootstrapped series is what the very same
search shows where there is nothing to be found (a max-statistic, as in White 2000, with the search itself as the statistic).
"""

from collections.abc import Callable

import msgspec

from domain.candles import Candles
from domain.errors import BadInput
from domain.execution import ExecutionModel
from domain.hashing import content_hash, sha256_hex
from domain.results import NullOutcome, UnitOutcome
from domain.specs import SearchSpec
from domain.tasks import Null, search_seed
from kernels.evolution.ranking import rank_key
from kernels.evolution.sealed import seal, unseal
from kernels.evolution.search import Search
from kernels.evolution.state import Candidate
from kernels.protocol import Evaluator
from kernels.statistics.candles import bootstrap_candles

_MAGIC = b"SLUICE-NULL-1\n"


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    """`at`: which of the searches is under way; `generations` and `evaluated` of those before it; `search`: its checkpoint."""

    key: str
    at: int
    generations: int
    evaluated: int
    best: Candidate | None
    search: bytes


class NullSearch:
    """One unit, as `Search` is one: `step` until `done`, then `outcome`; a checkpoint between two steps changes no bit.

    `make` builds the evaluator of the bootstrapped series. Raises BadInput as `Search` does, and for `state` that is
    damaged or of another unit.
    """

    def __init__(
        self,
        spec: SearchSpec,
        seed: int,
        task: Null,
        candles: Candles,
        make: Callable[[Candles, ExecutionModel], Evaluator],
        state: bytes = b"",
    ) -> None:
        if task.searches < 1:
            raise BadInput("a null repetition repeats one search or more")
        self._spec, self._seed, self._task = spec, seed, task
        self._key = content_hash([spec, seed, task])
        series = bootstrap_candles(candles, seed, task.block)
        self._series = series.hash()
        # The searches are told the series' own digest: a checkpoint of theirs fits no other.
        self._search_spec = msgspec.structs.replace(spec, dataset=self._series)
        self._evaluator = make(series, spec.execution)
        saved = self._read(state) if state else _Saved(self._key, 0, 0, 0, None, b"")
        self._at, self._generations, self._evaluated = saved.at, saved.generations, saved.evaluated
        self._best = saved.best
        self._search: Search | None = self._begin(saved.search)

    def _begin(self, state: bytes) -> Search | None:
        if self._at == self._task.searches:
            return None
        spec, seed = self._search_spec, search_seed(self._spec, self._task.seed, self._at)
        return Search.resume(spec, seed, self._evaluator, state) if state else Search(spec, seed, self._evaluator)

    @property
    def done(self) -> bool:
        return self._search is None

    @property
    def generation(self) -> int:
        """Of all searches together."""
        return self._generations + (self._search.generation if self._search else 0)

    @property
    def evaluated(self) -> int:
        """Genomes evaluated on the series; one tried by two searches counts twice, and none is a trial of the dataset."""
        return self._evaluated + (self._search.evaluated if self._search else 0)

    @property
    def best(self) -> float | None:
        best = self._champion()
        return best.fitness.objective if best else None

    def _champion(self) -> Candidate | None:
        found = [c for c in (self._best, self._search.champion if self._search else None) if c is not None]
        return min(found, key=lambda c: rank_key(c.fitness, c.key, self._spec.trades_wanted), default=None)

    def step(self) -> None:
        """One generation of the search under way; the next search begins where it ends."""
        search = self._search
        assert search is not None
        search.step()
        if search.done:
            self._best = self._champion()
            self._generations += search.generation
            self._evaluated += search.evaluated
            self._at += 1
            self._search = self._begin(b"")

    def tried_bytes(self) -> bytes:
        """Nothing was tried on the dataset."""
        return b""

    def outcome(self) -> UnitOutcome:
        best = self._champion()
        return UnitOutcome(
            dataset=self._spec.dataset,
            seed=self._seed,
            generations=self.generation,
            evaluated=self.evaluated,
            tried_sha256=sha256_hex(b""),
            finds=(),
            null=null_outcome(self._series, best, self._spec.trades_wanted),
        )

    def checkpoint(self) -> bytes:
        search = self._search.checkpoint() if self._search else b""
        return seal(_MAGIC, _Saved(self._key, self._at, self._generations, self._evaluated, self._best, search))

    def _read(self, data: bytes) -> _Saved:
        saved = unseal(_MAGIC, data, _Saved)
        if saved.key != self._key or not 0 <= saved.at <= self._task.searches:
            raise BadInput("the checkpoint belongs to another null repetition")
        return saved


def null_outcome(series: str, best: Candidate | None, trades_wanted: int) -> NullOutcome:
    """What is said of the best genome on the series."""
    if best is None:
        return NullOutcome(series, None, None, 0, False)
    f = best.fitness
    return NullOutcome(series, best.genome, f.objective, f.trades, f.trades >= trades_wanted)
