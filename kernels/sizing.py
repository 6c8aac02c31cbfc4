"""How large, and at which tick: the float64 formulas that kernel, reference and trader share (no copy of them exists).

Plain Python functions on floats. The reference calls them as they are, `kernels.loop` compiles these very function
objects, the trader turns their whole numbers into Decimals. Ticks and lots are whole numbers held in float64: a price is
`ticks / tick_scale`, a size `lots / lot_scale`, where a scale is 10 to the power of the market's decimals.

Rounding is against us, but a level that lies on the tick grid must stay there although 1 - 0.02 and decimal prices have
no exact float64. Every quotient or product that leads to `price * scale` adds at most 2**-53 of its value, and there are
less than eight of them: whatever is nearer to a whole tick than `GRID_TOLERANCE` (2**-49) of its value *is* that tick.
The grid is resolved for prices up to 2**48 ticks; above, rounding goes to the nearest tick, and from 2**52 ticks on a
float64 has no fraction left to round.

How large a fraction of equity a trade may cost follows, for two modes, from what lies before the entry:

- Kelly (1956), "A new interpretation of information rate", for bets of one size: f* = p - (1 - p) / b, p the share of
  closed trades that won and b the mean win over the mean loss. Returns count per notional, so that sizes chosen before do
  not weigh in. The record is that of the window, which starts without one.
- Volatility target: the fraction at which equity deviates by the target a candle; the realised volatility is the root mean
  square of close-to-close returns up to the close that signals.

A module-level function here may call no other one: numba compiles each alone.
"""

import math

GRID_TOLERANCE = 2.0**-49
NO_FRACTION = 2.0**52
NOT_FINITE = float("inf")


def whole_ticks(price: float, up: bool, tick_scale: float) -> float:
    """`price` in whole ticks, rounded up or down; prices are positive, NaN and infinity are returned as they are."""
    x = price * tick_scale
    if not x < NO_FRACTION:
        return x
    nearest = float(int(x + 0.5))
    below = float(int(x))
    rounded = below + 1.0 if up else below
    # All is computed before it is chosen from: which it is changes from price to price, and a branch would guess.
    return nearest if abs(x - nearest) <= x * GRID_TOLERANCE else rounded


def size_in_lots(
    equity: float,
    budget: float,
    leverage: float,
    price: float,
    entry_cost_frac: float,
    lot_scale: float,
    min_notional: float,
) -> float:
    """Whole lots that `budget` pays for, margin (notional / leverage) and entry costs together; 0.0 = no entry.

    `budget`, `equity` and `min_notional` in quote currency, `price` the fill's price, `entry_cost_frac` the fees due at
    entry as a fraction of notional. No entry without equity, with a budget above equity, below one lot, below
    `min_notional`, or when the number of lots overflows.
    """
    if not (0.0 < budget <= equity and price > 0.0):
        return 0.0
    x = budget * leverage / (price * (1.0 + leverage * entry_cost_frac)) * lot_scale
    if not x < NOT_FINITE:
        return 0.0
    lots = float(int(x)) if x < NO_FRACTION else x
    if lots < 1.0 or lots / lot_scale * price < min_notional:
        return 0.0
    return lots


def kelly_fraction(
    closed: int, wins: int, won: float, lost: float, min_trades: int, base: float, multiplier: float, cap: float
) -> float:
    """Fraction of equity for the next trade, 0.0 to `cap`; `base` until `min_trades` are closed.

    `won` and `lost` add the returns of the `wins` winners and, as a positive number, of the others. 0.0 when there is no
    edge (f* <= 0): then no trade is opened, none closes, the record stays, and the strategy is out until the window ends.
    """
    if closed < min_trades:
        return base
    if not won > 0.0:
        return 0.0
    # p - (1 - p) / b with p = wins / closed and b = (won / wins) / (lost / (closed - wins)): without losers b is infinite.
    f = wins / closed * (1.0 - lost / won) * multiplier
    if not f > 0.0:
        return 0.0
    return min(f, cap)


def volatility_fraction(close, t: int, period: int, target: float, leverage: float, cap: float) -> float:
    """Fraction of equity for an entry after the close of candle t, above 0.0 to `cap`; 0.0 until `period` returns are known.

    `close` holds the dataset's closes (a list or an array). The sum is taken anew from the oldest to the newest, so that
    its bits depend on these candles alone. A market that did not move gives `cap`. Cost: O(period).
    """
    if t < period:
        return 0.0
    squares = 0.0
    for c in range(t - period + 1, t + 1):
        r = (close[c] - close[c - 1]) / close[c - 1]
        squares += r * r
    moves = math.sqrt(squares / period) * leverage
    if moves * cap <= target:
        return cap
    return target / moves
