"""The parts of a judgement: gates, neighbours, the spread of trials, stress, and the look-ahead check on signals."""

import math

import msgspec
import numpy as np
import pytest

import kernels.reference_rules
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing, canonical_genome
from domain.grammar import search_space
from domain.judgement import GATE_DSR, GATE_LOOK_AHEAD, GATE_NULLS
from kernels.evaluation.gates import failed_gates, p_value, standing_of
from kernels.evaluation.judge import stresses
from kernels.evaluation.lookahead import LookAhead
from kernels.evaluation.neighbours import neighbours
from kernels.evaluation.samples import overfitting, range_of, returns_of, spread_of
from kernels.evaluator import CompiledEvaluator
from kernels.reference import ReferenceEvaluator
from kernels.statistics.made import random_walk_candles
from kernels.statistics.sharpe import sr0
from tests.support.evaluated import CHEAP, campaign_on

RSI = Rule(Operand("rsi", 14), "<", Operand("const", value=30.0))
GENOME = Genome("long", Risk(200, 400, sizing=Sizing(fraction_bps=1_000)), RuleSet((RSI,)))


def test_the_p_value_counts_the_find_itself_and_equals_against_it() -> None:
    find = standing_of(0.1, True)
    nulls = [standing_of(o, True) for o in (0.05, 0.1, 0.2)]
    assert p_value(find, nulls) == 3 / 4
    assert p_value(find, nulls[:1] * 19) == 1 / 20
    assert p_value(find, []) is None


def test_too_few_trades_rank_behind_and_nothing_found_ranks_last() -> None:
    few, enough, nothing = standing_of(0.5, False), standing_of(-0.5, True), standing_of(None, False)
    assert enough < few < nothing
    assert p_value(few, [enough] * 19) == 1.0
    assert p_value(enough, [few, nothing]) == 1 / 3


def test_a_gate_whose_figure_is_not_known_is_not_passed() -> None:
    assert failed_gates(None, None, "") == (GATE_NULLS, GATE_DSR)
    assert failed_gates(0.05, 0.95, "") == ()
    assert failed_gates(0.051, 0.949, "x changes") == (GATE_NULLS, GATE_DSR, GATE_LOOK_AHEAD)
    assert failed_gates(0.01, math.nan, "") == (GATE_DSR,)


def test_neighbours_differ_in_one_choice_by_one_step() -> None:
    space = search_space("classic", "MEDIUM", "coinbase")
    found = neighbours(GENOME, space)
    assert all(canonical_genome(g) == g and space.contains(g) for g in found)
    assert len(set(found)) == len(found)
    assert {g.risk.stop_bps for g in found} == {150, 200, 250}
    assert {g.risk.target_bps for g in found} == {300, 400, 500}
    rules = {r for g in found for r in g.long.entry} - {RSI}
    assert rules == {
        Rule(Operand("rsi", 10), "<", RSI.right),
        Rule(Operand("rsi", 20), "<", RSI.right),
        Rule(RSI.left, "<", Operand("const", value=25.0)),
        Rule(RSI.left, "<", Operand("const", value=35.0)),
    }
    assert len(found) == 8


def test_at_the_edge_of_the_space_and_off_its_grid_there_are_fewer() -> None:
    space = search_space("classic", "MEDIUM", "coinbase")
    edge = msgspec.structs.replace(GENOME, risk=msgspec.structs.replace(GENOME.risk, stop_bps=100, target_bps=777))
    assert {(g.risk.stop_bps, g.risk.target_bps) for g in neighbours(edge, space)} == {(100, 777), (150, 777)}


def test_for_trials_scattered_evenly_around_zero_the_bar_is_the_textbook_one() -> None:
    rng = np.random.default_rng(1)
    half = [rng.normal(0.0, 1.0, 50) + m for m in np.linspace(0.05, 0.6, 40)]
    spread = spread_of([*half, *(-h for h in half)], 50)
    assert spread.bar(100) == pytest.approx(sr0(spread.variance, 100), rel=0.02)
    assert spread.bar(100) == pytest.approx(spread.plain_bar(100), rel=0.02)


def test_trials_that_lose_by_their_costs_do_not_raise_the_bar_but_luck_keeps_its_floor() -> None:
    rng = np.random.default_rng(2)
    losing = [rng.normal(0.0, 0.2, 50) - drag for drag in np.linspace(0.1, 2.0, 80)]
    spread = spread_of(losing, 50)
    assert spread.bar(20) == sr0(1 / 50, 20) < spread.plain_bar(20)
    assert spread_of([np.zeros(50)] * 3, 50).bar(20) == sr0(1 / 50, 20)  # nobody traded


def test_overfitting_takes_fewer_blocks_where_days_are_few() -> None:
    table = np.random.default_rng(3).normal(size=(20, 5))
    assert overfitting(table)[1] == 10
    assert overfitting(np.tile(table, (3, 1)))[1] == 16
    assert overfitting(table[:7])[1] == 0
    assert math.isnan(overfitting(table[:, :1])[0])


def test_stress_raises_costs_and_nothing_else() -> None:
    names = [name for name, _ in stresses(CHEAP)]
    assert names == ["fees x1.5", "fees x2", "slippage x2"]
    half, double, slip = (e for _, e in stresses(CHEAP))
    assert (half.taker_bps, double.taker_bps, slip.taker_bps) == (15.0, 20.0, 10.0)
    assert (half.slippage_bps, double.slippage_bps, slip.slippage_bps) == (1.0, 1.0, 2.0)


def test_daily_returns_are_the_same_bits_in_both_implementations() -> None:
    walk = random_walk_candles(7, 2_500, volatility_bps=60.0, granularity_s=3_600)
    window = range_of(campaign_on(walk, 1, 0).search.windows.walk_forward)
    both = [returns_of(GENOME, window, kind(walk, CHEAP), 10_000.0) for kind in (CompiledEvaluator, ReferenceEvaluator)]
    assert both[0].tobytes() == both[1].tobytes()
    assert len(both[0]) == 22  # 500 hours begin and end within a day


def test_a_signal_that_looks_ahead_is_caught_even_where_indicators_are_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = random_walk_candles(8, 2_500, volatility_bps=60.0, granularity_s=3_600)
    window = range_of(campaign_on(walk, 1, 0).search.windows.walk_forward)
    genome = msgspec.structs.replace(GENOME, long=RuleSet((Rule(Operand("open"), "<", Operand("close")),)))
    assert LookAhead(walk, window, CHEAP, ReferenceEvaluator, cuts=6).of(genome) == ""
    honest = kernels.reference_rules.rule_mask
    monkeypatch.setattr(
        kernels.reference_rules, "rule_mask", lambda rule, features: np.roll(honest(rule, features), -1)
    )
    assert "signal changes" in LookAhead(walk, window, CHEAP, ReferenceEvaluator, cuts=6).of(genome)
