"""What one simulated round trip leaves behind, and why it ended."""

from typing import Literal

import msgspec

Reason = Literal["stop", "trailing", "target", "rule", "holding", "liquidation", "end"]
REASONS: tuple[Reason, ...] = ("stop", "trailing", "target", "rule", "holding", "liquidation", "end")
STOP, TRAILING, TARGET, RULE, HOLDING, LIQUIDATION, END = range(len(REASONS))


class Trade(msgspec.Struct, frozen=True):
    """Candle indices of the dataset; prices, fees and `pnl` (net of `fees`) in quote currency; `side` +1 long, -1 short.

    `fees` hold both fills, opening and rollover fees. `end`: closed by the end of the window, not by the strategy.
    """

    entry_index: int
    exit_index: int
    side: int
    lots: int
    entry_price: float
    exit_price: float
    fees: float
    pnl: float
    reason: Reason
