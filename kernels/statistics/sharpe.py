"""Is a Sharpe ratio more than luck? PSR, MinTRL, DSR, MinBTL, each under the name of its paper.

All Sharpe ratios are per period, not annualised; skewness of a normal distribution is 0, its kurtosis 3. A figure whose
variance term is not positive, or that asks for the impossible, is NaN (a track record that can never suffice: infinity).

- PSR, MinTRL: Bailey, López de Prado (2012), "The Sharpe ratio efficient frontier", Journal of Risk 15(2).
- DSR, E[max]: Bailey, López de Prado (2014), "The deflated Sharpe ratio", Journal of Portfolio Management 40(5).
- MinBTL: Bailey, Borwein, López de Prado, Zhu (2014), "Pseudo-mathematics and financial charlatanism", Notices of the AMS 61(5).
- Variants `_2025`: López de Prado, Lipton, Zoonekynd (2025), "How to use the Sharpe ratio": variance at SR*, divisor T.
"""

import math
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput

EULER_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()


def normal_cdf(x: float) -> float:
    """Φ(x), by erfc: the lower tail keeps its relative accuracy."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def normal_quantile(p: float) -> float:
    """Φ⁻¹(p) for 0 < p < 1 (Wichura's AS 241, as in the standard library)."""
    return _NORMAL.inv_cdf(p)


class Moments(msgspec.Struct, frozen=True):
    """Of `n` returns: `sharpe` over the sample deviation (divisor n - 1), population skewness and kurtosis (normal = 3)."""

    n: int
    mean: float
    deviation: float
    sharpe: float
    skewness: float
    kurtosis: float


def moments(returns: NDArray[np.float64]) -> Moments:
    """Of a series (T,); what has no meaning (fewer than two returns, no deviation) is NaN."""
    r = np.asarray(returns, dtype=np.float64)
    n = len(r)
    mean = float(r.mean()) if n else math.nan
    if n < 2 or not float(r.max() - r.min()) > 0.0:
        return Moments(n, mean, 0.0 if n > 1 else math.nan, math.nan, math.nan, math.nan)
    centred = r - mean
    m2 = float((centred**2).mean())
    deviation = math.sqrt(m2 * n / (n - 1))
    skewness, kurtosis = float((centred**3).mean()) / m2**1.5, float((centred**4).mean()) / m2**2
    return Moments(n, mean, deviation, mean / deviation, skewness, kurtosis)


def _variance_term(sharpe: float, skewness: float, kurtosis: float) -> float:
    """1 - γ3·SR + (γ4 - 1)/4·SR²: T times the variance of an estimated Sharpe ratio (Mertens 2002); NaN unless positive."""
    term = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    return term if term > 0.0 else math.nan


def psr(sharpe: float, n: float, benchmark: float = 0.0, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """Probabilistic Sharpe ratio: P(true SR > benchmark) after n returns. Φ[(SR - SR*)·√(n - 1) / √(variance at SR)]."""
    if n < 2:
        return math.nan
    return normal_cdf((sharpe - benchmark) * math.sqrt(n - 1) / math.sqrt(_variance_term(sharpe, skewness, kurtosis)))


def psr_2025(sharpe: float, n: float, benchmark: float = 0.0, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """The same as revised in 2025: Φ[(SR - SR*)·√n / √(variance at SR*)]."""
    if n < 2:
        return math.nan
    return normal_cdf((sharpe - benchmark) * math.sqrt(n) / math.sqrt(_variance_term(benchmark, skewness, kurtosis)))


def _track_record(sharpe: float, benchmark: float, confidence: float, variance: float) -> float:
    if not 0.5 < confidence < 1.0:
        raise BadInput(f"a confidence must lie between 0.5 and 1, not {confidence}")
    if math.isnan(sharpe) or math.isnan(variance):
        return math.nan
    if sharpe <= benchmark:
        return math.inf
    distance = normal_quantile(confidence) / (sharpe - benchmark)
    return variance * distance * distance


def min_trl(
    sharpe: float, benchmark: float = 0.0, skewness: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """Minimum track record: returns until PSR reaches `confidence`. 1 + variance at SR · (z / (SR - SR*))²; infinite for
    a Sharpe ratio at or below the benchmark."""
    return 1.0 + _track_record(sharpe, benchmark, confidence, _variance_term(sharpe, skewness, kurtosis))


def min_trl_2025(
    sharpe: float, benchmark: float = 0.0, skewness: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """The same as revised in 2025: variance at SR* · (z / (SR - SR*))²."""
    return _track_record(sharpe, benchmark, confidence, _variance_term(benchmark, skewness, kurtosis))


def expected_max(trials: float) -> float:
    """E[max] of `trials` independent standard normals: (1 - γ)·Φ⁻¹[1 - 1/N] + γ·Φ⁻¹[1 - 1/(N·e)]; 0 for a single one.

    An approximation for large N (N = 10: 1.57, exactly 1.539). `trials` may be an effective number, not whole.
    """
    if not 1.0 <= trials < math.inf:
        raise BadInput(f"there must be at least one trial, not {trials}")
    if trials == 1.0:
        return 0.0
    # Φ⁻¹(1 - p) = -Φ⁻¹(p), and 1 - p would round away the p of many trials.
    return -(1.0 - EULER_GAMMA) * normal_quantile(1.0 / trials) - EULER_GAMMA * normal_quantile(1.0 / (trials * math.e))


def sr0(variance: float, trials: float) -> float:
    """The Sharpe ratio that the best of N trials without skill is expected to show: √V[SR]·E[max_N]."""
    if not variance >= 0.0:
        raise BadInput(f"a variance must not be negative, not {variance}")
    return math.sqrt(variance) * expected_max(trials)


def dsr(sharpe: float, n: float, trials: float, variance: float, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """Deflated Sharpe ratio: PSR against `sr0(variance, trials)`; `variance` is that of the trials' Sharpe ratios."""
    return psr(sharpe, n, sr0(variance, trials), skewness, kurtosis)


def dsr_2025(
    sharpe: float, n: float, trials: float, variance: float, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """The same with the PSR of 2025."""
    return psr_2025(sharpe, n, sr0(variance, trials), skewness, kurtosis)


def min_btl(trials: float, target: float = 1.0) -> float:
    """Minimum backtest length in years: below it the best of N trials without skill is expected to show an *annual* Sharpe
    ratio of `target` in sample. (E[max_N] / target)²."""
    if not target > 0.0:
        raise BadInput(f"the target must be a positive annual Sharpe ratio, not {target}")
    root = expected_max(trials) / target
    return root * root


def effective_trials(returns: NDArray[np.float64]) -> float:
    """How many independent trials N correlated ones are worth: ρ + (1 - ρ)·N, ρ their mean correlation, not below 0
    (Bailey, López de Prado 2014, appendix 3). `returns` (T, N); columns without deviation count as independent."""
    r = np.asarray(returns, dtype=np.float64)
    columns = r.shape[1]
    if columns < 2:
        return float(columns)
    centred = r - r.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0.0)
    total = float((unit.sum(axis=1) ** 2).sum()) - float((norm > 0.0).sum())
    mean = min(1.0, max(0.0, total / (columns * (columns - 1))))
    return float(mean + (1.0 - mean) * columns)
