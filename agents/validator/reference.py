"""Re-evaluate winners with the independent reference; bit for bit the same figures, or the kernel is flagged."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from domain.candles import Candles
from domain.execution import ExecutionModel
from domain.hashing import content_hash
from domain.results import Find
from domain.specs import SearchSpec
from kernels.evolution.finds import find_for
from kernels.reference import ReferenceEvaluator

log = logging.getLogger("sluice.validator")
CACHE = 10_000


class Reference:
    """Blocking (run it in a thread). Caches by genome x dataset x windows x execution model."""

    def __init__(self, load: Callable[[str], Candles]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._key: tuple[str, ExecutionModel] | None = None
        self._evaluator: ReferenceEvaluator | None = None
        self._cache: OrderedDict[str, str] = OrderedDict()

    def disagreement(self, finds: tuple[Find, ...], spec: SearchSpec) -> str:
        """Empty when the reference gives the same bits for every find, else what differs first."""
        with self._lock:
            for find in finds:
                if self._figures(find, spec) != content_hash(find):
                    return f"genome {find.genome_id[:12]}: the reference gives other figures"
        return ""

    def _figures(self, find: Find, spec: SearchSpec) -> str:
        key = content_hash([find.genome, spec])
        if key not in self._cache:
            if self._key != (spec.dataset, spec.execution) or self._evaluator is None:
                self._evaluator = ReferenceEvaluator(self._load(spec.dataset), spec.execution)
                self._key = (spec.dataset, spec.execution)
            self._cache[key] = content_hash(find_for(find.genome, spec, self._evaluator))
            if len(self._cache) > CACHE:
                self._cache.popitem(last=False)
        return self._cache[key]
