"""Reference, plain loop and every fast path give the same bits, whatever the candles, genomes, costs and windows."""

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from domain.candles import Candles, DatasetInfo
from domain.execution import ExecutionModel, MarketRules
from domain.genome import (
    FAMILY,
    FIELDS,
    INDICATORS,
    KINDS,
    OPS,
    Genome,
    Kelly,
    Operand,
    Risk,
    Rule,
    RuleSet,
    Sizing,
    VolatilityTarget,
    canonical_genome,
    validate_genome,
)
from domain.specs import Window
from kernels.evaluator import CompiledEvaluator, warm_up
from kernels.plain import PlainEvaluator
from kernels.reference import ReferenceEvaluator

DAY_MS = 86_400_000


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    warm_up()


def random_candles(seed: int, n: int, base: int, wild: int, granularity_s: int, decimals: int) -> Candles:
    """A walk with flat stretches, spikes and gaps; `wild` is the step in tenths of a percent of the price."""
    rng = np.random.default_rng(seed)
    close = np.empty(n, dtype=np.int64)
    price = base
    for i in range(n):
        if rng.random() > 0.25:
            step = int(price * wild * (rng.random() - 0.5) / 500)
            price = max(1, price + step + int(rng.integers(-1, 2)))
        if rng.random() < 0.01:
            price = max(1, int(price * (0.4 + 1.3 * rng.random())))
        price = min(price, 10**15)
        close[i] = price
    open_ = np.where(rng.random(n) < 0.7, np.roll(close, 1), close)
    open_[0] = close[0]
    spread = (np.abs(rng.normal(size=n)) * close * wild / 2000).astype(np.int64) * (rng.random(n) < 0.8)
    high = np.maximum(open_, close) + spread
    low = np.maximum(1, np.minimum(open_, close) - spread)
    steps = np.cumsum(np.where(rng.random(n) < 0.03, rng.integers(2, 300, n), 1))
    time_ms = (steps + int(rng.integers(0, 2000))) * granularity_s * 1_000
    volume = rng.integers(0, 50, n) * (rng.random(n) < 0.9)
    info = DatasetInfo("none", "NONE", granularity_s, decimals, 1, n, int(time_ms[0]), int(time_ms[-1]))
    columns = {"time_ms": time_ms, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
    return Candles(info, columns)


@st.composite
def rules(draw, mid: float):
    family = draw(st.sampled_from(["price", "price", "rsi", "volume"]))
    kinds = [k for k in KINDS if FAMILY[k] == family]

    def operand(choices):
        kind = draw(st.sampled_from(choices))
        if kind == "const":
            scale = {"price": mid, "rsi": 50.0, "volume": 2.5}[family]
            return Operand("const", value=scale * draw(st.sampled_from([0.0, 0.5, 0.9, 1.0, 1.1, 2.0])))
        return Operand(kind, draw(st.integers(2, 30)) if kind in INDICATORS else 0)

    left, right = operand(kinds), operand([*kinds, "const"])
    if left == right:
        right = Operand("const", value=mid)
    if draw(st.booleans()):
        left, right = right, left
    return Rule(left, draw(st.sampled_from(OPS)), right)


@st.composite
def genomes(draw, mid: float):
    direction = draw(st.sampled_from(["long", "short", "both"]))

    def side(wanted):
        if not wanted:
            return RuleSet()
        entry = draw(st.lists(rules(mid), min_size=1, max_size=3))
        return RuleSet(tuple(entry), tuple(draw(st.lists(rules(mid), max_size=2))))

    bps = st.one_of(st.just(0), st.integers(1, 900), st.integers(1, 9_999))
    mode = draw(st.sampled_from(["fraction", "fixed", "kelly", "volatility"]))
    if mode == "kelly":
        cap = draw(st.integers(1, 10_000))
        of = Kelly(draw(st.integers(1, 10_000)), draw(st.integers(1, cap)), draw(st.integers(2, 5)))
        sizing = Sizing("kelly", cap, kelly=of)
    elif mode == "volatility":
        target = VolatilityTarget(draw(st.integers(1, 20_000)), draw(st.integers(2, 60)))
        sizing = Sizing("volatility", draw(st.integers(1, 10_000)), volatility=target)
    elif mode == "fraction":
        sizing = Sizing("fraction", fraction_bps=draw(st.one_of(st.just(10_000), st.integers(1, 10_000))))
    else:
        sizing = Sizing("fixed", amount=draw(st.sampled_from([0.37, 100.0, 2_500.0, 9_999.99, 10_000.0])))
    risk = Risk(draw(bps), draw(bps), draw(bps), draw(st.one_of(st.just(0), st.integers(1, 40))), sizing,
                draw(st.integers(1, 3)))  # fmt: skip
    genome = Genome(direction, risk, side(direction != "short"), side(direction != "long"))
    validate_genome(genome)
    return genome


executions = st.builds(
    ExecutionModel,
    taker_bps=st.sampled_from([0.0, 26.0, 60.0]),
    maker_bps=st.sampled_from([0.0, 40.0]),
    slippage_bps=st.sampled_from([0.0, 5.0, 33.3]),
    opening_fee_bps=st.sampled_from([0.0, 2.0]),
    rollover_bps=st.sampled_from([0.0, 2.0]),
    maintenance_margin_bps=st.sampled_from([0.0, 500.0, 4_000.0]),
    max_missing_candles=st.sampled_from([0, 3, 1_000]),
    max_balance=st.sampled_from([10_100.0, 1e6]),
    market=st.builds(MarketRules, st.integers(0, 12), st.integers(0, 12), st.sampled_from([0.0, 10.0])),
)


#: Tables for every level, none at all, blocks so small that every edge of them is met, stores that hold next to nothing.
PATHS = {
    "default": {},
    "tables": {"worth": 0.0},
    "blocks": {"worth": 1e9},
    "small blocks": {"worth": 1e9, "shifts": (1, 2)},
    "hardly any table": {"worth": 0.0, "table_bytes": 3_000},
    "threads and hardly any bitmap": {"worth": 0.0, "bitmap_bytes": 0, "threads": 2},
}


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    np.testing.assert_array_equal(np.ascontiguousarray(a).view(np.int64), np.ascontiguousarray(b).view(np.int64))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), execution=executions, seed=st.integers(0, 2**32 - 1))
def test_kernel_and_reference_agree_bit_for_bit(data, execution, seed):
    n = data.draw(st.integers(2, 400))
    base = data.draw(st.sampled_from([1, 3, 150, 10_007, 6_543_210, 10**12]))
    decimals = data.draw(st.sampled_from([0, 2, 8]))
    granularity_s = data.draw(st.sampled_from([60, 300, 3_600, 86_400]))
    candles = random_candles(seed, n, base, data.draw(st.sampled_from([0, 2, 30, 200])), granularity_s, decimals)
    mid = base / 10**decimals
    population = data.draw(st.lists(genomes(mid), min_size=1, max_size=4))
    cut = data.draw(st.integers(1, n - 1))
    windows = [Window(0, n), Window(0, cut), Window(cut, n)]
    compiled, reference = CompiledEvaluator(candles, execution), ReferenceEvaluator(candles, execution)
    rows = reference.tier1(population, windows)
    assert_same_bits(PlainEvaluator(candles, execution).tier1(population, windows), rows)
    for options in PATHS.values():
        assert_same_bits(CompiledEvaluator(candles, execution, **options).tier1(population, windows), rows)
    event(f"trades: {'many' if np.nanmax(rows[..., 0]) > 5 else 'some' if np.nanmax(rows[..., 0]) > 0 else 'none'}")
    for genome in population:
        window = windows[data.draw(st.integers(0, 2))]
        trades = compiled.trades(genome, window)
        assert trades == reference.trades(genome, window)
        for reason in {t.reason for t in trades}:
            event(reason)
        for a, b in zip(compiled.daily_equity(genome, window), reference.daily_equity(genome, window), strict=True):
            assert_same_bits(a, b)
        assert_same_bits(compiled.tier2(genome, window), reference.tier2(genome, window))
        assert_same_bits(compiled.tier1([canonical_genome(genome)], [window]), compiled.tier1([genome], [window]))
    assert_same_bits(compiled.buy_and_hold(windows[2]), reference.buy_and_hold(windows[2]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(sorted(INDICATORS | FIELDS)), period=st.integers(2, 120))
def test_indicators_agree_bit_for_bit(seed, kind, period):
    from kernels.indicators import compute_feature
    from kernels.reference_rules import feature

    candles = random_candles(seed, 1 + seed % 200, 10**9, 40, 60, 5)
    operand = Operand(kind, period if kind in INDICATORS else 0)
    out = np.empty(len(candles))
    compute_feature(candles, operand, out)
    expected = feature(candles, operand)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    assert_same_bits(np.nan_to_num(out), np.nan_to_num(expected))
