"""Many rule sets, one stop and one target: all that a trade needs but money is known for every entry candle beforehand.

The exit of a position depends on its entry candle alone when there is no exit rule, so that `fill_trips` lists entry price,
exit price, fee and the next free candle once for all sets. What is left of a backtest is a walk over the AND of bitmaps
and the money, in the order of operations of `kernels.hop` and `kernels.summary`: the same bits.
Candles and words are counted from the first word of the window ("local").
"""

import numpy as np

from domain.metrics import FLAG_BALANCE, FLAG_NOT_FINITE, FLAG_PNL, FLAG_POSITION
from kernels.bitmaps import ALL, next_bit
from kernels.hop import fill_in, touched_by_blocks
from kernels.jit import inlined, jit
from kernels.loop import size_in_lots, whole_ticks
from kernels.terms import ROLLOVER_MS
from kernels.trade import END, HOLDING, TARGET

LANES = 4
#: Histograms of the objective: bins of 0.1 %, the first counting all below -100 %, the last all from +500 % on.
BINS_A_UNIT = 1_000
LOWEST, HIGHEST = -1_001, 5_000
#: Columns of `trips`: fill at entry, fill at exit, fee at exit as a fraction of notional, rollovers due.
ENTRY_AT, EXIT_AT, FEE_AT, ROLLS_AT = range(4)
#: Columns of `lanes`: the rule that was added (-1: idle), the candle reached, trades so far, flags.
CHILD, CANDLE, TRADES, FLAGS = range(4)


@jit
def fill_trips(g, factors, costs, time_ms, open_, close, edges, later, small, large, shifts,
               first, last, base, stop, trips, resume):  # fmt: skip
    """For an entry at the open of each candle first..last-1: row `trips[e - base]` and `resume[e - base]`, the local candle
    at whose close the next entry may be signalled. In place.

    `factors` float64[1, 8] as in `kernels.hop`; `base` the window's first local candle, `stop` its end.
    """
    long = g.long_exit > g.long_entry
    side = 0 if long else 1
    sign = 1.0 if long else -1.0
    scale, hold = costs.tick_scale, g.max_hold
    margin = not long or g.leverage > 1.0
    for e in range(first, last):
        decided = e + hold if hold > 0 and e + hold < stop else stop
        touched, guard, reason, aim = touched_by_blocks(
            side, e, decided, 0, factors, scale, open_, close, edges, later, small, large, shifts
        )
        if touched < decided:
            left = touched
            price, reason, at_open = fill_in(side, sign, left, left > e, open_[left], guard, reason, aim, edges)
        elif decided < stop:
            left, price, reason, at_open = decided, open_[decided], HOLDING, True
        else:
            left, price, reason, at_open = stop - 1, close[stop - 1], END, False
        entered = open_[e] * (1.0 + costs.slippage_frac) if long else open_[e] * (1.0 - costs.slippage_frac)
        slip = 0.0 if reason == TARGET else costs.slippage_frac
        moved = price * (1.0 - slip) if long else price * (1.0 + slip)
        trip = trips[e - base]
        trip[ENTRY_AT] = whole_ticks(entered, long, scale) / scale
        trip[EXIT_AT] = whole_ticks(moved, not long, scale) / scale
        trip[FEE_AT] = costs.maker_frac if reason == TARGET else costs.taker_frac
        trip[ROLLS_AT] = 0.0
        if margin:
            left_ms = time_ms[left] if at_open else time_ms[left] + costs.granularity_ms
            trip[ROLLS_AT] = (left_ms - time_ms[e]) // ROLLOVER_MS
        resume[e - base] = left - base


@jit
def cut_rows(bits, rows_of, enterable, start, stop, out):
    """out[r] = bitmap rows_of[r] where an entry within the window start..stop-1 may follow, local words. In place.

    `out` uint64[R, words + 1]; its last word is not touched.
    """
    low, limit = start >> 6, stop - 1
    for r in range(len(rows_of)):
        row, cut = bits[rows_of[r]], out[r]
        for w in range(((limit - 1) >> 6) + 1 - low):
            word = row[low + w] & enterable[low + w]
            first = 64 * (low + w)
            if first < start:
                word &= ALL << np.uint64(start - first)
            if first + 64 > limit:
                word &= ~(ALL << np.uint64(limit - first))
            cut[w] = word


@inlined
def join_child(parent, row, words):
    """`words` = parent AND row, all but the last, in place; (whether there is any bit, whether the parent has more)."""
    some, more = np.uint64(0), np.uint64(0)
    for w in range(len(row) - 1):
        before = parent[w]
        word = before & row[w]
        some |= word
        more |= before ^ word
        words[w] = word
    return some != np.uint64(0), more != np.uint64(0)


@jit
def walk_children(
    parent, rows, first, last, before, trips, resume, limit, g, costs, words, lanes, money, net, trades, flags
):
    """For every rule k of first..last-1 the set of the parent's rules and k: adds nothing to, but writes, `net[k - first]`
    (sum of PnL in order), `trades` and `flags`. In place.

    `parent` uint64[words + 1] is the AND of the others, `before` (net, trades, flags) its own result: a rule that takes
    nothing away has the same one. `words` uint64[LANES, words + 1], `lanes` int64[LANES, 4] and `money`
    float64[LANES, 2] are scratch; the last word of each row of `words` must be all ones.
    """
    long = g.long_exit > g.long_entry
    margin = not long or g.leverage > 1.0
    cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
    leverage, amount, fraction = g.leverage, g.amount, g.fraction
    lot_scale, rollover_frac = costs.lot_scale, costs.rollover_frac
    waiting, busy = first, 0
    for lane in range(LANES):
        lanes[lane, CHILD] = -1
    while True:
        for lane in range(LANES):
            k = lanes[lane, CHILD]
            if k < 0:
                while waiting < last:
                    k = waiting
                    waiting += 1
                    some, less = join_child(parent, rows[k], words[lane])
                    if some and less:
                        lanes[lane, CHILD], lanes[lane, CANDLE], lanes[lane, TRADES], lanes[lane, FLAGS] = k, 0, 0, 0
                        money[lane, 0], money[lane, 1] = costs.start_equity, 0.0
                        busy += 1
                        break
                    net[k - first] = before[0] if some else 0.0
                    trades[k - first] = np.int64(before[1]) if some else 0
                    flags[k - first] = np.int64(before[2]) if some else 0
                if lanes[lane, CHILD] < 0:
                    continue
            t = next_bit(words[lane], lanes[lane, CANDLE])
            equity = money[lane, 0]
            budget = amount if amount > 0.0 else equity * fraction
            if t >= limit or not (0.0 < budget <= equity):
                k -= first
                net[k], trades[k] = money[lane, 1], lanes[lane, TRADES]
                flags[k] = lanes[lane, FLAGS] | (FLAG_PNL if abs(money[lane, 1]) > costs.max_pnl else 0)
                lanes[lane, CHILD] = -1
                busy -= 1
                continue
            trip = trips[t + 1]
            price = trip[ENTRY_AT]
            lots = size_in_lots(equity, budget, leverage, price, cost_frac, lot_scale, costs.min_notional)
            if lots == 0.0:
                lanes[lane, CANDLE] = t + 1
                continue
            size = lots / lot_scale
            notional = size * price
            rollover = notional * rollover_frac * trip[ROLLS_AT]
            fill = trip[EXIT_AT]
            gross = (fill - price) * size if long else (price - fill) * size
            left_notional = fill * size
            pnl = gross - (notional * cost_frac + rollover + left_notional * trip[FEE_AT])
            equity = equity + pnl
            money[lane, 0] = equity
            money[lane, 1] += pnl
            lanes[lane, TRADES] += 1
            lanes[lane, CANDLE] = resume[t + 1]
            if equity > costs.max_balance:
                lanes[lane, FLAGS] |= FLAG_BALANCE
            if notional > costs.max_position:
                lanes[lane, FLAGS] |= FLAG_POSITION
            if not (np.isfinite(equity) and np.isfinite(notional) and np.isfinite(left_notional)):
                lanes[lane, FLAGS] |= FLAG_NOT_FINITE
        if busy == 0 and waiting >= last:
            return


@jit
def walk_triples(
    i, j, j_last, budget, rows, before, trips, resume, limit, g, costs, parent, words, lanes, money, net, trades, flags
):
    """All sets {i, a, b} with j <= a < j_last and a < b, a by a, one after the other in `net`, `trades`, `flags`, until
    `budget` (visits of words and of trades) is spent; returns the a that comes next. In place.

    `before` float64[R, 3]: net, trades and flags of {i, a} for every a; `parent` uint64[words + 1] is scratch.
    """
    done = 0
    spent = 0
    while j < j_last and spent < budget:
        count = len(rows) - 1 - j
        part = slice(done, done + count)
        some, _ = join_child(rows[i], rows[j], parent)
        if some:
            walk_children(parent, rows, j + 1, len(rows), before[j], trips, resume, limit, g, costs, words, lanes, money,
                          net[part], trades[part], flags[part])  # fmt: skip
        else:
            net[part], trades[part], flags[part] = 0.0, 0, 0
        for n in range(done, done + count):
            spent += (len(parent) >> 3) + trades[n]
        done += count
        j += 1
    return j


@jit
def measure_sets(net, trades, flags, start_equity, objective, total, union):
    """Over the windows (rows of `net`, `trades`, `flags`): mean return, sum of trades, union of flags, as
    `evolution.ranking.measure`. In place."""
    windows = len(net)
    for n in range(len(objective)):
        returns, made, broken = 0.0, 0, 0
        for w in range(windows):
            returns += net[w, n] / start_equity if trades[w, n] > 0 else np.nan
            made += trades[w, n]
            broken |= flags[w, n]
        objective[n], total[n], union[n] = returns / windows, made, broken


@jit
def count_sets(objective, trades, flags, wanted, few, enough, others, worst, least, chosen):
    """Count each set once: in `others` (no objective, flagged), or in `few` or `enough` by its objective. In place.

    Bin b of a histogram counts (LOWEST + b) / 1000 <= objective < (LOWEST + b + 1) / 1000. Lists in `chosen` those that
    rank no worse than class `worst` (0 enough trades, 1 few) with objective `least`; returns how many.
    """
    found = 0
    for n in range(len(objective)):
        value = objective[n]
        if flags[n] != 0:
            others[1] += 1
            continue
        if trades[n] == 0 or not np.isfinite(value):
            others[0] += 1
            continue
        rank = 1 if trades[n] < wanted else 0
        if value < (LOWEST + 1) / BINS_A_UNIT:
            b = np.int64(0)
        elif value >= HIGHEST / BINS_A_UNIT:
            b = np.int64(HIGHEST - LOWEST)
        else:
            # The product is rounded: what lies next to an edge is put right by the edge itself.
            edge = np.int64(np.floor(value * BINS_A_UNIT))
            if value < edge / BINS_A_UNIT:
                edge -= 1
            elif value >= (edge + 1) / BINS_A_UNIT:
                edge += 1
            b = edge - LOWEST
        if rank == 1:
            few[b] += 1
        else:
            enough[b] += 1
        if rank < worst or (rank == worst and value >= least):
            chosen[found] = n
            found += 1
    return found
