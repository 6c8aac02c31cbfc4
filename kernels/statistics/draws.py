"""Many random numbers at once: the very stream of `kernels.evolution.rng.Rng`, as arrays. Integers only."""

import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


class Draws:
    """splitmix64: the k-th number is a hash of seed + k·step, so that a whole array of them needs no loop."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def raw(self, count: int) -> NDArray[np.uint64]:
        """The next `count` numbers of 64 bits, equal to as many calls of `Rng(seed).raw()`."""
        with np.errstate(over="ignore"):
            z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(self._state)
            self._state = (self._state + count * _STEP) & _MASK
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def below(self, n: int, count: int) -> NDArray[np.int64]:
        """`count` numbers over 0..n-1 (n up to 2**32): the upper half of raw · n. Not rejected, as `Rng.below` does: the
        bias is below n / 2**64."""
        if not 1 <= n <= 1 << 32:
            raise BadInput(f"numbers can be drawn below 1 to 2**32, not below {n}")
        return _below(n, self.raw(count))


def _below(n: int, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    bound, half = np.uint64(n), np.uint64(32)
    low = (raw & np.uint64(0xFFFFFFFF)) * bound
    return (((raw >> half) * bound + (low >> half)) >> half).astype(np.int64)


def stationary_indices(n: int, block: int, length: int, draws: Draws, rows: int = 1) -> NDArray[np.int64]:
    """(rows, length) places of a series of n: blocks of random start and geometric length of mean `block`, around the end.

    Politis, Romano (1994), "The stationary bootstrap", JASA 89. Integers only: the same on every machine, and however many
    rows are drawn at once.
    """
    if not 1 <= n <= 1 << 32 or block < 1:
        raise BadInput(f"a bootstrap needs a series and blocks of at least 1, not {n} and {block}")
    raw = draws.raw(rows * 2 * length).reshape(rows, 2 * length)
    begins = raw[:, :length] <= np.uint64((1 << 64) // block - 1)
    begins[:, :1] = True
    starts = _below(n, raw[:, length:])
    t = np.arange(length, dtype=np.int64)
    began = np.maximum.accumulate(np.where(begins, t, 0), axis=1)
    return (np.take_along_axis(starts, began, axis=1) + t - began) % n


def permutations(n: int, draws: Draws, rows: int) -> NDArray[np.int64]:
    """(rows, n), each 0..n-1 in random order: that of n raw numbers (equal ones keep their order; none in practice)."""
    return np.argsort(draws.raw(rows * n).reshape(rows, n), axis=1, kind="stable").astype(np.int64)
