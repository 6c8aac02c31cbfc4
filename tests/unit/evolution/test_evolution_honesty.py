"""What the search may look at, and what may never become a find."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from domain.candles import Candles
from domain.genome import Genome, Operand, Risk, Rule, RuleSet
from domain.metrics import T1, TIER1, TIER2
from domain.results import UnitOutcome
from domain.specs import SearchSpec, Window, Windows, split_windows
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.finds import find_for
from kernels.evolution.search import Search
from kernels.reference import ReferenceEvaluator

But = Callable[..., SearchSpec]
CROSS = Genome("long", Risk(300, 900), RuleSet((Rule(Operand("sma", 20), "crosses_above", Operand("sma", 50)),)))
NEVER = Genome("long", Risk(300, 900), RuleSet((Rule(Operand("rsi", 14), ">", Operand("const", value=101.0)),)))


def outcome(spec: SearchSpec, evaluator: CompiledEvaluator, seed: int = 1) -> UnitOutcome:
    search = Search(spec, seed, evaluator)
    while not search.done:
        search.step()
    return search.outcome()


def test_out_of_sample_window_used_as_fitness_never_happens(
    spec: SearchSpec, evaluator: CompiledEvaluator, altered: Callable[[int], Candles]
) -> None:
    """Other candles after the fitness window: the same genomes are tried and chosen, only their later figures differ."""
    other = CompiledEvaluator(altered(spec.windows.fitness[-1].stop), spec.execution)
    one, two = outcome(spec, evaluator), outcome(spec, other)
    assert one.tried_sha256 == two.tried_sha256
    assert [f.genome_id for f in one.finds] == [f.genome_id for f in two.finds]
    assert [(f.objective, f.fitness, f.daily_fitness) for f in one.finds] == [
        (f.objective, f.fitness, f.daily_fitness) for f in two.finds
    ]
    assert [f.walk_forward for f in one.finds] != [f.walk_forward for f in two.finds]


def test_the_search_asks_for_walk_forward_figures_only_after_the_choice(spec: SearchSpec, recording) -> None:
    search = Search(spec, 2, recording)
    while not search.done:
        search.step()
    assert {(kind, windows) for kind, _, windows in recording.asked} == {("tier1", spec.windows.fitness)}
    chosen = [f.genome for f in search.outcome().finds]
    later = recording.asked[search.generation :]
    assert {g for _, genomes, _ in later for g in genomes} == set(chosen)


def test_the_hold_out_is_never_looked_at(
    spec: SearchSpec, evaluator: CompiledEvaluator, recording, altered: Callable[[int], Candles]
) -> None:
    start = spec.windows.hold_out.start
    assert altered(start).hash() != spec.dataset
    other = CompiledEvaluator(altered(start), spec.execution)
    assert outcome(spec, other).digest() == outcome(spec, recording).digest()
    assert max(w.stop for _, _, windows in recording.asked for w in windows) == start


def test_pnl_with_100_digits_is_flagged_and_rejected(but: But, evaluator, market: Candles) -> None:
    """With a limit that good strategies exceed, the best of the others are found, and no figure is clipped."""
    free = outcome(but(risk="HIGH"), evaluator)
    best = max(f.fitness[0].tier1["net_pnl"] for f in free.finds)
    limit = best / 2
    execution = msgspec.structs.replace(but().execution, max_pnl=limit)
    spec = but(risk="HIGH", execution=execution)
    limited = CompiledEvaluator(market, execution)
    search = Search(spec, 1, limited)
    while not search.done:
        search.step()
        places = [c.fitness.flags != 0 for c in search.population]
        assert places == sorted(places)
    finds = search.outcome().finds
    tried = limited.tier1_of(search.coding.population(search.tried_rows()), spec.windows.fitness)
    assert np.any(tried[:, 0, T1["flags"]] != 0)
    assert finds
    for find in finds:
        assert find.fitness[0].tier1["flags"] == 0
        assert abs(find.fitness[0].tier1["net_pnl"]) <= limit


def test_when_nothing_trades_within_the_limits_nothing_is_found(but: But, market: Candles) -> None:
    execution = msgspec.structs.replace(but().execution, max_position=1.0)
    spec = but(execution=execution, patience=3)
    search = Search(spec, 1, CompiledEvaluator(market, execution))
    while not search.done:
        search.step()
    assert (search.best, search.generation, search.outcome().finds) == (None, 3, ())


def test_a_find_has_all_figures_of_its_windows(spec: SearchSpec, evaluator: CompiledEvaluator) -> None:
    find = find_for(CROSS, spec, evaluator)
    windows = spec.windows
    assert [(w.start, w.stop) for w in find.fitness] == [tuple(msgspec.structs.astuple(w)) for w in windows.fitness]
    assert [(w.start, w.stop) for w in find.walk_forward] == [
        tuple(msgspec.structs.astuple(w)) for w in windows.walk_forward
    ]
    table = evaluator.tier1([CROSS], windows.fitness)
    assert find.objective == table[0, 0, T1["return_frac"]]
    assert find.enough_trades is bool(table[0, 0, T1["trades"]] >= spec.trades_wanted)
    assert all(tuple(w.tier1) == TIER1 for w in (*find.fitness, *find.walk_forward))
    assert all(tuple(f) == TIER2 for f in (find.daily_fitness, find.daily_walk, find.hold_fitness, find.hold_walk))
    whole = Window(windows.walk_forward[0].start, windows.walk_forward[-1].stop)
    assert find.daily_walk["total_return"] == evaluator.tier2(CROSS, whole)[TIER2.index("total_return")]
    assert find.hold_walk["total_return"] == evaluator.buy_and_hold(whole)[TIER2.index("total_return")]


def test_the_objective_is_the_mean_over_several_fitness_windows(spec: SearchSpec, but: But, evaluator) -> None:
    cut = spec.windows.fitness[0].stop // 2
    parts = (Window(0, cut), Window(cut, spec.windows.fitness[0].stop))
    several = but(windows=msgspec.structs.replace(spec.windows, fitness=parts))
    find = find_for(CROSS, several, evaluator)
    returns = [w.tier1["return_frac"] for w in find.fitness]
    assert find.objective == (returns[0] + returns[1]) / 2
    assert find.daily_fitness == find_for(CROSS, spec, evaluator).daily_fitness
    assert outcome(several, evaluator).digest() == outcome(several, evaluator).digest()


def test_the_reference_recomputes_every_find_bit_for_bit(
    spec: SearchSpec, evaluator: CompiledEvaluator, market: Candles
) -> None:
    reference = ReferenceEvaluator(market, spec.execution)
    for find in outcome(spec, evaluator).finds:
        assert find_for(find.genome, spec, reference) == find


def test_a_strategy_that_never_trades_has_no_objective_rather_than_0(spec: SearchSpec, evaluator) -> None:
    find = find_for(NEVER, spec, evaluator)
    assert find.objective is None
    assert find.fitness[0].tier1["trades"] == 0
    assert find.fitness[0].tier1["return_frac"] is None
    assert not find.enough_trades


def test_a_range_without_walk_forward_windows_can_be_backtested(but: But, evaluator: CompiledEvaluator) -> None:
    whole = Windows((Window(0, 4_000),), (), Window(4_000, 4_000))
    find = find_for(CROSS, but(windows=whole), evaluator)
    assert find.objective is not None
    assert (find.walk_forward, find.daily_walk, find.hold_walk) == ((), {}, {})


@pytest.mark.parametrize("written", ["mirrored", "canonical"])
def test_a_genome_written_otherwise_is_the_same_find(spec: SearchSpec, evaluator, written: str) -> None:
    mirrored = Genome("long", CROSS.risk, RuleSet((Rule(Operand("sma", 50), "crosses_below", Operand("sma", 20)),)))
    genome = mirrored if written == "mirrored" else CROSS
    assert find_for(genome, spec, evaluator) == find_for(CROSS, spec, evaluator)


def test_windows_of_the_generated_market_leave_a_hold_out(spec: SearchSpec) -> None:
    assert spec.windows == split_windows(4_000)
    assert spec.windows.hold_out.stop - spec.windows.hold_out.start == 800
