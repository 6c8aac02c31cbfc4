"""Null repetitions: a unit as deterministic as any other, and what the reference says of its answer."""

from collections.abc import Callable

import msgspec
import pytest

from agents.validator.reference import Reference
from domain.candles import Candles
from domain.errors import BadInput
from domain.hashing import canonical, sha256_hex
from domain.results import NullOutcome, UnitOutcome
from domain.specs import CampaignSpec, SearchSpec, validate_campaign
from domain.tasks import Evolve, Null, unit_seed, unit_task
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.null import NullSearch
from kernels.evolution.ranking import rank_key
from kernels.evolution.search import Search
from kernels.statistics.candles import bootstrap_candles

But = Callable[..., SearchSpec]
SEED = 77


@pytest.fixture
def task(spec: SearchSpec) -> Null:
    found = unit_task(CampaignSpec(spec, units=3, nulls=2, null_block=50), 3)
    assert isinstance(found, Null)
    return found


def begin(spec: SearchSpec, task: Null, market: Candles, state: bytes = b"") -> NullSearch:
    return NullSearch(spec, SEED, task, market, CompiledEvaluator, state)


def run(search: NullSearch | Search) -> UnitOutcome:
    while not search.done:
        search.step()
    return search.outcome()


def null_of(outcome: UnitOutcome) -> NullOutcome:
    assert outcome.null is not None
    return outcome.null


def test_it_repeats_all_searches_and_keeps_the_best_by_standing(spec: SearchSpec, task: Null, market: Candles) -> None:
    series = bootstrap_candles(market, SEED, task.block)
    evaluator = CompiledEvaluator(series, spec.execution)
    champions = []
    evaluated = 0
    campaign = CampaignSpec(spec, units=3)
    for unit in range(3):
        search = Search(spec, unit_seed(campaign, unit), evaluator)
        run(search)
        evaluated += search.evaluated
        assert search.champion is not None
        champions.append(search.champion)
    best = min(champions, key=lambda c: rank_key(c.fitness, c.key, spec.trades_wanted))
    outcome = run(begin(spec, task, market))
    null = null_of(outcome)
    assert (null.genome, null.objective, null.trades) == (best.genome, best.fitness.objective, best.fitness.trades)
    assert null.series == series.hash() != market.hash()
    assert (outcome.dataset, outcome.seed, outcome.evaluated) == (spec.dataset, SEED, evaluated)


def test_what_a_repetition_does_is_as_short_for_ever_so_many_searches(spec: SearchSpec) -> None:
    """It stands in an event and in every message of the queue."""
    assert len(canonical(unit_task(CampaignSpec(spec, units=100_000, nulls=1), 100_000))) < 100


def test_its_genomes_are_no_finds_and_no_trials(spec: SearchSpec, task: Null, market: Candles) -> None:
    search = begin(spec, task, market)
    outcome = run(search)
    assert (outcome.finds, outcome.sample, search.tried_bytes()) == ((), (), b"")
    assert outcome.tried_sha256 == sha256_hex(b"")


def test_interrupted_after_every_generation_it_ends_with_the_same_bits(
    spec: SearchSpec, task: Null, market: Candles
) -> None:
    expected = run(begin(spec, task, market)).digest()
    search, generation = begin(spec, task, market), 0
    while not search.done:
        search.step()
        assert search.generation > generation
        generation = search.generation
        data = search.checkpoint()
        search = begin(spec, task, market, data)
        assert (search.generation, search.checkpoint()) == (generation, data)
    assert search.outcome().digest() == expected


def test_another_seed_or_block_is_another_series(spec: SearchSpec, task: Null, market: Candles) -> None:
    first = run(begin(spec, task, market))
    other_seed = run(NullSearch(spec, SEED + 1, task, market, CompiledEvaluator))
    other_block = run(begin(spec, msgspec.structs.replace(task, block=60), market))
    assert len({null_of(o).series for o in (first, other_seed, other_block)}) == 3


def test_a_checkpoint_of_another_unit_or_a_damaged_one_is_refused(
    spec: SearchSpec, task: Null, market: Candles
) -> None:
    search = begin(spec, task, market)
    search.step()
    data = search.checkpoint()
    for wrong in (data[:-1], b"x" + data[1:], data[:60] + bytes([data[60] ^ 1]) + data[61:]):
        with pytest.raises(BadInput):
            begin(spec, task, market, wrong)
    with pytest.raises(BadInput, match="another null repetition"):
        NullSearch(spec, SEED + 1, task, market, CompiledEvaluator, data)


def test_the_reference_rebuilds_the_series_and_agrees(spec: SearchSpec, task: Null, market: Candles) -> None:
    outcome = run(begin(spec, task, market))
    assert Reference(lambda _: market).disagreement(outcome, spec, task) == ""


@pytest.mark.parametrize("field", ["series", "objective", "trades", "enough_trades"])
def test_the_reference_notices_what_is_not_so(spec: SearchSpec, task: Null, market: Candles, field: str) -> None:
    outcome = run(begin(spec, task, market))
    null = null_of(outcome)
    lies = {"series": "0" * 64, "objective": 9.0, "trades": null.trades + 1, "enough_trades": not null.enough_trades}
    forged = msgspec.structs.replace(outcome, null=msgspec.structs.replace(null, **{field: lies[field]}))
    assert "the reference" in Reference(lambda _: market).disagreement(forged, spec, task)


def test_an_answer_of_another_kind_of_unit_is_refused(spec: SearchSpec, task: Null, market: Candles) -> None:
    null, search = run(begin(spec, task, market)), run(Search(spec, 1, CompiledEvaluator(market, spec.execution)))
    reference = Reference(lambda _: market)
    with pytest.raises(BadInput, match="null repetition"):
        reference.disagreement(search, spec, task)
    with pytest.raises(BadInput, match="null repetition"):
        reference.disagreement(null, spec, Evolve())
    with_finds = msgspec.structs.replace(null, finds=search.finds)
    with pytest.raises(BadInput, match="no find"):
        reference.disagreement(with_finds, spec, task)


def test_an_exhaustive_campaign_takes_none(but: But) -> None:
    sweep = but(method="sweep", grammar="classic", generations=216)
    validate_campaign(CampaignSpec(sweep, units=81))
    with pytest.raises(BadInput, match="whole grammar again"):
        validate_campaign(CampaignSpec(sweep, units=81, nulls=1))
