"""Who survives: the order of genomes, niches by rule-set overlap, Pareto fronts with crowding; compiled, ties by genome hash.

`fits` float64[N, 5] is a fitness table of `kernels.evolution.ranking`, `keys` uint8[N, 32], `order` int64 numbers of rows.
`scores` float64[N, 3], smaller is better: class, then two more figures that decide within it.
"""

import numpy as np

from kernels.evolution.ranking import DRAWDOWN, FLAGS, OBJECTIVE, SHARPE, TRADES
from kernels.integers import FIRST_RULE
from kernels.jit import jit

ENOUGH = 0.0


@jit
def score(fits, trades_wanted, scores):
    """Class and objective of every genome, as `ranking.standing` has them. In place."""
    for i in range(len(fits)):
        fit = fits[i]
        scores[i, 1], scores[i, 2] = 0.0, 0.0
        if fit[FLAGS] != 0.0:
            scores[i, 0] = 3.0
        elif fit[TRADES] <= 0.0 or not np.isfinite(fit[OBJECTIVE]):
            scores[i, 0] = 2.0
        else:
            scores[i, 0] = 1.0 if fit[TRADES] < trades_wanted else ENOUGH
            scores[i, 1] = -fit[OBJECTIVE]


@jit
def best_of(fits, trades_wanted, scores):
    """(class, objective negated) of the best by these two, for at least one genome; `scores` as of `score`. In place."""
    score(fits, trades_wanted, scores)
    first, second = scores[0, 0], scores[0, 1]
    for i in range(1, len(scores)):
        if scores[i, 0] < first or (scores[i, 0] == first and scores[i, 1] < second):
            first, second = scores[i, 0], scores[i, 1]
    return first, second


@jit
def first_few(scores, keys, worst, most, chosen):
    """The best `most` genomes whose class is at most `worst`, in order, into `chosen` int64[most]; returns how many. In place."""
    count = 0
    for i in range(len(scores)):
        if scores[i, 0] > worst or (count == most and not goes_before(scores, keys, i, chosen[count - 1])):
            continue
        at = count if count < most else most - 1
        while at > 0 and goes_before(scores, keys, i, chosen[at - 1]):
            chosen[at] = chosen[at - 1]
            at -= 1
        chosen[at] = i
        count = min(count + 1, most)
    return count


@jit
def goes_before(scores, keys, a, b):
    """Is genome a ranked before b? A total order for distinct keys; no score is NaN."""
    for k in range(3):
        if scores[a, k] != scores[b, k]:
            return scores[a, k] < scores[b, k]
    for k in range(keys.shape[1]):
        if keys[a, k] != keys[b, k]:
            return keys[a, k] < keys[b, k]
    return False


@jit
def rank(scores, keys, order):
    """Sort `order` best first (heap sort: no scratch, and the order is total). In place."""
    n = len(order)
    for start in range(n // 2 - 1, -1, -1):
        sink(scores, keys, order, start, n)
    for last in range(n - 1, 0, -1):
        order[0], order[last] = order[last], order[0]
        sink(scores, keys, order, 0, last)


@jit
def sink(scores, keys, order, at, n):
    """Restore the heap of order[0..n-1], worst on top, below place `at`. In place."""
    moved = order[at]
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and goes_before(scores, keys, order[child], order[child + 1]):
            child += 1
        if not goes_before(scores, keys, moved, order[child]):
            break
        order[at] = order[child]
        at = child
    order[at] = moved


@jit
def list_rules(rows, order, rules):
    """rules[i] int16[R]: the rules of row i wherever they stand, their number in the last place, for every i of `order`."""
    for i in order:
        many = 0
        for k in range(FIRST_RULE, rows.shape[1]):
            if rows[i, k] >= 0:
                rules[i, many] = rows[i, k]
                many += 1
        rules[i, rules.shape[1] - 1] = many


@jit
def alike(a, b):
    """Do two lists of `list_rules` share more than half of the rules of the longer one?"""
    last = len(a) - 1
    shared = 0
    for k in range(a[last]):
        for m in range(b[last]):
            shared += 1 if a[k] == b[m] else 0
    return 2 * shared > max(a[last], b[last])


@jit
def thin_out(rows, order, crowd, most, rules, kept):
    """The first `most` of `order` that have at most `crowd` - 1 alike among those kept before; places left over go to the
    best of those passed over. `kept` int64[most]; returns how many. `rules` int16[N, R] is scratch. In place."""
    list_rules(rows, order, rules)
    count, passed = 0, 0
    for at in range(len(order)):
        i = order[at]
        if count == most:
            break
        near = 0
        for k in range(count):
            near += 1 if alike(rules[kept[k]], rules[i]) else 0
            if near == crowd:
                break
        if near < crowd:
            kept[count] = i
            count += 1
        else:
            order[passed] = i  # never ahead of `at`
            passed += 1
    for at in range(passed):
        if count == most:
            break
        kept[count] = order[at]
        count += 1
    return count


@jit
def aim(fit, k):
    """Aim k of four, larger is better: return, Sharpe, shallow drawdown, trades; what is not defined is worst."""
    if k == 0:
        value = fit[OBJECTIVE]
    elif k == 1:
        value = fit[SHARPE]
    elif k == 2:
        value = -fit[DRAWDOWN]
    else:
        value = fit[TRADES]
    return -np.inf if np.isnan(value) else value


@jit
def dominates(a, b):
    """Is a at least as good as b in every aim and better in one?"""
    better = False
    for k in range(4):
        x, y = aim(a, k), aim(b, k)
        if x < y:
            return False
        better |= x > y
    return better


@jit
def number_fronts(fits, scores, members, left):
    """scores[i, 1] = the number of the non-dominated front of every i of `members` (Deb 2002). `left` int64 is scratch."""
    waiting = len(members)
    for a in range(waiting):
        left[a] = members[a]
    front = 0
    while waiting > 0:
        for a in range(waiting):
            scores[left[a], 1] = np.float64(front)
            for b in range(waiting):
                if dominates(fits[left[b]], fits[left[a]]):
                    scores[left[a], 1] = front + 1
                    break
        stay = 0
        for a in range(waiting):
            if scores[left[a], 1] > front:
                left[stay] = left[a]
                stay += 1
        waiting = stay
        front += 1
    return front


@jit
def crowd_fronts(fits, scores, keys, members, fronts, some, by):
    """scores[i, 2] = minus the crowding distance of every i of `members` within its front: the sum over aims of the gap
    between its neighbours, as part of the front's range; infinite at either end. `some` int64[N] and `by` float64[N, 3] are
    scratch. In place."""
    for front in range(fronts):
        count = 0
        for i in members:
            if scores[i, 1] == front:
                some[count] = i
                scores[i, 2] = 0.0
                count += 1
        for k in range(4):
            for at in range(count):
                i = some[at]
                by[i, 0], by[i, 1], by[i, 2] = aim(fits[i], k), 0.0, 0.0
            rank(by, keys, some[:count])
            low, high = by[some[0], 0], by[some[count - 1], 0]
            scores[some[0], 2] = -np.inf
            scores[some[count - 1], 2] = -np.inf
            if not (np.isfinite(low) and high > low):
                continue
            for at in range(1, count - 1):
                gap = by[some[at + 1], 0] - by[some[at - 1], 0]
                scores[some[at], 2] -= gap / (high - low)


@jit
def first_front(fits, scores, known, front):
    """Those that have enough trades and that no other dominates, into `front` int64[N]; returns how many, 0 when they are
    the first `known` as before, which do not dominate each other. In place."""
    count = known
    news = False
    for i in range(known):
        front[i] = i
    for i in range(known, len(fits)):
        if scores[i, 0] != ENOUGH:
            continue
        beaten = False
        for k in range(count):
            if dominates(fits[front[k]], fits[i]):
                beaten = True
                break
        if beaten:
            continue
        stay = 0
        for k in range(count):
            if not dominates(fits[i], fits[front[k]]):
                front[stay] = front[k]
                stay += 1
        front[stay] = i
        count = stay + 1
        news = True
    return count if news else 0
