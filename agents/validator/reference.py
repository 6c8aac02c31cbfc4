"""Re-evaluate winners with the independent reference; bit for bit the same figures, or the kernel is flagged."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from domain.candles import Candles
from domain.errors import BadInput
from domain.hashing import content_hash, sha256_hex
from domain.results import Find, FrontPoint, UnitOutcome
from domain.specs import SearchSpec
from domain.tasks import Null, Task
from kernels.evolution.finds import find_for, front_point
from kernels.evolution.null import null_outcome
from kernels.evolution.ranking import fitness_of, measure
from kernels.evolution.state import Candidate, genome_key
from kernels.joint import fitness_counts, fitness_windows, joint
from kernels.protocol import Evaluator
from kernels.reference import ReferenceEvaluator
from kernels.statistics.candles import bootstrap_candles

log = logging.getLogger("sluice.validator")
CACHE = 10_000


class Reference:
    """Blocking (run it in a thread). Caches by genome x dataset x windows x execution model."""

    def __init__(self, load: Callable[[str], Candles]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._key = ""
        self._evaluator: Evaluator | None = None
        self._cache: OrderedDict[str, str] = OrderedDict()

    def disagreement(self, outcome: UnitOutcome, spec: SearchSpec, task: Task) -> str:
        """Empty when the reference gives the same bits for every find and everything on the front, or for the best of a null
        repetition, else what differs first. Raises BadInput for an outcome that no unit of that kind has."""
        with self._lock:
            if isinstance(task, Null):
                return self._null_disagreement(outcome, spec, task)
            if outcome.null is not None:
                raise BadInput("a search answers like a null repetition")
            for find in outcome.finds:
                if self._figures(find, spec) != content_hash(find):
                    return f"genome {find.genome_id[:12]}: the reference gives other figures"
            for point in outcome.front:
                if self._point(point, spec) != content_hash(point):
                    return f"genome {point.genome_id[:12]} on the front: the reference gives other figures"
        return ""

    def _null_disagreement(self, outcome: UnitOutcome, spec: SearchSpec, task: Null) -> str:
        """Rebuild the series, evaluate its best again."""
        said = outcome.null
        if said is None or outcome.finds or outcome.sample or outcome.front or outcome.tried_sha256 != sha256_hex(b""):
            raise BadInput("a null repetition answers with its best, and with no find and no trial of the dataset")
        series = bootstrap_candles(self._load(spec.dataset), outcome.seed, task.block)
        if said.series != series.hash():
            return "the reference builds another series"
        if said.genome is None:
            return ""
        table = ReferenceEvaluator(series, spec.execution).tier1([said.genome], spec.windows.fitness)
        fitness = fitness_of(measure(table)[0])
        best = Candidate(genome_key(said.genome), said.genome, fitness)
        if not fitness.eligible or null_outcome(said.series, best, spec.trades_wanted) != said:
            return f"null genome {best.key.hex()[:12]}: the reference gives other figures"
        return ""

    def _figures(self, find: Find, spec: SearchSpec) -> str:
        return self._kept(
            content_hash(["find", find.genome, spec]),
            lambda: content_hash(find_for(find.genome, spec, self._evaluator_of(spec))),
        )

    def _point(self, point: FrontPoint, spec: SearchSpec) -> str:
        """Fitness windows only: nothing else puts a genome on a front."""

        def computed() -> str:
            table = self._evaluator_of(spec).tier1([point.genome], fitness_windows(spec))
            return content_hash(front_point(point.genome, fitness_of(measure(table, fitness_counts(spec))[0])))

        return self._kept(content_hash(["front", point.genome, spec]), computed)

    def _evaluator_of(self, spec: SearchSpec) -> Evaluator:
        key = content_hash([(m.dataset, m.execution) for m in spec.markets])
        if self._key != key or self._evaluator is None:
            self._evaluator = joint([ReferenceEvaluator(self._load(m.dataset), m.execution) for m in spec.markets])
            self._key = key
        return self._evaluator

    def _kept(self, key: str, computed: Callable[[], str]) -> str:
        if key not in self._cache:
            self._cache[key] = computed()
            if len(self._cache) > CACHE:
                self._cache.popitem(last=False)
        return self._cache[key]
