"""Tier 2: figures of a daily (UTC) equity series, in plain Python floats and a fixed order of operations.

Both evaluators use this module; what they must agree on bit for bit is the series itself. Definitions are those of
`empyrical`, 365 days a year, risk-free 0, save that VaR and CVaR are exact order statistics: with n returns sorted
upwards and k = ceil(n * 5 %) (1 %), VaR is the loss of the k-th worst day and CVaR the mean loss of the k worst.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domain.metrics import T2, TIER2

DAYS_A_YEAR = 365.0
_ROOT_YEAR = math.sqrt(DAYS_A_YEAR)


def daily_returns(equity: Sequence[float], start_equity: float) -> list[float]:
    """Simple returns, the first one from `start_equity`; empty when a base is not a positive finite amount (ruin)."""
    bases = [start_equity, *equity[:-1]]
    if any(not (0.0 < b < math.inf) for b in bases) or not all(math.isfinite(e) for e in equity):
        return []
    return [e / b - 1.0 for e, b in zip(equity, bases, strict=True)]


def _drawdowns(equity: Sequence[float], start_equity: float) -> tuple[float, int]:
    """(largest fraction below the running peak, most days in a row below the peak); the start equity is the first peak."""
    peak, deepest, longest, run = start_equity, 0.0, 0, 0
    for e in equity:
        if e >= peak:
            peak, run = e, 0
            continue
        fall = (peak - e) / peak
        if fall > deepest:
            deepest = fall
        run = run + 1 if e < peak else 0
        if run > longest:
            longest = run
    return deepest, longest


def _tail(ordered: Sequence[float], percent: int) -> tuple[float, float]:
    """(VaR, CVaR) of returns sorted upwards, as positive losses."""
    k = (len(ordered) * percent + 99) // 100
    total = 0.0
    for r in ordered[:k]:
        total += r
    return 0.0 - ordered[k - 1], 0.0 - total / k


def tier2_row(equity: NDArray[np.float64], start_equity: float, traded: bool) -> NDArray[np.float64]:
    """Figures of the series `equity` (days,), shape (len(TIER2),). Without a trade all but `days` are NaN.

    After ruin (equity at or below 0) figures that rest on returns are NaN, as are ratios over a deviation of 0.
    """
    out = np.full(len(TIER2), math.nan)
    series: list[float] = equity.tolist()
    n = len(series)
    out[T2["days"]] = n
    if not traded:
        return out
    out[T2["total_return"]] = series[-1] / start_equity - 1.0
    out[T2["max_drawdown"]], out[T2["drawdown_days"]] = _drawdowns(series, start_equity)
    returns = daily_returns(series, start_equity)
    if returns:
        ordered = sorted(returns)
        out[T2["var_95"]], out[T2["cvar_95"]] = _tail(ordered, 5)
        out[T2["var_99"]], out[T2["cvar_99"]] = _tail(ordered, 1)
        _moments(returns, out)
    out[np.isnan(out)] = math.nan
    return out


def _moments(returns: Sequence[float], out: NDArray[np.float64]) -> None:
    """Mean, volatility (divisor n - 1), ratios, population skewness and kurtosis (normal = 3), in place."""
    n = len(returns)
    total = 0.0
    for r in returns:
        total += r
    mean = total / n
    second = third = fourth = below = 0.0
    for r in returns:
        d = r - mean
        square = d * d
        second += square
        third += square * d
        fourth += square * square
        if r < 0.0:
            below += r * r
    out[T2["mean_daily"]] = mean
    downside = math.sqrt(below / n)
    if downside > 0.0:
        out[T2["sortino"]] = mean / downside * _ROOT_YEAR
    if n < 2:
        return
    spread = math.sqrt(second / (n - 1))
    out[T2["volatility"]] = spread * _ROOT_YEAR
    if spread > 0.0:
        out[T2["sharpe"]] = mean / spread * _ROOT_YEAR
    m2 = second / n
    if m2 * m2 > 0.0:
        out[T2["skewness"]] = third / n / (m2 * math.sqrt(m2))
        out[T2["kurtosis"]] = fourth / n / (m2 * m2)
