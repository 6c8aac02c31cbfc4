"""The execution model: all that a simulated fill depends on beside the genome and the candles.

Its hash is part of a strategy's id: a find under other costs is another strategy.
"""

import msgspec

from domain.errors import BadInput
from domain.hashing import same_spelling

_COSTS = ("taker_bps", "maker_bps", "slippage_bps", "opening_fee_bps", "rollover_bps", "maintenance_margin_bps")
_AMOUNTS = ("start_equity", "max_balance", "max_position", "max_pnl")


class MarketRules(msgspec.Struct, frozen=True):
    """Increments as decimals: a price is `ticks / 10**price_decimals`, a size `lots / 10**size_decimals`.

    `min_notional` in quote currency: a smaller order is not placed.
    """

    price_decimals: int
    size_decimals: int
    min_notional: float = 0.0

    def __post_init__(self) -> None:
        same_spelling(self, "min_notional")


class ExecutionModel(msgspec.Struct, frozen=True):
    """Costs in basis points of notional; margin costs apply to shorts and to leverage above 1 only."""

    version: int = 1
    start_equity: float = 10_000.0
    taker_bps: float = 60.0
    maker_bps: float = 40.0
    slippage_bps: float = 5.0
    opening_fee_bps: float = 2.0
    rollover_bps: float = 2.0
    maintenance_margin_bps: float = 500.0
    max_missing_candles: int = 3
    max_balance: float = 1_000_000.0
    max_position: float = 100_000.0
    max_pnl: float = 1_000_000.0
    market: MarketRules = MarketRules(8, 8)

    def __post_init__(self) -> None:
        same_spelling(self, *_COSTS, *_AMOUNTS)


def validate_execution(m: ExecutionModel) -> None:
    """Raise BadInput unless every cost is finite and in a sane range."""
    for name in _COSTS:
        if not 0 <= getattr(m, name) < 5_000:
            raise BadInput(f"{name} must be 0 to below 5000, not {getattr(m, name)}")
    for name in _AMOUNTS:
        if not 0 < getattr(m, name) < 1e15:
            raise BadInput(f"{name} must be a positive amount, not {getattr(m, name)}")
    if m.version != 1:
        raise BadInput(f"execution model {m.version} is unknown to this version, which knows 1")
    if not (0 <= m.market.price_decimals <= 12 and 0 <= m.market.size_decimals <= 12):
        raise BadInput("increments have 0 to 12 decimals")
    if m.max_missing_candles < 0 or not 0 <= m.market.min_notional < 1e12:
        raise BadInput("max_missing_candles and min_notional must not be negative")
