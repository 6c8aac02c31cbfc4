"""Daily returns of strategies over one range, and what the spread of those that nobody chose says of luck."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome
from domain.specs import Window
from kernels.daily import daily_returns
from kernels.evaluation.simulator import Simulator
from kernels.statistics.pbo import BLOCKS, pbo
from kernels.statistics.sharpe import moments, sr0

Floats = NDArray[np.float64]


def range_of(windows: Sequence[Window]) -> Window:
    return Window(windows[0].start, windows[-1].stop)


def returns_of(genome: Genome, window: Window, evaluator: Simulator, start_equity: float) -> Floats:
    """Daily (UTC) mark-to-market returns, (days,); empty after ruin."""
    equity = evaluator.daily_equity(genome, window)[1]
    return np.array(daily_returns([float(e) for e in equity], start_equity))


def matrix(columns: Sequence[Floats], days: int) -> Floats:
    """(days, strategies) of those that were not ruined."""
    whole = [c for c in columns if len(c) == days]
    return np.column_stack(whole) if whole else np.empty((days, 0))


class Spread(msgspec.Struct, frozen=True):
    """How Sharpe ratios of unselected trials scatter: `sampled` that had one, their `median`, `upper` the mean square above
    it, `variance` of all of them, `floor` = 1 / days, the variance that luck alone gives an estimated Sharpe ratio of 0."""

    sampled: int
    median: float
    upper: float
    variance: float
    floor: float

    def bar(self, trials: float) -> float:
        """The Sharpe ratio that the best of `trials` without skill is expected to show.

        E[max] = centre + spread times the expected largest of N standard normals (Bailey, López de Prado 2014, eq. 1),
        with the spread measured above the median, as it is the upper tail that a maximum comes from; never below what
        trials around 0 show by luck. For trials scattered evenly around 0 it is `sharpe.sr0(max(variance, 1/T), N)`.
        """
        return max(self.median + sr0(self.upper, trials), sr0(self.floor, trials))

    def plain_bar(self, trials: float) -> float:
        """The same with the variance of all trials around 0, be they scattered by luck or by what they pay in costs."""
        return sr0(max(self.variance, self.floor), trials)


def spread_of(columns: Sequence[Floats], days: int) -> Spread:
    """Of trials' daily returns; one that never traded has no Sharpe ratio."""
    ratios = np.array([m.sharpe for m in map(moments, columns) if not math.isnan(m.sharpe)])
    floor = 1.0 / days if days else math.nan
    if len(ratios) < 2:
        return Spread(len(ratios), 0.0, 0.0, 0.0, floor)
    median = float(np.median(ratios))
    above = ratios[ratios > median] - median
    upper = float((above**2).mean()) if len(above) else 0.0
    return Spread(len(ratios), median, upper, float(np.var(ratios, ddof=1)), floor)


def overfitting(table: Floats) -> tuple[float, int]:
    """(PBO, blocks): 16 blocks, fewer where there are not two days for each; NaN below four blocks or two columns."""
    blocks = min(BLOCKS, len(table) // 2 // 2 * 2)
    if blocks < 4 or table.shape[1] < 2:
        return math.nan, 0
    return pbo(table, blocks).pbo, blocks
