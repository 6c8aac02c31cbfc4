"""Several genomes at once: from entry to exit in interleaved lanes, for genomes with one side, a stop and a target, no more.

A hop is a chain of dependent loads (bitmap, table, bitmap ...), a few nanoseconds of work and as many of waiting. Lanes
fill the waiting of one genome with the hops of the others. Where a genome's hops end does not depend on its money, so the
hops of some dozens of genomes are listed first and settled after (`kernels.settling`), each of these loops by itself: a
processor guesses and waits less in small ones. A genome that is refused an entry on the way goes through `hop.hop`.
"""

import numpy as np

from kernels.bitmaps import join_and_summarise, trailing_zeros
from kernels.hop import AIM_AT, RUIN_AT, STOP_AT, TRAIL_AT, hop
from kernels.jit import inlined, jit
from kernels.loop import whole_ticks
from kernels.settling import compound, price_hops, settle_hops

LANES = 4
#: Genomes and hops that are listed before they are settled; the hops of one more genome always fit.
GENOMES_LISTED = 256
HOPS_LISTED = 4_096
#: Columns of the state of a lane: genome, position, hops so far, where its words and its two tables (one candle on) begin.
GENOME, AT, COUNT, WORDS, GUARD, AIM = range(6)
NOBODY = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
NO_WORD = np.uint64(0)
#: Of 64 candles a word and 64 words a word of the summary.
SIX, WITHIN = np.uint64(6), np.uint64(63)
ONE, TWO = np.uint64(1), np.uint64(2)


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
def hop_until_done(state, words, summaries, tables, limit, longest, entered, left_as):
    """Hop every lane in turn until one has no further entry. In place; all arrays are flat, all numbers uint64, so that no
    index is looked at for its sign.

    `state` uint64[LANES, 6]. `words` and `summaries` hold the rows of all lanes, `entered` and `left_as` (int32) `longest`
    places a lane.
    """
    done = False
    while not done:
        for lane in range(LANES):
            mine = state[lane]
            if mine[GENOME] == NOBODY:
                continue
            at, row = mine[AT], mine[WORDS]
            w = at >> SIX
            near = (words[row + w] >> (at & WITHIN)) << (at & WITHIN)
            # Both ways are computed before one is chosen: whether the first word has a bit is a coin toss.
            v = w + ONE
            s = v >> SIX
            groups = (summaries[row + s] >> (v & WITHIN)) << (v & WITHIN)
            while groups == NO_WORD and near == NO_WORD:
                s += ONE
                groups = summaries[row + s]
            v = (s << SIX) + trailing_zeros(groups) if near == NO_WORD else w
            far = words[row + v]
            word = far if near == NO_WORD else near
            t = (v << SIX) + trailing_zeros(word)
            if t >= limit:
                done = True
                mine[AT] = limit
                continue
            key = min(tables[mine[GUARD] + t], tables[mine[AIM] + t])
            k = mine[COUNT]
            entered[np.uint64(lane) * longest + k] = t + ONE
            left_as[np.uint64(lane) * longest + k] = key
            mine[COUNT] = k + ONE
            mine[AT] = min(np.uint64(key) >> TWO, limit)


@jit
def fill_lane(state, lane, i, genomes, index, kind_of, slots, bits, enterable, n, start, limit, words, summaries):
    """Genome i begins in `lane`. In place."""
    g = genomes[i]
    long = g.long_exit > g.long_entry
    first, last = (g.long_entry, g.long_exit) if long else (g.short_entry, g.short_exit)
    join_and_summarise(bits, index, first, last, enterable, start, limit, words[lane], summaries[lane])
    b = 0 if long else 4
    mine = state[lane]
    mine[GENOME], mine[AT], mine[COUNT], mine[WORDS] = i, start, 0, lane * words.shape[1]
    mine[GUARD] = slots[kind_of[i], b + STOP_AT] * n + 1
    mine[AIM] = slots[kind_of[i], b + AIM_AT] * n + 1


@jit
def settle_listed(listed, who, begins, entered, left_as, genomes, kind_of, factors, slots, size_rows, fills, sizes, costs,
                  time_ms, open_, close, start, stop, rows, money, refused, out):  # fmt: skip
    """Settle the genomes who[:listed], whose hops begin at begins[k] of `entered` and `left_as`; returns how many are left
    over in `refused`, which saw an entry refused on the way. In place."""
    limit = stop - 1
    scale, slip = costs.tick_scale, costs.slippage_frac
    sold = whole_ticks(close[limit] * (1.0 - slip), False, scale) / scale
    covered = whole_ticks(close[limit] * (1.0 + slip), True, scale) / scale
    left_over = 0
    for j in range(listed):
        i = who[j]
        g = genomes[i]
        kind = kind_of[i]
        long = g.long_exit > g.long_entry
        margin = not long or g.leverage > 1.0
        cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
        b = 0 if long else 4
        rows[0], rows[1] = slots[kind, b + STOP_AT], slots[kind, b + AIM_AT]
        first, last = begins[j], begins[j + 1]
        ended = 0.0
        if last > first and left_as[last - 1] >> 2 >= stop:
            # The window ends it: as a guard within the last candle, but for the price.
            left_as[last - 1] = 4 * limit + 2
            ended = sold if long else covered
        if size_rows[kind] >= 0:
            held = price_hops(
                entered, left_as, first, last, ended, rows, fills, sizes[size_rows[kind]], long, margin, cost_frac, costs,
                time_ms, money,
            )  # fmt: skip
            if compound(last - first, held, g.amount, costs, stop - start, money, out[i]):
                continue
        if not settle_hops(g, entered, left_as, first, last, ended, rows, fills, long, margin, cost_frac, costs, time_ms,
                           open_, stop - start, money[0], out[i]):  # fmt: skip
            refused[left_over] = i
            left_over += 1
    return left_over


@jit
def hop_in_lanes(order, genomes, index, kind_of, factors, slots, size_rows, bits, enterable, tables, fills, sizes, costs,
                 time_ms, open_, close, edges, later, small, large, shifts, start, stop, words, summaries, state, lists,
                 hops, rows, money, out):  # fmt: skip
    """Rows out[i] for every i of `order`, all of which `fits_a_lane`, over one window. In place.

    `size_rows` (R,): the row of `sizes` of every combination, -1 where sizes depend on the equity. Scratch: `words` and
    `summaries` uint64[LANES, W'] (entries, and which words have any), `state` uint64[LANES, 6], `lists`
    int64[3, GENOMES_LISTED + LANES + 1], `hops` int32[4, the greater of LANES x longest window and HOPS_LISTED + longest
    window], `rows` int64[2], `money` float64[4, longest window].
    """
    n = len(open_)
    limit, longest = stop - 1, len(money[0])
    entered, left_as, listed_in, listed_as = hops[0], hops[1], hops[2], hops[3]
    who, begins, refused = lists[0], lists[1], lists[2]
    waiting, busy, listed = 0, 0, 0
    begins[0] = 0
    for lane in range(LANES):
        state[lane, GENOME] = NOBODY
    while True:
        for lane in range(LANES):
            if state[lane, GENOME] != NOBODY and state[lane, AT] >= limit:
                count, begin = np.int64(state[lane, COUNT]), begins[listed]
                source = lane * longest
                for k in range(count):
                    listed_in[begin + k] = entered[source + k]
                    listed_as[begin + k] = left_as[source + k]
                who[listed] = state[lane, GENOME]
                listed += 1
                begins[listed] = begin + count
                state[lane, GENOME] = NOBODY
                busy -= 1
            if listed == GENOMES_LISTED or begins[listed] >= HOPS_LISTED or (waiting == len(order) and busy == 0):
                left_over = settle_listed(
                    listed, who, begins, listed_in, listed_as, genomes, kind_of, factors, slots, size_rows, fills, sizes,
                    costs[0], time_ms, open_, close, start, stop, rows, money, refused, out,
                )  # fmt: skip
                listed = 0
                for j in range(left_over):
                    i = refused[j]
                    # Its bitmaps are joined again, in the words of this lane, which is free.
                    fill_lane(state, lane, i, genomes, index, kind_of, slots, bits, enterable, n, start, limit, words,
                              summaries)  # fmt: skip
                    state[lane, GENOME] = NOBODY
                    entries = words[lane]
                    hop(genomes[i], kind_of[i], factors, slots, tables, costs[0], time_ms, open_, close, edges, later, small,
                        large, shifts, entries, summaries[lane], entries, entries, entries, start, stop, money[0],
                        out[i])  # fmt: skip
                if waiting == len(order) and busy == 0:
                    return
            if state[lane, GENOME] == NOBODY and waiting < len(order):
                fill_lane(state, lane, order[waiting], genomes, index, kind_of, slots, bits, enterable, n, start, limit,
                          words, summaries)  # fmt: skip
                waiting += 1
                busy += 1
        hop_until_done(state, words.reshape(-1), summaries.reshape(-1), tables.reshape(-1), np.uint64(limit),
                       np.uint64(longest), entered, left_as)  # fmt: skip
