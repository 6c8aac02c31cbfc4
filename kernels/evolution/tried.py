"""Every genome that a search has evaluated: its row, its key, and an index that says whether a row is known."""

import numpy as np
from numpy.typing import NDArray

from kernels.evolution.operators import copy_part, same
from kernels.integers import Coding, Rows
from kernels.jit import jit

HASH_BYTES = 32
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@jit
def place_of(row, rows, slots):
    """The slot of `row` in `slots` int32[2^k]: the number of an equal one of `rows`, or -1 where it belongs."""
    h = np.uint64(len(row))
    for k in range(len(row)):
        h = (h ^ np.uint64(row[k] + 1)) * _ODD
        h ^= h >> _SHIFT
    mask = len(slots) - 1
    at = np.int64(h & np.uint64(mask))
    while slots[at] >= 0 and not same(rows[slots[at]], row):
        at = (at + 1) & mask
    return at


@jit
def add_if_new(row, rows, slots, count):
    """True when `row` became rows[count]. In place."""
    at = place_of(row, rows, slots)
    if slots[at] >= 0:
        return False
    slots[at] = count
    copy_part(row, rows[count], 0, len(row))
    return True


@jit
def index_rows(rows, slots, count):
    """Enter rows[0..count-1], all different, into empty `slots`. In place."""
    for i in range(count):
        slots[place_of(rows[i], rows, slots)] = i


class Tried:
    """`rows` int16[N', L], `keys` uint8[N', 32] and `cursor` int32[N'], the first `count` in use; `slots` is the index.

    `cursor[i]`: all neighbours of genome i below that number have been tried; what it saves can be found anew.
    """

    def __init__(self, coding: Coding, packed: bytes = b"") -> None:
        self._coding = coding
        known = np.frombuffer(packed, dtype="<i2").astype(np.int16).reshape(-1, coding.width)
        self.count = 0
        self.rows = np.empty((0, coding.width), dtype=np.int16)
        self.keys = np.empty((0, HASH_BYTES), dtype=np.uint8)
        self.cursor = np.empty(0, dtype=np.int32)
        self.slots = np.empty(0, dtype=np.int32)
        self.make_room(max(1, len(known)))
        self.rows[: len(known)] = known
        index_rows(self.rows, self.slots, len(known))
        self.name(len(known))

    def make_room(self, more: int) -> None:
        """For `more` rows beyond those in use, at most half of the slots taken."""
        needed = self.count + more
        if needed <= len(self.rows):
            return
        room = max(needed, 2 * len(self.rows), 4_096)
        for name in ("rows", "keys", "cursor"):
            old = getattr(self, name)
            grown = np.zeros((room, *old.shape[1:]), dtype=old.dtype)
            grown[: self.count] = old[: self.count]
            setattr(self, name, grown)
        self.slots = np.full(1 << (2 * room - 1).bit_length(), -1, dtype=np.int32)
        index_rows(self.rows, self.slots, self.count)

    def name(self, count: int) -> NDArray[np.uint8]:
        """The keys of the rows entered since: they are `count` now."""
        fresh = self._coding.keys(self.rows[self.count : count])
        self.keys[self.count : count] = fresh
        self.count = count
        return fresh

    def packed(self) -> bytes:
        """All rows in the order in which they were tried, little-endian; `Tried` takes them back."""
        return self.rows[: self.count].astype("<i2").tobytes()

    def sorted_keys(self) -> bytes:
        """The 32-byte hashes of all, ascending, one after the other."""
        return self.keys[: self.count][self._ascending()].tobytes()

    def lowest(self, count: int) -> Rows:
        """The rows with the smallest hashes, ascending, at most `count`."""
        return self.rows[: self.count][self._ascending()[:count]]

    def _ascending(self) -> NDArray[np.int64]:
        """The numbers of all, by hash."""
        keys = self.keys[: self.count]
        first = keys[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)
        order = np.argsort(first)
        heads = first[order]
        if np.any(heads[1:] == heads[:-1]):
            order = np.lexsort([keys[:, i] for i in range(HASH_BYTES - 1, -1, -1)])
        return order
