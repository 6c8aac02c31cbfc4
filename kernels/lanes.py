"""Several genomes at once: from entry to exit in interleaved lanes, for genomes with one side, a stop and a target, no more.

A hop is a chain of dependent loads (bitmap, table, bitmap ...), a few nanoseconds of work and as many of waiting. Lanes
fill the waiting of one genome with the hops of the others. Where a genome's hops end does not depend on its money, so they
are listed first and settled after; a genome that is refused an entry on the way goes through `hop.hop`, which can.
"""

import numpy as np

from kernels.bitmaps import join_and_summarise, next_bit_ahead
from kernels.hop import AIM_AT, RUIN_AT, STOP_AT, TRAIL_AT, hop
from kernels.jit import inlined, jit
from kernels.loop import level, size_in_lots, whole_ticks
from kernels.settling import compound, price_hops, round_trip_at
from kernels.summary import no_sums, tally, write_row

LANES = 4


@inlined
def fits_a_lane(g, factors, slots, i):
    """One side with a stop table and a target table; no exit rule, no holding limit, no other guard that could be met first.

    Whether another guard is on says its factor: a guard without a table is on all the same. A liquidation level that is no
    nearer than the stop is never met before it: levels rise with their factors, and of equal ones the stop counts.
    """
    b = 0 if g.long_exit > g.long_entry else 4
    one_side = (g.long_exit == g.long_entry) != (g.short_exit == g.short_entry)
    by_price = g.long_exit == g.short_entry and g.short_exit == g.end and g.max_hold == 0
    tables = slots[i, b + STOP_AT] >= 0 and slots[i, b + AIM_AT] >= 0
    stop, ruin = factors[i, b + STOP_AT], factors[i, b + RUIN_AT]
    nearest = ruin == 0.0 or (ruin <= stop if b == 0 else ruin >= stop)
    return one_side and by_price and tables and nearest and factors[i, b + TRAIL_AT] == 0.0


@jit
def mark_lanes(order, genomes, kind_of, factors, slots, out):
    """out[k] = whether genome order[k] may be walked by `hop_in_lanes`. In place."""
    for k in range(len(order)):
        out[k] = fits_a_lane(genomes[order[k]], factors, slots, kind_of[order[k]])


@jit
def settle_hops(g, i, entered, left_as, hops, ended, guard, aim, fills, costs, time_ms, open_, candles, returns, out):
    """Settle hops whose sizes depend on the equity, one after the other; fills the row `out`. In place; arguments as those
    of `settling.price_hops`, `ended`: the fill of the last hop when the window ends it, else 0.0.

    False when an entry is refused that others may follow: then nothing is filled.
    """
    long = g.long_exit > g.long_entry
    scale, amount, fraction, leverage = costs.tick_scale, g.amount, g.fraction, g.leverage
    margin = not long or leverage > 1.0
    cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
    moves = 1.0 + costs.slippage_frac if long else 1.0 - costs.slippage_frac
    sums = no_sums(costs)
    equity = costs.start_equity
    for k in range(hops):
        e = np.int64(entered[k])
        key = np.int64(left_as[k])
        aims = key & 1
        entry_price = whole_ticks(open_[e] * moves, long, scale) / scale
        budget = amount if amount > 0.0 else equity * fraction
        lots = size_in_lots(equity, budget, leverage, entry_price, cost_frac, costs.lot_scale, costs.min_notional)
        if lots == 0.0:
            if 0.0 < budget <= equity:
                return False
            break
        size = lots / costs.lot_scale
        fill = fills[aim if aims else guard, e]
        if k == hops - 1 and ended > 0.0:
            fill = ended
        fee_frac = costs.maker_frac if aims else costs.taker_frac
        entry_notional, exit_notional, fees, pnl = round_trip_at(
            entry_price, size, fill, e, key, long, margin, cost_frac, fee_frac, costs, time_ms
        )
        returns[k] = pnl / equity
        equity = equity + pnl
        held = (key >> 2) - e + ((key >> 1) & 1)
        sums = tally(sums, pnl, equity, entry_notional, exit_notional, fees, held, costs)
    write_row(sums, equity, returns, costs, candles, out)
    return True


@jit
def settle(g, i, entered, left_as, hops, ended, guard, aim, fills, size_row, sizes, costs, time_ms, open_, candles, money,
           out):  # fmt: skip
    """Settle the hops of one genome by the quickest way that its sizing permits; False as `settle_hops`. In place."""
    if size_row >= 0:
        long = g.long_exit > g.long_entry
        margin = not long or g.leverage > 1.0
        cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
        held = price_hops(entered, left_as, hops, ended, guard, aim, fills, sizes[size_row], long, margin, cost_frac, costs,
                          time_ms, money)  # fmt: skip
        if compound(hops, held, g.amount, costs, candles, money, out):
            return True
    return settle_hops(g, i, entered, left_as, hops, ended, guard, aim, fills, costs, time_ms, open_, candles, money[0], out)


@jit
def hop_in_lanes(order, genomes, index, kind_of, factors, slots, size_rows, bits, enterable, tables, fills, sizes, costs,
                 time_ms, open_, close, edges, later, small, large, shifts, start, stop, words, lanes, entered, left_as,
                 money, out):  # fmt: skip
    """Rows out[i] for every i of `order`, all of which `fits_a_lane`, over one window. In place.

    `size_rows` (R,): the row of `sizes` of every combination, -1 where sizes depend on the equity. Scratch: `words`
    uint64[2 x LANES, W'] (entries and their summary), `lanes` int64[LANES, 6], `entered` and `left_as` int32[LANES,
    longest window], `money` float64[4, longest window].
    """
    limit = stop - 1
    scale, slip = costs[0].tick_scale, costs[0].slippage_frac
    sold = whole_ticks(close[limit] * (1.0 - slip), False, scale) / scale
    covered = whole_ticks(close[limit] * (1.0 + slip), True, scale) / scale
    waiting, busy = 0, 0
    for lane in range(LANES):
        lanes[lane, 0] = -1
    while waiting < len(order) or busy > 0:
        for lane in range(LANES):
            if lanes[lane, 0] < 0:
                if waiting == len(order):
                    continue
                i = order[waiting]
                g = genomes[i]
                long = g.long_exit > g.long_entry
                first, last = (g.long_entry, g.long_exit) if long else (g.short_entry, g.short_exit)
                join_and_summarise(bits, index, first, last, enterable, start, limit, words[2 * lane], words[2 * lane + 1])
                b = 0 if long else 4
                lanes[lane, 0], lanes[lane, 1], lanes[lane, 2], lanes[lane, 5] = i, start, 0, 0
                lanes[lane, 3], lanes[lane, 4] = slots[kind_of[i], b + STOP_AT], slots[kind_of[i], b + AIM_AT]
                waiting += 1
                busy += 1
            t = next_bit_ahead(words[2 * lane], words[2 * lane + 1], lanes[lane, 1])
            if t < limit:
                key = np.int64(min(tables[lanes[lane, 3], t + 1], tables[lanes[lane, 4], t + 1]))
                k = lanes[lane, 2]
                ends = (key >> 2) >= stop
                key = 4 * limit + 2 if ends else key
                entered[lane, k] = t + 1
                left_as[lane, k] = key
                lanes[lane, 1] = key >> 2
                lanes[lane, 2] = k + 1
                lanes[lane, 5] = 1 if ends else 0
                continue
            i = lanes[lane, 0]
            g = genomes[i]
            lanes[lane, 0] = -1
            busy -= 1
            ended = 0.0
            if lanes[lane, 5]:
                ended = sold if g.long_exit > g.long_entry else covered
            if not settle(g, kind_of[i], entered[lane], left_as[lane], lanes[lane, 2], ended, lanes[lane, 3], lanes[lane, 4],
                          fills, size_rows[kind_of[i]], sizes, costs[0], time_ms, open_, stop - start, money,
                          out[i]):  # fmt: skip
                entries = words[2 * lane]
                hop(g, kind_of[i], factors, slots, tables, costs[0], time_ms, open_, close, edges, later, small, large,
                    shifts, entries, words[2 * lane + 1], entries, entries, entries, start, stop, money[0], out[i])  # fmt: skip
