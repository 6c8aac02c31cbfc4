"""Markets of which the truth is known: a random walk, in which nothing can be found, and one with a planted rule.

Deterministic to the bit like `candles`. They test the search and the gates: what is found in a walk is luck, what was
planted has to be found.
"""

import numpy as np

from domain.candles import Candles, DatasetInfo
from domain.errors import BadInput
from domain.genome import Operand, Rule
from kernels.statistics.candles import MOST, chain, increments
from kernels.statistics.draws import Draws

#: A candle is the path of this many steps, so that its high and low are those of a walk.
STEPS = 8
#: Candles that share a volatility, and its factors: calm, usual, wild.
REGIME = 64
FACTORS = (0.5, 1.0, 2.0)
#: A planted drift is given back over about this many candles.
GIVEN_BACK = 200


def random_walk_candles(
    seed: int,
    n: int,
    volatility_bps: float = 20.0,
    start: int = 2_000_000,
    granularity_s: int = 300,
    venue: str = "made",
    symbol: str = "WALK/USD",
    first_ms: int = 0,
) -> Candles:
    """n candles of a martingale: no step says anything about a later one, so that before costs nothing earns or loses.

    A candle's return deviates by about `volatility_bps` (more in wild stretches); `start` in increments of 0.01, volumes
    with 4 decimals.
    """
    if n < 1 or not 0.0 <= volatility_bps <= 1_000.0:
        raise BadInput(f"a random walk needs candles and a volatility of 0 to 1000 bps, not {n} and {volatility_bps}")
    draws = Draws(seed)
    wild = np.repeat(np.array(FACTORS)[draws.below(len(FACTORS), n // REGIME + 1)], REGIME)[:n]
    # Divided by √8, so that the steps of a candle add up; a constant, as no root is needed elsewhere.
    size = volatility_bps / 10_000.0 / 2.8284271247461903
    ratios = 1.0 + _near_normal(draws, n * STEPS) * (size * np.repeat(wild, STEPS))
    path = increments(chain(float(start), ratios))
    steps = path[1:].reshape(n, STEPS)
    opens, closes = np.concatenate((path[:1], steps[:-1, -1])), steps[:, -1]
    volume = 1_000 + (draws.below(9_000_000, n) * wild).astype(np.int64)
    columns = {
        "time_ms": first_ms + np.arange(n, dtype=np.int64) * granularity_s * 1_000,
        "open": opens,
        "high": np.maximum(opens, steps.max(axis=1)),
        "low": np.minimum(opens, steps.min(axis=1)),
        "close": closes,
        "volume": volume,
    }
    last_ms = first_ms + (n - 1) * granularity_s * 1_000
    return Candles(DatasetInfo(venue, symbol, granularity_s, 2, 4, n, first_ms, last_ms), columns)


def _near_normal(draws: Draws, count: int) -> np.ndarray:
    """`count` numbers of mean 0 and deviation 1, exactly symmetric: four 16-bit numbers added (Irwin-Hall)."""
    raw = draws.raw(count)
    total = np.zeros(count, dtype=np.int64)
    for shift in (0, 16, 32, 48):
        total += ((raw >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    return (total - 131_070) / 37_837.0


def plant_rule(
    candles: Candles, period: int = 14, below: int = 20, drift_bps: int = 25, hold: int = 12
) -> tuple[Candles, Rule]:
    """The same walk with a pattern: for `hold` candles after a close with RSI(period) < below, each candle rises by
    `drift_bps` more. Returns it with the rule that sees it.

    The drift works on what the rule sees next, as in a market, so the series is built candle by candle. All other candles
    give it back, a little each, so that holding gains nothing and prices stay in range.
    """
    ints = candles.ints
    close = [float(v) for v in ints["close"].tolist()]
    drift = drift_bps / 10_000.0
    made: dict[str, list[int]] = {k: [int(ints[k][0])] for k in ("open", "high", "low", "close")}
    changes: list[int] = []
    gains = losses = left = 0
    price, given = close[0], 0.0
    for i in range(1, len(candles)):
        was = price
        pull = drift if left else -given / GIVEN_BACK
        price = price * (close[i] / close[i - 1]) * (1.0 + pull)
        given, left = given + pull, max(left - 1, 0)
        opened = _whole(was * (float(ints["open"][i]) / close[i - 1]))
        closed = _whole(price)
        body_high, body_low = (float(f(ints["open"][i], ints["close"][i])) for f in (max, min))
        made["open"].append(opened)
        made["high"].append(_whole(max(opened, closed) * (float(ints["high"][i]) / body_high)))
        made["low"].append(_whole(min(opened, closed) * (float(ints["low"][i]) / body_low)))
        change = closed - made["close"][-1]
        made["close"].append(closed)
        changes.append(change)
        gains += max(change, 0)
        losses += max(-change, 0)
        if len(changes) > period:
            old = changes[-period - 1]
            gains -= max(old, 0)
            losses -= max(-old, 0)
        if len(changes) >= period and gains + losses and 100 * gains < below * (gains + losses):
            left = hold
    columns = {k: np.array(v, dtype=np.int64) for k, v in made.items()}
    rule = Rule(Operand("rsi", period), "<", Operand("const", value=float(below)))
    return Candles(candles.info, {"time_ms": candles.time_ms, "volume": ints["volume"], **columns}), rule


def _whole(price: float) -> int:
    if not price < MOST:
        raise BadInput("the walk leaves the range of prices that can be simulated exactly")
    return max(int(price + 0.5), 1)
