"""Compile, or load from the cache, what the search itself runs: a few generations of each kind on a handful of candles."""

from domain.execution import ExecutionModel
from domain.specs import SELECTS, SearchSpec, Window, Windows
from kernels.evolution.search import Search
from kernels.protocol import Evaluator

_GENERATIONS = 4


def warm_search(evaluator: Evaluator, candles: int) -> None:
    """Tens of milliseconds with a filled cache."""
    windows = Windows((Window(0, candles),), (), Window(candles, candles))
    for select in SELECTS:
        spec = SearchSpec(
            "none", "kraken", "NONE", 60, windows, ExecutionModel(), population=20, generations=_GENERATIONS,
            trades_wanted=0, select=select, restart_after=1,
        )  # fmt: skip
        search = Search(spec, 1, evaluator)
        while not search.done:
            search.step()
