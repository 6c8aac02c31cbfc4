"""Hops without first-touch tables, listed as those in lanes are: exits by the ladder, for levels that few genomes share."""

import numpy as np

from kernels.bitmaps import join_and_summarise, next_bit_far
from kernels.hop import AIM_AT, STOP_AT
from kernels.jit import jit
from kernels.ladder import GROUP, first_met
from kernels.loop import level, whole_ticks
from kernels.plans import KIND, LAST, LONG, MORE
from kernels.settling import round_trip_at


@jit
def list_by_ladder(plans, index, bits, enterable, factors, ladder, rungs, orderly, edges, open_, scale, start, limit, stop, words,
                   summary, at, begins, counts, used, most, listed_in, listed_as, prices):  # fmt: skip
    """As `lanes.list_tile`, one genome after the other; `prices` gets the price before slippage at which each hop ends.

    `orderly`: every open lies between low and high. The keys are those of `touch.first_touch`: 4 x candle, +2 within it, +1
    at the aim.
    """
    for j in range(len(plans)):
        begins[j], counts[j] = used, 0
        t = at[j]
        if t >= limit:
            continue
        plan = plans[j]
        join_and_summarise(bits, plan, index, plan[MORE], plan[LAST], enterable, t, limit, words, summary)
        long = plan[LONG] == 1
        sign = 1.0 if long else -1.0
        side = 0 if long else 1
        stops, aims = factors[plan[KIND], 4 * side + STOP_AT], factors[plan[KIND], 4 * side + AIM_AT]
        while t < limit:
            t = next_bit_far(words, summary, t)
            if t >= limit:
                t = limit
                break
            if used == most:
                return np.int64(-1)
            e = t + 1
            price = open_[e]
            guard = sign * level(price, stops, not long, scale) if stops > 0.0 else -np.inf
            aim = -sign * level(price, aims, long, scale) if aims > 0.0 else -np.inf
            # In the entry candle the open does not count; where it lies between low and high, that makes no difference.
            c = e
            if orderly or not (edges[side, e] <= guard or edges[1 - side, e] < aim):
                c = first_met(ladder, rungs, e if orderly else e + 1, 8 * side, guard, aim)
                if c >= stop:
                    listed_in[used], listed_as[used], prices[used] = e, 4 * stop, 0.0
                    used += 1
                    t = stop
                    break
            guarded, opens = ladder[GROUP * (c >> 3) + 8 * side + (c & 7)] <= guard, 2
            if c == e:
                guarded = edges[side, e] <= guard if not orderly else guarded
            else:
                # What lies beyond at the open fills there; the guard goes before the aim.
                price = open_[c]
                at_guard, at_aim = sign * price <= guard, -sign * price < aim
                guarded = at_guard or (guarded and not at_aim)
                opens = 0 if at_guard or at_aim else 2
            listed_in[used] = e
            listed_as[used] = 4 * c + opens + (0 if guarded else 1)
            trigger = sign * (guard if guarded else -aim)
            prices[used] = trigger if opens == 2 else price
            used += 1
            t = c
        at[j] = t
        counts[j] = used - begins[j]
    return used


@jit
def fill_walked(listed_as, first, last, ended, long, costs, prices):
    """Prices of hops first..last-1 become fills, with slippage where a guard ended them, in ticks against us; that of the
    last one `ended` unless that is 0.0. In place."""
    scale = costs.tick_scale
    moves = 1.0 - costs.slippage_frac if long else 1.0 + costs.slippage_frac
    for k in range(first, last):
        move = 1.0 if listed_as[k] & 1 else moves
        prices[k] = whole_ticks(prices[k] * move, not long, scale) / scale
    if ended > 0.0:
        prices[last - 1] = ended


@jit
def price_walked(listed_in, listed_as, first, last, sizes, long, margin, cost_frac, costs, time_ms, money):
    """As `settling.price_hops`, from fills that lie in money[3]."""
    held = np.int64(0)
    pnls, costs_of, turns, fills = money[0], money[1], money[2], money[3]
    maker, taker = costs.maker_frac, costs.taker_frac
    for k in range(first, last):
        e = np.uint64(np.uint32(listed_in[k]))
        key = np.int64(listed_as[k])
        entry_notional, exit_notional, fees, pnl = round_trip_at(
            sizes[e, 0], sizes[e, 1], fills[k], np.int64(listed_in[k]), key, long, margin, cost_frac,
            maker if key & 1 else taker, costs, time_ms,
        )  # fmt: skip
        pnls[k] = pnl
        costs_of[k] = fees
        turns[k] = entry_notional + exit_notional
        held += (key >> 2) - np.int64(listed_in[k]) + ((key >> 1) & 1)
    return held
