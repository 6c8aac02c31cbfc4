"""What a fixed amount buys at every possible entry: depends on no equity, and so it is computed once for all genomes."""

import numpy as np
from numpy.typing import NDArray

from kernels.jit import jit
from kernels.loop import size_in_lots, whole_ticks

SIZE_BYTES = 64 << 20
#: (long, amount, leverage): what decides a table.
Key = tuple[bool, float, float]


@jit
def fill_sizes(open_, long, amount, leverage, costs, out):
    """out[e] (float64[n, 2]) = entry price and size (in coins) of `amount` at the open of candle e. In place.

    True when every one of these entries is possible with the equity for it, finite and below the safety limit: only then
    may settlement do without asking.
    """
    c = costs[0]
    scale = c.tick_scale
    moves = 1.0 + c.slippage_frac if long else 1.0 - c.slippage_frac
    cost_frac = c.taker_frac + c.opening_frac if not long or leverage > 1.0 else c.taker_frac
    clean = True
    for e in range(len(open_)):
        price = whole_ticks(open_[e] * moves, long, scale) / scale
        lots = size_in_lots(amount, amount, leverage, price, cost_frac, c.lot_scale, c.min_notional)
        size = lots / c.lot_scale
        out[e, 0] = price
        out[e, 1] = size
        clean &= lots > 0.0 and size * price <= c.max_position and size * price < np.inf
    return clean


class SizeTables:
    """Tables float64[rows, n, 2] of `fill_sizes`, built once `worth` genomes have asked for one; starts afresh when full."""

    def __init__(
        self, open_: NDArray[np.float64], costs: NDArray[np.void], worth: float, limit: int = SIZE_BYTES
    ) -> None:
        n = len(open_)
        self._open, self._costs, self._worth = open_, costs, worth
        self._most = limit // (16 * n)
        self.tables = np.empty((0, n, 2))
        self._rows: dict[Key, int] = {}
        self._asked: dict[Key, float] = {}
        self._used = 0

    def rows_for(self, keys: list[Key], weights: list[float]) -> NDArray[np.int64]:
        """Rows of `tables` for `keys`, -1 where there is none; `weights`: genomes that ask for each."""
        if len(self._asked) > 100_000:
            self._asked.clear()
        for key, weight in zip(keys, weights, strict=True):
            if key[1] > 0.0:
                self._asked[key] = self._asked.get(key, 0.0) + weight
        wanted = sorted({k for k in keys if k[1] > 0.0 and k not in self._rows and self._asked[k] >= self._worth})
        if self._used + len(wanted) > self._most:
            self._rows.clear()
            self._used = 0
            wanted = wanted[: self._most]
        for key in wanted:
            self._build(key)
        return np.array([self._rows.get(k, -1) for k in keys], dtype=np.int64)

    def _build(self, key: Key) -> None:
        if self._used == len(self.tables):
            grown = np.empty((min(self._most, 2 * self._used + 1), *self.tables.shape[1:]))
            grown[: self._used] = self.tables[: self._used]
            self.tables = grown
        if fill_sizes(self._open, *key, self._costs, self.tables[self._used]):
            self._rows[key] = self._used
            self._used += 1
        else:
            self._rows[key] = -1
