"""Many genomes at once, in lanes and tiles, for genomes with one side, a stop and a target, no more.

A hop from entry to exit is a chain of dependent loads (bitmap, table, bitmap ...), a few nanoseconds of work and as many
of waiting. Lanes fill the waiting of one genome with the hops of the others. Beyond the second-level cache a load costs
more than a trade, so that all genomes walk one tile of the series before any walks the next: bitmaps, tables and fills of
a tile fit that cache. Where a genome's hops end does not depend on its money, so that hops are listed (`list_tile`),
priced tile by tile, and settled at the end (`kernels.settling`); each of these loops is by itself, as a processor guesses
and waits less in small ones. Without tables hops are listed by the ladder (`kernels.walking`), and the rest is the same. A
genome that is refused an entry on the way goes through `hop.hop`.
"""

import numpy as np

from kernels.bitmaps import join_and_summarise, trailing_zeros
from kernels.hop import hop
from kernels.jit import inlined, jit
from kernels.loop import whole_ticks
from kernels.plans import AIM_ROW, GUARD_ROW, LAST, LONG, MARGIN, MORE, SIZE_ROW, plan_walks
from kernels.settling import compound, price_hops, settle_hops
from kernels.walking import fill_walked, list_by_ladder, price_walked

LANES = 4
#: Candles a tile, whole groups of 64 words: a quarter of a megabyte of a table, 1.7 of 216 bitmaps.
TILE = 16 * 4_096
#: Genomes and hops that are listed before they are settled: the more, the more share what a tile loads; the fewer, the
#: nearer they still are when they are settled. A single genome's hops always fit (`room_for_hops`).
GENOMES_LISTED = 8_192
HOPS_LISTED = 1 << 20
#: Genomes that are listed first, to learn how many hops they make.
AT_FIRST = 64
#: Hops after which a call returns (a quarter of them by the ladder), and words that it joins: a tenth of a second each.
HOPS_PER_CALL, WORDS_PER_CALL = 4 << 20, 1 << 28
#: Columns of the state of a lane: its genome's place in the list, position, hops so far, where its words and its two tables
#: (one candle on) begin.
PLACE, AT, COUNT, WORDS, GUARD, AIM = range(6)
NOWHERE = np.uint64(1 << 62)
NO_WORD = np.uint64(0)
#: Of 64 candles a word and 64 words a word of the summary.
SIX, WITHIN = np.uint64(6), np.uint64(63)
ONE, TWO = np.uint64(1), np.uint64(2)


def room_for_hops(longest: int, most: int) -> int:
    """Places in a list of `most` hops, for windows of up to `longest` candles, each the end of one hop at most."""
    return max(most, longest)


@jit
def hop_until_done(state, words, summaries, tables, limit, longest, entered, left_as):
    """Hop every lane in turn until one has no further entry before `limit`. In place; all arrays are flat and all numbers
    uint64, so that no index is looked at for its sign.

    `state` uint64[LANES, 6]. `words` and `summaries` hold the rows of all lanes, `entered` and `left_as` (int32) `longest`
    places a lane.
    """
    done = False
    while not done:
        for lane in range(LANES):
            mine = state[lane]
            at, row = mine[AT], mine[WORDS]
            if at >= limit:
                continue
            w = at >> SIX
            near = (words[row + w] >> (at & WITHIN)) << (at & WITHIN)
            # Whether the first word has a bit is a coin toss: what is chosen is where to look, which is no branch, and not
            # what was found, which would become one. The fence lies ahead of both.
            v = w + ONE
            s = v >> SIX
            groups = (summaries[row + s] >> (v & WITHIN)) << (v & WITHIN)
            while groups == NO_WORD:
                s += ONE
                groups = summaries[row + s]
            v = (s << SIX) + trailing_zeros(groups)
            here = near != NO_WORD
            v = w if here else v
            shift = at & WITHIN if here else NO_WORD
            t = (v << SIX) + trailing_zeros((words[row + v] >> shift) << shift)
            if t >= limit:
                mine[AT] = limit
                done = True
                continue
            key = min(tables[mine[GUARD] + t], tables[mine[AIM] + t])
            k = np.uint64(lane) * longest + mine[COUNT]
            entered[k] = t + ONE
            left_as[k] = key
            mine[COUNT] += ONE
            at = np.uint64(key) >> TWO
            mine[AT] = at
            if at >= limit:
                done = True


@jit
def list_tile(plans, index, bits, enterable, tables, start, limit, words, summaries, state, entered,
              left_as, longest, at, begins, counts, used, most, listed_in, listed_as):  # fmt: skip
    """List the hops that enter from `start` to before `limit` of every genome of `plans`, from where at[j] says on; moves
    at[j] on. Returns the places used of `listed_in` and `listed_as` (int32[most or more]), or -1 when they do not do.

    begins[j] and counts[j] say where the hops of genome j lie. In place; the rest is scratch of `hop_in_lanes`.
    """
    n = tables.shape[1]
    waiting, busy = 0, 0
    for lane in range(LANES):
        state[lane, AT] = NOWHERE
    while True:
        for lane in range(LANES):
            mine = state[lane]
            if mine[AT] != NOWHERE:
                if mine[AT] < np.uint64(limit):
                    continue
                j, count, source = np.int64(mine[PLACE]), np.int64(mine[COUNT]), lane * longest
                at[j] = mine[AT]
                begins[j], counts[j] = used, count
                if used + count > most:
                    return np.int64(-1)
                for k in range(count):
                    listed_in[used + k] = entered[source + k]
                    listed_as[used + k] = left_as[source + k]
                used += count
                mine[AT] = NOWHERE
                busy -= 1
            while waiting < len(plans) and at[waiting] >= limit:
                # It is in a position over the whole tile.
                counts[waiting] = 0
                waiting += 1
            if waiting < len(plans):
                plan = plans[waiting]
                join_and_summarise(bits, plan, index, plan[MORE], plan[LAST], enterable, at[waiting], limit, words[lane],
                                   summaries[lane])  # fmt: skip
                mine[PLACE], mine[AT], mine[COUNT], mine[WORDS] = waiting, at[waiting], 0, lane * words.shape[1]
                mine[GUARD], mine[AIM] = plan[GUARD_ROW] * n + 1, plan[AIM_ROW] * n + 1
                waiting += 1
                busy += 1
        if busy == 0:
            return used
        hop_until_done(state, words.reshape(-1), summaries.reshape(-1), tables.reshape(-1), np.uint64(limit),
                       np.uint64(longest), entered, left_as)  # fmt: skip


@inlined
def ruined(pnls, first, last, purse, j):
    """Move the equity on over trades first..last-1; did it fall below the amount, so that every later entry is refused?"""
    equity, least = purse[0, j], purse[0, j]
    for k in range(first, last):
        equity += pnls[k]
        least = equity if equity < least else least
    purse[0, j] = equity
    return least < purse[1, j]


@jit
def price_tile(plans, by_ladder, fills, sizes, costs, time_ms, limit, stop, at, purse, ends, begins, counts, held, listed_in,
               listed_as, money):  # fmt: skip
    """Price the hops of a tile for all genomes whose sizes are known, into `money`; adds to held[j]. In place.

    `by_ladder`: money[3] holds the prices at which `list_by_ladder` left, and becomes fills. purse[0, j] is the equity, moved
    on; once less than the amount purse[1, j] is left, nothing is entered any more and at[j] leaves the window.
    ends[j] becomes the fill of a hop that the window's end ends (`ends[-1]`: of a short one, `ends[-2]`: of a long one).
    """
    for j in range(len(plans)):
        if counts[j] == 0:
            continue
        plan = plans[j]
        long = plan[LONG] == 1
        first, last = begins[j], begins[j] + counts[j]
        if listed_as[last - 1] >> 2 >= stop:
            # As a guard within the last candle, but for the price.
            listed_as[last - 1] = 4 * (stop - 1) + 2
            ends[j] = ends[-2] if long else ends[-1]
        if by_ladder:
            fill_walked(listed_as, first, last, ends[j], long, costs, money[3])
        if plan[SIZE_ROW] >= 0:
            margin = plan[MARGIN] == 1
            cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
            if by_ladder:
                held[j] += price_walked(
                    listed_in, listed_as, first, last, sizes[plan[SIZE_ROW]], long, margin, cost_frac, costs, time_ms,
                    money,
                )  # fmt: skip
            else:
                held[j] += price_hops(
                    listed_in, listed_as, first, last, ends[j], plan[GUARD_ROW:], fills, sizes[plan[SIZE_ROW]], long, margin,
                    cost_frac, costs, time_ms, money,
                )  # fmt: skip
            if limit < stop - 1 and ruined(money[0], first, last, purse, j):
                at[j] = stop


@jit
def settle_one(j, plan, g, by_ladder, tiles, fills, costs, time_ms, open_, candles, ends, begins, counts, held,
               listed_in, listed_as, entered, left_as, money, returns, out):  # fmt: skip
    """Settle genome `g`, the j-th of the list, into the row `out`. In place; False when an entry was refused on the way."""
    if plan[SIZE_ROW] >= 0 and compound(
        j, tiles, begins, counts, held[j], g.amount, costs, candles, money, returns, out
    ):  # fmt: skip
        return True
    margin = plan[MARGIN] == 1
    cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
    hops = np.int64(0)  # a plain 0 would compile what is called with it twice
    for s in range(tiles):
        for k in range(counts[s, j]):
            entered[hops] = listed_in[begins[s, j] + k]
            left_as[hops] = listed_as[begins[s, j] + k]
            if by_ladder:
                returns[hops] = money[3, begins[s, j] + k]
            hops += 1
    return settle_hops(
        g, entered, left_as, hops, ends[j], by_ladder, plan[GUARD_ROW:], fills, plan[LONG] == 1, margin, cost_frac, costs,
        time_ms, open_, candles, returns, out,
    )  # fmt: skip


@jit
def hop_in_lanes(order, by_ladder, genomes, index, kind_of, factors, slots, size_rows, bits, enterable, tables, fills, sizes,
                 ladder, rungs, orderly, costs, time_ms, open_, close, edges, later, small, large, shifts, start, stop, tile,
                 most, words, summaries, state, ends, purse, plans, lists, segments, hops, listed, money, returns,
                 out):  # fmt: skip
    """Rows out[i] for the first genomes i of `order`, all of which go by tables or all `by_ladder` (`plans.way_of`), over one
    window. In place; returns how many are done, at least one: a call is to end soon.

    `size_rows` (R,): the row of `sizes` of every combination, -1 where sizes depend on the equity. `tile`: candles, whole
    groups of 64 words; `most`: hops to list together. Scratch: `words` and `summaries` uint64[LANES, W'] (entries, and which
    words have any), `state` uint64[LANES, 6], `ends` float64[GENOMES_LISTED + 2], `purse` float64[2, GENOMES_LISTED],
    `plans` int64[GENOMES_LISTED, PLAN_COLUMNS], `lists` int64[2, GENOMES_LISTED], `segments` int64[2, tiles of the
    window, GENOMES_LISTED], `hops` int32[2, LANES x longest window], `listed` int32[2, room_for_hops],
    `money` float64[4, room_for_hops], `returns`
    float64[longest window].
    """
    limit, longest = stop - 1, len(returns)
    scale, slip = costs[0].tick_scale, costs[0].slippage_frac
    sold = whole_ticks(close[limit] * (1.0 - slip), False, scale) / scale
    covered = whole_ticks(close[limit] * (1.0 + slip), True, scale) / scale
    at, held = lists[0], lists[1]
    begins, counts = segments[0], segments[1]
    per_call = HOPS_PER_CALL >> 2 if by_ladder else HOPS_PER_CALL
    done, together = 0, AT_FIRST
    hops_done = np.int64(0)
    while done < len(order) and hops_done < per_call and done * ((stop - start) >> 6) < WORDS_PER_CALL:
        part = order[done : done + together]
        plan = plans[: len(part)]
        plan_walks(part, genomes, index, kind_of, slots, size_rows, plan)
        at[: len(part)] = start
        held[: len(part)] = 0
        ends[: len(part)] = 0.0
        ends[-2], ends[-1] = sold, covered
        for j in range(len(part)):
            purse[0, j], purse[1, j] = costs[0].start_equity, genomes[part[j]].amount
        used, tiles = np.int64(0), 0
        room = most if len(part) > 1 else listed.shape[1]
        first = start
        while first < limit and used >= 0:
            last = min((first // tile + 1) * tile, limit)
            begun = used
            if by_ladder:
                used = list_by_ladder(
                    plan, index, bits, enterable, factors, ladder, rungs, orderly, edges, open_, scale, first, last, stop,
                    words[0], summaries[0], at, begins[tiles], counts[tiles], begun, room, listed[0], listed[1], money[3],
                )  # fmt: skip
            else:
                used = list_tile(
                    plan, index, bits, enterable, tables, first, last, words, summaries, state, hops[0], hops[1], longest, at,
                    begins[tiles], counts[tiles], begun, room, listed[0], listed[1],
                )  # fmt: skip
            if used > begun:
                price_tile(plan, by_ladder, fills, sizes, costs[0], time_ms, last, stop, at, purse, ends, begins[tiles],
                           counts[tiles], held, listed[0], listed[1], money)  # fmt: skip
            first = last
            tiles += 1
        if used < 0:
            # More hops than there is room for: fewer genomes together; those of one genome fit.
            together = max(1, len(part) // 2)
            continue
        for j in range(len(part)):
            i = part[j]
            if not settle_one(j, plan[j], genomes[i], by_ladder, tiles, fills, costs[0], time_ms, open_, stop - start, ends,
                              begins, counts, held, listed[0], listed[1], hops[0], hops[1], money, returns, out[i]):  # fmt: skip
                entries, summary = words[0], summaries[0]
                join_and_summarise(bits, plan[j], index, plan[j, MORE], plan[j, LAST], enterable, start, limit, entries,
                                   summary)  # fmt: skip
                hop(genomes[i], kind_of[i], factors, slots, tables, costs[0], time_ms, open_, close, edges, later, small, large,
                    shifts, entries, summary, entries, entries, entries, start, stop, returns, out[i])  # fmt: skip
        done += len(part)
        hops_done += used
        together = min(GENOMES_LISTED, 2 * together, max(1, (most - most // 4) * len(part) // max(1, used)))
    return done
