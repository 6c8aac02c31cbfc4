"""Each rule of a simulated trade as an example with numbers worked out by hand, against both evaluators.

Unless a test says otherwise: no costs, cents as ticks, thousandths as lots, 1,000 a trade, a signal at candle 0's close
(volume 1 buys, 2 sells short, 3 wants both, 9 leaves), entry at the open of candle 1.
"""

import math

import numpy as np
import pytest
from msgspec.structs import replace

from domain.errors import BadInput
from domain.execution import ExecutionModel, MarketRules
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing
from domain.metrics import FLAG_BALANCE, FLAG_NOT_FINITE, FLAG_PNL, FLAG_POSITION, T1, TIER1
from domain.specs import Window
from kernels.evaluator import CompiledEvaluator
from kernels.reference import ReferenceEvaluator
from kernels.trade import Trade
from tests.unit.kernels.kernel_cases import (
    BUY,
    FREE,
    LEAVE,
    SELL,
    candles_of,
    constant,
    flat,
    long_genome,
    short_genome,
)

FEES = replace(FREE, taker_bps=60.0, maker_bps=40.0)
BOTH = Genome("both", Risk(0, 0, sizing=Sizing("fixed", amount=1_000.0)), RuleSet((BUY[0],)), RuleSet((SELL[0],)))


@pytest.fixture(params=[CompiledEvaluator, ReferenceEvaluator], ids=["kernel", "reference"])
def evaluator(request):
    return request.param


def trades_of(evaluator, genome, bars, volume=(1,), execution=FREE, window=None, **more) -> list[Trade]:
    volume = [*volume, *[0] * (len(bars) - len(volume))]
    candles = candles_of(bars, volume, **more)
    return evaluator(candles, execution).trades(genome, window or Window(0, len(bars)))


def the_trade(*arguments, **more) -> Trade:
    (trade,) = trades_of(*arguments, **more)
    return trade


def test_a_signal_at_the_close_fills_at_the_next_open(evaluator):
    t = the_trade(evaluator, long_genome(), [flat(90), (100, 105, 99, 104), flat(103)])
    assert (t.entry_index, t.entry_price, t.side, t.lots) == (1, 100.0, 1, 10_000)
    assert (t.exit_index, t.exit_price, t.reason, t.pnl) == (2, 103.0, "end", 30.0)


def test_stop_comes_before_target_when_one_candle_touches_both(evaluator):
    t = the_trade(evaluator, long_genome(200, 200), [flat(100), (100, 110, 90, 100), flat(100)])
    assert (t.reason, t.exit_price, t.exit_index, t.pnl) == ("stop", 98.0, 1, -20.0)


def test_a_touched_stop_fills_and_a_touched_target_does_not(evaluator):
    bars = [flat(100), (100, 102, 99, 100), (100, 102.01, 99, 100), flat(100)]
    t = the_trade(evaluator, long_genome(200, 200), bars)
    assert (t.reason, t.exit_index, t.exit_price) == ("target", 2, 102.0)
    t = the_trade(evaluator, long_genome(200, 200), [flat(100), (100, 101, 98, 100), flat(100)])
    assert (t.reason, t.exit_price) == ("stop", 98.0)


def test_an_open_beyond_the_stop_fills_at_that_open(evaluator):
    t = the_trade(evaluator, long_genome(200, 200), [flat(100), flat(100), (95, 97, 94, 96), flat(96)])
    assert (t.reason, t.exit_price, t.pnl) == ("stop", 95.0, -50.0)


def test_an_open_beyond_the_target_fills_at_that_open_as_a_maker(evaluator):
    bars = [flat(100), flat(100), (104, 105, 103, 104), flat(96)]
    t = the_trade(evaluator, long_genome(200, 200), bars, execution=replace(FEES, slippage_bps=50.0))
    assert (t.reason, t.exit_price) == ("target", 104.0)
    units = t.lots / 1_000
    assert t.fees == pytest.approx(units * (0.006 * 100.5 + 0.004 * 104.0))


def test_the_trailing_level_raised_at_a_close_does_not_meet_the_low_of_the_same_candle(evaluator):
    # Close 110 of candle 1 raises the level to 107.80; candle 1's own low of 99 is above the level it lived with, 98.
    bars = [flat(100), (100, 111, 99, 110), (110, 112, 107.81, 109), (109, 109, 107, 107), flat(100)]
    t = the_trade(evaluator, long_genome(trailing=200), bars)
    assert (t.reason, t.exit_index, t.exit_price) == ("trailing", 3, 107.8)


def test_the_trailing_level_never_falls(evaluator):
    bars = [flat(100), (100, 120, 100, 120), (120, 120, 119, 119), (119, 119, 110, 110), flat(110)]
    t = the_trade(evaluator, long_genome(trailing=200), bars)
    assert (t.reason, t.exit_price) == ("trailing", 117.6)


def test_the_nearer_of_stop_and_trailing_level_counts(evaluator):
    bars = [flat(100), flat(100), (100, 100, 96, 96), flat(96)]
    assert the_trade(evaluator, long_genome(300, trailing=200), bars).reason == "trailing"
    assert the_trade(evaluator, long_genome(200, trailing=300), bars).reason == "stop"


def test_market_orders_pay_the_taker_fee_on_both_fills_and_the_entry_fee_once(evaluator):
    t = the_trade(evaluator, long_genome(), [flat(100), flat(100), flat(110)], execution=FEES)
    # 1000 pays notional and 0.6 % of it: 9.940 units.
    assert t.lots == 9_940
    assert t.fees == pytest.approx(9.94 * 100 * 0.006 + 9.94 * 110 * 0.006)
    assert t.pnl == pytest.approx(9.94 * 10 - t.fees)


def test_slippage_is_against_us_on_market_orders_only(evaluator):
    execution = replace(FREE, slippage_bps=100.0)
    t = the_trade(evaluator, long_genome(), [flat(100), flat(100), flat(110)], execution=execution)
    assert (t.entry_price, t.exit_price) == (101.0, 108.9)
    t = the_trade(evaluator, long_genome(500, 500), [flat(100), (100, 106, 99, 105), flat(110)], execution=execution)
    assert (t.reason, t.exit_price) == ("target", 105.0)
    t = the_trade(evaluator, long_genome(500, 500), [flat(100), (100, 104, 90, 95), flat(110)], execution=execution)
    assert (t.reason, t.exit_price) == ("stop", 94.05)


def test_a_short_sells_lower_buys_back_higher_and_its_fee_counts(evaluator):
    execution = replace(FEES, slippage_bps=100.0)
    t = the_trade(evaluator, short_genome(), [flat(100), flat(100), flat(90)], (2,), execution)
    assert (t.side, t.entry_price, t.exit_price) == (-1, 99.0, 90.9)
    assert t.pnl == pytest.approx(t.lots / 1_000 * (99 - 90.9) - t.fees)


def test_a_short_loses_when_the_price_rises(evaluator):
    t = the_trade(evaluator, short_genome(), [flat(100), flat(100), flat(105)], (2,))
    assert (t.side, t.pnl) == (-1, -50.0)


def test_stop_target_and_trailing_of_a_short_are_mirrored(evaluator):
    genome = short_genome(200, 200)
    t = the_trade(evaluator, genome, [flat(100), (100, 103, 97, 100), flat(100)], (2,))
    assert (t.reason, t.exit_price) == ("stop", 102.0)
    t = the_trade(evaluator, genome, [flat(100), (100, 101, 98, 100), (100, 101, 97.99, 99), flat(9)], (2,))
    assert (t.reason, t.exit_index, t.exit_price) == ("target", 2, 98.0)
    t = the_trade(evaluator, short_genome(trailing=200), [flat(100), (100, 101, 90, 90), (91, 92, 91, 92)], (2,))
    assert (t.reason, t.exit_price) == ("trailing", 91.8)


def test_rules_that_want_both_sides_at_once_enter_nobody(evaluator):
    assert trades_of(evaluator, BOTH, [flat(100)] * 4, (3,)) == []
    assert trades_of(evaluator, BOTH, [flat(100)] * 4, (1,))[0].side == 1


def test_an_opposite_signal_in_a_position_is_ignored(evaluator):
    genome = Genome("both", BOTH.risk, RuleSet(BUY), RuleSet(SELL))
    t = the_trade(evaluator, genome, [flat(100)] * 6, (1, 2, 2, 2))
    assert (t.side, t.exit_index, t.reason) == (1, 5, "end")


@pytest.mark.parametrize(("missing", "entered"), [(3, True), (4, False)])
def test_an_entry_across_a_gap_of_more_than_three_missing_candles_is_cancelled(evaluator, missing, entered):
    minutes = [0, 1 + missing, 2 + missing, 3 + missing]
    assert bool(trades_of(evaluator, long_genome(), [flat(100)] * 4, minutes=minutes)) is entered


def test_an_exit_rule_leaves_at_the_next_open_before_any_level_is_looked_at(evaluator):
    bars = [flat(100), (100, 101, 99, 100), (90, 91, 80, 85), flat(85)]
    t = the_trade(evaluator, long_genome(200, 200), bars, (1, 9))
    assert (t.reason, t.exit_index, t.exit_price) == ("rule", 2, 90.0)


def test_the_holding_limit_leaves_at_the_open_of_entry_plus_h(evaluator):
    t = the_trade(evaluator, long_genome(hold=3), [flat(100 + i) for i in range(8)])
    assert (t.reason, t.entry_index, t.exit_index, t.exit_price) == ("holding", 1, 4, 104.0)


def test_the_candle_of_an_exit_may_signal_the_next_entry_but_none_before(evaluator):
    bars = [flat(100), (100, 100, 97, 99), flat(99), flat(99), flat(99)]
    found = trades_of(evaluator, long_genome(200), bars, (1, 1))
    assert [(t.entry_index, t.exit_index) for t in found] == [(1, 1), (2, 4)]
    # In position during candles 1 and 2: their signals are lost.
    found = trades_of(evaluator, long_genome(hold=2), [flat(100)] * 7, (1, 1, 1, 0, 0))
    assert [(t.entry_index, t.exit_index) for t in found] == [(1, 3)]


def test_a_position_open_at_the_end_of_a_window_is_closed_at_its_last_close_with_costs(evaluator):
    bars = [flat(100), flat(100), (100, 120, 99, 108), flat(500)]
    t = the_trade(evaluator, long_genome(), bars, execution=replace(FEES, slippage_bps=100.0), window=Window(0, 3))
    assert (t.reason, t.exit_index, t.exit_price) == ("end", 2, 106.92)
    assert t.fees == pytest.approx(0.006 * t.lots / 1_000 * (101 + 106.92))


def test_signals_outside_the_window_open_nothing(evaluator):
    bars = [flat(100)] * 6
    assert trades_of(evaluator, long_genome(), bars, (0, 1, 0, 0, 0), window=Window(2, 6)) == []
    assert trades_of(evaluator, long_genome(), bars, (0, 0, 0, 1, 0), window=Window(0, 4)) == []
    assert trades_of(evaluator, long_genome(), bars, (0, 0, 1, 0, 0), window=Window(2, 6))[0].entry_index == 3


def test_indicators_and_crosses_reach_back_before_the_window(evaluator):
    cross = Rule(Operand("close"), "crosses_above", constant(100.0))
    sma = Rule(Operand("sma", 3), ">", constant(0.0))
    genome = Genome("long", Risk(0, 0), RuleSet((cross, sma)))
    bars = [flat(99), flat(99), flat(100), flat(101), flat(102)]
    assert trades_of(evaluator, genome, bars, (), window=Window(3, 5))[0].entry_index == 4
    # From the dataset's first candle nothing is known: no cross, no average.
    assert trades_of(evaluator, genome, bars[2:], ()) == []


def test_spot_positions_pay_no_margin_costs_and_margin_positions_pay_rollover_per_full_four_hours(evaluator):
    execution = replace(FREE, opening_fee_bps=2.0, rollover_bps=3.0)
    bars = [flat(100)] * 11
    hourly = {"granularity_s": 3_600, "execution": execution}
    assert the_trade(evaluator, long_genome(), bars, **hourly).fees == 0.0
    t = the_trade(evaluator, short_genome(hold=8), bars, (2,), **hourly)
    notional = t.lots / 1_000 * 100
    assert t.fees == pytest.approx(notional * (0.0002 + 2 * 0.0003))  # 8 hours to the minute
    t = the_trade(evaluator, short_genome(hold=7), bars, (2,), **hourly)
    assert t.fees == pytest.approx(notional * (0.0002 + 0.0003))
    t = the_trade(evaluator, short_genome(), bars[:5], (2,), **hourly)  # an end lies at the last candle's close: 4 h
    assert t.fees == pytest.approx(notional * (0.0002 + 0.0003))
    t = the_trade(evaluator, long_genome(leverage=2, hold=1), bars, **hourly)
    assert t.fees == pytest.approx(t.lots / 1_000 * 100 * 0.0002)


def test_leverage_multiplies_the_position_and_liquidation_ends_it(evaluator):
    # 3x: level 100 * (1 - 1/3 + 0.05) = 71.67 down to the tick below.
    t = the_trade(evaluator, long_genome(leverage=3), [flat(100), flat(100), (80, 81, 70, 75), flat(90)])
    assert (t.lots, t.reason, t.exit_price) == (30_000, "liquidation", 71.66)
    assert t.pnl == pytest.approx(-30 * 28.34)
    t = the_trade(evaluator, short_genome(leverage=2), [flat(100), flat(100), (200, 250, 190, 240), flat(90)], (2,))
    assert (t.reason, t.exit_price, t.pnl) == ("liquidation", 200.0, -2_000.0)  # more than the margin: not capped
    bars = [flat(100), (100, 100, 1, 1), flat(100)]
    assert the_trade(evaluator, long_genome(), bars).reason == "end"  # spot is never liquidated


def test_no_exit_fills_better_than_the_open_of_its_candle(evaluator):
    # Maintenance of 40 % at 3x puts the liquidation level above the entry: 100 * (1 - 1/3 + 0.4) = 106.67.
    execution = replace(FREE, maintenance_margin_bps=4_000.0)
    t = the_trade(evaluator, long_genome(leverage=3), [flat(100)] * 3, execution=execution)
    assert (t.reason, t.exit_index, t.exit_price) == ("liquidation", 1, 100.0)


def test_fills_and_levels_round_to_ticks_against_us(evaluator):
    whole = replace(FREE, market=MarketRules(0, 3), slippage_bps=10.0)
    t = the_trade(evaluator, long_genome(), [flat(100), flat(100), flat(110)], execution=whole)
    assert (t.entry_price, t.exit_price) == (101.0, 109.0)
    t = the_trade(evaluator, short_genome(), [flat(100), flat(100), flat(110)], (2,), whole)
    assert (t.entry_price, t.exit_price) == (99.0, 111.0)
    coarse = replace(whole, slippage_bps=0.0)
    bars = [flat(100), (100, 100, 97.01, 97.01), (97.01, 97.01, 97, 97), flat(100)]
    t = the_trade(evaluator, long_genome(250), bars, execution=coarse)  # 97.5 rounds down to 97
    assert (t.reason, t.exit_index, t.exit_price) == ("stop", 2, 97.0)
    bars = [flat(100), (100, 103, 100, 101), (101, 103.01, 101, 101), flat(100)]
    t = the_trade(evaluator, long_genome(0, 250), bars, execution=coarse)  # 102.5 rounds up to 103
    assert (t.reason, t.exit_index, t.exit_price) == ("target", 2, 103.0)


def test_size_comes_from_equity_before_the_entry(evaluator):
    genome = replace(long_genome(hold=1), risk=Risk(0, 0, 0, 1, Sizing(fraction_bps=5_000)))
    bars = [flat(100), flat(100), flat(120), flat(120), flat(120), flat(120)]
    first, second = trades_of(evaluator, genome, bars, (1, 0, 1))
    assert (first.lots, first.pnl) == (50_000, 1_000.0)
    assert second.lots == math.floor(5_500 / 120 * 1_000)


def test_what_cannot_be_paid_or_is_too_small_is_not_entered(evaluator):
    bars = [flat(100)] * 4
    above_equity = replace(long_genome(), risk=Risk(0, 0, sizing=Sizing("fixed", amount=10_000.01)))
    assert trades_of(evaluator, above_equity, bars) == []
    small = replace(FREE, market=MarketRules(2, 3, min_notional=1_000.01))
    assert trades_of(evaluator, long_genome(), bars, execution=small) == []
    whole_units = replace(FREE, market=MarketRules(2, 0))
    assert trades_of(evaluator, replace(long_genome(), risk=Risk(0, 0, sizing=Sizing("fixed", amount=99.0))), bars,
                     execution=whole_units) == []  # fmt: skip


def test_after_ruin_nothing_is_entered(evaluator):
    genome = replace(short_genome(leverage=3), risk=Risk(0, 0, 0, 1, Sizing(fraction_bps=10_000), 3))
    bars = [flat(100), flat(100), flat(200), flat(200), flat(200), flat(200)]
    t = the_trade(evaluator, genome, bars, (2, 0, 2, 2))
    assert t.pnl < -10_000.0


def row_of(evaluator, genome, bars, volume=(1,), execution=FREE) -> dict[str, float]:
    candles = candles_of(bars, [*volume, *[0] * (len(bars) - len(volume))])
    return dict(zip(TIER1, evaluator(candles, execution).tier1([genome], [Window(0, len(bars))])[0, 0], strict=True))


def test_without_trades_figures_are_nan_and_never_zero(evaluator):
    row = row_of(evaluator, long_genome(), [flat(100)] * 4, ())
    assert row.pop("trades") == 0
    assert row.pop("flags") == 0
    assert all(math.isnan(v) for v in row.values())


def test_figures_of_three_trades_by_hand(evaluator):
    # +200, -100, +50 on 10,000, each of one candle, entered at 100 with 10 units.
    bars = [flat(100), flat(100), flat(120), flat(100), flat(90), flat(100), flat(105), flat(105)]
    row = row_of(evaluator, long_genome(hold=1), bars, (1, 0, 1, 0, 1))
    assert (row["trades"], row["wins"], row["net_pnl"], row["return_frac"]) == (3, 2, 150.0, 0.015)
    assert (row["gross_profit"], row["gross_loss"], row["profit_factor"]) == (250.0, 100.0, 2.5)
    assert (row["expectancy"], row["best_trade"], row["worst_trade"]) == (50.0, 200.0, -100.0)
    assert (row["final_equity"], row["win_rate"], row["fees"]) == (10_150.0, 2 / 3, 0.0)
    assert row["turnover"] == 1_000 + 1_200 + 1_000 + 900 + 1_000 + 1_050
    assert row["exposure"] == 3 / 8
    assert row["max_drawdown"] == pytest.approx(100 / 10_200)
    assert row["calmar"] == pytest.approx(0.015 * 102)
    returns = np.array([200 / 10_000, -100 / 10_200, 50 / 10_100])
    assert row["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert row["sortino"] == pytest.approx(returns.mean() / math.sqrt((100 / 10_200) ** 2 / 3))


def test_ratios_that_are_not_defined_are_nan(evaluator):
    row = row_of(evaluator, long_genome(hold=1), [flat(100), flat(100), flat(120), flat(120)])
    assert [row[k] for k in ("trades", "wins", "net_pnl", "max_drawdown")] == [1, 1, 200.0, 0.0]
    assert all(math.isnan(row[k]) for k in ("profit_factor", "calmar", "sharpe", "sortino"))


@pytest.mark.parametrize(
    ("limit", "flag"),
    [
        ({"max_balance": 10_199.0}, FLAG_BALANCE),
        ({"max_position": 999.0}, FLAG_POSITION),
        ({"max_pnl": 199.0}, FLAG_PNL),
    ],
)
def test_beyond_a_safety_limit_a_genome_is_flagged_and_its_result_not_clipped(evaluator, limit, flag):
    bars = [flat(100), flat(100), flat(120), flat(120)]
    assert row_of(evaluator, long_genome(), bars)["flags"] == 0
    row = row_of(evaluator, long_genome(), bars, execution=replace(FREE, **limit))
    assert (row["flags"], row["net_pnl"], row["final_equity"]) == (flag, 200.0, 10_200.0)


def test_what_grows_beyond_float64_is_flagged_and_alike_in_both():
    bars = [flat(0.01 if i % 4 < 2 else 9e9) for i in range(200)]
    genome = replace(long_genome(hold=1), risk=Risk(0, 0, 0, 1, Sizing(fraction_bps=10_000)))
    candles = candles_of(bars, [1 if i % 4 == 0 else 0 for i in range(200)])
    rows = [e(candles, FREE).tier1([genome], [Window(0, 200)]) for e in (CompiledEvaluator, ReferenceEvaluator)]
    assert int(rows[0][0, 0, T1["flags"]]) & FLAG_NOT_FINITE
    np.testing.assert_array_equal(rows[0].view(np.int64), rows[1].view(np.int64))


def test_what_cannot_be_simulated_is_refused_with_one_line(evaluator):
    good = candles_of([flat(100)] * 4)
    with pytest.raises(BadInput, match="window"):
        evaluator(good, FREE).tier1([long_genome()], [Window(2, 5)])
    with pytest.raises(BadInput, match="stop_bps"):
        evaluator(good, FREE).tier1([long_genome(10_000)], [Window(0, 4)])
    with pytest.raises(BadInput, match="taker_bps"):
        evaluator(good, ExecutionModel(taker_bps=-1.0))
    with pytest.raises(BadInput, match="order of time"):
        evaluator(candles_of([flat(100)] * 3, minutes=[0, 2, 2]), FREE)
    with pytest.raises(BadInput, match="at least 1 increment"):
        evaluator(candles_of([flat(100), flat(0)]), FREE)
    with pytest.raises(BadInput, match="too large for exact sums"):
        evaluator(candles_of([flat(100)] * 2, volume=[1, 2**62]), FREE)


def test_leaving_rules_join_by_or_and_entry_rules_by_and(evaluator):
    quiet = Rule(Operand("close"), ">", constant(1_000.0))
    either = Genome("long", long_genome().risk, RuleSet(BUY, (quiet, *LEAVE)))
    assert the_trade(evaluator, either, [flat(100)] * 5, (1, 0, 9)).reason == "rule"
    neither = Genome("long", long_genome().risk, RuleSet((*BUY, quiet), LEAVE))
    assert trades_of(evaluator, neither, [flat(100)] * 5) == []
