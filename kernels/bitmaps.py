"""Rules as bitmaps: bit t of a row is set where the rule holds at the close of candle t; 64 candles a word.

All genomes share one row per distinct rule, kept between calls. A row has ceil(n / 64) words, one more for
the fence of a search, and zeros up to whole groups of 64.
"""

from typing import Any

import numpy as np
from numba.cpython.unsafe import numbers
from numpy.typing import NDArray

from domain.genome import Rule
from kernels.jit import inlined, jit

#: An intrinsic of numba: inside a kernel it takes the word alone.
trailing_zeros: Any = numbers.trailing_zeros
#: Rows that a store begins with: memory is touched as far as it is used.
FIRST_ROWS = 512
ONE = np.uint64(1)
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
BITMAP_BYTES = 128 << 20
#: A genome has at most 4 x 8 rules; a store that held fewer could not hold one genome.
LEAST_ROWS = 32
#: Candles a compiled call visits at most; a build that takes longer is cut into several calls.
BUILD_VISITS = 50_000_000


@jit
def fill_comparison(features, x, y, x_value, y_value, strict, n, out):
    """Set bit t of `out` where x > y at candle t (else x <= y), 0..n-1; x and y are rows of `features`, -1: the value.

    In place. Words are made of 64 comparisons without a branch, for the compiler to turn into vector instructions.
    """
    for w in range(len(out)):
        first = 64 * w
        word = np.uint64(0)
        if first + 64 > n:
            for t in range(first, n):
                a = features[x, t] if x >= 0 else x_value
                b = features[y, t] if y >= 0 else y_value
                word |= np.uint64(a > b if strict else a <= b) << np.uint64(t - first)
        elif x < 0:
            for k in range(64):
                b = features[y, first + k]
                word |= np.uint64(x_value > b if strict else x_value <= b) << np.uint64(k)
        elif y < 0:
            for k in range(64):
                a = features[x, first + k]
                word |= np.uint64(a > y_value if strict else a <= y_value) << np.uint64(k)
        else:
            for k in range(64):
                a, b = features[x, first + k], features[y, first + k]
                word |= np.uint64(a > b if strict else a <= b) << np.uint64(k)
        out[w] = word


@jit
def fill_bitmaps(features, rules, n, rows, was, bits):
    """Set rows `rows[i]` of `bits` uint64[R, words] to where `rules[i]` holds, t = 0..n-1. In place, O(rules x n).

    `was` is scratch of one row. `left < right` is `right > left`; a cross needs the opposite one candle before.
    """
    for i in range(len(rules)):
        rule = rules[i]
        x, y, x_value, y_value = rule.left, rule.right, rule.left_value, rule.right_value
        if rule.op == 1 or rule.op == 3:
            x, y, x_value, y_value = y, x, y_value, x_value
        out = bits[rows[i]]
        fill_comparison(features, x, y, x_value, y_value, True, n, out)
        if rule.op >= 2:
            fill_comparison(features, x, y, x_value, y_value, False, n, was)
            carried = np.uint64(0)
            for w in range(len(out)):
                out[w] &= (was[w] << ONE) | carried
                carried = was[w] >> np.uint64(63)


@jit
def fill_enterable(time_ms, granularity_ms, max_missing, out):
    """Set bit t of `out` where candle t + 1 exists and at most `max_missing` candles are missing before it. In place."""
    out[:] = np.uint64(0)
    for t in range(len(time_ms) - 1):
        if (time_ms[t + 1] - time_ms[t]) // granularity_ms - 1 <= max_missing:
            out[t >> 6] |= ONE << np.uint64(t & 63)


@jit
def join_all(bits, index, first, last, enterable, start, stop, words):
    """`words` = where rules index[first..last-1] (at least one) all hold and an entry may follow, for the words that hold
    start..stop-1. In place. One pass for the usual one to three rules."""
    low, high = start >> 6, ((stop - 1) >> 6) + 1
    out, may = words[low:high], enterable[low:high]
    a = bits[index[first], low:high]
    if last == first + 1:
        for w in range(len(out)):
            out[w] = a[w] & may[w]
        return
    b = bits[index[first + 1], low:high]
    if last == first + 2:
        for w in range(len(out)):
            out[w] = a[w] & b[w] & may[w]
        return
    c = bits[index[first + 2], low:high]
    for w in range(len(out)):
        out[w] = a[w] & b[w] & c[w] & may[w]
    for i in range(first + 3, last):
        d = bits[index[i], low:high]
        for w in range(len(out)):
            out[w] &= d[w]


@jit
def join_and_summarise(bits, rows, index, more, last, enterable, start, limit, words, summary):
    """`join_all`, `fence` and `summarise` in one pass: `words` = where rows[0..2] (repeated where there are fewer) and
    index[more..last-1] of `bits` all hold and an entry may follow, from `start` to before `limit`, fenced at `limit`; bit w
    of `summary` = words[w] has any. In place; rows hold whole groups of 64 words."""
    fenced = ((limit - 1) >> 6) + 1
    low, high = start >> 12, ((limit - 1) >> 12) + 1
    # One loop over all groups and another for the summary: a loop per group would ask each time whether the rows overlap.
    out, may = words[64 * low : 64 * high], enterable[64 * low : 64 * high]
    a, b = bits[rows[0], 64 * low : 64 * high], bits[rows[1], 64 * low : 64 * high]
    c = bits[rows[2], 64 * low : 64 * high]
    for w in range(len(out)):
        out[w] = a[w] & b[w] & c[w] & may[w]
    for i in range(more, last):
        d = bits[index[i], 64 * low : 64 * high]
        for w in range(len(out)):
            out[w] &= d[w]
    for s in range(low, high):
        group = words[64 * s : 64 * s + 64]
        any_ = np.uint64(0)
        for k in range(64):
            any_ |= np.uint64(group[k] != np.uint64(0)) << np.uint64(k)
        summary[s] = any_
    words[fenced] = ALL
    if fenced >> 6 == high:
        summary[high] = np.uint64(0)
    summary[fenced >> 6] |= ONE << np.uint64(fenced & 63)


@jit
def join_any(bits, index, first, last, start, stop, words):
    """`words` = where any of rules index[first..last-1] holds, for the words that hold start..stop-1. In place."""
    low, high = start >> 6, ((stop - 1) >> 6) + 1
    out = words[low:high]
    for w in range(len(out)):
        out[w] = np.uint64(0)
    for i in range(first, last):
        a = bits[index[i], low:high]
        for w in range(len(out)):
            out[w] |= a[w]


@inlined
def next_bit(words, t):
    """The first set bit from t on; there must be one: `fence`."""
    w = t >> 6
    word = (words[w] >> np.uint64(t & 63)) << np.uint64(t & 63)
    while word == np.uint64(0):
        w += 1
        word = words[w]
    return 64 * w + np.int64(trailing_zeros(word))


@jit
def summarise(words, start, limit, summary):
    """Bit w of `summary` = words[w] has any, for the words from `start` up to the fence at `limit`. In place.

    Both hold whole groups of 64 words; bits outside that range mean nothing.
    """
    for s in range(start >> 12, ((((limit - 1) >> 6) + 1) >> 6) + 1):
        group = words[64 * s : 64 * s + 64]
        word = np.uint64(0)
        for k in range(64):
            word |= np.uint64(group[k] != np.uint64(0)) << np.uint64(k)
        summary[s] = word


@inlined
def next_bit_far(words, summary, t):
    """As `next_bit`, over empty words at 64 a step."""
    w = t >> 6
    word = (words[w] >> np.uint64(t & 63)) << np.uint64(t & 63)
    if word == np.uint64(0):
        w += 1
        s = w >> 6
        groups = (summary[s] >> np.uint64(w & 63)) << np.uint64(w & 63)
        while groups == np.uint64(0):
            s += 1
            groups = summary[s]
        w = 64 * s + np.int64(trailing_zeros(groups))
        word = words[w]
    return 64 * w + np.int64(trailing_zeros(word))


@inlined
def fence(words, limit):
    """Set a bit at or above `limit` (at most 64 x (len(words) - 1)), where a search may end. In place."""
    words[((limit - 1) >> 6) + 1] = ALL


def row_words(n: int) -> int:
    """Words of a row over n candles: ceil(n / 64) and a fence, in whole groups of 64."""
    return 64 * (((n + 63) // 64) // 64 + 1)


class RuleBits:
    """One bitmap a distinct rule over the whole dataset, within `limit` bytes; starts afresh when that is reached."""

    def __init__(self, n: int, limit: int = BITMAP_BYTES) -> None:
        self._n = n
        self._words = row_words(n)
        self._numbered: list[Rule] = []
        self._used = 0
        self.most = max(LEAST_ROWS, limit // (8 * self._words))
        self.row_of = np.empty(0, dtype=np.int64)
        self.bits = np.zeros((min(FIRST_ROWS, self.most), self._words), dtype=np.uint64)
        self._scratch = np.zeros(self._words, dtype=np.uint64)

    def missing(self, rules: list[Rule], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `wanted`, distinct numbers of `rules` (at most `most`), that need a row now: all when it starts afresh.

        `row_of` gives the row of every number, -1 where there is none.
        """
        if rules is not self._numbered:
            self._numbered, self._used = rules, 0
            self.row_of = np.empty(0, dtype=np.int64)
        if len(rules) > len(self.row_of):
            more = np.full(len(rules) - len(self.row_of), -1, dtype=np.int64)
            self.row_of = np.concatenate((self.row_of, more))
        missing = wanted[self.row_of[wanted] < 0]
        if self._used + len(missing) > self.most:
            self.row_of[:] = -1
            self._used = 0
            missing = wanted
        return missing

    def add(self, numbers: NDArray[np.int64], rules: NDArray[np.void], features: NDArray[np.float64]) -> None:
        """Fill a row for each of `numbers`, whose records of dtype RULE index `features`."""
        needed = self._used + len(numbers)
        if needed > len(self.bits):
            grown = np.zeros((min(max(needed, 2 * len(self.bits)), self.most), self._words), dtype=np.uint64)
            grown[: self._used] = self.bits[: self._used]
            self.bits = grown
        rows = np.arange(self._used, needed, dtype=np.int64)
        step = max(1, BUILD_VISITS // self._n)
        for i in range(0, len(rows), step):
            fill_bitmaps(features, rules[i : i + step], self._n, rows[i : i + step], self._scratch, self.bits)
        self.row_of[numbers] = rows
        self._used = needed
