"""The plain loop: every candle is visited, rules are evaluated until the first that fails. Contract: `kernels.reference`.

Kernels take `features` float64[K, n] (rows: operands, whole dataset), `rules` (dtype RULE), one record `g` of GENOME and
`costs` of COSTS, and the dataset's columns (n,). Cost: O(candles of the window) a genome.
"""

import numpy as np

from kernels import sizing
from kernels.jit import inlined, jit
from kernels.layout import KELLY, VOLATILITY
from kernels.terms import ROLLOVER_MS
from kernels.trade import END, HOLDING, LIQUIDATION, RULE, STOP, TARGET, TRAILING

whole_ticks = jit(sizing.whole_ticks)
size_in_lots = jit(sizing.size_in_lots)
kelly_fraction = jit(sizing.kelly_fraction)
volatility_fraction = jit(sizing.volatility_fraction)


@inlined
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


@inlined
def all_hold(features, t, rules, first, last):
    """Do rules first..last-1 all hold? False for none."""
    for i in range(first, last):
        if not rule_holds(features, t, rules[i]):
            return False
    return last > first


@inlined
def any_holds(features, t, rules, first, last):
    for i in range(first, last):  # noqa: SIM110 (numba compiles no generator inside any())
        if rule_holds(features, t, rules[i]):
            return True
    return False


@jit
def next_signal(features, rules, g, t, stop):
    """(first candle from t on, before stop - 1, at whose close one side alone wants to enter; +1 or -1), or (stop, 0)."""
    long_first, long_last, short_first, short_last = g.long_entry, g.long_exit, g.short_entry, g.short_exit
    if short_last == short_first:
        for c in range(t, stop - 1):
            if all_hold(features, c, rules, long_first, long_last):
                return c, 1
        return stop, 0
    for c in range(t, stop - 1):
        buys = all_hold(features, c, rules, long_first, long_last)
        sells = all_hold(features, c, rules, short_first, short_last)
        if buys != sells:
            return c, 1 if buys else -1
    return stop, 0


@jit
def level(price, factor, up, scale):
    """A trigger price on the tick grid."""
    return whole_ticks(price * factor, up, scale) / scale


@inlined
def nearest_below(hard, trail, ruin):
    """(level, reason) that a falling price meets first; of equal ones stop before trailing before liquidation."""
    nearest, reason = hard, STOP
    if trail > nearest:
        nearest, reason = trail, TRAILING
    if ruin > nearest:
        nearest, reason = ruin, LIQUIDATION
    return nearest, reason


@inlined
def nearest_above(hard, trail, ruin):
    """The same for a rising price."""
    nearest, reason = hard, STOP
    if trail < nearest:
        nearest, reason = trail, TRAILING
    if ruin < nearest:
        nearest, reason = ruin, LIQUIDATION
    return nearest, reason


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
    trailing = 1.0 - g.trailing_frac if g.trailing_frac > 0.0 else np.inf
    first_rule, last_rule = g.long_exit, g.short_entry
    expires = entry + g.max_hold if g.max_hold > 0 else stop
    best = origin
    nearest, reason = nearest_below(hard, trail, ruin)
    for c in range(entry, stop):
        price = open_[c]
        if c > entry:
            if c >= expires:
                return c, price, HOLDING, True
            if price <= nearest:
                return c, price, reason, True
            if price > target:
                return c, price, TARGET, True
        if low[c] <= nearest:
            return c, min(nearest, price), reason, False
        if high[c] > target:
            return c, target, TARGET, False
        if close[c] > best and trailing < 1.0:
            best = close[c]
            nearest, reason = nearest_below(hard, level(best, trailing, False, scale), ruin)
        if last_rule > first_rule and c + 1 < stop and any_holds(features, c, rules, first_rule, last_rule):
            return c + 1, open_[c + 1], RULE, True
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
    trailing = 1.0 + g.trailing_frac if g.trailing_frac > 0.0 else 0.0
    first_rule, last_rule = g.short_exit, g.end
    expires = entry + g.max_hold if g.max_hold > 0 else stop
    best = origin
    nearest, reason = nearest_above(hard, trail, ruin)
    for c in range(entry, stop):
        price = open_[c]
        if c > entry:
            if c >= expires:
                return c, price, HOLDING, True
            if price >= nearest:
                return c, price, reason, True
            if price < target:
                return c, price, TARGET, True
        if high[c] >= nearest:
            return c, max(nearest, price), reason, False
        if low[c] < target:
            return c, target, TARGET, False
        if close[c] < best and trailing > 1.0:
            best = close[c]
            nearest, reason = nearest_above(hard, level(best, trailing, True, scale), ruin)
        if last_rule > first_rule and c + 1 < stop and any_holds(features, c, rules, first_rule, last_rule):
            return c + 1, open_[c + 1], RULE, True
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
def fraction_after(record, g, close, t):
    """Fraction of equity for an entry after the close of candle t; `record` of closed trades as in `noted`."""
    if g.sizing == KELLY:
        closed, wins, won, lost = record
        return kelly_fraction(closed, wins, won, lost, g.lookback, g.base, g.aim, g.fraction)
    if g.sizing == VOLATILITY:
        return volatility_fraction(close, t, g.lookback, g.aim, g.leverage, g.fraction)
    return g.fraction


@inlined
def noted(record, pnl, notional):
    """(trades, winners, their returns, the others' losses) with one trade more; a return is pnl over entry notional."""
    closed, wins, won, lost = record
    r = pnl / notional
    if r > 0.0:
        return closed + 1, wins + 1, won + r, lost
    return closed + 1, wins, won, lost - r


@jit
def open_trade(trade, g, costs, side, price, equity, fraction, entry):
    """Fill the entry fields of the record `trade` in place; False when size, budget or tick permit no entry."""
    long = side > 0
    moved = price * (1.0 + costs.slippage_frac) if long else price * (1.0 - costs.slippage_frac)
    fill = whole_ticks(moved, long, costs.tick_scale) / costs.tick_scale
    margin = not long or g.leverage > 1.0
    cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
    budget = g.amount if g.amount > 0.0 else equity * fraction
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
    record = (0, 0, 0.0, 0.0)
    count = 0
    t = start
    while t + 1 < stop:
        t, side = next_signal(features, rules, g, t, stop)
        if side == 0:
            break
        entry = t + 1
        if (time_ms[entry] - time_ms[t]) // costs.granularity_ms - 1 > costs.max_missing:
            t = entry
            continue
        trade = trades[count]
        fraction = fraction_after(record, g, close, t)
        if not open_trade(trade, g, costs, side, open_[entry], equity, fraction, entry):
            t = entry
            continue
        if side > 0:
            left, price, reason, at_open = leave_long(features, rules, g, costs, entry, open_, high, low, close, stop)
        else:
            left, price, reason, at_open = leave_short(features, rules, g, costs, entry, open_, high, low, close, stop)
        settle(trade, costs, time_ms, entry, left, at_open, price, reason)
        equity = trade.equity_after
        record = noted(record, trade.pnl, trade.entry_notional)
        count += 1
        t = left
    return count
