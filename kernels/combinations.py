"""Combinations of levels, amount, leverage and sides: numbered once, so that a population's plan is a few lookups."""

import numpy as np
from numpy.typing import NDArray

from kernels.jit import jit

#: Combinations kept before the numbering starts afresh.
KEPT = 100_000
FIELDS = 6
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@jit
def place_of_combination(combination, known, slots):
    """The place in `slots` int32[2^k] of the number of an equal row of `known`, or of -1 where it belongs."""
    h = np.uint64(FIELDS)
    for k in range(FIELDS):
        h = (h ^ np.uint64(np.int64(combination[k] * 1e6))) * _ODD
        h ^= h >> _SHIFT
    mask = len(slots) - 1
    at = np.int64(h & np.uint64(mask))
    while slots[at] >= 0:
        same = True
        for k in range(FIELDS):
            same &= known[slots[at], k] == combination[k]
        if same:
            break
        at = (at + 1) & mask
    return at


@jit
def number_combinations(genomes, one, known, slots, count, seen, used, example, place, uses):
    """Number the combinations of `genomes`; returns (how many are known then, how many distinct ones these genomes have).

    place[i] is the place in `used` (int64, numbers of combinations) of that of genome i, `example` a genome of each, `uses`
    float64 how many have it. `known` float64[most, 6] and `slots` grow by what is new; `seen` int32[most], all -1, and `one`
    float64[6] are scratch. In place.
    """
    distinct = 0
    for i in range(len(genomes)):
        g = genomes[i]
        one[0], one[1], one[2], one[3], one[4] = g.stop_frac, g.target_frac, g.trailing_frac, g.leverage, g.amount
        one[5] = 0.0
        if g.long_exit > g.long_entry:
            one[5] += 1.0
        if g.short_exit > g.short_entry:
            one[5] += 2.0
        at = place_of_combination(one, known, slots)
        if slots[at] < 0:
            for k in range(FIELDS):
                known[count, k] = one[k]
            slots[at] = count
            count += 1
        number = slots[at]
        if seen[number] < 0:
            seen[number] = distinct
            used[distinct], example[distinct], uses[distinct] = number, i, 0.0
            distinct += 1
        place[i] = seen[number]
        uses[seen[number]] += 1.0
    for k in range(distinct):
        seen[used[k]] = -1
    return count, distinct


@jit
def index_combinations(known, slots, count):
    """Enter known[0..count-1], all different, into empty `slots`. In place."""
    for i in range(count):
        slots[place_of_combination(known[i], known, slots)] = i


@jit
def fill_factors(genomes, maintenance, factors):
    """factors[i] float64[8] = the levels of genome i as multiples of the entry's open, as in `kernels.hop`; each the expression
    of `kernels.loop`. Rows are zero before. In place."""
    for i in range(len(genomes)):
        g, out = genomes[i], factors[i]
        stop, target, trailing, leverage = g.stop_frac, g.target_frac, g.trailing_frac, g.leverage
        if g.long_exit > g.long_entry:
            out[0] = 1.0 - stop if stop > 0.0 else 0.0
            out[1] = 1.0 - 1.0 / leverage + maintenance if leverage > 1.0 else 0.0
            out[2] = 1.0 - trailing if trailing > 0.0 else 0.0
            out[3] = 1.0 + target if target > 0.0 else 0.0
        if g.short_exit > g.short_entry:
            out[4] = 1.0 + stop if stop > 0.0 else 0.0
            out[5] = 1.0 + 1.0 / leverage - maintenance
            out[6] = 1.0 + trailing if trailing > 0.0 else 0.0
            out[7] = 1.0 - target if target > 0.0 else 0.0


class Combinations:
    """All combinations seen so far, at most `kept` and those of one call."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._one = np.empty(FIELDS)
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.count = 0
        self._known = np.empty((0, FIELDS))

    def number(self, records: NDArray[np.void]) -> tuple[bool, tuple[NDArray[np.int64], ...], NDArray[np.float64]]:
        """(did the numbering start afresh, (numbers (R,), a genome of each (R,), the place in these of every genome (G,)),
        genomes of each (R,)) of `records` (G,) of dtype GENOME."""
        afresh = self.count > self._kept
        if afresh:
            self._start_afresh()
        self._make_room(len(records))
        used, example, place = (np.empty(len(records), dtype=np.int64) for _ in range(3))
        uses = np.empty(len(records))
        self.count, distinct = number_combinations(
            records, self._one, self._known, self._slots, self.count, self._seen, used, example, place, uses
        )
        return afresh, (used[:distinct], example[:distinct], place), uses[:distinct]

    def _make_room(self, more: int) -> None:
        if self.count + more <= len(self._known):
            return
        room = max(self.count + more, 2 * len(self._known), 1_024)
        grown = np.empty((room, FIELDS))
        grown[: self.count] = self._known[: self.count]
        self._known = grown
        self._seen = np.full(room, -1, dtype=np.int32)
        self._slots = np.full(1 << (2 * room - 1).bit_length(), -1, dtype=np.int32)
        index_combinations(self._known, self._slots, self.count)
