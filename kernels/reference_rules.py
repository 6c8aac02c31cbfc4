"""Indicators and rules for the reference: numpy integer sums and elementwise comparisons, no numba.

The figures and their order of operations are those of `kernels.indicators`; see there for definitions.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.genome import FIELDS, Operand, Rule

Column = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _window_sums(values: NDArray[np.int64], period: int) -> NDArray[np.int64]:
    """Sums of `period` successive values, shape (n - period + 1,); differences of a wrapping int64 sum are exact."""
    total = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values)))
    return total[period:] - total[:-period]


def rolling_mean(values: NDArray[np.int64], period: int, scale: float) -> Column:
    out = np.full(len(values), np.nan)
    if len(values) >= period:
        out[period - 1 :] = _window_sums(values, period) / (period * scale)
    return out


def exponential_mean(close: Column, period: int) -> Column:
    alpha = 2.0 / (period + 1.0)
    values = close.tolist()
    e = values[0]
    series = []
    for c in values:
        e = e + alpha * (c - e)
        series.append(e)
    out = np.array(series)
    out[: period - 1] = np.nan
    return out


def cutler_rsi(close: NDArray[np.int64], period: int) -> Column:
    out = np.full(len(close), np.nan)
    if len(close) > period:
        change = np.diff(close)
        gains = _window_sums(np.where(change > 0, change, 0), period)
        losses = _window_sums(np.where(change < 0, -change, 0), period)
        moved = gains + losses
        out[period:] = np.where(moved == 0, 50.0, 100.0 * gains / np.where(moved == 0, 1, moved))
    return out


def feature(candles: Candles, operand: Operand) -> Column:
    """The field or indicator over the whole dataset, shape (n,), NaN until warm."""
    ints, info = candles.ints, candles.info
    if operand.kind in FIELDS:
        column: Column = getattr(candles, operand.kind)
        return column
    if operand.kind == "sma":
        return rolling_mean(ints["close"], operand.period, float(10**info.price_decimals))
    if operand.kind == "volume_sma":
        return rolling_mean(ints["volume"], operand.period, float(10**info.volume_decimals))
    if operand.kind == "ema":
        return exponential_mean(candles.close, operand.period)
    if operand.kind == "rsi":
        return cutler_rsi(ints["close"], operand.period)
    raise ValueError(f"{operand.kind} is no column")


class Features:
    """Columns of operands, kept between calls; all dropped when they would exceed `limit` bytes."""

    def __init__(self, candles: Candles, limit: int = 256 << 20) -> None:
        self._candles = candles
        self._most = max(1, limit // (8 * len(candles)))
        self._columns: dict[Operand, Column] = {}

    def __getitem__(self, operand: Operand) -> Column:
        if operand.kind == "const":
            return np.full(len(self._candles), operand.value)
        if operand not in self._columns:
            if len(self._columns) >= self._most:
                self._columns.clear()
            self._columns[operand] = feature(self._candles, operand)
        return self._columns[operand]


def rule_mask(rule: Rule, features: Features) -> Mask:
    """Where in the dataset the rule holds at the close, shape (n,); never where an operand is NaN."""
    left, right = features[rule.left], features[rule.right]
    above: Mask = left > right
    below: Mask = left < right
    if rule.op == ">":
        return above
    if rule.op == "<":
        return below
    crossed = np.zeros(len(left), dtype=np.bool_)
    if rule.op == "crosses_above":
        crossed[1:] = above[1:] & (left[:-1] <= right[:-1])
    else:
        crossed[1:] = below[1:] & (left[:-1] >= right[:-1])
    return crossed


def all_hold(rules: Iterable[Rule], features: Features, n: int) -> Mask:
    """Where every rule holds; nowhere without rules."""
    masks = [rule_mask(r, features) for r in rules]
    return np.logical_and.reduce(masks) if masks else np.zeros(n, dtype=np.bool_)


def any_holds(rules: Iterable[Rule], features: Features, n: int) -> Mask:
    masks = [rule_mask(r, features) for r in rules]
    return np.logical_or.reduce(masks) if masks else np.zeros(n, dtype=np.bool_)
