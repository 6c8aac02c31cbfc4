"""Tier 1 figures and the daily equity from closed trades: the definitions, in plain Python."""

import math
from collections.abc import Sequence

from domain.metrics import FLAG_BALANCE, FLAG_NOT_FINITE, FLAG_PNL, FLAG_POSITION
from domain.specs import Window
from kernels.reference_walk import Closed, Columns, rollover_cost
from kernels.terms import DAY_MS, Costs


def _in_order(values: Sequence[float]) -> float:
    """Sum from the first to the last; `sum` of newer Pythons compensates and would give other bits."""
    total = 0.0
    for v in values:
        total += v
    return total


def ratios(returns: Sequence[float]) -> tuple[float, float]:
    """(Sharpe, Sortino) per trade, not annualised: mean over the sample deviation (divisor n - 1), and over the downside
    deviation against 0 (divisor n, over all trades). NaN below two trades or without deviation."""
    n = len(returns)
    if n < 2:
        return math.nan, math.nan
    mean = _in_order(returns) / n
    squares = _in_order([(r - mean) * (r - mean) for r in returns])
    below = _in_order([r * r for r in returns if r < 0.0])
    spread, downside = math.sqrt(squares / (n - 1)), math.sqrt(below / n)
    return mean / spread if spread > 0.0 else math.nan, mean / downside if downside > 0.0 else math.nan


def max_drawdown(equity: Sequence[float], start_equity: float) -> float:
    """Largest fall as a fraction of the running peak; the start equity is the first peak."""
    peak, deepest = start_equity, 0.0
    for e in equity:
        peak = e if e > peak else peak
        fall = (peak - e) / peak
        deepest = fall if fall > deepest else deepest
    return deepest


def flags(closed: Sequence[Closed], net: float, costs: Costs) -> int:
    """Safety limits that were passed; nothing is clipped."""
    found = FLAG_PNL if abs(net) > costs.max_pnl else 0
    for c in closed:
        if c.equity_after > costs.max_balance:
            found |= FLAG_BALANCE
        if c.position.notional > costs.max_position:
            found |= FLAG_POSITION
        if not all(map(math.isfinite, (c.equity_after, c.position.notional, c.exit_notional))):
            found |= FLAG_NOT_FINITE
    return found


def tier1(closed: Sequence[Closed], costs: Costs, candles: int) -> dict[str, float]:
    """Figures by their names in `domain.metrics.TIER1`; those left out are not defined. `candles` of the window.

    `gross_loss` is positive. `turnover` adds the notionals of both fills. `exposure` is the share of candles in which a
    position was held; a fill at an open does not hold its candle.
    """
    if not closed:
        return {"trades": 0.0, "flags": 0.0}
    n = len(closed)
    pnls = [c.pnl for c in closed]
    net = _in_order(pnls)
    profit = _in_order([p for p in pnls if p > 0.0])
    loss = 0.0
    best = worst = pnls[0]
    for p in pnls:
        loss = loss if p > 0.0 else loss - p
        best = p if p > best else best
        worst = p if p < worst else worst
    sharpe, sortino = ratios([c.pnl / c.position.equity_before for c in closed])
    drawdown = max_drawdown([c.equity_after for c in closed], costs.start_equity)
    wins = sum(1 for p in pnls if p > 0.0)
    return_frac = net / costs.start_equity
    return {
        "trades": float(n),
        "wins": float(wins),
        "net_pnl": net,
        "return_frac": return_frac,
        "gross_profit": profit,
        "gross_loss": loss,
        "fees": _in_order([c.fees for c in closed]),
        "turnover": _in_order([c.position.notional + c.exit_notional for c in closed]),
        "win_rate": wins / n,
        "profit_factor": profit / loss if loss > 0.0 else math.nan,
        "expectancy": net / n,
        "best_trade": best,
        "worst_trade": worst,
        "sharpe": sharpe,
        "sortino": sortino,
        "calmar": return_frac / drawdown if drawdown > 0.0 else math.nan,
        "max_drawdown": drawdown,
        "exposure": sum(c.candles_held for c in closed) / candles,
        "final_equity": closed[-1].equity_after,
        "flags": float(flags(closed, net, costs)),
    }


def daily_equity(closed: Sequence[Closed], window: Window, costs: Costs, columns: Columns) -> dict[int, float]:
    """UTC day number -> equity at the day's last close; a day without candles repeats the day before.

    An open position is valued at the close: entry costs and rollover due so far are deducted, exit costs are not.
    """
    last_close = {columns.time_ms[c] // DAY_MS: c for c in range(window.start, window.stop)}
    marks: dict[int, float] = {}
    equity, done = costs.start_equity, 0
    for day in range(min(last_close), max(last_close) + 1):
        if day not in last_close:
            marks[day] = marks[day - 1]
            continue
        c = last_close[day]
        while done < len(closed) and closed[done].exit.index <= c:
            equity = closed[done].equity_after
            done += 1
        marks[day] = equity
        if done < len(closed) and closed[done].position.entry <= c:
            p = closed[done].position
            size = p.lots / costs.lot_scale
            close = columns.close[c]
            gross = (close - p.price) * size if p.long else (p.price - close) * size
            held_ms = columns.time_ms[c] + costs.granularity_ms - columns.time_ms[p.entry]
            marks[day] = equity + (gross - (p.costs + rollover_cost(p, held_ms, costs)))
    return marks
