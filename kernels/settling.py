"""From hops to figures: trades of one genome settled in passes, the same bits as `kernels.loop` and `kernels.summary`.

A fixed amount buys the same at the same candle whatever the equity is, so that a trade's profit and costs are known before
the trades in front of it: they are priced first (no division is left, `kernels.sizes` and `kernels.touch` hold them), then
compounded and summed in the order of the trades, which is part of the result.
"""

import numpy as np

from kernels.jit import inlined, jit
from kernels.summary import write_row
from kernels.terms import ROLLOVER_MS

#: A fall that could be the deepest so far is one above this share of it: whether it is says its division.
NEARLY = 1.0 - 2.0**-50


@inlined
def round_trip_at(entry_price, size, fill, entry, key, long, margin, cost_frac, fee_frac, costs, time_ms):
    """(entry notional, exit notional, fees, pnl) of `size` coins bought (sold) and left at known fills, at the candle that
    `key` names. The expressions are those of `loop.settle`."""
    entry_notional = size * entry_price
    exit_notional = fill * size
    rollover = 0.0
    if margin:
        left = key >> 2
        left_ms = time_ms[left] if key & 2 == 0 else time_ms[left] + costs.granularity_ms
        rollover = entry_notional * costs.rollover_frac * ((left_ms - time_ms[entry]) // ROLLOVER_MS)
    gross = (fill - entry_price) * size if long else (entry_price - fill) * size
    fees = entry_notional * cost_frac + rollover + exit_notional * fee_frac
    return entry_notional, exit_notional, fees, gross - fees


@jit
def price_hops(entered, left_as, hops, ended, guard, aim, fills, sizes, long, margin, cost_frac, costs, time_ms, money):
    """Price `hops` hops: pnl, fees and turnover into rows 0 to 2 of `money` float64[4, hops or more]. In place; returns the
    candles held.

    Hops enter at candles `entered` (int32) and end as keys `left_as` (int32) say: at rows `guard` or `aim` of `fills`,
    the last one at `ended` unless that is 0.0. `sizes` float64[n, 2]: entry prices and sizes.
    """
    held = np.int64(0)
    pnls, costs_of, turns = money[0], money[1], money[2]
    for k in range(hops):
        e = np.int64(entered[k])
        key = np.int64(left_as[k])
        aims = key & 1
        fill = fills[aim if aims else guard, e]
        if k == hops - 1 and ended > 0.0:
            fill = ended
        fee_frac = costs.maker_frac if aims else costs.taker_frac
        entry_notional, exit_notional, fees, pnl = round_trip_at(
            sizes[e, 0], sizes[e, 1], fill, e, key, long, margin, cost_frac, fee_frac, costs, time_ms
        )
        pnls[k] = pnl
        costs_of[k] = fees
        turns[k] = entry_notional + exit_notional
        held += (key >> 2) - e + ((key >> 1) & 1)
    return held


@jit
def compound(hops, held, amount, costs, candles, money, out):
    """Fill the row `out` from the `hops` trades of a fixed `amount` that `price_hops` left in `money`. In place.

    False when the equity falls below the amount on the way, or a figure is not finite: then somebody has to look closer.
    """
    pnls, fees, turns, returns = money[0], money[1], money[2], money[3]
    equity = costs.start_equity
    peak, drawdown, nearly = equity, 0.0, 0.0
    net, profit, loss, fees_sum, turnover = 0.0, 0.0, 0.0, 0.0, 0.0
    best, worst, lowest, highest = -np.inf, np.inf, np.inf, -np.inf
    wins = 0
    for k in range(hops):
        pnl = pnls[k]
        lowest = equity if equity < lowest else lowest
        returns[k] = equity
        equity = equity + pnl
        wins += 1 if pnl > 0.0 else 0
        profit += pnl if pnl > 0.0 else 0.0
        loss -= 0.0 if pnl > 0.0 else pnl
        best = pnl if pnl > best else best
        worst = pnl if pnl < worst else worst
        highest = equity if equity > highest else highest
        peak = equity if equity > peak else peak
        if peak - equity > nearly * peak:
            fall = (peak - equity) / peak
            drawdown = fall if fall > drawdown else drawdown
            nearly = drawdown * NEARLY
        net += pnl
        fees_sum += fees[k]
        turnover += turns[k]
    if not (lowest >= amount and np.isfinite(equity) and np.isfinite(turnover)) or highest > costs.max_balance:
        return False
    for k in range(hops):
        returns[k] = pnls[k] / returns[k]
    sums = (hops, wins, held, 0, net, profit, loss, fees_sum, turnover, best, worst, peak, drawdown)
    write_row(sums, equity, returns, costs, candles, out)
    return True
