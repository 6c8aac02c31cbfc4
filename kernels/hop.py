"""The fast path: from entry to exit in one step, the same bits as `kernels.loop` and `kernels.summary`.

Entries come from the AND of rule bitmaps, exits from first-touch tables (`kernels.touch`) or, where a genome has none,
from a walk over blocks (`kernels.blocks`). Figures are summed trade by trade in the order of `summary.tier1_row`.

Sides: 0 long, 1 short. Per combination of risk and sides, `factors` float64[R, 8] and `slots` int64[R, 8] hold for each
side stop, liquidation, trailing and
target in this order: the level as a multiple of the entry's open (0.0 = off) and its table (-1 = none). A trailing
table's best closes lie in the row behind it.
"""

import numpy as np

from kernels.bitmaps import fence, join_all, join_any, next_bit, next_bit_far, summarise
from kernels.blocks import walk_to_touch
from kernels.jit import inlined, jit
from kernels.layout import GIVEN, VOLATILITY
from kernels.loop import fraction_after, level, noted, size_in_lots, whole_ticks
from kernels.summary import make_canonical, no_sums, tally, write_row
from kernels.terms import ROLLOVER_MS
from kernels.trade import END, HOLDING, LIQUIDATION, RULE, STOP, TARGET, TRAILING

STOP_AT, RUIN_AT, TRAIL_AT, AIM_AT = range(4)


@inlined
def guard_at(touched, e, b, i, factors, slots, tables, sign, origin, open_, close, scale):
    """(signed guard level, reason) in the candle `touched` in which a table says that one of the guards is met."""
    guard, reason = -np.inf, STOP
    factor = factors[i, b + STOP_AT]
    if factor > 0.0:
        guard = sign * level(origin, factor, sign < 0, scale)
    slot = slots[i, b + TRAIL_AT]
    if slot >= 0 and tables[slot, e] >> 2 == touched:
        best = tables[slot + 1, e]
        price = sign * level(origin if best < 0 else close[best], factors[i, b + TRAIL_AT], sign < 0, scale)
        if price > guard:
            guard, reason = price, TRAILING
    factor = factors[i, b + RUIN_AT]
    if factor > 0.0:
        price = sign * level(origin, factor, sign < 0, scale)
        if price > guard:
            guard, reason = price, LIQUIDATION
    return guard, reason


@inlined
def touched_by_table(e, b, i, slots, tables, stop):
    """(first candle in which a guard is met, first in which the aim is), `stop` or more where there is none."""
    guarded, aimed = stop, stop
    slot = slots[i, b + STOP_AT]
    if slot >= 0:
        guarded = np.int64(tables[slot, e]) >> 2
    slot = slots[i, b + RUIN_AT]
    if slot >= 0:
        guarded = min(guarded, np.int64(tables[slot, e]) >> 2)
    slot = slots[i, b + TRAIL_AT]
    if slot >= 0:
        guarded = min(guarded, np.int64(tables[slot, e]) >> 2)
    slot = slots[i, b + AIM_AT]
    if slot >= 0:
        aimed = np.int64(tables[slot, e]) >> 2
    return guarded, aimed


@jit
def touched_by_blocks(side, e, end, i, factors, scale, open_, close, edges, later, small, large, shifts):
    """(first candle before `end` in which guard or aim is met, or `end`; signed guard there; its reason; signed aim)."""
    b = 4 * side
    sign = 1.0 - 2.0 * side
    origin = open_[e]
    hard, ruin = factors[i, b + STOP_AT], factors[i, b + RUIN_AT]
    trailing, aiming = factors[i, b + TRAIL_AT], factors[i, b + AIM_AT]
    fixed = sign * level(origin, hard, sign < 0, scale) if hard > 0.0 else -np.inf
    ruined = sign * level(origin, ruin, sign < 0, scale) if ruin > 0.0 else -np.inf
    trail = sign * level(origin, trailing, sign < 0, scale) if trailing > 0.0 else -np.inf
    aim = -sign * level(origin, aiming, sign > 0, scale) if aiming > 0.0 else -np.inf
    touched, trail = walk_to_touch(
        side, e, end, max(fixed, ruined), trail, trailing, aim, sign, scale, open_, close, edges, later, small, large,
        shifts,
    )  # fmt: skip
    guard, reason = fixed, STOP
    if trail > guard:
        guard, reason = trail, TRAILING
    if ruined > guard:
        guard, reason = ruined, LIQUIDATION
    return touched, guard, reason, aim


@inlined
def fill_in(side, sign, c, after_entry, price, guard, reason, aim, edges):
    """(price before slippage, reason, fills at the open) in the candle c that meets guard or aim, whose open is `price`.

    What lies beyond at the open fills there; the guard goes before the aim.
    """
    at_open = True
    if after_entry and sign * price <= guard:
        pass
    elif after_entry and -sign * price < aim:
        reason = TARGET
    elif edges[side, c] <= guard:
        price, at_open = sign * min(guard, sign * price), False
    else:
        price, reason, at_open = -sign * aim, TARGET, False
    return price, reason, at_open


@inlined
def round_trip(long, lots, entry_price, cost_frac, price, reason, margin, at_open, entry, left, time_ms, costs):
    """(entry notional, exit notional, fees, pnl) of a position left at `price` before slippage; as `loop.settle`."""
    scale = costs.tick_scale
    size = lots / costs.lot_scale
    entry_notional = size * entry_price
    slip = 0.0 if reason == TARGET else costs.slippage_frac
    fee_frac = costs.maker_frac if reason == TARGET else costs.taker_frac
    moved = price * (1.0 - slip) if long else price * (1.0 + slip)
    fill = whole_ticks(moved, not long, scale) / scale
    rollover = 0.0
    if margin:
        left_ms = time_ms[left] if at_open else time_ms[left] + costs.granularity_ms
        rollover = entry_notional * costs.rollover_frac * ((left_ms - time_ms[entry]) // ROLLOVER_MS)
    gross = (fill - entry_price) * size if long else (entry_price - fill) * size
    exit_notional = fill * size
    fees = entry_notional * cost_frac + rollover + exit_notional * fee_frac
    return entry_notional, exit_notional, fees, gross - fees


@jit
def hop(g, i, factors, slots, tables, costs, time_ms, open_, close, edges, later, small, large, shifts,
        entries, summary, buys, long_exits, short_exits, start, stop, returns, out):  # fmt: skip
    """One genome, of combination i, through candles start..stop-1; fills its row `out`, `returns` is scratch. In place.

    `entries` has a bit for every close at which one side alone wants to enter, `buys` for those of the long side (read
    when there are two).
    """
    limit = stop - 1
    scale, lot_scale = costs.tick_scale, costs.lot_scale
    slippage, taker = costs.slippage_frac, costs.taker_frac
    leverage, amount, fraction, hold = g.leverage, g.amount, g.fraction, g.max_hold
    leaves_by_rule = (g.short_entry > g.long_exit, g.end > g.short_exit)
    due_long, due_short = np.int64(-1), np.int64(-1)
    sums = no_sums(costs)
    count = 0
    equity = costs.start_equity
    record = (0, 0, 0.0, 0.0)
    long = g.long_exit > g.long_entry
    both = long and g.short_exit > g.short_entry
    by_table = True
    for k in range(8):
        by_table &= factors[i, k] == 0.0 or slots[i, k] >= 0
    # A stop and a target alone: at most one guard, which lies below the entry.
    simple = (
        slots[i, RUIN_AT] < 0 and slots[i, TRAIL_AT] < 0 and slots[i, 4 + RUIN_AT] < 0 and slots[i, 4 + TRAIL_AT] < 0
    )
    t = start
    while True:
        t = next_bit_far(entries, summary, t)
        if t >= limit:
            break
        entry = t + 1
        if both:
            long = (buys[t >> 6] >> np.uint64(t & 63)) & np.uint64(1) == np.uint64(1)
        price = open_[entry]
        moved = price * (1.0 + slippage) if long else price * (1.0 - slippage)
        entry_price = whole_ticks(moved, long, scale) / scale
        margin = not long or leverage > 1.0
        cost_frac = taker + costs.opening_frac if margin else taker
        if g.sizing != GIVEN:
            fraction = fraction_after(record, g, close, t)
        budget = amount if amount > 0.0 else equity * fraction
        lots = size_in_lots(equity, budget, leverage, entry_price, cost_frac, lot_scale, costs.min_notional)
        if lots == 0.0:
            if not (0.0 < budget <= equity) and g.sizing != VOLATILITY:
                break  # equity, and the record of trades, are what they are until a position is opened
            t = entry
            continue
        due = stop
        if long and leaves_by_rule[0]:
            if due_long < entry:
                due_long = next_bit(long_exits, entry)
            due = due_long
        elif not long and leaves_by_rule[1]:
            if due_short < entry:
                due_short = next_bit(short_exits, entry)
            due = due_short
        side = 0 if long else 1
        sign = 1.0 if long else -1.0
        decided, why = stop, RULE
        if hold > 0 and entry + hold < stop:
            decided, why = entry + hold, HOLDING
        if due + 1 < stop and due + 1 <= decided:
            decided, why = due + 1, RULE
        touched = stop
        if by_table:
            guarded, aimed = touched_by_table(entry, 4 * side, i, slots, tables, stop)
            touched = min(guarded, aimed)
            if touched < decided and simple and guarded != aimed:
                # Stop or target, and not both: which of them is a coin toss, so nothing here branches on it.
                reason = TARGET if aimed < guarded else STOP
                factor = factors[i, 4 * side + (AIM_AT if aimed < guarded else STOP_AT)]
                trigger = level(price, factor, long == (aimed < guarded), scale)
                price = open_[touched]
                at_open = touched > entry and (sign * price <= sign * trigger) != (aimed < guarded)
                price = price if at_open else trigger
                left = touched
            elif touched < decided:
                guard, aim, reason = -np.inf, -np.inf, STOP
                if guarded <= aimed:
                    guard, reason = guard_at(
                        touched, entry, 4 * side, i, factors, slots, tables, sign, price, open_, close, scale
                    )
                if aimed <= guarded:
                    aim = -sign * level(price, factors[i, 4 * side + AIM_AT], long, scale)
                left = touched
                price, reason, at_open = fill_in(side, sign, left, left > entry, open_[left], guard, reason, aim, edges)
        else:
            touched, guard, reason, aim = touched_by_blocks(
                side, entry, decided, i, factors, scale, open_, close, edges, later, small, large, shifts
            )
            if touched < decided:
                left = touched
                price, reason, at_open = fill_in(side, sign, left, left > entry, open_[left], guard, reason, aim, edges)
        if touched >= decided:
            if decided < stop:
                left, price, reason, at_open = decided, open_[decided], why, True
            else:
                left, price, reason, at_open = stop - 1, close[stop - 1], END, False
        entry_notional, exit_notional, fees, pnl = round_trip(
            long, lots, entry_price, cost_frac, price, reason, margin, at_open, entry, left, time_ms, costs
        )
        returns[count] = pnl / equity
        equity = equity + pnl
        if g.sizing != GIVEN:
            record = noted(record, pnl, entry_notional)
        held = left - entry if at_open else left - entry + 1
        sums = tally(sums, pnl, equity, entry_notional, exit_notional, fees, held, costs)
        count += 1
        t = left
    write_row(sums, equity, returns, costs, stop - start, out)
    make_canonical(out)


@jit
def hop_batch(order, genomes, index, kind_of, factors, slots, bits, enterable, tables, costs, time_ms, open_, close, edges, later,
              small, large, shifts, start, stop, words, returns, out):  # fmt: skip
    """Rows out[i] for every i of `order` (G', int64) over one window; `words` uint64[5, W'] (whole groups of 64) and
    `returns` are scratch."""
    entries, summary, buys, long_exits, short_exits = words[0], words[1], words[2], words[3], words[4]
    for i in order:
        g = genomes[i]
        if g.long_exit > g.long_entry:
            join_all(bits, index, g.long_entry, g.long_exit, enterable, start, stop, entries)
            if g.short_exit > g.short_entry:
                join_all(bits, index, g.short_entry, g.short_exit, enterable, start, stop, buys)
                for w in range(start >> 6, ((stop - 1) >> 6) + 1):
                    sells = buys[w]
                    buys[w] = entries[w]
                    entries[w] ^= sells
        else:
            join_all(bits, index, g.short_entry, g.short_exit, enterable, start, stop, entries)
        if g.short_entry > g.long_exit:
            join_any(bits, index, g.long_exit, g.short_entry, start, stop, long_exits)
            fence(long_exits, stop)
        if g.end > g.short_exit:
            join_any(bits, index, g.short_exit, g.end, start, stop, short_exits)
            fence(short_exits, stop)
        fence(entries, stop - 1)
        summarise(entries, start, stop - 1, summary)
        hop(genomes[i], kind_of[i], factors, slots, tables, costs[0], time_ms, open_, close, edges, later, small, large, shifts,
            entries, summary, buys, long_exits, short_exits, start, stop, returns, out[i])  # fmt: skip
