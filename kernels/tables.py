"""Which first-touch tables exist: built for levels that many genomes share, within a budget, dropped and never missed.

A genome whose levels have no table is walked by blocks; the bits are the same. One object serves one dataset.
"""

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from kernels.blocks import SHIFTS, block_minima
from kernels.touch import first_touch, price_touches, signed_extremes, trailing_touch

TABLE_BYTES = 160 << 20
#: Bytes a candle of one table: a key and a fill.
ENTRY_BYTES = 12
#: A table pays once this many genomes have walked the whole dataset with its level.
WORTH = 120.0
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
        self._open, self._close, self._scale, self._worth = candles.open, candles.close, tick_scale, worth
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
        self._walked: dict[Key, float] = {}

    def slots_for(self, factors: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of `tables` for `factors` (R, 8), -1 where there is none; `weights` (R,): genomes, each counted by the
        share of the dataset that it walks. Builds what is worth it and fits."""
        slots = np.full(factors.shape, -1, dtype=np.int64)
        levels: dict[Key, float] = {}
        columns = []
        for column in np.flatnonzero(factors.any(axis=0)).tolist():
            values, inverse = np.unique(factors[:, column], return_inverse=True)
            keys = [key_of(column, float(v)) if v > 0.0 else None for v in values]
            for key, weight in zip(keys, np.bincount(inverse, weights, len(values)).tolist(), strict=True):
                if key is not None:
                    levels[key] = levels.get(key, 0.0) + weight
            columns.append((column, keys, inverse))
        self._provide(levels)
        for column, keys, inverse in columns:
            found = np.array([-1 if k is None else self._slots.get(k, -1) for k in keys], dtype=np.int64)
            slots[:, column] = found[inverse]
        return slots

    def _provide(self, levels: dict[Key, float]) -> None:
        """Count the uses, and build the tables that have become worth it, the most used first."""
        if len(self._walked) > 100_000:
            self._walked.clear()
        for key, weight in levels.items():
            self._walked[key] = self._walked.get(key, 0.0) + weight
        wanted = [k for k in levels if k not in self._slots and self._walked[k] >= self._worth]
        if not wanted:
            return
        if self._used + sum(1 + k[2] for k in wanted) > self._most:
            # Start afresh, but only for levels that this call alone is worth: others would push each other out for ever.
            wanted = [k for k in levels if levels[k] >= self._worth]
            if all(k in self._slots for k in wanted):
                return
            self._slots.clear()
            self._used = 0
        wanted.sort(key=lambda k: -self._walked[k])
        chosen: list[Key] = []
        room = self._most - self._used
        for key in wanted:
            if room >= 1 + key[2]:
                room -= 1 + key[2]
                chosen.append(key)
        self._build(chosen)

    def _build(self, keys: list[Key]) -> None:
        n = len(self._open)
        needed = self._used + sum(1 + k[2] for k in keys)
        if needed > len(self.tables):
            grown = np.empty((needed, n), dtype=np.int32)
            grown[: self._used] = self.tables[: self._used]
            self.tables = grown
            priced = np.empty((needed, n))
            priced[: self._used] = self.fills[: self._used]
            self.fills = priced
        groups: dict[tuple[int, bool, bool], list[tuple[float, int]]] = {}
        for key in keys:
            groups.setdefault(key[:3], []).append((key[3], self._used))
            self._slots[key] = self._used
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
