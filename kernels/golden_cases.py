"""What the golden vectors are taken over: candles made by integer arithmetic, and genomes that visit every branch.

The same on every machine and for ever: no library's random numbers, no float until the kernels read the candles.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from domain.candles import Candles, DatasetInfo
from domain.execution import ExecutionModel, MarketRules
from domain.genome import (
    OPS,
    Direction,
    Genome,
    Kelly,
    Operand,
    Risk,
    Rule,
    RuleSet,
    Sizing,
    VolatilityTarget,
)
from domain.specs import Window

CANDLES = 1_600
GRANULARITY_S = 900
WINDOWS = (Window(0, CANDLES), Window(0, 700), Window(700, CANDLES))
# A high maintenance margin brings liquidations within reach, low limits bring flags.
EXECUTION = ExecutionModel(
    maintenance_margin_bps=3_000.0, market=MarketRules(2, 6, 5.0), max_balance=10_050.0, max_position=9_000.0
)


def _numbers(seed: int) -> Iterator[int]:
    """31 bits each: the high half of Knuth's 64-bit linear congruential generator."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def golden_candles() -> Candles:
    """Calm and wild stretches, flat ones, jumps at the open, gaps of one to thirty candles."""
    draw = _numbers(20_251_121)
    columns: dict[str, list[int]] = {k: [] for k in ("time_ms", "open", "high", "low", "close", "volume")}
    price, step = 3_141_592, 1_900_000
    for i in range(CANDLES):
        still = i % 200 > 180
        wild = 400 if (i // 100) % 3 == 1 else 4_000
        jump = (next(draw) % 2_001 - 1_000) * price // 20_000 if next(draw) % 23 == 0 and not still else 0
        open_ = price + jump
        close = open_ if still else max(1_000, open_ + (next(draw) % 2_001 - 1_000) * open_ // (wild * 25))
        reach = 0 if still else next(draw) % (open_ // wild + 1)
        step += 1 + (next(draw) % 30 if next(draw) % 61 == 0 else 0)
        volume = 0 if still else next(draw) % 10**9
        row = (step * GRANULARITY_S * 1_000, open_, max(open_, close) + reach, min(open_, close) - reach, close, volume)
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
        price = close
    first, last = columns["time_ms"][0], columns["time_ms"][-1]
    info = DatasetInfo("golden", "GOLDEN", GRANULARITY_S, 2, 8, CANDLES, first, last)
    return Candles(info, {k: np.array(v, dtype=np.int64) for k, v in columns.items()})


def _rule(n: int) -> Rule:
    """The n-th of a cycle of rules through all operators, fields and indicators."""
    op = OPS[n % 4]
    period = (5, 10, 14, 20, 50, 100)[n % 6]
    close = Operand("close")
    pairs = (
        (close, Operand("sma", period)),
        (Operand("rsi", period), Operand("const", value=(30.0, 45.0, 55.0, 70.0)[n % 4])),
        (Operand("ema", 5), Operand("ema", period + 7)),
        (Operand("volume"), Operand("volume_sma", period)),
        (Operand("high"), Operand("ema", period)),
        (close, Operand("const", value=31_000.5)),
        (Operand("sma", 5), Operand("low")),
        (close, Operand("open")),
    )
    left, right = pairs[(n // 4 + n) % len(pairs)]
    return Rule(left, op, right)


def _side(n: int) -> RuleSet:
    entry = tuple(_rule(n + k * 5) for k in range(1 + n % 3))
    return RuleSet(entry, tuple(_rule(n + 9 + k) for k in range(n % 3)))


def golden_genomes() -> list[Genome]:
    """60: every direction with every leverage, all sizings, each protection on and off."""
    directions: tuple[Direction, ...] = ("long", "short", "both")
    out = []
    for n, (direction, leverage) in enumerate(itertools.product(directions * 4, (1, 2, 3, 3))):
        fixed = Sizing("fixed", amount=(150.0, 2_500.25)[n % 2])
        fraction = Sizing("fraction", fraction_bps=(1_000, 3_333, 10_000)[n % 3])
        risk = Risk(
            stop_bps=(0, 50, 120, 250)[(n // 3) % 4],
            target_bps=(0, 75, 200, 1_000, 333)[n % 5],
            trailing_bps=(0, 0, 60, 175)[(n // 4) % 4],
            max_hold=(0, 0, 1, 17)[(n // 2) % 4],
            sizing=fixed if n % 7 < 2 else fraction,
            leverage=leverage,
        )
        long = _side(n) if direction != "short" else RuleSet()
        out.append(Genome(direction, risk, long, _side(n + 3) if direction != "long" else RuleSet()))
    return out + _sized_by_the_past()


def _sized_by_the_past() -> list[Genome]:
    """12: six volatility targets, and six records for Kelly, of which the first four have an edge in these candles."""
    close, out = Operand("close"), []
    below, above = (RuleSet((Rule(close, op, Operand("sma", 10)),)) for op in ("<", ">"))
    directions: tuple[Direction, ...] = ("long", "short", "both")
    for n, direction in enumerate(directions * 2):
        cap, target = (10_000, 2_500, 400)[n % 3], VolatilityTarget((100, 900)[n // 3], (2, 20, 96)[n % 3])
        risk = Risk(0, (60, 150, 0)[n % 3], 0, (6, 25)[n // 3], Sizing("volatility", cap, volatility=target), 1 + n % 3)
        out.append(_genome(direction, risk, below, above))
    for n, rule, hold in ((0, 41, 12), (1, 29, 12), (2, 20, 40), (3, 32, 40), (4, 8, 6), (5, 2, 25)):
        kelly = Kelly((10_000, 2_500)[n % 2], 300, (4, 2)[n % 2])
        risk = Risk(0, 0, 0, hold, Sizing("kelly", (10_000, 10_000, 3_000)[n % 3], kelly=kelly), 1 + rule % 3)
        direction = "short" if n < 4 else directions[2 * (n - 4)]
        out.append(_genome(direction, risk, below, RuleSet((_rule(rule),))))
    return out


def _genome(direction: Direction, risk: Risk, long: RuleSet, short: RuleSet) -> Genome:
    return Genome(
        direction, risk, long if direction != "short" else RuleSet(), short if direction != "long" else RuleSet()
    )
