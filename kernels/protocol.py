"""What the search asks of whoever computes the figures: the compiled kernels and the reference alike."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome
from domain.specs import Window
from kernels.population import Population


class Evaluator(Protocol):
    """Figures of genomes over windows of one dataset under one execution model; a pure function of its arguments.

    Rows follow `domain.metrics`; NaN where a figure is not defined; the bits of a genome's row do not depend on
    which other genomes are asked for in the same call.
    """

    def tier1(self, genomes: Sequence[Genome], windows: Sequence[Window]) -> NDArray[np.float64]:
        """Closed-trade figures, shape (genomes, windows, len(TIER1)); every window starts flat."""

    def tier2(self, genome: Genome, window: Window) -> NDArray[np.float64]:
        """Daily mark-to-market figures of one genome, shape (len(TIER2),)."""

    def buy_and_hold(self, window: Window) -> NDArray[np.float64]:
        """The same figures for buying at the window's start and holding to its end, shape (len(TIER2),)."""


@runtime_checkable
class EncodedEvaluator(Evaluator, Protocol):
    """One that takes populations encoded already, which spares the search its structs."""

    def tier1_of(self, population: Population, windows: Sequence[Window]) -> NDArray[np.float64]:
        """As `tier1`."""
