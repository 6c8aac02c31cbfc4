"""Candles without a message: a dataset's own candles in random blocks, so that what a search finds in them is luck.

Two machines build the very same series from (dataset, seed, block): raw generator output, integers, and + - * / of float64
in a fixed order; no library's sums.
"""

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.errors import BadInput
from kernels.statistics.draws import Draws, stationary_indices

#: Prices above do not round to increments exactly, and sums over them could overflow.
MOST = 2.0**52
Ints = NDArray[np.int64]


def bootstrap_candles(candles: Candles, seed: int, block: int) -> Candles:
    """As many candles at the same times, from stationary blocks of mean length `block` of the dataset's own.

    A candle brings its return, its gap at the open, its shape and its volume; levels follow from the first candle, which
    stays. Drift and distribution are kept, and dependence over less than a block; what lies beyond is gone. Raises BadInput
    for fewer than two candles, or a walk that leaves the range of prices.
    """
    n = len(candles)
    if n < 2:
        raise BadInput("a series is bootstrapped from two candles or more")
    # Places 1 to n-1, as a return needs the close before it; a block may run over the end.
    source = stationary_indices(n - 1, block, n - 1, Draws(seed))[0] + 1
    return rebuilt(candles, source)


def rebuilt(candles: Candles, source: Ints) -> Candles:
    """The first candle of `candles`, then for each place of `source` (n - 1,) that candle, moved to where the walk is."""
    open_, high, low, close = (candles.ints[k].astype(np.float64) for k in ("open", "high", "low", "close"))
    before = close[source - 1]
    path = chain(close[0], close[source] / before)
    opens = increments(path[:-1] * (open_[source] / before))
    closes = increments(path[1:])
    top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
    # Measured from the body, whose ratio is at least (at most) 1: rounding cannot put the high below the body.
    highs = increments(top * (high[source] / np.maximum(open_[source], close[source])))
    lows = increments(bottom * (low[source] / np.minimum(open_[source], close[source])))
    made = {"open": opens, "high": highs, "low": lows, "close": closes, "volume": candles.ints["volume"][source]}
    columns = {k: np.concatenate((candles.ints[k][:1], v)) for k, v in made.items()}
    return Candles(candles.info, {"time_ms": candles.time_ms, **columns})


def chain(start: float, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """(len(ratios) + 1,): start, then each the one before times its ratio. Not rounded on the way: rounding would drift."""
    price, path = float(start), [float(start)]
    for ratio in ratios.tolist():
        price = price * ratio
        path.append(price)
    return np.array(path)


def increments(prices: NDArray[np.float64]) -> Ints:
    """To the nearest whole increment, half up, and never below one."""
    if not (prices < MOST).all():
        raise BadInput("the walk leaves the range of prices that can be simulated exactly")
    return np.maximum(np.floor(prices + 0.5), 1.0).astype(np.int64)
