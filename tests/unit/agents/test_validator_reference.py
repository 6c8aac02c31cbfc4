"""What miners say is computed again: every find, and everything on the front."""

import pytest
from msgspec.structs import replace

from agents.validator.reference import Reference
from domain.results import UnitOutcome
from domain.specs import CampaignSpec
from domain.tasks import Evolve, unit_seed
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.search import Search
from tests.support.evaluated import campaign_on
from tests.support.market import small_market

CANDLES = small_market(2_000)
SPEC: CampaignSpec = campaign_on(CANDLES, 1, 0, population=40, generations=6)


@pytest.fixture(scope="module")
def outcome() -> UnitOutcome:
    search = Search(SPEC.search, unit_seed(SPEC, 0), CompiledEvaluator(CANDLES, SPEC.search.execution))
    while not search.done:
        search.step()
    return search.outcome()


def said_of(outcome: UnitOutcome) -> str:
    return Reference(lambda _: CANDLES).disagreement(outcome, SPEC.search, Evolve())


def test_the_reference_agrees_with_finds_and_front_of_a_search(outcome: UnitOutcome) -> None:
    assert outcome.finds
    assert outcome.front
    assert said_of(outcome) == ""


@pytest.mark.parametrize(
    "change", [{"objective": 0.5}, {"sharpe": 0.123}, {"max_drawdown": 0.0}, {"trades": 1_000}, {"genome_id": "0" * 64}]
)
def test_one_wrong_figure_on_the_front_is_a_disagreement(outcome: UnitOutcome, change: dict[str, object]) -> None:
    wrong = replace(outcome.front[-1], **change)
    said = said_of(replace(outcome, front=(*outcome.front[:-1], wrong)))
    assert said == f"genome {wrong.genome_id[:12]} on the front: the reference gives other figures"
