"""Sizes that follow from the past: the formulas, their caps, no look ahead, and the same bits whoever computes them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.candles import Candles
from domain.execution import ExecutionModel, MarketRules
from domain.genome import Genome, Kelly, Operand, Risk, Rule, RuleSet, Sizing, VolatilityTarget, validate_genome
from domain.metrics import T1
from domain.specs import Window
from kernels.evaluator import CompiledEvaluator
from kernels.plain import PlainEvaluator
from kernels.reference import ReferenceEvaluator
from kernels.sizing import kelly_fraction, volatility_fraction
from kernels.statistics.made import plant_rule, random_walk_candles
from tests.unit.kernels.kernel_cases import FREE, candles_of, flat, long_genome

FINE = replace(FREE, market=MarketRules(2, 8))


@pytest.fixture(params=[CompiledEvaluator, ReferenceEvaluator], ids=["kernel", "reference"])
def evaluator(request):
    return request.param


def kelly(multiplier=10_000, base=500, min_trades=2, cap=10_000) -> Sizing:
    return Sizing("kelly", cap, kelly=Kelly(multiplier, base, min_trades))


def volatility(target_ppm=1_000, period=3, cap=10_000) -> Sizing:
    return Sizing("volatility", cap, volatility=VolatilityTarget(target_ppm, period))


# -- formulas -----------------------------------------------------------------------------------------------------


def test_kellys_fraction_for_known_bets():
    # An even bet won six times out of ten: 20 % (Kelly 1956: 2p - 1). At two to one a fair coin: 25 %.
    assert kelly_fraction(10, 6, 6.0, 4.0, 2, 0.01, 1.0, 1.0) == pytest.approx(0.2)
    assert kelly_fraction(10, 5, 10.0, 5.0, 2, 0.01, 1.0, 1.0) == pytest.approx(0.25)
    assert kelly_fraction(10, 5, 10.0, 5.0, 2, 0.01, 0.5, 1.0) == pytest.approx(0.125)
    assert kelly_fraction(10, 5, 10.0, 5.0, 2, 0.01, 1.0, 0.1) == 0.1
    assert kelly_fraction(10, 10, 3.0, 0.0, 2, 0.01, 1.0, 1.0) == 1.0


@given(
    st.lists(st.floats(-0.5, 0.5).filter(lambda r: abs(r) > 1e-6), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
    st.floats(0.01, 1.0),
)
def test_kellys_fraction_is_its_definition_within_0_and_the_cap(returns, multiplier, cap):
    gains, losses = [r for r in returns if r > 0], [-r for r in returns if r <= 0]
    f = kelly_fraction(len(returns), len(gains), sum(gains), sum(losses), 1, 0.005, multiplier, cap)
    assert 0.0 <= f <= cap
    if gains and losses:
        p, b = len(gains) / len(returns), (sum(gains) / len(gains)) / (sum(losses) / len(losses))
        assert f == pytest.approx(min(cap, max(0.0, (p - (1 - p) / b) * multiplier)), abs=1e-12)
    else:
        assert f == (min(cap, multiplier) if gains else 0.0)


def test_no_edge_is_no_entry_and_few_trades_are_the_base():
    assert kelly_fraction(9, 1, 1.0, 90.0, 10, 0.03, 1.0, 1.0) == 0.03
    assert kelly_fraction(10, 5, 5.0, 5.0, 10, 0.03, 1.0, 1.0) == 0.0
    assert kelly_fraction(10, 0, 0.0, 5.0, 10, 0.03, 1.0, 1.0) == 0.0


@given(st.lists(st.floats(1.0, 1e6), min_size=4, max_size=30), st.floats(1e-6, 0.1), st.sampled_from([1.0, 3.0]))
def test_the_volatility_fraction_is_target_over_realised_up_to_the_cap(close, target, leverage):
    period = len(close) - 1
    moved = np.diff(close) / np.array(close[:-1])
    f = volatility_fraction(close, period, period, target, leverage, 0.4)
    realised = math.sqrt(np.mean(moved**2)) * leverage
    assert f == pytest.approx(min(0.4, target / realised if realised > 0 else math.inf))
    assert 0.0 < f <= 0.4


def test_the_volatility_sum_has_the_same_bits_wherever_the_series_starts():
    close = random_walk_candles(3, 400).close.tolist()
    for cut in (1, 17, 250):
        a = volatility_fraction(close, 390, 100, 1e-3, 1.0, 1.0)
        assert volatility_fraction(close[cut:], 390 - cut, 100, 1e-3, 1.0, 1.0) == a
    assert volatility_fraction(close, 99, 100, 1e-3, 1.0, 1.0) == 0.0
    assert volatility_fraction(close, 100, 100, 1e-3, 1.0, 1.0) > 0.0


# -- in a walk ----------------------------------------------------------------------------------------------------


def test_kelly_takes_the_base_then_the_record_of_this_window(evaluator):
    """Trades of one candle each: +20 %, -10 %, +20 %; from the third trade on two are closed."""
    opens = [100, 100, 120, 120, 108, 108, 129.6, 129.6, 100]
    candles = candles_of([flat(p) for p in opens], [1, 0, 1, 0, 1, 0, 1, 0, 0])
    genome = long_genome(hold=1, sizing=kelly(base=1_000, min_trades=2))
    trades = evaluator(candles, FINE).trades(genome, Window(0, len(opens)))
    assert [t.pnl > 0 for t in trades] == [True, False, True, False]
    equity = 10_000.0
    fractions = []
    for t in trades:
        fractions.append(t.lots / 1e8 * t.entry_price / equity)
        equity += t.pnl
    half, two_thirds = 0.5 - 0.5 / 2.0, 2 / 3 - (1 / 3) / 2.0
    assert fractions == pytest.approx([0.1, 0.1, half, two_thirds], rel=1e-6)
    # A window that starts later knows nothing of the trades before it.
    later = evaluator(candles, FINE).trades(genome, Window(4, len(opens)))
    assert later[0].lots / 1e8 * later[0].entry_price == pytest.approx(1_000)


def test_without_an_edge_kelly_stays_out_until_the_window_ends(evaluator):
    opens = [100, 100, 90, 90, 81, 81, 160, 160, 300]
    candles = candles_of([flat(p) for p in opens], [1, 0, 1, 0, 1, 0, 1, 0, 0])
    kind = evaluator(candles, FINE)
    genome = long_genome(hold=1, sizing=kelly(base=1_000, min_trades=2))
    assert len(kind.trades(genome, Window(0, 9))) == 2
    assert kind.tier1([genome], [Window(0, 9)])[0, 0, T1["trades"]] == 2
    assert len(kind.trades(genome, Window(4, 9))) == 2  # the next window begins without a record


def test_a_volatility_target_sizes_by_the_candles_before_the_entry(evaluator):
    closes = [100, 101, 99.99, 100.99, 100.99, 100.99]
    candles = candles_of([flat(p) for p in closes], [0, 0, 0, 1, 0, 0])
    genome = long_genome(hold=1, sizing=volatility(target_ppm=1_000, period=3))
    (trade,) = evaluator(candles, FINE).trades(genome, Window(0, 6))
    moved = [1 / 100, -1.01 / 101, 1 / 99.99]
    realised = math.sqrt(sum(r * r for r in moved) / 3)
    assert trade.lots / 1e8 * trade.entry_price == pytest.approx(10_000 * 0.001 / realised, rel=1e-6)
    too_long = long_genome(hold=1, sizing=volatility(period=4))
    assert evaluator(candles, FINE).trades(too_long, Window(0, 6)) == []


def test_a_volatility_that_is_not_known_yet_ends_no_walk(evaluator):
    """The first signals come before the period is over; later ones still count."""
    candles = candles_of([flat(100 + i % 3) for i in range(12)], [1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])
    genome = long_genome(hold=1, sizing=volatility(period=5))
    assert [t.entry_index for t in evaluator(candles, FINE).trades(genome, Window(0, 12))] == [9]
    assert evaluator(candles, FINE).tier1([genome], [Window(0, 12)])[0, 0, T1["trades"]] == 1


def test_leverage_is_part_of_what_moves(evaluator):
    candles = random_walk_candles(5, 120)
    rules = RuleSet((Rule(Operand("close"), ">", Operand("const", value=1.0)),))
    notional = []
    for leverage in (1, 3):
        genome = Genome("long", Risk(0, 0, 0, 1, volatility(300, 50), leverage), rules)
        first = evaluator(candles, FINE).trades(genome, Window(0, 120))[0]
        notional.append(first.lots * first.entry_price)
    assert notional[0] == pytest.approx(notional[1], rel=1e-6)


# -- whatever the candles -----------------------------------------------------------------------------------------

SIZINGS = st.one_of(
    st.builds(
        lambda m, b, n, more: kelly(m, b, n, min(10_000, b + more)),
        st.integers(1, 10_000),
        st.integers(1, 3_000),
        st.integers(2, 12),
        st.integers(0, 9_000),
    ),
    st.builds(volatility, st.integers(1, 5_000), st.integers(2, 120), st.integers(1, 10_000)),
)
COSTS = ExecutionModel(taker_bps=10.0, maker_bps=5.0, slippage_bps=1.0, market=MarketRules(2, 6))


@st.composite
def cases(draw):
    """A walk with an edge for buyers of low RSIs, so that records of both signs come up, and a genome that trades often."""
    walk = random_walk_candles(draw(st.integers(0, 2**32)), draw(st.integers(30, 1_500)), 40.0)
    candles = plant_rule(walk, 10, 35, draw(st.sampled_from([-20, 0, 20])), 6)[0]
    rsi = Operand("rsi", draw(st.sampled_from([3, 5, 10])))
    low, high = (Rule(rsi, op, Operand("const", value=v)) for op, v in (("<", 40.0), (">", 60.0)))
    direction = draw(st.sampled_from(["long", "short", "both"]))
    stop, target, trailing = (draw(st.sampled_from([0, 50, 120])) for _ in range(3))
    hold = draw(st.one_of(st.just(0), st.integers(1, 12)))
    risk = Risk(stop, target, trailing, hold, draw(SIZINGS), draw(st.integers(1, 3)))
    genome = Genome(direction, risk, RuleSet((low,) if direction != "short" else ()),
                    RuleSet((high,) if direction != "long" else ()))  # fmt: skip
    validate_genome(genome)
    return candles, genome


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_array_equal(np.ascontiguousarray(a).view(np.int64), np.ascontiguousarray(b).view(np.int64))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_all_paths_agree_bit_for_bit_after_many_trades(case):
    candles, genome = case
    n = len(candles)
    windows = [Window(0, n), Window(0, n // 2), Window(n // 2, n)]
    reference = ReferenceEvaluator(candles, COSTS)
    rows = reference.tier1([genome], windows)
    same_bits(PlainEvaluator(candles, COSTS).tier1([genome], windows), rows)
    for options in ({}, {"worth": 0.0}, {"worth": 1e9, "shifts": (1, 2)}):
        same_bits(CompiledEvaluator(candles, COSTS, **options).tier1([genome], windows), rows)
    compiled = CompiledEvaluator(candles, COSTS)
    assert compiled.trades(genome, windows[2]) == reference.trades(genome, windows[2])
    same_bits(compiled.tier2(genome, windows[0]), reference.tier2(genome, windows[0]))


@pytest.mark.parametrize(
    "sizing", [kelly(5_000, 300, 3, 4_000), volatility(900, 20, 4_000)], ids=["kelly", "volatility"]
)
@pytest.mark.parametrize("direction", ["long", "short"])
def test_a_genome_that_would_fit_a_lane_but_for_its_size_is_walked_alone(sizing, direction):
    """One side, a stop and a target, tables for both: lanes would size it as a plain fraction."""
    candles = plant_rule(random_walk_candles(21, 3_000, 40.0), 10, 35, 20, 6)[0]
    rules = RuleSet((Rule(Operand("rsi", 5), "<", Operand("const", value=40.0)),))
    genome = Genome(
        direction, Risk(150, 200, sizing=sizing), *((rules,) if direction == "long" else (RuleSet(), rules))
    )
    windows = [Window(0, 3_000)]
    rows = ReferenceEvaluator(candles, COSTS).tier1([genome], windows)
    plain_fraction = replace(genome, risk=replace(genome.risk, sizing=Sizing(fraction_bps=4_000)))
    evaluator = CompiledEvaluator(candles, COSTS, worth=0.0)
    same_bits(evaluator.tier1([plain_fraction, genome, plain_fraction], windows)[1:2], rows)
    assert rows[0, 0, T1["net_pnl"]] != evaluator.tier1([plain_fraction], windows)[0, 0, T1["net_pnl"]]


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_the_future_changes_no_earlier_trade(case, data):
    """Other candles from `cut` on: what was closed before stays, and so does the size of whatever was opened before."""
    candles, genome = case
    n = len(candles)
    cut = data.draw(st.integers(1, n - 1))
    other = random_walk_candles(data.draw(st.integers(0, 2**32)), n, 300.0)
    ints = {k: np.concatenate((candles.ints[k][:cut], other.ints[k][cut:])) for k in candles.ints}
    ints["time_ms"] = candles.time_ms
    changed = Candles(candles.info, ints)
    for kind in (CompiledEvaluator, ReferenceEvaluator):
        before = [t for t in kind(candles, COSTS).trades(genome, Window(0, n)) if t.entry_index < cut]
        after = [t for t in kind(changed, COSTS).trades(genome, Window(0, n)) if t.entry_index < cut]
        assert [t for t in before if t.exit_index < cut] == [t for t in after if t.exit_index < cut]
        assert [(t.entry_index, t.lots, t.entry_price) for t in before] == [
            (t.entry_index, t.lots, t.entry_price) for t in after
        ]


@settings(max_examples=60, deadline=None)
@given(cases())
def test_no_trade_costs_more_than_the_cap(case):
    candles, genome = case
    cap, leverage = genome.risk.sizing.fraction_bps / 10_000, genome.risk.leverage
    equity = COSTS.start_equity
    for trade in CompiledEvaluator(candles, COSTS).trades(genome, Window(0, len(candles))):
        notional = trade.lots / 1e6 * trade.entry_price
        assert notional / leverage + notional * 0.001 <= equity * cap * (1 + 1e-9)
        equity += trade.pnl
