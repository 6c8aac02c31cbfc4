"""`kernels.evolution.rng.Rng` compiled: the same numbers for the same state, which is uint64[1] here and moves in place."""

import numpy as np

from kernels.jit import jit

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@jit
def raw(state):
    """The next 64 bits."""
    state[0] += _STEP
    z = state[0]
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@jit
def below(state, n):
    """Uniform over 0..n-1 for n below 2**32, int64. The high half of a product of 64 bits by 32 comes from two of 32 by 32."""
    m = np.uint64(n)
    z = raw(state)
    if z * m < m:
        threshold = (np.uint64(0) - m) % m
        while z * m < threshold:
            z = raw(state)
    high = (z >> _32) * m + (((z & _LOW) * m) >> _32)
    return np.int64(high >> _32)
