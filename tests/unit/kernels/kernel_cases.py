"""Builders of candles and genomes for the tests of the kernels."""

from collections.abc import Sequence

import numpy as np

from domain.candles import Candles, DatasetInfo
from domain.execution import ExecutionModel, MarketRules
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing

MINUTE_MS = 60_000
#: No costs, cents and whole-thousandth lots: hand-computed numbers stay short.
FREE = ExecutionModel(
    taker_bps=0, maker_bps=0, slippage_bps=0, opening_fee_bps=0, rollover_bps=0, market=MarketRules(2, 3)
)


def candles_of(
    bars: Sequence[tuple[float, float, float, float]],
    volume: Sequence[int] | None = None,
    minutes: Sequence[int] | None = None,
    granularity_s: int = 60,
    start_ms: int = 0,
) -> Candles:
    """Bars of (open, high, low, close) in quote currency with cents; `minutes` are open times in granularity steps."""
    n = len(bars)
    table = np.array([[round(v * 100) for v in bar] for bar in bars], dtype=np.int64).reshape(n, 4)
    steps = np.array(minutes if minutes is not None else range(n), dtype=np.int64)
    time_ms = start_ms + steps * granularity_s * 1_000
    columns = {
        "time_ms": time_ms,
        "open": table[:, 0],
        "high": table[:, 1],
        "low": table[:, 2],
        "close": table[:, 3],
        "volume": np.array(volume if volume is not None else [0] * n, dtype=np.int64),
    }
    info = DatasetInfo("none", "NONE", granularity_s, 2, 0, n, int(time_ms[0]), int(time_ms[-1]))
    return Candles(info, columns)


def flat(price: float) -> tuple[float, float, float, float]:
    return (price, price, price, price)


def constant(value: float) -> Operand:
    return Operand("const", value=value)


VOLUME = Operand("volume")
#: Tests signal through the volume column, which touches no price: 1 buys, 2 sells short, 3 does both, 9 leaves.
BUY = Rule(VOLUME, ">", constant(0.5)), Rule(VOLUME, "<", constant(1.5))
SELL = Rule(VOLUME, ">", constant(1.5)), Rule(VOLUME, "<", constant(2.5))
LEAVE = (Rule(VOLUME, ">", constant(8.5)),)


def long_genome(stop: int = 0, target: int = 0, trailing: int = 0, hold: int = 0, **more: object) -> Genome:
    risk = Risk(stop, target, trailing, hold, **{"sizing": Sizing("fixed", amount=1_000.0), **more})  # type: ignore[arg-type]
    return Genome("long", risk, long=RuleSet(BUY, LEAVE))


def short_genome(stop: int = 0, target: int = 0, trailing: int = 0, hold: int = 0, **more: object) -> Genome:
    risk = Risk(stop, target, trailing, hold, **{"sizing": Sizing("fixed", amount=1_000.0), **more})  # type: ignore[arg-type]
    return Genome("short", risk, short=RuleSet(SELL, LEAVE))
