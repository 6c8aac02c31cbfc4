"""Figures of a strategy as of a portfolio, and the same of buy & hold over the same candles: what people read.

Definitions are those of `empyrical` and QuantStats at 365 days a year and no risk-free rate; VaR and CVaR are exact order
statistics (`kernels.daily`). `annual_return` and `calmar` need a power: they are computed here, for people, and enter no
digest.
"""

import math
from collections.abc import Sequence

from domain.genome import Genome
from domain.metrics import PORTFOLIO, T2, TIER1, TIER2, Figures, figures
from domain.specs import Window
from kernels.daily import DAYS_A_YEAR
from kernels.protocol import Evaluator
from kernels.terms import BUY_AND_HOLD


def annual_return(total_return: float, days: float) -> float:
    """Compound growth a year (CAGR) of `total_return` over `days`; NaN after ruin, or where it exceeds what a float holds.

    A window below a year is extrapolated, as everywhere: of few days it says little.
    """
    growth = 1.0 + total_return
    if not growth > 0.0 or not days > 0.0:
        return math.nan
    power = math.log(growth) * (DAYS_A_YEAR / days)
    return math.exp(power) - 1.0 if power < 700.0 else math.nan


def portfolio_figures(tier1: Sequence[float], tier2: Sequence[float]) -> Figures:
    """`domain.metrics.PORTFOLIO` from the rows of one genome over one window; None where a figure is not defined."""
    row = {name: float(v) for name, v in zip(TIER1, tier1, strict=True)}
    row |= {name: float(v) for name, v in zip(TIER2, tier2, strict=True)}
    row["annual_return"] = annual_return(row["total_return"], row["days"])
    drawdown = float(tier2[T2["max_drawdown"]])
    row["calmar"] = row["annual_return"] / drawdown if drawdown > 0.0 else math.nan
    return figures(PORTFOLIO, [row[name] for name in PORTFOLIO])


def against_holding(evaluator: Evaluator, genome: Genome, window: Window) -> tuple[Figures, Figures]:
    """(figures of the genome, of buy & hold) over `window`, both with all costs."""
    rows = evaluator.tier1([genome, BUY_AND_HOLD], [window])[:, 0]
    strategy = portfolio_figures(rows[0].tolist(), evaluator.tier2(genome, window).tolist())
    return strategy, portfolio_figures(rows[1].tolist(), evaluator.buy_and_hold(window).tolist())
