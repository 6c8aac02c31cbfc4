"""The compute side of one replica: a thread that steps the work, and what the event loop may see of it."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from domain.candles import Candles
from domain.errors import BadInput
from domain.hashing import content_hash
from domain.results import UnitOutcome
from domain.specs import SearchSpec
from domain.tasks import Evolve, Null, Sweep, WorkItem
from kernels.bitmaps import BITMAP_BYTES
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.null import NullSearch
from kernels.evolution.search import Search
from kernels.exhaustive import ExhaustiveSearch
from kernels.joint import joint
from kernels.tables import TABLE_BYTES

log = logging.getLogger("sluice.miner")


class Snapshot(NamedTuple):
    """Where the search is; `state` is a checkpoint of exactly that generation (empty: none was wanted)."""

    generation: int
    evaluated: int
    best: float | None
    state: bytes


class Work(Protocol):
    """What a unit of any kind is to the thread that does it; `step` ends within a second."""

    @property
    def done(self) -> bool: ...
    @property
    def generation(self) -> int: ...
    @property
    def best(self) -> float | None: ...
    @property
    def evaluated(self) -> int: ...
    def step(self) -> None: ...
    def checkpoint(self) -> bytes: ...
    def outcome(self) -> UnitOutcome: ...
    def tried_bytes(self) -> bytes: ...


class Job:
    """Runs in a worker thread. `cancel` ends it after the generation under way; `snapshot` is replaced, never mutated."""

    def __init__(
        self, item: WorkItem, evaluators: Sequence[CompiledEvaluator], state: bytes, checkpoint_s: float
    ) -> None:
        """`evaluators`: of the search's markets, in order."""
        self.item = item
        self.cancel = threading.Event()
        self.snapshot: Snapshot | None = None
        self.started = time.monotonic()
        self._evaluators = evaluators
        self._state = state
        self.checkpoint_s = checkpoint_s
        self.resumed_from = 0

    def run(self) -> tuple[UnitOutcome, bytes] | None:
        """Blocking: the outcome and the sorted hashes of all tried genomes, or None when cancelled."""
        search = self._start()
        self.resumed_from = search.generation
        written = time.monotonic()
        while not search.done:
            if self.cancel.is_set():
                self._snap(search, with_state=True)
                return None
            search.step()
            due = time.monotonic() - written >= self.checkpoint_s
            self._snap(search, with_state=due)
            if due:
                written = time.monotonic()
        return search.outcome(), search.tried_bytes()

    def _start(self) -> Work:
        """From the checkpoint, or from the beginning when it is damaged: starting over gives the same bits."""
        if self._state:
            try:
                return self._work(self._state)
            except BadInput as e:
                log.warning("unit %s starts over, its checkpoint cannot be used: %s", self.item.unit, e)
        return self._work(b"")

    def _work(self, state: bytes) -> Work:
        """The work of this unit's kind, from `state` or (empty) from the beginning; BadInput when it cannot be used."""
        item, first = self.item, self._evaluators[0]
        match item.task:
            case Evolve():
                evaluator = joint(self._evaluators)
                if state:
                    return Search.resume(item.search, item.seed, evaluator, state)
                return Search(item.search, item.seed, evaluator)
            case Null():
                return NullSearch(item.search, item.seed, item.task, first.candles, CompiledEvaluator, state)
            case Sweep() as task:
                if state:
                    return ExhaustiveSearch.resume(item.search, item.seed, task, first, state)
                return ExhaustiveSearch(item.search, item.seed, task, first)
            case _:
                raise BadInput(f"this miner cannot do a unit of the kind {type(item.task).__name__}")

    def _snap(self, search: Work, *, with_state: bool) -> None:
        state = search.checkpoint() if with_state else b""
        if not with_state and self.snapshot is not None and self.snapshot.state:
            return  # a checkpoint waits to be published: keep it until it is taken
        self.snapshot = Snapshot(search.generation, search.evaluated, search.best, state)

    def take(self) -> Snapshot | None:
        """The newest snapshot, once."""
        snapshot, self.snapshot = self.snapshot, None
        return snapshot


class Evaluators:
    """Evaluators of the last search's markets: indicators are computed once and shared by all units."""

    def __init__(self) -> None:
        self._key = ""
        self._evaluators: tuple[CompiledEvaluator, ...] = ()

    def get(self, search: SearchSpec) -> tuple[CompiledEvaluator, ...] | None:
        """Those at hand, in the order of the markets; None when they are of other markets."""
        return self._evaluators if self._evaluators and self._key == _key(search) else None

    def make(self, search: SearchSpec, candles: Sequence[Candles]) -> tuple[CompiledEvaluator, ...]:
        """New ones, which share the memory of one; what was kept before is given up first."""
        self._evaluators, n = (), len(candles)
        self._evaluators = tuple(
            CompiledEvaluator(c, m.execution, table_bytes=TABLE_BYTES // n, bitmap_bytes=BITMAP_BYTES // n)
            for c, m in zip(candles, search.markets, strict=True)
        )
        self._key = _key(search)
        return self._evaluators


def _key(search: SearchSpec) -> str:
    return content_hash([(m.dataset, m.execution) for m in search.markets])
