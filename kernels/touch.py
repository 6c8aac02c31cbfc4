"""First-touch tables: for one level and every possible entry candle, when that level is met first, and at which fill.

A level depends on the entry's open alone, so that one table of int32[n] serves all genomes that share stop, target,
trailing or liquidation distance. A table holds keys: 4 x candle, +2 where the level is met within the candle and not by
its open, +1 where it is an aim; n for the candle where there is none. The order of keys is the order of the checks within
a candle (open beyond guard, open beyond aim, guard, aim), so that the lesser of two keys says how a position ends. (Tables
of trailing levels hold 4 x candle alone: beside them the prices of the candle decide.)

Prices are held with a sign: `sign` +1 reads lows from above (a long's stop, a short's target), -1 reads negated highs (a
long's target, a short's stop); "met" is then always "at or below" (`strict`: below).

Entries are visited from the last to the first with a stack of the running minima that lie ahead: values grow towards
its top, so that the first candle at or below a level is found by bisection, mostly at the place found last.
"""

import numpy as np

from kernels.jit import inlined, jit
from kernels.loop import level, whole_ticks


@jit
def signed_extremes(sign, open_, high, low, at_entry, later):
    """Fill what a level is compared with: `at_entry` in the entry candle, `later` after it (its open counts). In place."""
    for c in range(len(open_)):
        edge = low[c] if sign > 0 else -high[c]
        at_entry[c] = edge
        later[c] = min(edge, sign * open_[c])


@inlined
def push(values, stack, height, c, value):
    """Put candle c on top of the running minima ahead; returns the new height. Amortised O(1)."""
    while height > 0 and values[height - 1] >= value:
        height -= 1
    values[height] = value
    stack[height] = c
    return height + 1


@inlined
def meets(value, wanted, strict):
    return value < wanted or (value == wanted and not strict)


@inlined
def find(values, height, wanted, strict, hint):
    """The highest place whose value meets `wanted`, or -1; `hint` is where to look first."""
    if 0 <= hint < height and meets(values[hint], wanted, strict):
        if hint + 1 == height or not meets(values[hint + 1], wanted, strict):
            return hint
        low, high = hint + 1, height
    else:
        low, high = 0, height
    while low < high:
        middle = (low + high) >> 1
        if meets(values[middle], wanted, strict):
            low = middle + 1
        else:
            high = middle
    return low - 1


@jit
def first_touch(open_, at_entry, later, factors, sign, strict, scale, values, stack, hints, slots, tables):
    """Fill tables[slots[k]] (int32[n]): key of the first candle from entry e on that meets open[e] * factors[k]; aims
    are met `strict`ly.

    In place; `values` float64[n] and `stack` int32[n] are scratch, `hints` int64[K] zeros. O(levels x n).
    """
    n = len(open_)
    height = 0
    aims = np.int32(1 if strict else 0)
    for e in range(n - 1, -1, -1):
        for k in range(len(factors)):
            wanted = sign * level(open_[e], factors[k], sign < 0, scale)
            place = find(values, height, wanted, strict, hints[k])
            hints[k] = place
            found = stack[place] if place >= 0 else np.int32(n)
            # The open of a later candle is beyond the level; that of the entry candle is where the level comes from.
            within = found == n or not meets(sign * open_[found], wanted, strict)
            key = 4 * found + (2 if within else 0)
            tables[slots[k], e] = (4 * e + 2 if meets(at_entry[e], wanted, strict) else key) + aims
        height = push(values, stack, height, e, later[e])


@jit
def trailing_touch(
    open_, close, at_entry, later, factor, sign, scale, values, stack, bests, places, after, source, table, best_at
):
    """Fill `table` (int32[n]) with 4 x the candle that meets the trailing level of an entry at e, n when none, and
    `best_at` (int32[n]) with the candle whose close set that level, -1 for the entry's open.

    From the first close beyond the best so far on, the path is that of any position with this best: `after` and `source`
    (int32[n], scratch as the four before) hold touch and best for a level set at the close of c. In place, O(n log n).
    """
    n = len(open_)
    height, peaks = 0, 0
    for e in range(n - 1, -1, -1):
        wanted = sign * level(open_[e], factor, sign < 0, scale)
        if meets(at_entry[e], wanted, False):
            touched = e
        else:
            place = find(values, height, wanted, False, -1)
            touched = stack[place] if place >= 0 else n
        # A better close of candle c: the level moves from c + 1 on.
        wanted = sign * level(close[e], factor, sign < 0, scale)
        place = find(values, height, wanted, False, -1)
        met = stack[place] if place >= 0 else n
        place = find(bests, peaks, -sign * close[e], True, -1)
        better = places[place] if place >= 0 else n
        if met <= better:
            after[e], source[e] = met, e
        else:
            after[e], source[e] = after[better], source[better]
        peaks = push(bests, places, peaks, e, -sign * close[e])
        height = push(values, stack, height, e, later[e])
        place = find(bests, peaks, -sign * open_[e], True, -1)
        better = places[place] if place >= 0 else n
        if touched <= better:
            table[e], best_at[e] = 4 * touched, -1
        else:
            table[e], best_at[e] = 4 * after[better], source[better]


@jit
def price_touches(keys, open_, factor, long, aims, slippage, scale, out):
    """out[e] (float64[n]) = the fill of a position entered at e that ends at `keys[e]` of `first_touch`: at the open or at
    the level, with slippage for a guard, in ticks against us; meaningless where the level is never met. In place."""
    n = len(open_)
    slip = 0.0 if aims else slippage
    moves = 1.0 - slip if long else 1.0 + slip
    for e in range(n):
        trigger = level(open_[e], factor, long == aims, scale)
        met = min(np.int64(keys[e]) >> 2, n - 1)
        price = trigger if keys[e] & 2 else open_[met]
        out[e] = whole_ticks(price * moves, not long, scale) / scale
