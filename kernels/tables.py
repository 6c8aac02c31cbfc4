"""Which first-touch tables exist: built for levels that many genomes share, within a budget, dropped and never missed.

A genome whose levels have no table is walked by blocks; the bits are the same. One object serves one dataset.
"""

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from kernels.blocks import SHIFTS, block_minima
from kernels.jit import jit
from kernels.touch import first_touch, price_touches, signed_extremes, trailing_touch

TABLE_BYTES = 160 << 20
#: Bytes a candle of one table: a key and a fill.
ENTRY_BYTES = 12
#: A table pays once this many genomes have walked the whole dataset with its level: a stop's and a target's take as long to
#: build as some four hundred walks without them.
WORTH = 240.0
#: Tables that room is made for at first: memory is touched as far as it is used.
FIRST_ROWS = 32
#: Candles times levels that one compiled call builds: below a quarter of a second.
BUILD_VISITS = 10_000_000

STOP_AT, RUIN_AT, TRAIL_AT, AIM_AT = range(4)
LONG, SHORT = 0, 1
#: (column of `factors`, what it means for the table): a long's guard is met by lows, its aim by negated highs.
Key = tuple[int, bool, bool, float]


def key_of(column: int, factor: float) -> Key:
    """(row of `edges`, strict, trailing, factor): what decides a table. Sides share a table where these are equal."""
    side, part = divmod(column, 4)
    aims = part == AIM_AT
    return (1 - side if aims else side), aims, part == TRAIL_AT, factor


@jit
def count_uses(levels, weights, call, uses, walked, slot_of, worth):
    """Add weights[i] to `uses` (of this call `call`) and `walked` of every level of row i of `levels` int64[R, 8]; returns
    whether one of them is worth a table and has none. In place."""
    for i in range(len(levels)):
        for k in range(8):
            level = levels[i, k]
            if level >= 0:
                uses[level, 0] = weights[i] + (uses[level, 0] if uses[level, 1] == call else 0.0)
                uses[level, 1] = call
                walked[level] += weights[i]
    wanting = False
    for i in range(len(levels)):
        for k in range(8):
            level = levels[i, k]
            wanting |= level >= 0 and slot_of[level] < 0 and walked[level] >= worth
    return wanting


@jit
def look_up_slots(levels, slot_of, out):
    """out[i, k] = the table of level levels[i, k], -1 where there is none. In place."""
    for i in range(len(levels)):
        for k in range(8):
            out[i, k] = slot_of[levels[i, k]] if levels[i, k] >= 0 else -1


class TouchTables:
    """Tables int32[rows, n] of keys, their fills float64[rows, n], and the signed prices, blocks and budget behind them."""

    def __init__(
        self,
        candles: Candles,
        tick_scale: float,
        slippage_frac: float,
        limit: int = TABLE_BYTES,
        worth: float = WORTH,
        shifts: tuple[int, int] = SHIFTS,
    ) -> None:
        n = len(candles)
        self._open, self._close, self._scale, self._worth = candles.open, candles.close, tick_scale, float(worth)
        self._slippage = slippage_frac
        self.edges, self.later = np.empty((2, n)), np.empty((2, n))
        for row, sign in ((LONG, 1.0), (SHORT, -1.0)):
            signed_extremes(sign, candles.open, candles.high, candles.low, self.edges[row], self.later[row])
        rows = [self.later[LONG], self.later[SHORT], -candles.close, candles.close]
        self.shifts = (np.int64(shifts[0]), np.int64(shifts[1]))
        self.small, self.large = (block_minima(rows, s) for s in shifts)
        self._most = limit // (ENTRY_BYTES * n)
        self.tables = np.empty((0, n), dtype=np.int32)
        self.fills = np.empty((0, n))
        self._slots: dict[Key, int] = {}
        self._used = 0
        self._call = 0.0
        self.forget_levels()

    def forget_levels(self) -> None:
        """Number levels afresh, and count their uses from nothing; tables stay."""
        self._numbers: dict[Key, int] = {}
        self._met: list[dict[float, int]] = [{} for _ in range(8)]
        self._keys: list[Key] = []
        self._uses, self._walked = np.zeros((64, 2)), np.zeros(64)
        self._slot_of = np.full(64, -1, dtype=np.int64)

    def levels_of(self, factors: NDArray[np.float64]) -> NDArray[np.int64]:
        """The numbers of the levels of `factors` (R, 8) as in `kernels.hop`, -1 where a level is off."""
        levels = np.full(factors.shape, -1, dtype=np.int64)
        met = self._met
        for column in np.flatnonzero(factors.any(axis=0)).tolist():
            known = met[column]
            numbers = []
            for value in factors[:, column].tolist():
                number = known.get(value)
                if number is None:
                    number = known[value] = self._number(key_of(column, value)) if value > 0.0 else -1
                numbers.append(number)
            levels[:, column] = numbers
        return levels

    def _number(self, key: Key) -> int:
        number = self._numbers.setdefault(key, len(self._keys))
        if number == len(self._keys):
            self._keys.append(key)
            if number == len(self._walked):
                self._uses = np.concatenate((self._uses, np.zeros_like(self._uses)))
                self._walked = np.concatenate((self._walked, np.zeros_like(self._walked)))
                self._slot_of = np.concatenate((self._slot_of, np.full_like(self._slot_of, -1)))
            self._slot_of[number] = self._slots.get(key, -1)
        return number

    def slots_of(self, levels: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of `tables` for `levels` (R, 8), -1 where there is none; `weights` (R,): genomes, each counted by the share of
        the dataset that it walks. Builds what is worth it and fits."""
        self._call += 1.0
        if count_uses(levels, weights, self._call, self._uses, self._walked, self._slot_of, self._worth):
            self._provide(np.unique(levels[levels >= 0]).tolist())
        slots = np.empty(levels.shape, dtype=np.int64)
        look_up_slots(levels, self._slot_of, slots)
        return slots

    def _provide(self, levels: list[int]) -> None:
        """Build the tables that have become worth it, the most used first."""
        walked, now = self._walked, self._uses[:, 0]
        wanted = [v for v in levels if self._slot_of[v] < 0 and walked[v] >= self._worth]
        if self._used + sum(1 + self._keys[v][2] for v in wanted) > self._most:
            # Start afresh, but only for levels that this call alone is worth: others would push each other out for ever.
            wanted = [v for v in levels if now[v] >= self._worth]
            if all(self._slot_of[v] >= 0 for v in wanted):
                return
            self._slots.clear()
            self._slot_of[:] = -1
            self._used = 0
        wanted.sort(key=lambda v: (-walked[v], self._keys[v]))
        chosen: list[Key] = []
        room = self._most - self._used
        for key in [self._keys[v] for v in wanted]:
            if room >= 1 + key[2]:
                room -= 1 + key[2]
                chosen.append(key)
        self._build(chosen)

    def _build(self, keys: list[Key]) -> None:
        n = len(self._open)
        needed = self._used + sum(1 + k[2] for k in keys)
        if needed > len(self.tables):
            room = min(max(needed, 2 * len(self.tables), FIRST_ROWS), max(needed, self._most))
            grown = np.empty((room, n), dtype=np.int32)
            grown[: self._used] = self.tables[: self._used]
            self.tables = grown
            priced = np.empty((room, n))
            priced[: self._used] = self.fills[: self._used]
            self.fills = priced
        groups: dict[tuple[int, bool, bool], list[tuple[float, int]]] = {}
        for key in keys:
            groups.setdefault(key[:3], []).append((key[3], self._used))
            self._slots[key] = self._used
            self._slot_of[self._numbers[key]] = self._used
            self._used += 1 + key[2]
        values, stack = np.empty(n), np.empty(n, dtype=np.int32)
        for (row, strict, trailing), members in groups.items():
            sign = 1.0 if row == LONG else -1.0
            edges, later = self.edges[row], self.later[row]
            if trailing:
                more = (np.empty(n), *(np.empty(n, dtype=np.int32) for _ in range(3)))
                for factor, slot in members:
                    trailing_touch(
                        self._open, self._close, edges, later, factor, sign, self._scale, values, stack, *more,
                        self.tables[slot], self.tables[slot + 1],
                    )  # fmt: skip
                continue
            step = max(1, BUILD_VISITS // n)
            for i in range(0, len(members), step):
                part = members[i : i + step]
                factors = np.array([f for f, _ in part])
                rows = np.array([s for _, s in part], dtype=np.int64)
                first_touch(
                    self._open,
                    edges,
                    later,
                    factors,
                    sign,
                    strict,
                    self._scale,
                    values,
                    stack,
                    np.zeros_like(rows),
                    rows,
                    self.tables,
                )
            for factor, slot in members:
                # A strict level is an aim; a long's guard is met by lows, its aim by highs.
                price_touches(
                    self.tables[slot], self._open, factor, (row == LONG) != strict, strict, self._slippage, self._scale,
                    self.fills[slot],
                )  # fmt: skip
