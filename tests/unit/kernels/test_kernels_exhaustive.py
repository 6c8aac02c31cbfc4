"""The exhaustive search against the evaluator, asked for every single strategy of a small grammar."""

import bisect
import itertools
import math
from importlib import resources

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.candles import Candles
from domain.errors import BadInput
from domain.execution import ExecutionModel
from domain.grammar import Space, load_grammar, narrow, parse_grammar
from domain.hashing import sha256_hex
from domain.results import UnitOutcome
from domain.risk import RISK_LEVELS
from domain.specs import SearchSpec, Window, Windows
from domain.sweep import set_count, swept_genome
from domain.tasks import Sweep, space_of
from domain.tried import read_tried
from kernels import evaluator
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.finds import find_for
from kernels.evolution.ranking import measure, rank_key
from kernels.evolution.state import genome_key
from kernels.exhaustive import ExhaustiveSearch, warm_up
from kernels.exhaustive_field import Results, Walk, grounds
from kernels.plain import PlainEvaluator
from kernels.reference import ReferenceEvaluator
from tests.support.market import small_market
from tests.unit.kernels.test_kernels_agree import executions, random_candles

RULES = 24
TASK = Sweep(200, 400)


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    evaluator.warm_up()
    warm_up()


def spec_of(candles: Candles, execution: ExecutionModel, windows: list[Window], **fields: object) -> SearchSpec:
    found = SearchSpec(
        dataset=candles.hash(), venue="none", symbol="NONE", granularity_s=candles.info.granularity_s,
        windows=Windows(tuple(windows), (), Window(0, 1)), execution=execution, grammar="primer", generations=RULES,
        trades_wanted=3, top=7, method="sweep",
    )  # fmt: skip
    return replace(found, **fields)


def all_sets(space: Space) -> list[tuple[int, ...]]:
    low, high = space.entry_rules
    return [s for k in range(low, high + 1) for s in itertools.combinations(range(len(space.rules)), k)]


def finished(search: ExhaustiveSearch) -> UnitOutcome:
    while not search.done:
        search.step()
    return search.outcome()


EDGES = [b / 1_000 for b in range(-1_000, 5_001)]


def edge_of(objective: float) -> int:
    """The bin by its documented edges, found without the kernel's arithmetic."""
    return bisect.bisect_right(EDGES, objective) - 1_001


def brute_force(spec: SearchSpec, task: Sweep, evaluator: PlainEvaluator) -> tuple[list[str], dict[str, object]]:
    """(ids of the top, counts by kind) from one evaluation of every strategy."""
    space = space_of(spec)
    genomes = [swept_genome(space, task.stop_bps, task.target_bps, s) for s in all_sets(space)]
    measured = measure(evaluator.tier1(genomes, spec.windows.fitness))
    counts: dict[str, object] = {"none": 0, "flagged": 0, "few": {}, "enough": {}}
    for f in measured:
        kind = (
            "flagged" if f.flags else "none" if not f.eligible else "few" if f.trades < spec.trades_wanted else "enough"
        )
        if kind in ("few", "enough"):
            bins = counts[kind]
            b = edge_of(f.objective)
            bins[b] = bins.get(b, 0) + 1  # type: ignore[attr-defined,index]
        else:
            counts[kind] += 1  # type: ignore[operator]
    ranked = sorted(
        (rank_key(f, genome_key(g), spec.trades_wanted) for f, g in zip(measured, genomes, strict=True) if f.eligible)
    )
    return [key.hex() for _, _, key in ranked[: spec.top]], counts


def counts_of(outcome: UnitOutcome) -> dict[str, object]:
    d = outcome.distribution
    assert d is not None
    assert d.adds_up()
    spread = {
        name: {h.first + n: c for n, c in enumerate(h.counts) if c}
        for name, h in (("few", d.few), ("enough", d.enough))
    }
    return {"none": d.without_objective, "flagged": d.flagged, **spread}


@st.composite
def cases(draw):
    n = draw(st.sampled_from([60, 130, 257, 400]))
    candles = random_candles(draw(st.integers(0, 2**32)), n, draw(st.sampled_from([50, 20_000])), draw(st.integers(1, 40)),
                             draw(st.sampled_from([60, 3600])), 2)  # fmt: skip
    edges = sorted(draw(st.sets(st.integers(0, n), min_size=2, max_size=5)))
    windows = [Window(a, b) for a, b in itertools.pairwise(edges)]
    return candles, replace(draw(executions), max_position=draw(st.sampled_from([1_002.0, 1e5]))), windows


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases(), pair=st.sampled_from([(200, 300), (300, 600)]), visits=st.sampled_from([1, 400, 10**9]))
def test_top_and_distribution_are_those_of_evaluating_every_strategy(case, pair, visits):
    candles, execution, windows = case
    spec, task = spec_of(candles, execution, windows), Sweep(*pair)
    compiled = CompiledEvaluator(candles, execution)
    outcome = finished(ExhaustiveSearch(spec, 1, task, compiled, visits))
    top, counts = brute_force(spec, task, PlainEvaluator(candles, execution))
    assert [f.genome_id for f in outcome.finds] == top
    assert counts_of(outcome) == counts
    assert outcome.evaluated == set_count(space_of(spec)) == len(all_sets(space_of(spec)))
    for name in ("none", "flagged", "few", "enough"):
        event(f"{name}: {bool(counts[name])}")


FIXED = {
    "short": 'directions = ["short"]',
    "borrowed": "leverage = [3]",
    "trailing": "trailing_bps = [150]",
    "held for a while": "max_hold = [12]",
    "all in": "size_bps = [10000]",
    "pairs only": "entry_rules = [2, 2]",
}


def other_space(change: str, monkeypatch: pytest.MonkeyPatch) -> Space:
    """The primer with one line of it changed, at a venue that allows it."""

    text = (resources.files("domain") / "grammars" / "primer.toml").read_text()
    key = change.split(" = ")[0]
    lines = [change if line.startswith(f"{key} = ") else line for line in text.splitlines()]
    wide = replace(RISK_LEVELS["HIGH"], size_max_bps=10_000)
    monkeypatch.setitem(RISK_LEVELS, "HIGH", wide)
    return narrow(parse_grammar("\n".join(lines)), "HIGH", "kraken")


@pytest.mark.parametrize("change", FIXED.values(), ids=FIXED)
def test_what_a_grammar_fixes_is_simulated_as_the_plain_loop_does(change, monkeypatch):
    space = other_space(change, monkeypatch)
    monkeypatch.setattr("kernels.exhaustive.space_of", lambda spec: space)
    candles = small_market(700)
    execution = ExecutionModel(max_balance=10_300.0)
    windows = [Window(13, 420), Window(420, 700)]
    spec = spec_of(candles, execution, windows, trades_wanted=8)
    outcome = finished(ExhaustiveSearch(spec, 1, Sweep(300, 400), CompiledEvaluator(candles, execution)))
    monkeypatch.setitem(brute_force.__globals__, "space_of", lambda spec: space)
    top, counts = brute_force(spec, Sweep(300, 400), PlainEvaluator(candles, execution))
    assert ([f.genome_id for f in outcome.finds], counts_of(outcome)) == (top, counts)
    assert outcome.evaluated == set_count(space)
    assert counts["few"] or counts["enough"]


def test_every_single_objective_has_the_bits_of_the_evaluator():
    candles, execution = small_market(900), ExecutionModel()
    window = Window(100, 900)
    spec = spec_of(candles, execution, [window])
    space = space_of(spec)
    compiled = CompiledEvaluator(candles, execution)
    (ground,) = grounds(space, [window], compiled)
    walk = Walk(ground, space, 200, 400, compiled)
    for i in range(RULES):
        count = math.comb(RULES - 1 - i, 2)
        triples = Results.of(count)
        assert walk.triples(i, i + 1, RULES, 2**62, triples) == RULES
        sets = [(i,), *itertools.combinations(range(i, RULES), 2)][: RULES - i]
        sets += [(i, *more) for more in itertools.combinations(range(i + 1, RULES), 2)]
        singles = [c[i : i + 1] for c in walk.singles]
        net, trades, flags = (np.concatenate(parts) for parts in zip(singles, walk.pairs(i), triples, strict=True))
        expected = measure(compiled.tier1([swept_genome(space, 200, 400, s) for s in sets], [window]))
        assert [f.trades for f in expected] == trades.tolist()
        assert [f.flags for f in expected] == flags.tolist()
        returns = np.where(trades > 0, net / execution.start_equity, np.nan)
        objectives = np.array([f.objective for f in expected])
        np.testing.assert_array_equal(returns.view(np.int64), np.where(trades > 0, objectives, np.nan).view(np.int64))


def test_a_search_that_is_taken_up_again_at_every_step_ends_with_the_same_bits():
    candles, execution = small_market(1_200), ExecutionModel(taker_bps=5.0, maker_bps=5.0)
    spec = spec_of(candles, execution, [Window(0, 1_000)])
    whole = finished(ExhaustiveSearch(spec, 9, TASK, CompiledEvaluator(candles, execution)))
    steps = 0
    search = ExhaustiveSearch(spec, 9, TASK, CompiledEvaluator(candles, execution), visits=200)
    while not search.done:
        search.step()
        assert 0 <= search.generation <= spec.generations
        search = ExhaustiveSearch.resume(spec, 9, TASK, CompiledEvaluator(candles, execution), search.checkpoint())
        steps += 1
    assert steps >= RULES
    assert search.outcome().digest() == whole.digest()
    assert read_tried(search.tried_bytes()).count == whole.evaluated
    assert sha256_hex(search.tried_bytes()) == whole.tried_sha256


def test_finds_are_confirmed_by_the_reference():
    candles, execution = small_market(1_000), ExecutionModel()
    spec = spec_of(candles, execution, [Window(0, 800)], top=2)
    spec = replace(spec, windows=replace(spec.windows, walk_forward=(Window(800, 1_000),)))
    outcome = finished(ExhaustiveSearch(spec, 1, TASK, CompiledEvaluator(candles, execution)))
    reference = ReferenceEvaluator(candles, execution)
    assert len(outcome.finds) == 2
    assert all(find_for(f.genome, spec, reference) == f for f in outcome.finds)


def test_what_lies_beyond_the_fitness_windows_changes_neither_choice_nor_counts():
    execution = ExecutionModel()
    candles = small_market(1_000)
    columns = {k: v.copy() for k, v in candles.ints.items()}
    for name in ("open", "high", "low", "close"):
        columns[name][700:] += 77_777
    outcomes = []
    for market in (candles, Candles(candles.info, columns)):
        spec = spec_of(candles, execution, [Window(0, 700)])
        outcomes.append(finished(ExhaustiveSearch(spec, 1, TASK, CompiledEvaluator(market, execution))))
    assert outcomes[0].distribution == outcomes[1].distribution
    assert [f.genome_id for f in outcomes[0].finds] == [f.genome_id for f in outcomes[1].finds]


@pytest.mark.parametrize(
    "spoil", [lambda d: d[:-1], lambda d: b"x" + d, lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:], lambda d: b""]
)
def test_a_damaged_checkpoint_is_refused(spoil):
    candles, execution = small_market(500), ExecutionModel()
    spec = spec_of(candles, execution, [Window(0, 500)])
    compiled = CompiledEvaluator(candles, execution)
    search = ExhaustiveSearch(spec, 1, TASK, compiled)
    search.step()
    with pytest.raises(BadInput):
        ExhaustiveSearch.resume(spec, 1, TASK, compiled, spoil(search.checkpoint()))
    with pytest.raises(BadInput, match="another search"):
        ExhaustiveSearch.resume(spec, 1, Sweep(300, 400), compiled, search.checkpoint())


def test_a_pair_that_is_none_of_the_grammar_is_refused():
    candles, execution = small_market(500), ExecutionModel()
    spec = spec_of(candles, execution, [Window(0, 500)])
    compiled = CompiledEvaluator(candles, execution)
    for task in (Sweep(201, 400), Sweep(200, 401)):
        with pytest.raises(BadInput, match="no part of this search"):
            ExhaustiveSearch(spec, 1, task, compiled)
    with pytest.raises(BadInput, match="no part of this search"):
        ExhaustiveSearch(msgspec.structs.replace(spec, method="evolve"), 1, TASK, compiled)


def test_the_classic_grammar_has_the_strategies_that_are_said_of_it():
    space = narrow(load_grammar("classic"), "MEDIUM", "coinbase")
    assert set_count(space) == 1_679_796
    assert set_count(space) * len(space.stop_bps) * len(space.target_bps) == space.size() == 136_063_476
