"""Indicators, compiled: one pass over integer columns each (EMA: over float64 closes), NaN until warm.

All take arrays of shape (n,) and fill `out` (n,) float64 in place. Sums are exact int64, so that their bits do not depend
on where a sum was started; one division ends each value. `scale` = 10 to the power of the column's decimals.
"""

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.genome import FIELDS, Operand
from kernels.jit import jit


@jit
def rolling_mean(values, period, scale, out):
    """SMA and volume SMA: mean of `period` values, NaN for the first period - 1 candles."""
    divisor = period * scale
    total = np.int64(0)
    for t in range(len(values)):
        total += values[t]
        if t >= period:
            total -= values[t - period]
        out[t] = total / divisor if t >= period - 1 else np.nan


@jit
def exponential_mean(close, period, out):
    """EMA: e += 2/(period+1) * (close - e) from the first close on, NaN for the first period - 1 candles."""
    alpha = 2.0 / (period + 1.0)
    e = close[0]
    for t in range(len(close)):
        e = e + alpha * (close[t] - e)
        out[t] = e if t >= period - 1 else np.nan


@jit
def exponential_means(close, periods, rows, matrix):
    """`exponential_mean` of every one of `periods` int64[K], into rows `rows` int64[K] of `matrix` (K', >= n). In place.

    Each value waits for the one before: several averages side by side take hardly longer than one.
    """
    for first in range(0, len(periods), 4):
        k1, k2, k3 = (
            min(first + 1, len(periods) - 1),
            min(first + 2, len(periods) - 1),
            min(first + 3, len(periods) - 1),
        )
        p0, p1, p2, p3 = periods[first], periods[k1], periods[k2], periods[k3]
        a0, a1, a2, a3 = 2.0 / (p0 + 1.0), 2.0 / (p1 + 1.0), 2.0 / (p2 + 1.0), 2.0 / (p3 + 1.0)
        e0, e1, e2, e3 = close[0], close[0], close[0], close[0]
        for t in range(len(close)):
            c = close[t]
            e0 = e0 + a0 * (c - e0)
            e1 = e1 + a1 * (c - e1)
            e2 = e2 + a2 * (c - e2)
            e3 = e3 + a3 * (c - e3)
            matrix[rows[first], t] = e0 if t >= p0 - 1 else np.nan
            matrix[rows[k1], t] = e1 if t >= p1 - 1 else np.nan
            matrix[rows[k2], t] = e2 if t >= p2 - 1 else np.nan
            matrix[rows[k3], t] = e3 if t >= p3 - 1 else np.nan


@jit
def cutler_rsi(close, period, out):
    """RSI after Cutler: 100 * gains / (gains + losses) of `period` changes, 50 without a change, NaN for `period` candles."""
    gains = np.int64(0)
    losses = np.int64(0)
    out[0] = np.nan
    for t in range(1, len(close)):
        # Whether a price rose is a coin toss: the greater of two is no branch.
        change = close[t] - close[t - 1]
        gain = max(change, 0)
        gains += gain
        losses += gain - change
        if t > period:
            old = close[t - period] - close[t - period - 1]
            gain = max(old, 0)
            gains -= gain
            losses -= gain - old
        if t < period:
            out[t] = np.nan
        elif gains + losses == 0:
            out[t] = 50.0
        else:
            out[t] = 100.0 * gains / (gains + losses)


def compute_feature(candles: Candles, operand: Operand, out: NDArray[np.float64]) -> None:
    """Fill `out` (n,) with the field or indicator that `operand` names, over the whole dataset."""
    ints, info = candles.ints, candles.info
    if operand.kind in FIELDS:
        out[:] = getattr(candles, operand.kind)
    elif operand.kind == "sma":
        rolling_mean(ints["close"], operand.period, float(10**info.price_decimals), out)
    elif operand.kind == "volume_sma":
        rolling_mean(ints["volume"], operand.period, float(10**info.volume_decimals), out)
    elif operand.kind == "ema":
        exponential_mean(candles.close, operand.period, out)
    elif operand.kind == "rsi":
        cutler_rsi(ints["close"], operand.period, out)
    else:
        raise ValueError(f"{operand.kind} is no column")
