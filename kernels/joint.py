"""Several datasets as one: evaluators of each, asked in the order of the search's markets.

The axis of windows runs over all datasets; a window says of which one it is. Every figure is what the dataset's own
evaluator says, so that nothing here can change a bit.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome
from domain.specs import SearchSpec, Window
from kernels.population import Population
from kernels.protocol import EncodedEvaluator, Evaluator


class MarketWindow(Window, frozen=True, array_like=True):
    """A window of the dataset with this place among the search's markets."""

    market: int = 0


def windows_of(spec: SearchSpec, market: int, windows: Sequence[Window]) -> tuple[Window, ...]:
    """`windows` of that market as evaluators of the search take them; as they are where there is one dataset."""
    return tuple(MarketWindow(w.start, w.stop, market) for w in windows) if spec.also else tuple(windows)


def fitness_windows(spec: SearchSpec) -> tuple[Window, ...]:
    """All fitness windows, market by market."""
    return tuple(w for k, m in enumerate(spec.markets) for w in windows_of(spec, k, m.windows.fitness))


def fitness_counts(spec: SearchSpec) -> tuple[int, ...]:
    """How many fitness windows each market has."""
    return tuple(len(m.windows.fitness) for m in spec.markets)


class JointEvaluator:
    """Implements `kernels.protocol.Evaluator` over the datasets of `parts`; a plain window is one of the first."""

    def __init__(self, parts: Sequence[Evaluator]) -> None:
        self._parts = tuple(parts)

    def tier1(self, genomes: Sequence[Genome], windows: Sequence[Window]) -> NDArray[np.float64]:
        """Shape (genomes, windows, len(TIER1)); windows of one dataset that follow each other are asked for in one call."""
        return np.concatenate([self._parts[k].tier1(genomes, some) for k, some in _by_market(windows)], axis=1)

    def tier2(self, genome: Genome, window: Window) -> NDArray[np.float64]:
        return self._parts[_market(window)].tier2(genome, window)

    def buy_and_hold(self, window: Window) -> NDArray[np.float64]:
        return self._parts[_market(window)].buy_and_hold(window)


class EncodedJoint(JointEvaluator):
    """One whose parts all take encoded populations."""

    def __init__(self, parts: Sequence[EncodedEvaluator]) -> None:
        super().__init__(parts)
        self._encoded = tuple(parts)

    def tier1_of(self, population: Population, windows: Sequence[Window]) -> NDArray[np.float64]:
        """As `tier1`."""
        return np.concatenate([self._encoded[k].tier1_of(population, some) for k, some in _by_market(windows)], axis=1)


def joint(parts: Sequence[Evaluator]) -> Evaluator:
    """One evaluator of a search's markets, from those of each in order."""
    if len(parts) == 1:
        return parts[0]
    encoded = [p for p in parts if isinstance(p, EncodedEvaluator)]
    return EncodedJoint(encoded) if len(encoded) == len(parts) else JointEvaluator(parts)


def _market(window: Window) -> int:
    return window.market if isinstance(window, MarketWindow) else 0


def _by_market(windows: Sequence[Window]) -> Iterator[tuple[int, list[Window]]]:
    return ((market, list(some)) for market, some in groupby(windows, key=_market))
