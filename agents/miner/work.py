"""The compute side of one replica: a thread that steps the work, and what the event loop may see of it."""

import logging
import threading
import time
from typing import NamedTuple, Protocol

from domain.candles import Candles
from domain.errors import BadInput
from domain.execution import ExecutionModel
from domain.results import UnitOutcome
from domain.tasks import Evolve, Null, Sweep, WorkItem
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.null import NullSearch
from kernels.evolution.search import Search
from kernels.exhaustive import ExhaustiveSearch

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

    def __init__(self, item: WorkItem, evaluator: CompiledEvaluator, state: bytes, checkpoint_s: float) -> None:
        self.item = item
        self.cancel = threading.Event()
        self.snapshot: Snapshot | None = None
        self.started = time.monotonic()
        self._evaluator = evaluator
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
        item, evaluator = self.item, self._evaluator
        match item.task:
            case Evolve():
                if state:
                    return Search.resume(item.search, item.seed, evaluator, state)
                return Search(item.search, item.seed, evaluator)
            case Sweep() as task:
                if state:
                    return ExhaustiveSearch.resume(item.search, item.seed, task, evaluator, state)
                return ExhaustiveSearch(item.search, item.seed, task, evaluator)
            case Null():
                return NullSearch(item.search, item.seed, item.task, evaluator.candles, CompiledEvaluator, state)
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
    """One evaluator for the last dataset and execution model: indicators are computed once and shared by all units."""

    def __init__(self) -> None:
        self._key: tuple[str, ExecutionModel] | None = None
        self._evaluator: CompiledEvaluator | None = None

    def get(self, sha256: str, candles: Candles | None, execution: ExecutionModel) -> CompiledEvaluator | None:
        """The evaluator at hand, or a new one when `candles` are given, else None."""
        if self._key != (sha256, execution):
            if candles is None:
                return None
            self._evaluator, self._key = CompiledEvaluator(candles, execution), (sha256, execution)
        return self._evaluator
