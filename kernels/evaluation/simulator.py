"""What a judgement asks of an evaluator beyond what a search does; the compiled one and the reference answer alike."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome
from domain.specs import Window
from kernels.protocol import Evaluator
from kernels.trade import Trade


class Simulator(Evaluator, Protocol):
    """An evaluator that also lists trades and daily equity."""

    def trades(self, genome: Genome, window: Window) -> list[Trade]:
        """Every round trip in order."""

    def daily_equity(self, genome: Genome, window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(UTC day numbers since 1970, equity at each day's last close), both (days,), without holes."""
