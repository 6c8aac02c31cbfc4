"""Several datasets as one: every figure is the dataset's own, in both implementations, and the objective is their mean."""

import math

import msgspec
import numpy as np
import pytest

from agents.miner.work import Evaluators, Job
from agents.validator.reference import Reference
from domain.candles import Candles
from domain.errors import BadInput
from domain.genome import Genome
from domain.grammar import search_space
from domain.judgement_words import campaign_words, strategy_words
from domain.results import mean_return
from domain.specs import Market, SearchSpec, Window, split_windows
from domain.tasks import Evolve, WorkItem
from kernels.evaluation.judge import judge
from kernels.evaluation.question import Question
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.finds import find_for
from kernels.evolution.ranking import fitness_of, measure
from kernels.evolution.search import Search
from kernels.integers import coding_of
from kernels.joint import EncodedJoint, JointEvaluator, MarketWindow, fitness_counts, fitness_windows, joint
from kernels.protocol import EncodedEvaluator
from kernels.reference import ReferenceEvaluator
from tests.support.market import EXECUTION, small_market, spec_for

#: Of other lengths, so that no array can be taken for another's.
MARKETS = (small_market(3_000, 1), small_market(2_400, 5), small_market(2_100, 9))
DEARER = msgspec.structs.replace(EXECUTION, taker_bps=20.0)


def spec(*, walks: int = 2, **fields: object) -> SearchSpec:
    """Three datasets; the second has two fitness windows, and costs of its own."""
    first, second, third = MARKETS
    windows = split_windows(2_400, walks=walks)
    halves = msgspec.structs.replace(windows, fitness=(Window(0, 700), Window(700, 1_440)))
    also = (
        Market(second.hash(), "kraken", "ETH/USD", 3600, halves, DEARER),
        Market(third.hash(), "kraken", "SOL/USD", 3600, split_windows(2_100, walks=walks), EXECUTION),
    )
    search = msgspec.structs.replace(spec_for(first, 1).search, also=also, trades_wanted=30)
    return msgspec.structs.replace(search, **fields)


SPEC = spec()


def parts(kind: type = CompiledEvaluator) -> list[CompiledEvaluator]:
    return [kind(c, m.execution) for c, m in zip(MARKETS, SPEC.markets, strict=True)]


@pytest.fixture(scope="module")
def compiled() -> list[CompiledEvaluator]:
    return parts()


@pytest.fixture(scope="module")
def genomes(compiled: list[CompiledEvaluator]) -> list[Genome]:
    """What a search tries: some trade often, some seldom, some never."""
    search = Search(SPEC, 3, joint(compiled))
    search.step()
    search.step()
    return [search.coding.genome(row) for row in search.tried_rows()]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def test_windows_run_over_all_datasets_in_order() -> None:
    assert fitness_counts(SPEC) == (1, 2, 1)
    assert fitness_windows(SPEC) == (
        MarketWindow(0, 1_800, 0), MarketWindow(0, 700, 1), MarketWindow(700, 1_440, 1), MarketWindow(0, 1_260, 2),
    )  # fmt: skip
    alone = msgspec.structs.replace(SPEC, also=())
    assert fitness_windows(alone) == alone.windows.fitness
    assert all(type(w) is Window for w in fitness_windows(alone))


def test_every_row_is_the_datasets_own_bit_for_bit(compiled: list[CompiledEvaluator], genomes: list[Genome]) -> None:
    table = joint(compiled).tier1(genomes, fitness_windows(SPEC))
    for columns, evaluator, market in zip(([0], [1, 2], [3]), compiled, SPEC.markets, strict=True):
        assert same(table[:, columns], evaluator.tier1(genomes, market.windows.fitness))
    assert np.isnan(table).any()


def test_encoded_populations_give_the_same_rows(compiled: list[CompiledEvaluator], genomes: list[Genome]) -> None:
    coding = coding_of(search_space(SPEC.grammar, SPEC.risk, SPEC.venue))
    evaluator = joint(compiled)
    assert isinstance(evaluator, EncodedJoint)
    assert isinstance(evaluator, EncodedEvaluator)
    rows = np.array([coding.row(g) for g in genomes])
    table = evaluator.tier1_of(coding.population(rows), fitness_windows(SPEC))
    assert same(table, evaluator.tier1(genomes, fitness_windows(SPEC)))


def test_windows_of_datasets_in_any_order_keep_their_places(
    compiled: list[CompiledEvaluator], genomes: list[Genome]
) -> None:
    windows = [MarketWindow(0, 500, 2), Window(10, 600), MarketWindow(0, 500, 1), MarketWindow(10, 600, 0)]
    table = joint(compiled).tier1(genomes[:5], windows)
    assert same(table[:, 1], table[:, 3])
    assert same(table[:, [0]], compiled[2].tier1(genomes[:5], [Window(0, 500)]))
    assert same(table[:, [2]], compiled[1].tier1(genomes[:5], [Window(0, 500)]))


def test_one_dataset_is_asked_directly(compiled: list[CompiledEvaluator]) -> None:
    assert joint(compiled[:1]) is compiled[0]


def test_the_reference_has_the_same_bits(compiled: list[CompiledEvaluator], genomes: list[Genome]) -> None:
    plain = joint([ReferenceEvaluator(c, m.execution) for c, m in zip(MARKETS, SPEC.markets, strict=True)])
    assert isinstance(plain, JointEvaluator)
    assert not isinstance(plain, EncodedEvaluator)
    some = genomes[::9]
    assert same(plain.tier1(some, fitness_windows(SPEC)), joint(compiled).tier1(some, fitness_windows(SPEC)))
    for k, genome in enumerate(some):
        window = MarketWindow(100, 1_500, k % 3)
        assert same(plain.tier2(genome, window), joint(compiled).tier2(genome, window))
        assert same(plain.buy_and_hold(window), compiled[k % 3].buy_and_hold(Window(100, 1_500)))
        assert find_for(genome, SPEC, plain) == find_for(genome, SPEC, joint(compiled))


def test_a_find_is_the_mean_of_the_datasets_and_shows_each(
    compiled: list[CompiledEvaluator], genomes: list[Genome]
) -> None:
    """The objective of a genome on each dataset alone, added in order, divided by their number."""
    known = 0
    for genome in genomes[:40]:
        find = find_for(genome, SPEC, joint(compiled))
        alone = [
            find_for(genome, msgspec.structs.replace(
                SPEC, dataset=m.dataset, windows=m.windows, execution=m.execution, also=()), evaluator)
            for m, evaluator in zip(SPEC.markets, compiled, strict=True)
        ]  # fmt: skip
        objectives = [f.objective for f in alone]
        if None in objectives:
            assert find.objective is None
        else:
            known += 1
            assert find.objective == (0.0 + objectives[0] + objectives[1] + objectives[2]) / 3  # type: ignore[operator]
        for there, own in zip((find, *find.also), alone, strict=True):
            for name in ("fitness", "walk_forward", "daily_fitness", "daily_walk", "hold_fitness", "hold_walk"):
                assert getattr(there, name) == getattr(own, name)
        assert [m.dataset for m in find.also] == [m.dataset for m in SPEC.also]
        trades = sum(w.tier1["trades"] or 0 for f in alone for w in f.fitness)
        assert find.enough_trades == (trades >= SPEC.trades_wanted)
    assert known


def finished(search: Search) -> Search:
    while not search.done:
        search.step()
    return search


def test_a_search_finds_what_the_reference_finds(compiled: list[CompiledEvaluator]) -> None:
    small = spec(generations=2)
    plain = joint([ReferenceEvaluator(c, m.execution) for c, m in zip(MARKETS, SPEC.markets, strict=True)])
    found = finished(Search(small, 5, joint(compiled))).outcome()
    assert found.finds
    assert finished(Search(small, 5, plain)).outcome().digest() == found.digest()


def test_a_checkpoint_between_any_two_generations_changes_no_bit(compiled: list[CompiledEvaluator]) -> None:
    whole = finished(Search(SPEC, 5, joint(compiled))).outcome()
    assert all(len(f.also) == 2 for f in whole.finds)
    for stop in (1, 3):
        search = Search(SPEC, 5, joint(compiled))
        for _ in range(stop):
            search.step()
        # Another process has evaluators of its own.
        resumed = Search.resume(SPEC, 5, joint(parts()), search.checkpoint())
        assert finished(resumed).outcome() == whole
        with pytest.raises(BadInput, match="another search"):
            Search.resume(msgspec.structs.replace(SPEC, also=SPEC.also[:1]), 5, joint(compiled), search.checkpoint())


def test_another_dataset_leads_to_other_finds(compiled: list[CompiledEvaluator]) -> None:
    """The datasets do take part in the choice."""
    both = finished(Search(SPEC, 5, joint(compiled))).outcome()
    alone = finished(Search(msgspec.structs.replace(SPEC, also=()), 5, compiled[0])).outcome()
    assert [f.genome_id for f in both.finds] != [f.genome_id for f in alone.finds]
    best = both.finds[0].objective
    assert best is not None
    for find in alone.finds:
        objective = find_for(find.genome, SPEC, joint(compiled)).objective
        assert objective is None or objective <= best or not both.finds[0].enough_trades


def test_what_breaks_a_limit_on_one_dataset_alone_is_rejected(genomes: list[Genome]) -> None:
    """A market whose limits are below what any trade needs: every genome that trades there is flagged."""
    tight = msgspec.structs.replace(EXECUTION, max_position=1.0)
    evaluators = [
        CompiledEvaluator(MARKETS[0], EXECUTION), CompiledEvaluator(MARKETS[1], tight), CompiledEvaluator(MARKETS[2], EXECUTION)
    ]  # fmt: skip
    table = joint(evaluators).tier1(genomes, fitness_windows(SPEC))
    fits = [fitness_of(row) for row in measure(table, fitness_counts(SPEC))]
    assert any(f.flags for f in fits)
    assert not any(f.eligible for f in fits if f.flags)
    free = [fitness_of(row) for row in measure(joint(evaluators).tier1(genomes, MARKETS_BUT_TIGHT), (1, 1))]
    assert any(f.eligible and g.flags for f, g in zip(free, fits, strict=True))


MARKETS_BUT_TIGHT = (MarketWindow(0, 1_800, 0), MarketWindow(0, 1_260, 2))


def test_evaluators_of_a_search_share_the_memory_of_one_and_change_with_the_markets() -> None:
    kept = Evaluators()
    assert kept.get(SPEC) is None
    made = kept.make(SPEC, MARKETS)
    assert kept.get(msgspec.structs.replace(SPEC, generations=9)) is made
    assert kept.get(msgspec.structs.replace(SPEC, also=())) is None
    dearer = msgspec.structs.replace(SPEC.also[1], execution=DEARER)
    assert kept.get(msgspec.structs.replace(SPEC, also=(SPEC.also[0], dearer))) is None
    item = WorkItem("c", "u", 0, 0, 3, "slot", 5, SPEC, Evolve())
    outcome, _ = Job(item, made, b"", 1e9).run() or (None, b"")
    assert outcome == finished(Search(SPEC, 5, joint(parts()))).outcome()


def test_no_trade_on_one_dataset_is_no_objective() -> None:
    flat = Candles(
        MARKETS[1].info, {k: np.full_like(v, 2_000_000) if k != "time_ms" else v for k, v in MARKETS[1].ints.items()}
    )
    search = Search(SPEC, 5, joint([CompiledEvaluator(c, EXECUTION) for c in (MARKETS[0], flat, MARKETS[2])]))
    search.step()
    table = joint([CompiledEvaluator(c, EXECUTION) for c in (MARKETS[0], flat, MARKETS[2])]).tier1(
        [search.coding.genome(row) for row in search.tried_rows()], fitness_windows(SPEC)
    )
    idle = [
        fitness_of(r) for r, rows in zip(measure(table, fitness_counts(SPEC)), table, strict=True) if rows[1, 0] == 0
    ]
    assert idle
    assert all(math.isnan(f.objective) and not f.eligible for f in idle)


def test_the_reference_evaluates_every_dataset_again_and_notices_what_is_not_so() -> None:
    """A lie about the last dataset is as bad as one about the first."""
    loaded: list[str] = []
    by_hash = {c.hash(): c for c in MARKETS}

    def load(digest: str) -> Candles:
        loaded.append(digest)
        return by_hash[digest]

    outcome = finished(Search(spec(generations=2), 5, joint(parts()))).outcome()
    reference = Reference(load)
    assert reference.disagreement(outcome, spec(generations=2), Evolve()) == ""
    assert loaded == [c.hash() for c in MARKETS]
    find = outcome.finds[-1]
    last = find.also[-1]
    for lie in (
        msgspec.structs.replace(last, daily_walk=last.daily_walk | {"total_return": 9.0}),
        msgspec.structs.replace(last, hold_fitness={}),
        msgspec.structs.replace(last, dataset="0" * 64),
    ):
        forged = msgspec.structs.replace(find, also=(*find.also[:-1], lie))
        told = msgspec.structs.replace(outcome, finds=(*outcome.finds[:-1], forged))
        assert "other figures" in reference.disagreement(told, spec(generations=2), Evolve())
    # The front is that of all datasets too.
    point = outcome.front[-1]
    forged_point = msgspec.structs.replace(point, objective=mean_return(find.fitness))
    told = msgspec.structs.replace(outcome, front=(*outcome.front[:-1], forged_point))
    assert "on the front" in reference.disagreement(told, spec(generations=2), Evolve())
    assert loaded == [c.hash() for c in MARKETS]


def test_the_first_dataset_is_judged_alone_and_the_judgement_says_so() -> None:
    """The same figures as of a search on the first dataset alone that found and tried the same."""
    outcome = finished(Search(SPEC, 5, joint(parts()))).outcome()
    question = Question(SPEC, 1, outcome.finds, outcome.sample, (), 0, 100, 3, 0)
    judged = judge(question, MARKETS[0], CompiledEvaluator, 50)
    assert (judged.judged_on, judged.also) == ("kraken BTC/USD 1h", ("kraken ETH/USD 1h", "kraken SOL/USD 1h"))
    alone_spec = msgspec.structs.replace(SPEC, also=())
    found = tuple(find_for(f.genome, alone_spec, CompiledEvaluator(MARKETS[0], EXECUTION)) for f in outcome.finds)
    enough = tuple(
        msgspec.structs.replace(f, enough_trades=g.enough_trades) for f, g in zip(found, outcome.finds, strict=True)
    )
    alone = judge(msgspec.structs.replace(question, search=alone_spec, finds=enough), MARKETS[0], CompiledEvaluator, 50)
    assert msgspec.structs.replace(judged, judged_on="", also=()) == alone
    for words in (campaign_words(judged), strategy_words(judged, judged.strategies[0])):
        assert any("all figures of this judgement are of kraken BTC/USD 1h alone" in w for w in words)
    assert "several datasets has no null repetitions" in campaign_words(judged)[0]
    assert not any("all figures of this judgement" in w for w in campaign_words(alone))
