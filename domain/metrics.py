"""Names and order of the figures that kernels compute; JSON and arrays agree through this table.

Tier 1 is computed from closed trades for every genome and every window, tier 2 from the daily
(UTC) mark-to-market equity for the retained ones. A figure that is not defined (no trade, no loss,
one sample, zero deviation) is NaN in arrays and null in JSON, never 0.
"""

import math
from collections.abc import Sequence

TIER1: tuple[str, ...] = (
    "trades",
    "wins",
    "net_pnl",
    "return_frac",
    "gross_profit",
    "gross_loss",
    "fees",
    "turnover",
    "win_rate",
    "profit_factor",
    "expectancy",
    "best_trade",
    "worst_trade",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "exposure",
    "final_equity",
    "flags",
)
TIER2: tuple[str, ...] = (
    "days",
    "mean_daily",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "drawdown_days",
    "var_95",
    "cvar_95",
    "var_99",
    "cvar_99",
    "total_return",
    "skewness",
    "kurtosis",
)
#: What a person compares a strategy with buy & hold by (`kernels.portfolio`): both tiers joined, and two figures that need a
#: power and are therefore never part of a digest. Risk and ratios are those of daily equity, yearly.
PORTFOLIO: tuple[str, ...] = (
    "days",
    "total_return",
    "annual_return",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "drawdown_days",
    "var_95",
    "cvar_95",
    "var_99",
    "cvar_99",
    "trades",
    "win_rate",
    "profit_factor",
    "expectancy",
    "exposure",
    "turnover",
    "fees",
)
T1 = {name: i for i, name in enumerate(TIER1)}
T2 = {name: i for i, name in enumerate(TIER2)}

FLAG_BALANCE, FLAG_POSITION, FLAG_PNL, FLAG_NOT_FINITE = 1, 2, 4, 8
FLAG_WORDS = {
    1: "balance above the safety limit",
    2: "position above the safety limit",
    4: "PnL above the safety limit",
    8: "a figure that is not finite",
}
_WHOLE = frozenset(("trades", "wins", "flags", "days", "drawdown_days"))

Figures = dict[str, float | int | None]


def figures(names: Sequence[str], row: Sequence[float]) -> Figures:
    """An array row as a mapping: counts as int, NaN as None."""
    out: Figures = {}
    for name, value in zip(names, row, strict=True):
        v = float(value)
        out[name] = None if math.isnan(v) else int(v) if name in _WHOLE else v
    return out
