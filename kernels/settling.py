"""From hops to figures: trades of one genome settled in passes, the same bits as `kernels.loop` and `kernels.summary`.

A fixed amount buys the same at the same candle whatever the equity is, so that a trade's profit and costs are known before
the trades in front of it: they are priced first (no division is left, `kernels.sizes` and `kernels.touch` hold them), then
compounded and summed in the order of the trades, which is part of the result.
"""

import numpy as np

from kernels.jit import inlined, jit
from kernels.loop import size_in_lots, whole_ticks
from kernels.summary import make_canonical, no_sums, tally, write_row
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
def price_hops(
    entered, left_as, first, last, ended, rows, fills, sizes, long, margin, cost_frac, costs, time_ms, money
):  # fmt: skip
    """Price hops first..last-1: pnl, fees and turnover into the same places of rows 0 to 2 of `money` (float64). In place;
    returns the candles held.

    Hops enter at candles `entered` (int32) and end as keys `left_as` (int32) say, a guard at row rows[0] of `fills`, an aim
    at rows[1] (int64[2]), the last one at `ended` unless that is 0.0. `sizes` float64[n, 2]: entry prices and sizes.
    """
    held = np.int64(0)
    pnls, costs_of, turns = money[0], money[1], money[2]
    maker, taker = costs.maker_frac, costs.taker_frac
    for k in range(first, last):
        # Unsigned, so that no index is looked at for its sign; a row is looked up, as a choice would become a guess.
        e = np.uint64(np.uint32(entered[k]))
        key = np.int64(left_as[k])
        fill = fills[np.uint64(rows[np.uint64(key & 1)]), e]
        if k == last - 1 and ended > 0.0:
            fill = ended
        entry_notional, exit_notional, fees, pnl = round_trip_at(
            sizes[e, 0], sizes[e, 1], fill, np.int64(entered[k]), key, long, margin, cost_frac,
            maker if key & 1 else taker, costs, time_ms,
        )  # fmt: skip
        pnls[k] = pnl
        costs_of[k] = fees
        turns[k] = entry_notional + exit_notional
        held += (key >> 2) - np.int64(entered[k]) + ((key >> 1) & 1)
    return held


@jit
def compound(j, tiles, begins, counts, held, amount, costs, candles, money, returns, out):
    """Fill the row `out` from the trades of a fixed `amount` that `price_hops` left in `money`: counts[s, j] of them from
    begins[s, j] on in tile after tile. In place; `returns` is scratch.

    False when the equity falls below the amount on the way, or a figure is not finite: then somebody has to look closer.
    """
    pnls, fees, turns = money[0], money[1], money[2]
    equity = costs.start_equity
    peak, trough, drawdown, nearly = equity, equity, 0.0, 0.0
    net, profit, loss, fees_sum, turnover = 0.0, 0.0, 0.0, 0.0, 0.0
    best, worst, lowest, highest = -np.inf, np.inf, np.inf, -np.inf
    wins = 0
    hops = 0
    for s in range(tiles):
        begin = begins[s, j]
        for k in range(begin, begin + counts[s, j]):
            pnl = pnls[k]
            returns[hops] = pnl / equity
            hops += 1
            lowest = equity if equity < lowest else lowest
            equity = equity + pnl
            wins += 1 if pnl > 0.0 else 0
            profit += pnl if pnl > 0.0 else 0.0
            loss -= 0.0 if pnl > 0.0 else pnl
            best = pnl if pnl > best else best
            worst = pnl if pnl < worst else worst
            net += pnl
            fees_sum += fees[k]
            turnover += turns[k]
            highest = equity if equity > highest else highest
            trough = equity if equity < trough else trough
            if equity > peak:
                # The deepest fall from a peak is the one to its trough: a difference and a quotient round in one direction.
                if peak - trough > nearly * peak:
                    fall = (peak - trough) / peak
                    drawdown = fall if fall > drawdown else drawdown
                    nearly = drawdown * NEARLY
                peak, trough = equity, equity
    fall = (peak - trough) / peak
    drawdown = fall if fall > drawdown else drawdown
    if not (lowest >= amount and np.isfinite(equity) and np.isfinite(turnover)) or highest > costs.max_balance:
        return False
    sums = (hops, wins, held, 0, net, profit, loss, fees_sum, turnover, best, worst, peak, drawdown)
    write_row(sums, equity, returns, costs, candles, out)
    return True


@jit
def settle_hops(g, entered, left_as, hops, ended, known, rows, fills, long, margin, cost_frac, costs, time_ms, open_, candles,
                returns, out):  # fmt: skip
    """Settle the first `hops` hops of genome `g`, whose sizes depend on the equity; fills the row `out`. In place; arguments as
    those of `price_hops`, `returns` is scratch; `known`: it holds the fills, not `fills`.

    False when an entry is refused that others may follow: then nothing is filled.
    """
    scale, amount, fraction, leverage = costs.tick_scale, g.amount, g.fraction, g.leverage
    moves = 1.0 + costs.slippage_frac if long else 1.0 - costs.slippage_frac
    sums = no_sums(costs)
    equity = costs.start_equity
    for k in range(hops):
        e = np.int64(entered[k])
        key = np.int64(left_as[k])
        entry_price = whole_ticks(open_[e] * moves, long, scale) / scale
        budget = amount if amount > 0.0 else equity * fraction
        lots = size_in_lots(equity, budget, leverage, entry_price, cost_frac, costs.lot_scale, costs.min_notional)
        if lots == 0.0:
            if 0.0 < budget <= equity:
                return False
            break
        if known:
            fill = returns[k]
        else:
            fill = ended if k == hops - 1 and ended > 0.0 else fills[rows[key & 1], e]
        fee_frac = costs.maker_frac if key & 1 else costs.taker_frac
        entry_notional, exit_notional, fees, pnl = round_trip_at(
            entry_price, lots / costs.lot_scale, fill, e, key, long, margin, cost_frac, fee_frac, costs, time_ms
        )
        returns[k] = pnl / equity
        equity = equity + pnl
        held = (key >> 2) - e + ((key >> 1) & 1)
        sums = tally(sums, pnl, equity, entry_notional, exit_notional, fees, held, costs)
    write_row(sums, equity, returns, costs, candles, out)
    make_canonical(out)
    return True
