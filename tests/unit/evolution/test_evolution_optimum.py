"""The search against an optimum that is proven, and the record of the proof."""

import msgspec
import pytest

from bench.population import bundled_candles
from bench.prove import classic_spec, prove, question_of, recorded, small_question, space_of
from bench.search import REACHED, SEEDS, SHARE, trial, within
from domain.genome import genome_id
from domain.metrics import T1
from kernels.evaluator import CompiledEvaluator
from kernels.reference import ReferenceEvaluator


def test_the_record_answers_the_question_of_the_benchmark_and_its_optimum_has_the_figures_that_it_says() -> None:
    candles, proof = bundled_candles(), recorded()
    spec = classic_spec(candles)
    space = space_of(spec)
    assert proof.question == question_of(spec, space)
    assert proof.strategies == space.size() == 136_063_476
    assert genome_id(proof.genome) == proof.genome_id
    assert space.contains(proof.genome)
    for evaluator in (CompiledEvaluator(candles, spec.execution), ReferenceEvaluator(candles, spec.execution)):
        row = evaluator.tier1([proof.genome], spec.windows.fitness)[0, 0]
        assert (row[T1["return_frac"]], row[T1["trades"]]) == (proof.optimum, proof.optimum_trades)
    assert proof.optimum_trades >= spec.trades_wanted > proof.naked_trades
    assert proof.median < proof.optimum < proof.naked


def test_another_question_has_another_name() -> None:
    candles = bundled_candles()
    spec = classic_spec(candles)
    space = space_of(spec)
    others = [
        (msgspec.structs.replace(spec, trades_wanted=61), space),
        (msgspec.structs.replace(spec, dataset="0" * 64), space),
        (spec, msgspec.structs.replace(space, stop_bps=space.stop_bps[:3])),
    ]
    assert len({question_of(spec, space), *(question_of(*other) for other in others)}) == 4


@pytest.mark.slow
def test_nine_of_ten_seeds_come_within_5_percent_of_the_optimum_with_1_percent_of_the_evaluations() -> None:
    """Fifteen million strategies are evaluated for the proof, a hundredth of them in each search."""
    candles = bundled_candles()
    spec, space = small_question(candles)
    proof = prove(spec, space, candles)
    assert proof.strategies == space.size() > 15_000_000
    reached, most = trial(within(space, spec), space, proof, candles)
    assert most < SHARE * proof.strategies
    assert max(reached) <= 1.0
    assert len(reached) == SEEDS
    assert sum(r >= REACHED for r in reached) >= 9
