"""Random genomes, crossover and mutation on rows of integers (`kernels.integers`), compiled. All work in place.

Every row that leaves here is the row of a valid canonical genome within its space. `space` is a `Layout`, `state` that of
`kernels.evolution.draws`; a row is int16[L]. Parts of rules: 0 long entry, 1 long exit, 2 short entry, 3 short exit.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.evolution.draws import below, raw
from kernels.integers import FIRST_RULE, LONG, SHORT, Coding
from kernels.jit import jit

TOURNAMENT = 3
ONE = np.uint64(1)
GENES = FIRST_RULE - 1
#: Edits, drawn uniformly: what pays most often, the rules, stands here more than once.
TUNE, SWAP, ADD, DROP, RISK, TURN = range(6)
_EDITS = np.array([TUNE, TUNE, TUNE, SWAP, SWAP, ADD, DROP, RISK, RISK, RISK, TURN])


class Layout(NamedTuple):
    """A space as compiled code reads it; fields as in `Coding`."""

    parts: NDArray[np.int64]
    bounds: NDArray[np.int64]
    sides: NDArray[np.int64]
    sizes: NDArray[np.int64]
    kin: NDArray[np.int64]
    kin_from: NDArray[np.int64]


def layout_of(coding: Coding) -> Layout:
    return Layout(*(getattr(coding, name) for name in Layout._fields))


@jit
def same(a, b):
    """Are two rows equal?"""
    for k in range(len(a)):  # noqa: SIM110 (numba compiles no generator inside all())
        if a[k] != b[k]:
            return False
    return True


@jit
def copy_part(source, row, first, last):
    """row[first:last] = source[first:last], without the allocation that a slice may cost."""
    for k in range(first, last):
        row[k] = source[k]


@jit
def count_rules(row, first, last):
    k = first
    while k < last and row[k] >= 0:
        k += 1
    return k - first


@jit
def has_rule(row, first, last, rule):
    for k in range(first, last):  # noqa: SIM110 (numba compiles no generator inside any())
        if row[k] == rule:
            return True
    return False


@jit
def insert_rule(row, first, count, rule):
    """Into a part that begins at `first` and holds `count` rules, with room for one more."""
    k = first + count
    while k > first and row[k - 1] > rule:
        row[k] = row[k - 1]
        k -= 1
    row[k] = rule


@jit
def remove_rule(row, at, last):
    """The rule at place `at` of a part that ends at `last`."""
    for k in range(at, last - 1):
        row[k] = row[k + 1]
    row[last - 1] = -1


@jit
def draw_side(space, state, row, side):
    """Random rules for a side (0 long, 1 short): the number uniform within its bounds, every set equally likely (Floyd)."""
    rules = len(space.kin_from)
    for part in range(2 * side, 2 * side + 2):
        first, last = space.parts[part], space.parts[part + 1]
        row[first:last] = -1
        low, high = space.bounds[part, 0], space.bounds[part, 1]
        many = low + below(state, high - low + 1)
        for k in range(many):
            top = rules - many + k
            rule = below(state, top + 1)
            insert_rule(row, first, k, top if has_rule(row, first, first + k, rule) else rule)


@jit
def clear_side(space, row, side):
    row[space.parts[2 * side] : space.parts[2 * side + 2]] = -1


@jit
def draw_row(space, state, row):
    """A random genome: each gene uniform over its choices, then the rules of each side."""
    row[0] = below(state, len(space.sides))
    for gene in range(GENES):
        row[1 + gene] = below(state, space.sizes[gene])
    for side in range(2):
        if space.sides[row[0]] & (LONG << side):
            draw_side(space, state, row, side)
        else:
            clear_side(space, row, side)


@jit
def tournament(state, size):
    """The place of the winner among `size` ranked genomes, best first: the best of `TOURNAMENT` draws."""
    best = below(state, size)
    for _ in range(TOURNAMENT - 1):
        best = min(best, below(state, size))
    return best


@jit
def draw_part(space, state, row):
    """A part of a side that the row's direction has."""
    sides = space.sides[row[0]]
    if sides == LONG:
        return below(state, 2)
    if sides == SHORT:
        return 2 + below(state, 2)
    return below(state, 4)


@jit
def edit_rules(space, state, row, kind):
    """TUNE: the same comparison with another period, constant or operator; SWAP: any other rule in the place of one; ADD;
    DROP. False when it does not apply."""
    part = draw_part(space, state, row)
    first, last = space.parts[part], space.parts[part + 1]
    many = count_rules(row, first, last)
    if kind == ADD:
        new = below(state, len(space.kin_from))
        if many >= space.bounds[part, 1] or has_rule(row, first, last, new):
            return False
        insert_rule(row, first, many, new)
        return True
    if many == 0 or (kind == DROP and many <= space.bounds[part, 0]):
        return False
    at = first + below(state, many)
    if kind == DROP:
        remove_rule(row, at, last)
        return True
    if kind == TUNE:
        low, high = space.kin_from[row[at], 0], space.kin_from[row[at], 1]
        new = space.kin[low + below(state, high - low)]
    else:
        new = below(state, len(space.kin_from))
    if has_rule(row, first, last, new):
        return False
    remove_rule(row, at, last)
    insert_rule(row, first, many - 1, new)
    return True


@jit
def edit_gene(space, state, row):
    """One gene to a neighbouring choice or, as often, to any other. False when nothing changed."""
    gene = below(state, GENES)
    size, old = space.sizes[gene], np.int64(row[1 + gene])
    if below(state, 2):
        new = min(max(old + (1 if below(state, 2) else -1), 0), size - 1)
    else:
        new = below(state, size)
    row[1 + gene] = new
    return new != old


@jit
def turn(space, state, row):
    """Another direction: a side that stays keeps its rules, one that is new takes random ones."""
    new = below(state, len(space.sides))
    if new == row[0]:
        return False
    before = space.sides[row[0]]
    row[0] = new
    for side in range(2):
        bit = LONG << side
        if not space.sides[new] & bit:
            clear_side(space, row, side)
        elif not before & bit:
            draw_side(space, state, row, side)
    return True


@jit
def edit(space, state, row):
    """One small change. Some do not apply (a full set, a gene with one choice): then another is drawn."""
    while True:
        kind = _EDITS[below(state, len(_EDITS))]
        if kind == RISK:
            done = edit_gene(space, state, row)
        elif kind == TURN:
            done = turn(space, state, row)
        else:
            done = edit_rules(space, state, row, kind)
        if done:
            return


@jit
def mutate(space, state, row, strength, was):
    """1 to `strength` edits; never the genome itself. `was` (L,) is scratch."""
    copy_part(row, was, 0, len(row))
    for _ in range(1 + below(state, strength)):
        edit(space, state, row)
    if same(row, was):  # edits can undo each other; a single one cannot undo itself
        edit(space, state, row)


@jit
def cross_part(space, state, a, b, part, row):
    """Each rule of the union with one half, topped up or thinned out at random to the allowed number."""
    first, last = space.parts[part], space.parts[part + 1]
    row[first:last] = -1
    low, high = space.bounds[part, 0], space.bounds[part, 1]
    coins = raw(state)
    # Reservoirs of what the coins took (up to `high`) and left need no list: walk the union as often as it takes.
    taken, seen, place = 0, 0, 0
    for parent in range(2):
        source = a if parent == 0 else b
        for k in range(first, last):
            rule = source[k]
            if rule < 0 or (parent == 1 and has_rule(a, first, last, rule)):
                continue
            heads = (coins >> np.uint64(place)) & ONE == ONE
            place += 1
            if not heads:
                continue
            seen += 1
            if taken < high:
                insert_rule(row, first, taken, rule)
                taken += 1
            elif high > 0:
                out = below(state, seen)  # every subset of `high` equally likely
                if out < high:
                    remove_rule(row, first + out, last)
                    insert_rule(row, first, high - 1, rule)
    while taken < low:
        source = a if below(state, 2) else b
        rule = source[first + below(state, count_rules(source, first, last))]
        if not has_rule(row, first, last, rule):
            insert_rule(row, first, taken, rule)
            taken += 1


@jit
def cross(space, state, a, b, row, was):
    """Into `row` a child of rows a and b: each gene from either parent, rule sets uniformly mixed; a side that only one
    parent has comes from that one whole. Differs from both, else it mutates."""
    coins = raw(state)
    for k in range(FIRST_RULE):
        row[k] = a[k] if (coins >> np.uint64(k)) & ONE == ONE else b[k]
    for side in range(2):
        bit = LONG << side
        first, last = space.parts[2 * side], space.parts[2 * side + 2]
        in_a, in_b = space.sides[a[0]] & bit != 0, space.sides[b[0]] & bit != 0
        if not space.sides[row[0]] & bit:
            row[first:last] = -1
        elif in_a and in_b:
            cross_part(space, state, a, b, 2 * side, row)
            cross_part(space, state, a, b, 2 * side + 1, row)
        else:
            copy_part(a if in_a else b, row, first, last)
    while same(row, a) or same(row, b):  # mutants of one parent may be the other parent
        mutate(space, state, row, 1, was)


@jit
def steps_of(space):
    """How many numbered neighbours `neighbour` knows; some do not exist for a given row."""
    return 2 * GENES + (space.parts[4] - space.parts[0]) * (len(space.kin_from) + 1)


@jit
def neighbour(space, source, number, row):
    """Into `row` neighbour `number` of `source`: a gene one step up or down, then for each place of a rule: without it,
    and with every other rule in its place (or added, at the first free one). False where there is none."""
    copy_part(source, row, 0, len(row))
    if number < 2 * GENES:
        gene = number >> 1
        new = np.int64(source[1 + gene]) + (1 if number & 1 else -1)
        row[1 + gene] = new
        return 0 <= new < space.sizes[gene]
    number -= 2 * GENES
    at = space.parts[0] + number // (len(space.kin_from) + 1)
    rule = number % (len(space.kin_from) + 1) - 1
    part = 0
    while at >= space.parts[part + 1]:
        part += 1
    if not space.sides[source[0]] & (LONG << (part >> 1)):
        return False
    first, last = space.parts[part], space.parts[part + 1]
    many = count_rules(source, first, last)
    if rule < 0:
        if at >= first + many or many <= space.bounds[part, 0]:
            return False
        remove_rule(row, at, last)
        return True
    if at > first + many or has_rule(source, first, last, rule):
        return False
    if at < first + many:
        remove_rule(row, at, last)
        many -= 1
    insert_rule(row, first, many, rule)
    return True


def random_row(coding: Coding, state: NDArray[np.uint64]) -> NDArray[Any]:
    """A row of its own."""
    row = np.full(coding.width, -1, dtype=np.int16)
    draw_row(layout_of(coding), state, row)
    return row
