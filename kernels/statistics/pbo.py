"""Probability of backtest overfitting by combinatorially symmetric cross-validation (CSCV).

Bailey, Borwein, López de Prado, Zhu (2017), "The probability of backtest overfitting", Journal of Computational Finance
20(4). The best in one half of the blocks is ranked in the other half, over all ways to choose half of them.
"""

import itertools
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput

BLOCKS = 16
#: Splits x columns at a time: a few matrices of this many float64.
_CELLS = 4_000_000
#: A deviation below this share of the size of what was added is rounding.
_ROUNDING = 1e-12


class Overfitting(msgspec.Struct, frozen=True):
    """`pbo`: share of `splits` in which the best in sample is not above the median out of sample.

    `loss`: share in which it loses out of sample; `median_logit`: of ln(ω / (1 - ω)), positive when the choice carries over.
    """

    pbo: float
    loss: float
    median_logit: float
    splits: int
    columns: int
    rows: int


def pbo(returns: NDArray[np.float64], blocks: int = BLOCKS) -> Overfitting:
    """CSCV of `returns` (T, N), one column a strategy, by Sharpe ratio; a column without deviation has Sharpe ratio 0.

    The first T mod `blocks` rows are left out, so that blocks are equal. Of equals in sample the first is the best; out of
    sample equals share the mean of their ranks. Cost: C(blocks, blocks / 2) x N.
    """
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise BadInput("overfitting is judged over two strategies or more")
    if blocks < 2 or blocks % 2 or len(table) < 2 * blocks:
        raise BadInput(f"CSCV needs an even number of blocks and two returns in each, not {blocks} for {len(table)}")
    if not np.isfinite(table).all():
        raise BadInput("returns must be finite")
    table = table[len(table) % blocks :]
    rows, columns = table.shape
    # Centred, so that sums of squares do not cancel; the mean is added again where it matters.
    mean = table.mean(axis=0)
    parts = (table - mean).reshape(blocks, rows // blocks, columns)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks))
    for i, split in enumerate(itertools.combinations(range(blocks), blocks // 2)):
        chosen[i, split] = 1.0
    step = max(1, _CELLS // columns)
    judged = [_judge(chosen[i : i + step], sums, squares, mean, rows // 2) for i in range(0, len(chosen), step)]
    omega, outside = (np.concatenate([part[k] for part in judged]) for k in (0, 1))
    logits = np.log(omega / (1.0 - omega))
    return Overfitting(
        pbo=float((logits <= 0.0).mean()),
        loss=float((outside < 0.0).mean()),
        median_logit=float(np.median(logits)),
        splits=len(chosen),
        columns=columns,
        rows=rows,
    )


def _judge(
    chosen: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    mean: NDArray[np.float64],
    half: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(ω, out-of-sample Sharpe ratio) of the best in sample, for every row of `chosen` (splits, blocks)."""
    inside = _sharpe(chosen @ sums, chosen @ squares, mean, half)
    outside = _sharpe((1.0 - chosen) @ sums, (1.0 - chosen) @ squares, mean, half)
    best = inside.argmax(axis=1)
    of_best = outside[np.arange(len(best)), best][:, None]
    rank = (outside < of_best).sum(axis=1) + ((outside == of_best).sum(axis=1) + 1) / 2.0
    return rank / (outside.shape[1] + 1), of_best[:, 0]


def _sharpe(
    sums: NDArray[np.float64], squares: NDArray[np.float64], mean: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    spread = squares - sums * sums / n
    varies = spread > _ROUNDING * squares
    deviation = np.sqrt(np.where(varies, spread, 1.0) / (n - 1))
    return np.where(varies, (mean + sums / n) / deviation, 0.0)
