"""The daily equity by hand, and tier 2 figures against their definitions."""

import math

import numpy as np
import pytest
from msgspec.structs import replace

from domain.genome import Risk, Sizing
from domain.metrics import T2, TIER2
from domain.specs import Window
from kernels.daily import tier2_row
from kernels.evaluator import CompiledEvaluator
from kernels.reference import ReferenceEvaluator
from tests.unit.kernels.kernel_cases import FREE, candles_of, flat, long_genome, short_genome

SIX_HOURS = 21_600
FEES = replace(FREE, taker_bps=100.0, rollover_bps=10.0)


@pytest.fixture(params=[CompiledEvaluator, ReferenceEvaluator], ids=["kernel", "reference"])
def evaluator(request):
    return request.param


def test_an_open_position_is_valued_at_each_days_last_close_without_exit_costs(evaluator):
    closes = [100, 100, 100, 102, 90, 90, 90, 95, 110, 110, 110, 120]  # four candles a day, three days
    candles = candles_of([flat(c) for c in closes], [1, *[0] * 11], granularity_s=SIX_HOURS)
    days, equity = evaluator(candles, FEES).daily_equity(long_genome(), Window(0, 12))
    units = math.floor(1_000 / 101 * 1_000) / 1_000
    entry_fee = units * 100 * 0.01
    exit_fee = units * 120 * 0.01
    assert days.tolist() == [0, 1, 2]
    assert equity == pytest.approx(
        [10_000 + units * 2 - entry_fee, 10_000 - units * 5 - entry_fee, 10_000 + units * 20 - entry_fee - exit_fee]
    )


def test_an_open_short_owes_the_rollover_due_so_far(evaluator):
    candles = candles_of([flat(100)] * 8, [2, *[0] * 7], granularity_s=SIX_HOURS)
    _, equity = evaluator(candles, FEES).daily_equity(short_genome(), Window(0, 8))
    notional = math.floor(1_000 / 101 * 1_000) / 1_000 * 100
    # Entered at 06:00: 18 hours are four full periods, 42 hours are ten.
    assert equity == pytest.approx([10_000 - notional * (0.01 + 0.004), 10_000 - notional * (0.02 + 0.010)])


def test_a_day_without_candles_repeats_the_day_before(evaluator):
    candles = candles_of(
        [flat(100), flat(100), flat(150), flat(150)],
        [1, 0, 0, 0],
        minutes=[0, 1, 5 * 4, 5 * 4 + 1],
        granularity_s=SIX_HOURS,
        start_ms=86_400_000 * 20_000,
    )
    days, equity = evaluator(candles, FREE).daily_equity(long_genome(), Window(0, 4))
    assert days.tolist() == list(range(20_000, 20_006))
    assert equity.tolist() == [10_000.0] * 5 + [10_500.0]


def test_buy_and_hold_buys_the_second_open_with_all_equity_and_pays_both_ways(evaluator):
    candles = candles_of([flat(p) for p in (50, 100, 100, 130, 999)], granularity_s=SIX_HOURS)
    row = evaluator(candles, replace(FEES, slippage_bps=100.0)).buy_and_hold(Window(0, 4))
    units = math.floor(10_000 / (101 * 1.01) * 1_000) / 1_000
    last = 10_000 + units * (128.7 - 101) - 0.01 * units * (101 + 128.7)
    assert row[T2["days"]] == 1
    assert row[T2["total_return"]] == pytest.approx(last / 10_000 - 1)


def test_tier_2_without_trades_knows_the_days_only(evaluator):
    candles = candles_of([flat(100)] * 9, granularity_s=SIX_HOURS)
    row = evaluator(candles, FREE).tier2(long_genome(), Window(0, 9))
    assert row[T2["days"]] == 3
    assert np.isnan(np.delete(row, T2["days"])).all()


def test_figures_of_a_series_follow_their_definitions():
    returns = np.random.default_rng(7).normal(0.001, 0.02, 150)
    equity = 10_000 * np.cumprod(1 + returns)
    row = dict(zip(TIER2, tier2_row(equity, 10_000.0, True), strict=True))
    centred = returns - returns.mean()
    assert row["days"] == 150
    assert row["mean_daily"] == pytest.approx(returns.mean())
    assert row["volatility"] == pytest.approx(returns.std(ddof=1) * math.sqrt(365))
    assert row["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(365))
    downside = math.sqrt(np.mean(np.minimum(returns, 0) ** 2))
    assert row["sortino"] == pytest.approx(returns.mean() / downside * math.sqrt(365))
    curve = np.concatenate(([10_000], equity))
    fall = 1 - curve / np.maximum.accumulate(curve)
    assert row["max_drawdown"] == pytest.approx(fall.max())
    runs = "".join("x" if f > 0 else " " for f in fall).split()
    assert row["drawdown_days"] == max(map(len, runs))
    ordered = np.sort(returns)
    assert row["var_95"] == pytest.approx(-ordered[7])  # ceil(150 * 5 %) = 8th worst
    assert row["cvar_95"] == pytest.approx(-ordered[:8].mean())
    assert row["var_99"] == pytest.approx(-ordered[1])
    assert row["cvar_99"] == pytest.approx(-ordered[:2].mean())
    assert row["total_return"] == pytest.approx(equity[-1] / 10_000 - 1)
    m2 = np.mean(centred**2)
    assert row["skewness"] == pytest.approx(np.mean(centred**3) / m2**1.5)
    assert row["kurtosis"] == pytest.approx(np.mean(centred**4) / m2**2)


def test_a_flat_or_ruined_series_has_no_ratios():
    row = dict(zip(TIER2, tier2_row(np.full(10, 10_000.0), 10_000.0, True), strict=True))
    assert row["total_return"] == row["max_drawdown"] == row["volatility"] == 0.0
    assert all(math.isnan(row[k]) for k in ("sharpe", "sortino", "skewness", "kurtosis"))
    row = dict(zip(TIER2, tier2_row(np.array([5_000.0, -10.0, -10.0]), 10_000.0, True), strict=True))
    assert row["max_drawdown"] == pytest.approx(1.001)
    assert math.isnan(row["mean_daily"])
    assert math.isnan(row["var_95"])


def test_a_short_squeezed_below_zero_is_marked_there(evaluator):
    genome = replace(short_genome(), risk=Risk(0, 0, sizing=Sizing(fraction_bps=10_000), leverage=3))
    candles = candles_of([flat(100), flat(100), flat(200), flat(200)], [2, 0, 0, 0], granularity_s=SIX_HOURS)
    row = evaluator(candles, FREE).tier2(genome, Window(0, 4))
    assert row[T2["total_return"]] == pytest.approx(-3.0)
