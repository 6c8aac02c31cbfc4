"""What the units of a campaign found, put together: of every validated search and part, once each, in any order."""

import itertools
from pathlib import Path

import pytest
from msgspec.structs import replace

from bus.events import CampaignFinished, CampaignJudged
from domain.judgement import Judgement, StrategyJudgement
from domain.results import Distribution, FrontPoint, Histogram
from domain.specs import CampaignSpec, strategy_id
from projections import queries, ranking
from projections.files import open_reader
from projections.store import ViewStore
from tests.support.made import example
from tests.unit.projections.event_log import EventLog, find, open_campaign, point, search, spec, validate

#: What the first unit has beats the second's last; its own second stays, as it falls less.
FRONTS: tuple[tuple[FrontPoint, ...], ...] = (
    (point(30, 0.3, 0.2, 0.2, 60), point(31, 0.1, 0.2, 0.05, 60)),
    (point(35, 0.4, None, 0.3, 50), point(36, 0.2, 0.1, 0.2, 60)),
    (point(31, 0.1, 0.2, 0.05, 60), point(40, 0.1, 0.2, 0.05, 60)),
)
WANTED = [35, 30, *sorted((31, 40), key=lambda t: point(t, 0).genome_id)]


def views(tmp_path: Path, log: EventLog):  # type: ignore[no-untyped-def]
    store = ViewStore(tmp_path / "views.sqlite")
    assert store.apply_batch(log.made).rejected == []
    store.close()
    return open_reader(tmp_path / "views.sqlite")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_front_of_a_campaign_is_what_no_find_of_any_unit_dominates(tmp_path: Path, order: tuple[int, ...]) -> None:
    log, s = EventLog(), replace(spec(3), nulls=1)
    open_campaign(log, "run", s)
    for index in (*order, 3):
        front = FRONTS[index] if index < 3 else (point(50, 9.0),)  # a null repetition finds nothing of the dataset
        validate(log, "run", s, index, (find(30, 0.3),) if index == 0 else (), front)
        validate(log, "run", s, index, (), (point(51, 8.0),))  # a second verdict on the same unit changes nothing
    con = views(tmp_path, log)
    found = queries.campaign(con, "run")
    assert found is not None
    assert [p["strategy"] for p in found["front"]] == [strategy_id(point(t, 0).genome_id, s.search) for t in WANTED]
    assert found["front"][1]["stage"] == "validated"
    assert [p["stage"] for p in found["front"] if p["stage"]] == ["validated"]
    assert found["front"][0]["rules"][0] == "Buy when RSI(14) is below 35."
    assert set(found["front"][0]) == {
        "strategy", "stage", "genome_id", "genome", "rules", "objective", "sharpe", "max_drawdown", "trades",
    }  # fmt: skip
    assert (found["distribution"], found["gates"], found["checks"]) == (None, None, [])
    con.close()


SWEEP = CampaignSpec(replace(search(), grammar="primer", generations=24, method="sweep"), 9)


def part(index: int) -> Distribution:
    return Distribution(10, 1, 2, Histogram(-4 + index, (3, 0, 1)), Histogram(index, (3,)))


def test_the_distribution_of_a_sweep_is_of_all_its_validated_parts(tmp_path: Path) -> None:
    log = EventLog()
    open_campaign(log, "run", SWEEP)
    for index in (4, 0, 2):
        validate(log, "run", SWEEP, index, (), distribution=part(index))
    con = views(tmp_path, log)
    found = queries.campaign(con, "run")
    assert found is not None
    assert found["distribution"] == {
        "parts": 3, "evaluated": 30, "without_objective": 3, "flagged": 6,
        "few": {"first": -4, "counts": [3, 0, 4, 0, 4, 0, 1]}, "enough": {"first": 0, "counts": [3, 0, 3, 0, 3]},
    }  # fmt: skip
    assert found["front"] == []
    con.close()


def test_a_distribution_that_cannot_be_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    log = EventLog()
    open_campaign(log, "run", SWEEP)
    validate(log, "run", SWEEP, 0, (), distribution=replace(part(0), few=Histogram(-(2**60), (4,))))
    validate(log, "run", SWEEP, 1, (), distribution=part(1))
    store = ViewStore(tmp_path / "views.sqlite")
    assert len(store.apply_batch(log.made).rejected) == 1
    store.close()
    con = open_reader(tmp_path / "views.sqlite")
    found = queries.campaign(con, "run")
    assert found is not None
    assert found["distribution"]["parts"] == 1
    con.close()


def test_a_judgement_comes_as_tables_for_campaign_and_strategy(tmp_path: Path) -> None:
    log, s = EventLog(), spec(1)
    open_campaign(log, "run", s)
    validate(log, "run", s, 0, (find(30, 0.3),))
    log.add(CampaignFinished("cd" * 32, 1, 0, 0, 77), "run")
    id = strategy_id(find(30, 0.3).genome_id, s.search)
    judged = replace(example(StrategyJudgement), strategy=id, passed=False, failed=("deflated Sharpe ratio",))
    log.add(CampaignJudged(replace(example(Judgement), strategies=(judged,))), "run")
    con = views(tmp_path, log)
    campaign, strategy = queries.campaign(con, "run"), ranking.strategy(con, id)
    assert campaign is not None
    assert strategy is not None
    assert campaign["gates"] == {"of": id, "rows": strategy["gates"]}
    assert [r["passed"] for r in strategy["gates"]] == [True, False, True]
    for rows in (strategy["gates"], strategy["beside"], campaign["checks"]):
        assert rows
        assert all(set(r) == {"name", "figure", "wanted", "passed", "hint"} for r in rows)
    con.close()
