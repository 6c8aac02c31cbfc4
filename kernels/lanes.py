"""Several genomes at once: from entry to exit in interleaved lanes, for genomes with one side, a stop and a target, no more.

A hop is a chain of dependent loads (bitmap, table, bitmap ...), a few nanoseconds of work and as many of waiting. Lanes
fill the waiting of one genome with the hops of the others. Where a genome's hops end does not depend on its money, so they
are listed first and settled after; a genome that is refused an entry on the way goes through `hop.hop`, which can.
"""

import numpy as np

from kernels.bitmaps import fence, join_all, next_bit_far, summarise
from kernels.hop import AIM_AT, RUIN_AT, STOP_AT, TRAIL_AT, fill_in, hop, round_trip
from kernels.jit import inlined, jit
from kernels.loop import level, size_in_lots, whole_ticks
from kernels.summary import no_sums, tally, write_row
from kernels.trade import END, STOP, TARGET

LANES = 4
#: What ended a hop, beside its last candle: two bits.
BY_GUARD, BY_AIM, BY_EITHER, BY_END = range(4)


@inlined
def fits_a_lane(g, factors, slots, i):
    """One side with a stop table and a target table; no other guard, no exit rule, no holding limit.

    Whether another guard is on says its factor: a guard without a table is on all the same.
    """
    b = 0 if g.long_exit > g.long_entry else 4
    one_side = (g.long_exit == g.long_entry) != (g.short_exit == g.short_entry)
    by_price = g.long_exit == g.short_entry and g.short_exit == g.end and g.max_hold == 0
    tables = slots[i, b + STOP_AT] >= 0 and slots[i, b + AIM_AT] >= 0
    return one_side and by_price and tables and factors[i, b + RUIN_AT] == 0.0 and factors[i, b + TRAIL_AT] == 0.0


@jit
def mark_lanes(order, genomes, kind_of, factors, slots, out):
    """out[k] = whether genome order[k] may be walked by `hop_in_lanes`. In place."""
    for k in range(len(order)):
        # Sizes that follow from the past are beyond `settle_hops`; 0 is `kernels.layout.GIVEN`.
        out[k] = genomes[order[k]].sizing == 0 and fits_a_lane(genomes[order[k]], factors, slots, kind_of[order[k]])


@jit
def settle_hops(g, i, entered, left_as, hops, factors, costs, time_ms, open_, close, edges, start, stop, returns, out):
    """Settle `hops` hops, at entries `entered` (int32) and ends `left_as` (int32: 4 x candle + what ended it); fills the
    row `out`. In place. False when an entry is refused that others may follow: then nothing is filled."""
    long = g.long_exit > g.long_entry
    side = 0 if long else 1
    sign = 1.0 if long else -1.0
    guard_factor, aim_factor = factors[i, 4 * side + STOP_AT], factors[i, 4 * side + AIM_AT]
    scale, amount, fraction, leverage = costs.tick_scale, g.amount, g.fraction, g.leverage
    margin = not long or leverage > 1.0
    cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
    moves = 1.0 + costs.slippage_frac if long else 1.0 - costs.slippage_frac
    sums = no_sums(costs)
    equity = costs.start_equity
    for k in range(hops):
        entry = np.int64(entered[k])
        left, by = np.int64(left_as[k]) >> 2, left_as[k] & 3
        origin = open_[entry]
        entry_price = whole_ticks(origin * moves, long, scale) / scale
        budget = amount if amount > 0.0 else equity * fraction
        lots = size_in_lots(equity, budget, leverage, entry_price, cost_frac, costs.lot_scale, costs.min_notional)
        if lots == 0.0:
            if 0.0 < budget <= equity:
                return False
            break
        if by <= BY_AIM:
            # Stop or target: which of them is a coin toss, so nothing here branches on it.
            aims = by == BY_AIM
            trigger = level(origin, aim_factor if aims else guard_factor, long == aims, scale)
            price = open_[left]
            at_open = left > entry and (sign * price <= sign * trigger) != aims
            price = price if at_open else trigger
            reason = TARGET if aims else STOP
        elif by == BY_EITHER:
            guard = sign * level(origin, guard_factor, sign < 0, scale)
            aim = -sign * level(origin, aim_factor, sign > 0, scale)
            price, reason, at_open = fill_in(side, sign, left, left > entry, open_[left], guard, STOP, aim, edges)
        else:
            price, reason, at_open = close[left], END, False
        entry_notional, exit_notional, fees, pnl = round_trip(
            long, lots, entry_price, cost_frac, price, reason, margin, at_open, entry, left, time_ms, costs
        )
        returns[k] = pnl / equity
        equity = equity + pnl
        held = left - entry if at_open else left - entry + 1
        sums = tally(sums, pnl, equity, entry_notional, exit_notional, fees, held, costs)
    write_row(sums, equity, returns, costs, stop - start, out)
    return True


@jit
def hop_in_lanes(order, genomes, index, kind_of, factors, slots, bits, enterable, tables, costs, time_ms, open_, close, edges,
                 later, small, large, shifts, start, stop, words, lanes, entered, left_as, returns, out):  # fmt: skip
    """Rows out[i] for every i of `order`, all of which `fits_a_lane`, over one window. In place.

    Scratch: `words` uint64[2 x LANES, W'] (entries and their summary), `lanes` int64[LANES, 5], `entered` and `left_as`
    int32[LANES, longest window], `returns`.
    """
    limit = stop - 1
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
                join_all(bits, index, first, last, enterable, start, stop, words[2 * lane])
                fence(words[2 * lane], limit)
                summarise(words[2 * lane], start, limit, words[2 * lane + 1])
                b = 0 if long else 4
                lanes[lane, 0], lanes[lane, 1], lanes[lane, 2] = i, start, 0
                lanes[lane, 3], lanes[lane, 4] = slots[kind_of[i], b + STOP_AT], slots[kind_of[i], b + AIM_AT]
                waiting += 1
                busy += 1
            t = next_bit_far(words[2 * lane], words[2 * lane + 1], lanes[lane, 1])
            if t < limit:
                guarded, aimed = tables[lanes[lane, 3], t + 1], tables[lanes[lane, 4], t + 1]
                touched = np.int64(min(guarded, aimed))
                by = (1 if aimed < guarded else 0) + (2 if aimed == guarded else 0)
                k = lanes[lane, 2]
                entered[lane, k] = t + 1
                left_as[lane, k] = 4 * touched + by if touched < stop else 4 * limit + BY_END
                lanes[lane, 1] = min(touched, limit)
                lanes[lane, 2] = k + 1
                continue
            i = lanes[lane, 0]
            lanes[lane, 0] = -1
            busy -= 1
            if not settle_hops(genomes[i], kind_of[i], entered[lane], left_as[lane], lanes[lane, 2], factors, costs[0],
                               time_ms, open_, close, edges, start, stop, returns, out[i]):  # fmt: skip
                entries = words[2 * lane]
                hop(genomes[i], kind_of[i], factors, slots, tables, costs[0], time_ms, open_, close, edges, later, small, large,
                    shifts, entries, words[2 * lane + 1], entries, entries, entries, start, stop, returns, out[i])  # fmt: skip
