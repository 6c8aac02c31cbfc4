"""What both evaluators need of candles and costs before the first trade: refusals, fractions, scales, buy & hold."""

import msgspec
import numpy as np

from domain.candles import Candles
from domain.errors import BadInput
from domain.execution import ExecutionModel, validate_execution
from domain.genome import MAX_PERIOD, Genome, Operand, Risk, Rule, RuleSet, Sizing
from domain.specs import Window

HOUR_MS = 3_600_000
ROLLOVER_MS = 4 * HOUR_MS
DAY_MS = 24 * HOUR_MS

#: Buy & hold as a genome: whole equity at the first chance, never out. Its entry rule holds for every positive close.
BUY_AND_HOLD = Genome(
    direction="long",
    risk=Risk(stop_bps=0, target_bps=0, sizing=Sizing(mode="fraction", fraction_bps=10_000)),
    long=RuleSet(entry=(Rule(Operand("close"), ">", Operand("const", value=0.0)),)),
)


class Costs(msgspec.Struct, frozen=True):
    """An execution model in the units of the kernels: fractions of notional, scales, milliseconds, quote currency.

    Field names and order are those of `kernels.layout.COSTS`.
    """

    start_equity: float
    taker_frac: float
    maker_frac: float
    slippage_frac: float
    opening_frac: float
    rollover_frac: float
    maintenance_frac: float
    tick_scale: float
    lot_scale: float
    min_notional: float
    max_balance: float
    max_position: float
    max_pnl: float
    granularity_ms: int
    max_missing: int


def costs_of(model: ExecutionModel, granularity_s: int) -> Costs:
    """Raises BadInput when the model is out of range."""
    validate_execution(model)
    return Costs(
        start_equity=float(model.start_equity),
        taker_frac=model.taker_bps / 10_000.0,
        maker_frac=model.maker_bps / 10_000.0,
        slippage_frac=model.slippage_bps / 10_000.0,
        opening_frac=model.opening_fee_bps / 10_000.0,
        rollover_frac=model.rollover_bps / 10_000.0,
        maintenance_frac=model.maintenance_margin_bps / 10_000.0,
        tick_scale=float(10**model.market.price_decimals),
        lot_scale=float(10**model.market.size_decimals),
        min_notional=float(model.market.min_notional),
        max_balance=float(model.max_balance),
        max_position=float(model.max_position),
        max_pnl=float(model.max_pnl),
        granularity_ms=granularity_s * 1_000,
        max_missing=model.max_missing_candles,
    )


def check_candles(candles: Candles) -> None:
    """Refuse (BadInput) what cannot be simulated exactly: no candles, disorder, prices below one increment, overflow."""
    if len(candles) == 0:
        raise BadInput("the dataset has no candles")
    if candles.info.granularity_s <= 0:
        raise BadInput(f"granularity must be positive, not {candles.info.granularity_s} s")
    if np.any(np.diff(candles.time_ms) <= 0):
        raise BadInput("candles must be in order of time, each once")
    for name in ("open", "high", "low", "close", "volume"):
        column = candles.ints[name]
        least = 0 if name == "volume" else 1
        if int(column.min()) < least:
            raise BadInput(f"{name} must be at least {least} increment(s), found {int(column.min())}")
        if int(column.max()) * MAX_PERIOD >= 2**63:
            raise BadInput(f"{name} is too large for exact sums over {MAX_PERIOD} candles: {int(column.max())}")


def check_window(window: Window, candles: int) -> None:
    if not 0 <= window.start < window.stop <= candles:
        raise BadInput(f"window {window.start}..{window.stop} does not lie within {candles} candles")
