"""Intervals for what a backtest earned: bootstrap by trade or by block, and Monte Carlo over the order of trades.

Returns are simple and compound: trades as pnl / equity before (sized with the equity), or days. A path that loses all
stays at nothing. Intervals are percentiles (Efron 1979) of the replicates; they say how far luck within *these* returns
reaches, and nothing about having been chosen among many (see `sharpe.dsr`, `reality_check`).
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput
from kernels.statistics.draws import Draws, permutations, stationary_indices

REPLICATES = 2_000
LEVEL = 0.95
_CELLS = 2_000_000
Floats = NDArray[np.float64]


class Interval(msgspec.Struct, frozen=True):
    """`low` to `high` hold the middle `level` of the replicates; NaN where no replicate defines the figure."""

    low: float
    high: float


class Intervals(msgspec.Struct, frozen=True):
    """`loss`: share of replicates that end below the start. `sharpe` per return, `max_drawdown` as a fraction of the peak."""

    total_return: Interval
    sharpe: Interval
    max_drawdown: Interval
    loss: float
    replicates: int
    level: float
    block: int


class MonteCarlo(msgspec.Struct, frozen=True):
    """`shuffled_drawdown`: the same trades in another order, which moves the drawdown alone; `resampled`: drawn anew."""

    shuffled_drawdown: Interval
    resampled: Intervals


def rule_of_thumb(n: int) -> int:
    """A block length for n dependent returns: the cube root (Künsch 1989 gives the rate), at least 1."""
    return max(1, round(math.cbrt(n)))


def path_figures(returns: Floats) -> tuple[Floats, Floats, Floats]:
    """(total return, Sharpe ratio per return, maximum drawdown) of every row of `returns` (R, T), each (R,).

    The start is the first peak. Sharpe is NaN without deviation.
    """
    growth: Floats = np.cumprod(np.maximum(1.0 + returns, 0.0), axis=1, dtype=np.float64)
    peak = np.maximum(np.maximum.accumulate(growth, axis=1), 1.0)
    mean: Floats = returns.mean(axis=1)
    if returns.shape[1] > 1:
        spread: Floats = returns.std(axis=1, ddof=1)
        varies = returns.max(axis=1) > returns.min(axis=1)
        sharpe: Floats = np.where(varies, mean / np.where(varies, spread, 1.0), math.nan)
    else:
        sharpe = np.full(len(returns), math.nan)
    deepest: Floats = (1.0 - growth / peak).max(axis=1)
    total: Floats = growth[:, -1] - 1.0
    return total, sharpe, deepest


def bootstrap_intervals(
    returns: Floats, seed: int, block: int = 1, replicates: int = REPLICATES, level: float = LEVEL
) -> Intervals:
    """Stationary bootstrap of `returns` (T,) in blocks of mean length `block`: 1 for trades, `rule_of_thumb` for days."""
    r = _checked(returns, replicates, level)
    draws, n = Draws(seed), len(r)
    figures = _replicate(r, replicates, lambda rows: stationary_indices(n, block, n, draws, rows))
    return _intervals(figures, replicates, level, block)


def monte_carlo(returns: Floats, seed: int, replicates: int = REPLICATES, level: float = LEVEL) -> MonteCarlo:
    """Trades `returns` (T,) in shuffled order, and drawn anew one by one."""
    r = _checked(returns, replicates, level)
    draws, n = Draws(seed), len(r)
    _, _, drawdown = _replicate(r, replicates, lambda rows: permutations(n, draws, rows))
    resampled = _replicate(r, replicates, lambda rows: draws.below(n, rows * n).reshape(rows, n))
    return MonteCarlo(_interval(drawdown, level), _intervals(resampled, replicates, level, 1))


def _checked(returns: Floats, replicates: int, level: float) -> Floats:
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 1 or not len(r) or not np.isfinite(r).all():
        raise BadInput("a bootstrap needs at least one return, all of them finite")
    if replicates < 1 or not 0.0 < level < 1.0:
        raise BadInput(f"a bootstrap needs replicates and a level between 0 and 1, not {replicates} and {level}")
    return r


def _replicate(r, replicates, indices):
    """`path_figures` of `replicates` draws of places, as many at a time as fit."""
    step = max(1, _CELLS // len(r))
    parts = []
    for first in range(0, replicates, step):
        parts.append(path_figures(r[indices(min(step, replicates - first))]))
    return tuple(np.concatenate([p[k] for p in parts]) for k in range(3))


def _interval(values: Floats, level: float) -> Interval:
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(low), float(high))


def _intervals(figures: tuple[Floats, Floats, Floats], replicates: int, level: float, block: int) -> Intervals:
    total, sharpe, drawdown = figures
    return Intervals(
        _interval(total, level),
        _interval(sharpe, level),
        _interval(drawdown, level),
        float((total < 0.0).mean()),
        replicates,
        level,
        block,
    )
