"""Is the best of many strategies better than the benchmark, counting that it was chosen? White's and Hansen's tests.

- White (2000), "A reality check for data snooping", Econometrica 68(5): the largest mean excess, not studentised, every
  column recentred (least favourable null).
- Hansen (2005), "A test for superior predictive ability", Journal of Business & Economic Statistics 23(4): studentised;
  `consistent` leaves out what is clearly worse than the benchmark, `lower` and `upper` are its bounds.

Null: no strategy has a higher expected return than the benchmark. Small p-values speak for skill.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput
from kernels.statistics.bootstrap import REPLICATES
from kernels.statistics.draws import Draws, stationary_indices

Floats = NDArray[np.float64]


class Superiority(msgspec.Struct, frozen=True):
    """p-values; `best` the column with the largest (studentised) excess, `statistic` that excess times √T, not below 0."""

    white: float
    lower: float
    consistent: float
    upper: float
    best: int
    statistic: float
    replicates: int
    block: int


def excess_returns(returns: Floats, benchmark: Floats) -> Floats:
    """(T, N): `returns` (T, N) less `benchmark` (T,), both per period over the same periods."""
    table = np.asarray(returns, dtype=np.float64)
    against = np.asarray(benchmark, dtype=np.float64)
    if table.ndim != 2 or against.shape != table.shape[:1] or len(table) < 4 or not table.shape[1]:
        raise BadInput("the reality check needs strategies and a benchmark over the same four periods or more")
    excess = table - against[:, None]
    if not np.isfinite(excess).all():
        raise BadInput("returns must be finite")
    return excess


def long_run_variance(excess: Floats, block: int) -> Floats:
    """(N,): variance of √T · mean of every column under the stationary bootstrap (Politis, Romano 1994, their eq. 8)."""
    t = len(excess)
    centred = excess - excess.mean(axis=0)
    keep = 1.0 - 1.0 / block
    variance: Floats = (centred**2).sum(axis=0) / t
    for lag in range(1, t):
        weight = (1.0 - lag / t) * keep**lag + lag / t * keep ** (t - lag)
        if weight > 1e-12:
            variance += 2.0 * weight * (centred[:-lag] * centred[lag:]).sum(axis=0) / t
    positive: Floats = np.maximum(variance, 0.0)
    return positive


def bootstrap_means(excess: Floats, block: int, seed: int, replicates: int) -> Floats:
    """(replicates, N): column means of stationary resamples, the same rows for all columns of a replicate."""
    t, draws = len(excess), Draws(seed)
    weights = np.empty((replicates, t))
    for b in range(replicates):
        weights[b] = np.bincount(stationary_indices(t, block, t, draws)[0], minlength=t)
    means: Floats = weights @ excess / t
    return means


def superiority(returns: Floats, benchmark: Floats, seed: int, block: int, replicates: int = REPLICATES) -> Superiority:
    """Both tests of `returns` (T, N) against `benchmark` (T,). Columns equal to the benchmark throughout have no say.

    NaN when none is left. The p-value is the share of replicates above the statistic, as in the papers. Cost:
    replicates x T x N, and lags x T x N.
    """
    excess = excess_returns(returns, benchmark)
    return superiority_of(excess, bootstrap_means(excess, block, seed, replicates), block)


def superiority_of(excess: Floats, means: Floats, block: int) -> Superiority:
    """The tests, given `means` (replicates, N) of resamples of `excess` (T, N)."""
    t, replicates = len(excess), len(means)
    variance = long_run_variance(excess, block)
    # No variance over the blocks' lags is a column that never moves: it would divide by rounding.
    moves = variance > 1e-12 * (excess**2).mean(axis=0)
    if not moves.any():
        return Superiority(math.nan, math.nan, math.nan, math.nan, -1, math.nan, replicates, block)
    columns = np.flatnonzero(moves)
    average, means, omega = excess[:, columns].mean(axis=0), means[:, columns], np.sqrt(variance[columns])
    white = ((means - average).max(axis=1) > average.max()).mean()
    relevant = average >= -omega / math.sqrt(t) * math.sqrt(2.0 * math.log(math.log(t)))
    statistic = max(0.0, float((average / omega).max()))
    # Hansen's g: which part of the sample mean is taken for real, and so taken out.
    recentred = {
        "lower": np.maximum(average, 0.0),
        "consistent": np.where(relevant, average, 0.0),
        "upper": average,
    }
    p = {
        name: float((np.maximum(((means - g) / omega).max(axis=1), 0.0) > statistic).mean())
        for name, g in recentred.items()
    }
    return Superiority(
        white=float(white),
        best=int(columns[int((average / omega).argmax())]),
        statistic=statistic * math.sqrt(t),
        replicates=replicates,
        block=block,
        **p,
    )
