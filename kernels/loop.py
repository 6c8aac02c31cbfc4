"""The plain loop: every candle is visited, rules are evaluated until the first that fails. Contract: `kernels.reference`.

Kernels take `features` float64[K, n] (rows: operands, whole dataset), `rules` (dtype RULE), one record `g` of GENOME and
`costs` of COSTS, and the dataset's columns (n,). Cost: O(candles of the window) a genome.
"""

import numpy as np

from kernels import sizing
from kernels.jit import jit
from kernels.terms import ROLLOVER_MS
from kernels.trade import END, HOLDING, LIQUIDATION, RULE, STOP, TARGET, TRAILING

whole_ticks = jit(sizing.whole_ticks)
size_in_lots = jit(sizing.size_in_lots)


@jit
def rule_holds(features, t, rule):
    """Is the rule true at the close of candle t? A comparison with NaN is false; a cross at t = 0 too."""
    left = features[rule.left, t] if rule.left >= 0 else rule.left_value
    right = features[rule.right, t] if rule.right >= 0 else rule.right_value
    if rule.op == 0:
        return left > right
    if rule.op == 1:
        return left < right
    if t == 0:
        return False
    left_was = features[rule.left, t - 1] if rule.left >= 0 else rule.left_value
    right_was = features[rule.right, t - 1] if rule.right >= 0 else rule.right_value
    if rule.op == 2:
        return left_was <= right_was and left > right
    return left_was >= right_was and left < right


@jit
def all_hold(features, t, rules, first, last):
    """Do rules first..last-1 all hold? False for none."""
    for i in range(first, last):
        if not rule_holds(features, t, rules[i]):
            return False
    return last > first


@jit
def any_holds(features, t, rules, first, last):
    for i in range(first, last):  # noqa: SIM110 (numba compiles no generator inside any())
        if rule_holds(features, t, rules[i]):
            return True
    return False


@jit
def entry_side(features, t, rules, g):
    """+1, -1, or 0 when neither or both sides want to enter at the close of t."""
    buys = all_hold(features, t, rules, g.long_entry, g.long_exit)
    sells = all_hold(features, t, rules, g.short_entry, g.short_exit)
    if buys == sells:
        return 0
    return 1 if buys else -1


@jit
def level(price, factor, up, scale):
    """A trigger price on the tick grid."""
    return whole_ticks(price * factor, up, scale) / scale


@jit
def leave_long(features, rules, g, costs, entry, open_, high, low, close, stop):
    """(exit candle, price before slippage, reason, fills at the open) of a long entered at the open of `entry`."""
    scale = costs.tick_scale
    origin = open_[entry]
    hard = level(origin, 1.0 - g.stop_frac, False, scale) if g.stop_frac > 0.0 else 0.0
    trail = level(origin, 1.0 - g.trailing_frac, False, scale) if g.trailing_frac > 0.0 else 0.0
    target = level(origin, 1.0 + g.target_frac, True, scale) if g.target_frac > 0.0 else np.inf
    ruin = 0.0
    if g.leverage > 1.0:
        ruin = level(origin, 1.0 - 1.0 / g.leverage + costs.maintenance_frac, False, scale)
    due = False
    for c in range(entry, stop):
        nearest, reason = hard, STOP
        if trail > nearest:
            nearest, reason = trail, TRAILING
        if ruin > nearest:
            nearest, reason = ruin, LIQUIDATION
        if c > entry:
            if due:
                return c, open_[c], RULE, True
            if g.max_hold > 0 and c - entry >= g.max_hold:
                return c, open_[c], HOLDING, True
            if open_[c] <= nearest:
                return c, open_[c], reason, True
            if open_[c] > target:
                return c, open_[c], TARGET, True
        if low[c] <= nearest:
            return c, min(nearest, open_[c]), reason, False
        if high[c] > target:
            return c, target, TARGET, False
        if g.trailing_frac > 0.0:
            trail = max(trail, level(close[c], 1.0 - g.trailing_frac, False, scale))
        due = any_holds(features, c, rules, g.long_exit, g.short_entry)
    return stop - 1, close[stop - 1], END, False


@jit
def leave_short(features, rules, g, costs, entry, open_, high, low, close, stop):
    """The mirror of `leave_long`; a short is always a margin position, so its liquidation level always exists."""
    scale = costs.tick_scale
    origin = open_[entry]
    hard = level(origin, 1.0 + g.stop_frac, True, scale) if g.stop_frac > 0.0 else np.inf
    trail = level(origin, 1.0 + g.trailing_frac, True, scale) if g.trailing_frac > 0.0 else np.inf
    target = level(origin, 1.0 - g.target_frac, False, scale) if g.target_frac > 0.0 else 0.0
    ruin = level(origin, 1.0 + 1.0 / g.leverage - costs.maintenance_frac, True, scale)
    due = False
    for c in range(entry, stop):
        nearest, reason = hard, STOP
        if trail < nearest:
            nearest, reason = trail, TRAILING
        if ruin < nearest:
            nearest, reason = ruin, LIQUIDATION
        if c > entry:
            if due:
                return c, open_[c], RULE, True
            if g.max_hold > 0 and c - entry >= g.max_hold:
                return c, open_[c], HOLDING, True
            if open_[c] >= nearest:
                return c, open_[c], reason, True
            if open_[c] < target:
                return c, open_[c], TARGET, True
        if high[c] >= nearest:
            return c, max(nearest, open_[c]), reason, False
        if low[c] < target:
            return c, target, TARGET, False
        if g.trailing_frac > 0.0:
            trail = min(trail, level(close[c], 1.0 + g.trailing_frac, True, scale))
        due = any_holds(features, c, rules, g.short_exit, g.end)
    return stop - 1, close[stop - 1], END, False


@jit
def settle(trade, costs, time_ms, entry, exit_, at_open, price, reason):
    """Complete the record `trade` (entry fields are set): exit fill, fees, pnl, equity after. In place."""
    long = trade.side > 0
    slip = 0.0 if reason == TARGET else costs.slippage_frac
    fee_frac = costs.maker_frac if reason == TARGET else costs.taker_frac
    moved = price * (1.0 - slip) if long else price * (1.0 + slip)
    fill = whole_ticks(moved, not long, costs.tick_scale) / costs.tick_scale
    size = trade.lots / costs.lot_scale
    left_ms = time_ms[exit_] if at_open else time_ms[exit_] + costs.granularity_ms
    rollover = 0.0
    if trade.margin:
        rollover = trade.entry_notional * costs.rollover_frac * ((left_ms - time_ms[entry]) // ROLLOVER_MS)
    gross = (fill - trade.entry_price) * size if long else (trade.entry_price - fill) * size
    trade.exit_index = exit_
    trade.reason = reason
    trade.candles_held = exit_ - entry if at_open else exit_ - entry + 1
    trade.exit_price = fill
    trade.exit_notional = fill * size
    trade.fees = trade.entry_costs + rollover + trade.exit_notional * fee_frac
    trade.pnl = gross - trade.fees
    trade.equity_after = trade.equity_before + trade.pnl


@jit
def open_trade(trade, g, costs, side, price, equity, entry):
    """Fill the entry fields of the record `trade` in place; False when size, budget or tick permit no entry."""
    long = side > 0
    moved = price * (1.0 + costs.slippage_frac) if long else price * (1.0 - costs.slippage_frac)
    fill = whole_ticks(moved, long, costs.tick_scale) / costs.tick_scale
    margin = not long or g.leverage > 1.0
    cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
    budget = g.amount if g.amount > 0.0 else equity * g.fraction
    lots = size_in_lots(equity, budget, g.leverage, fill, cost_frac, costs.lot_scale, costs.min_notional)
    if lots == 0.0:
        return False
    trade.entry_index = entry
    trade.side = side
    trade.margin = 1 if margin else 0
    trade.lots = lots
    trade.entry_price = fill
    trade.entry_notional = lots / costs.lot_scale * fill
    trade.entry_costs = trade.entry_notional * cost_frac
    trade.equity_before = equity
    return True


@jit
def simulate(features, rules, g, costs, time_ms, open_, high, low, close, start, stop, trades):
    """Walk one genome through candles start..stop-1; fills `trades` (dtype TRADE, at least stop - start) and counts them."""
    equity = costs.start_equity
    count = 0
    t = start
    while t + 1 < stop:
        side = entry_side(features, t, rules, g)
        entry = t + 1
        if side == 0 or (time_ms[entry] - time_ms[t]) // costs.granularity_ms - 1 > costs.max_missing:
            t = entry
            continue
        trade = trades[count]
        if not open_trade(trade, g, costs, side, open_[entry], equity, entry):
            t = entry
            continue
        if side > 0:
            left, price, reason, at_open = leave_long(features, rules, g, costs, entry, open_, high, low, close, stop)
        else:
            left, price, reason, at_open = leave_short(features, rules, g, costs, entry, open_, high, low, close, stop)
        settle(trade, costs, time_ms, entry, left, at_open, price, reason)
        equity = trade.equity_after
        count += 1
        t = left
    return count
