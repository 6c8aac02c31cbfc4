"""Portfolio figures against `empyrical`, live, and trade figures against their definitions on a walk."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.execution import ExecutionModel, MarketRules
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing
from domain.metrics import PORTFOLIO, T2, TIER1, TIER2
from domain.specs import Window
from kernels.daily import daily_returns, tier2_row
from kernels.evaluator import CompiledEvaluator
from kernels.portfolio import against_holding, annual_return, portfolio_figures
from kernels.reference import ReferenceEvaluator
from kernels.statistics.made import random_walk_candles

NO_TRADES = [math.nan] * len(TIER1)


@pytest.fixture(scope="module")
def empyrical():
    return pytest.importorskip("empyrical")


def figures_of(returns: np.ndarray, start: float = 10_000.0):
    equity = start * np.cumprod(1.0 + returns)
    return portfolio_figures(NO_TRADES, tier2_row(equity, start, True).tolist())


RETURNS = st.lists(st.floats(-0.3, 0.3).map(lambda r: round(r, 4)), min_size=2, max_size=120)


@settings(max_examples=150, deadline=None)
@given(RETURNS)
def test_figures_are_those_of_empyrical(empyrical, values):
    r = np.array(values)
    found = figures_of(r)
    year = {"annualization": 365}
    theirs = {
        "total_return": empyrical.cum_returns_final(r),
        "annual_return": empyrical.annual_return(r, **year),
        "volatility": empyrical.annual_volatility(r, **year),
        "max_drawdown": -empyrical.max_drawdown(r),
        "cvar_95": -empyrical.conditional_value_at_risk(r, 0.05),
        "cvar_99": -empyrical.conditional_value_at_risk(r, 0.01),
        "var_95": -np.percentile(r, 5, method="lower"),
        "var_99": -np.percentile(r, 1, method="lower"),
    }
    if np.ptp(r) > 1e-3:
        theirs["sharpe"] = empyrical.sharpe_ratio(r, **year)
        if r.min() < 0.0:
            theirs["sortino"] = empyrical.sortino_ratio(r, **year)
    if theirs["max_drawdown"] > 1e-6:
        theirs["calmar"] = empyrical.calmar_ratio(r, **year)
    for name, value in theirs.items():
        assert found[name] == pytest.approx(value, rel=1e-7, abs=1e-9), name


def test_var_is_that_of_empyrical_where_a_day_lies_at_the_quantile(empyrical):
    r = np.random.default_rng(4).normal(0, 0.02, 101)
    found = figures_of(r)
    assert found["var_95"] == pytest.approx(-empyrical.value_at_risk(r, 0.05))
    assert found["var_99"] == pytest.approx(-empyrical.value_at_risk(r, 0.01))
    # Between two days empyrical interpolates; an order statistic takes the worse of the two.
    r = r[:-7]
    assert figures_of(r)["var_95"] > -empyrical.value_at_risk(r, 0.05)


def test_returns_start_from_the_start_equity():
    assert daily_returns([11_000.0, 9_900.0], 10_000.0) == pytest.approx([0.1, -0.1])


def test_a_year_compounds():
    assert annual_return(0.21, 730) == pytest.approx(0.1)
    assert annual_return(0.5, 365) == pytest.approx(0.5)
    assert annual_return(0.01, 1) == pytest.approx(1.01**365 - 1)
    assert math.isnan(annual_return(-1.0, 100))
    assert math.isnan(annual_return(-3.0, 100))
    assert math.isnan(annual_return(1e6, 1))
    assert math.isnan(annual_return(math.nan, 0))


def genome_of(rule: Rule) -> Genome:
    return Genome("long", Risk(100, 150, 0, 40, Sizing(fraction_bps=5_000)), RuleSet((rule,)))


DIP = genome_of(Rule(Operand("rsi", 5), "<", Operand("const", value=35.0)))
NEVER = genome_of(Rule(Operand("rsi", 5), "<", Operand("const", value=0.0)))
COSTS = ExecutionModel(taker_bps=10.0, maker_bps=5.0, slippage_bps=1.0, market=MarketRules(2, 6))


@pytest.mark.parametrize("kind", [CompiledEvaluator, ReferenceEvaluator], ids=["kernel", "reference"])
def test_a_strategy_and_buy_and_hold_side_by_side(kind):
    candles = random_walk_candles(12, 6_000, 30.0)
    evaluator, window = kind(candles, COSTS), Window(1_000, 5_900)
    ours, holding = against_holding(evaluator, DIP, window)
    assert tuple(ours) == tuple(holding) == PORTFOLIO
    trades = evaluator.trades(DIP, window)
    pnl = np.array([t.pnl for t in trades])
    notional = [t.lots / 1e6 * (t.entry_price + t.exit_price) for t in trades]
    assert ours["trades"] == len(trades) > 50
    assert ours["total_return"] == pytest.approx(pnl.sum() / 10_000)
    assert ours["win_rate"] == pytest.approx((pnl > 0).mean())
    assert ours["profit_factor"] == pytest.approx(pnl[pnl > 0].sum() / -pnl[pnl <= 0].sum())
    assert ours["expectancy"] == pytest.approx(pnl.mean())
    assert ours["turnover"] == pytest.approx(sum(notional))
    assert ours["fees"] == pytest.approx(sum(t.fees for t in trades))
    assert 0.0 < ours["exposure"] < 1.0
    # Buy & hold: the second open to the last close, all the time but the first candle.
    price = candles.close[5_899] * (1 - 1e-4) / (candles.open[1_001] * (1 + 1e-4))
    assert holding["trades"] == 1
    assert holding["total_return"] == pytest.approx(price * (1 - 0.001) / 1.001 - 1, abs=1e-4)
    assert holding["exposure"] == pytest.approx(4_899 / 4_900)
    assert holding["fees"] > 0
    assert holding["max_drawdown"] > 0
    assert ours["days"] == holding["days"] == evaluator.tier2(DIP, window)[T2["days"]]


def test_both_evaluators_give_the_same_figures():
    candles = random_walk_candles(13, 3_000, 30.0)
    window = Window(0, 3_000)
    one, other = (
        against_holding(kind(candles, COSTS), DIP, window) for kind in (CompiledEvaluator, ReferenceEvaluator)
    )
    assert one == other


def test_without_a_trade_figures_are_null_and_never_0():
    candles = random_walk_candles(14, 1_000)
    ours, holding = against_holding(CompiledEvaluator(candles, COSTS), NEVER, Window(0, 1_000))
    assert (ours["trades"], ours["days"]) == (0, 4)
    assert {v for k, v in ours.items() if k not in ("trades", "days")} == {None}
    assert holding["total_return"] is not None


def test_every_portfolio_figure_is_of_a_tier_or_annual():
    assert set(PORTFOLIO) <= {*TIER1, *TIER2, "annual_return"}
