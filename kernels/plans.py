"""Which genomes are listed hop by hop, how, and the plan of each: what its walk needs to know, in one line of numbers."""

from kernels.hop import AIM_AT, RUIN_AT, STOP_AT, TRAIL_AT
from kernels.jit import inlined, jit
from kernels.layout import GIVEN

#: How a genome is walked: alone (`hop.hop`), in lanes by tables (`lanes`), by the ladder where it lacks one (`walking`).
ALONE, BY_TABLES, BY_LADDER = range(3)
#: Columns of a plan: rows of the first three rules, where further rules begin and end, rows of the guard's and the aim's
#: tables, row of the sizes, whether it is long, and on margin, its combination.
MORE, LAST, GUARD_ROW, AIM_ROW, SIZE_ROW, LONG, MARGIN, KIND = range(3, 11)
PLAN_COLUMNS = 11


@inlined
def way_of(g, factors, slots, i):
    """By tables or by the ladder: one side, no exit rule, no holding limit, no other guard that could be met before the stop;
    by tables with those of stop and target. Sizes that follow from the past are beyond `settling`.

    Whether another guard is on says its factor: a guard without a table is on all the same. A liquidation level that is no
    nearer than the stop is never met before it: levels rise with their factors, and of equal ones the stop counts.
    """
    b = 0 if g.long_exit > g.long_entry else 4
    one_side = (g.long_exit == g.long_entry) != (g.short_exit == g.short_entry)
    by_price = g.long_exit == g.short_entry and g.short_exit == g.end and g.max_hold == 0
    stop, ruin = factors[i, b + STOP_AT], factors[i, b + RUIN_AT]
    nearest = ruin == 0.0 or (stop > 0.0 and (ruin <= stop if b == 0 else ruin >= stop))
    if not (g.sizing == GIVEN and one_side and by_price and nearest and factors[i, b + TRAIL_AT] == 0.0):
        return ALONE
    return BY_TABLES if slots[i, b + STOP_AT] >= 0 and slots[i, b + AIM_AT] >= 0 else BY_LADDER


@jit
def mark_ways(order, genomes, kind_of, factors, slots, out):
    """out[k] (int8) = how genome order[k] is walked. In place."""
    for k in range(len(order)):
        out[k] = way_of(genomes[order[k]], factors, slots, kind_of[order[k]])


@jit
def plan_walks(order, genomes, index, kind_of, slots, size_rows, plans):
    """plans[j] = what the walk of genome order[j] needs to know. In place.

    The genomes lie anywhere: a loop of its own fetches several at a time, where a walk would wait for each.
    """
    for j in range(len(order)):
        g = genomes[order[j]]
        kind = kind_of[order[j]]
        long = g.long_exit > g.long_entry
        first, last = (g.long_entry, g.long_exit) if long else (g.short_entry, g.short_exit)
        b = 0 if long else 4
        plan = plans[j]
        for k in range(3):
            plan[k] = index[min(first + k, last - 1)]
        plan[MORE], plan[LAST] = first + 3, last
        plan[GUARD_ROW], plan[AIM_ROW] = slots[kind, b + STOP_AT], slots[kind, b + AIM_AT]
        plan[SIZE_ROW], plan[KIND] = size_rows[kind], kind
        plan[LONG] = 1 if long else 0
        plan[MARGIN] = 1 if not long or g.leverage > 1.0 else 0
