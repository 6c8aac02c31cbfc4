"""Candles skipped by blocks: where no table exists, a position looks at the extremes of whole blocks first.

`prices` float64[2, n]: row 0 lows, row 1 negated highs, each with the open counted in (`touch.signed_extremes`). A long is
guarded by row 0 and aims in row 1, a short the other way round; "met" is at or below (guard), below (aim).
"""

import numpy as np
from numpy.typing import NDArray

from kernels.jit import inlined, jit
from kernels.loop import level

#: Candles a block and a large block hold, as powers of two.
SHIFTS = (3, 6)


@jit
def fill_blocks(values, shift, out):
    """out[b] = the least of values[b << shift : (b + 1) << shift]. In place."""
    size = 1 << shift
    for b in range(len(out)):
        least = np.inf
        for c in range(b * size, min((b + 1) * size, len(values))):
            least = min(least, values[c])
        out[b] = least


def block_minima(rows: list[NDArray[np.float64]], shift: int) -> NDArray[np.float64]:
    """Shape (len(rows), blocks): the least of each block of 2**shift values of each row (n,)."""
    out = np.empty((len(rows), (len(rows[0]) + (1 << shift) - 1) >> shift))
    for i, row in enumerate(rows):
        fill_blocks(row, shift, out[i])
    return out


@inlined
def walk_to_touch(
    side, entry, end, hard, trail, trailing, aim, sign, scale, open_, close, edges, later, small, large, shifts
):
    """(candle, signed guard level in force there, signed trailing level): the first of entry..end-1 that meets the guard
    or the aim, or `end`.

    Levels are signed (`sign` * price for the guard, -`sign` * price for the aim), -inf where off; `hard` is the nearer of
    stop and liquidation; `trailing` the factor of the trailing level, 0.0 = off. `edges` float64[2, n] holds the entry
    candles' extremes, `later` those after; `small` and `large` float64[4, blocks] hold their minima and, in rows 2 and 3,
    those of -close and close.
    """
    other = 1 - side
    guard = max(hard, trail)
    best = sign * open_[entry]
    if edges[side, entry] <= guard or edges[other, entry] < aim:
        return entry, trail
    c = entry
    few, many = shifts
    few_mask, many_mask = (1 << few) - 1, (1 << many) - 1
    while True:
        if trailing > 0.0 and sign * close[c] > best:
            best = sign * close[c]
            trail = sign * level(close[c], trailing, sign < 0, scale)
            guard = max(hard, trail)
        c += 1
        while c < end and c & few_mask == 0:
            if c & many_mask == 0:
                b = c >> many
                if (
                    large[side, b] > guard
                    and large[other, b] >= aim
                    and (trailing == 0.0 or -large[2 + side, b] <= best)
                ):
                    c += many_mask + 1
                    continue
            b = c >> few
            if small[side, b] > guard and small[other, b] >= aim and (trailing == 0.0 or -small[2 + side, b] <= best):
                c += few_mask + 1
            else:
                break
        if c >= end:
            return end, trail
        if later[side, c] <= guard or later[other, c] < aim:
            return c, trail
