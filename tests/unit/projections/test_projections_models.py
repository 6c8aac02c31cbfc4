"""What each event does to the read models."""

import json
from pathlib import Path

import msgspec
import pytest

from bus.events import (
    AgentStarted,
    AgentStopped,
    CampaignFinished,
    CampaignRefused,
    ReplicaReleased,
    ReplicaRequested,
    ReplicaWithheld,
    StrategyValidated,
    UnitInconclusive,
    UnitParked,
)
from domain.specs import strategy_id
from projections import queries, ranking
from projections.files import open_reader
from projections.store import ViewStore
from tests.unit.projections.event_log import (
    EventLog,
    answer,
    claim,
    dataset,
    discover,
    find,
    open_campaign,
    queue,
    search,
    spec,
    validate,
)


class Views:
    """A store fed from a log, and a reader on the same file."""

    def __init__(self, path: Path) -> None:
        self.log = EventLog()
        self.store = ViewStore(path)
        self.con = open_reader(path)

    def sync(self) -> None:
        changes = self.store.apply_batch(self.log.made)
        assert changes.rejected == []

    def unit(self, id: str) -> dict:
        self.sync()
        return next(u for u in queries.units(self.con) if u["id"] == id)

    def state(self, id: str) -> str:
        return self.unit(id)["state"]


@pytest.fixture
def views(tmp_path):
    v = Views(tmp_path / "views.sqlite")
    yield v
    v.con.close()
    v.store.close()


def test_a_unit_goes_from_queue_to_verdict(views):
    s = spec(units=1)
    (unit,) = open_campaign(views.log, "camp", s)
    assert views.state(unit) == "queued"
    queue(views.log, "camp", unit, 0)
    views.log.add(ReplicaWithheld("camp", 1, "no second owner"), unit)
    assert views.state(unit) == "queued"
    claim(views.log, "camp", unit, 0, "1", 7)
    assert views.state(unit) == "running"
    answer(views.log, "camp", unit, 0, "1", "ab" * 32)
    assert views.state(unit) == "waiting", "one answer in, the other replica lacks an owner"
    queue(views.log, "camp", unit, 1)
    assert views.state(unit) == "queued"
    claim(views.log, "camp", unit, 1, "2", 9)
    answer(views.log, "camp", unit, 1, "2", "ab" * 32)
    assert views.state(unit) == "running", "all answers in, the verdict is being made"
    digest = validate(views.log, "camp", s, 0, (find(30, 0.2),))
    got = views.unit(unit)
    assert (got["state"], got["digest"], got["owners"], got["index"]) == ("validated", digest, ["box.1", "box.2"], 0)
    assert got["replicas"] == {"queued": 0, "withheld": 0, "running": 0, "answered": 2}
    assert got["seed"] > 0


def test_a_replica_given_back_is_queued_again_and_a_stale_release_changes_nothing(views):
    (unit,) = open_campaign(views.log, "camp", spec(units=1, replicas=1))
    queue(views.log, "camp", unit, 0)
    claim(views.log, "camp", unit, 0, "1", 5)
    views.log.add(ReplicaReleased("camp", 0, "box", "1", 5), unit)
    assert views.state(unit) == "queued"
    claim(views.log, "camp", unit, 0, "2", 8, taken_from="box.1")
    views.log.add(ReplicaReleased("camp", 0, "box", "1", 5), unit)
    assert views.state(unit) == "running"
    (replica,) = queries.replicas(views.con, unit)
    assert (replica["slot"], replica["claims"], replica["takeovers"]) == ("2", 2, 1)


def test_a_claim_seen_before_its_queueing_stays_a_claim(views):
    (unit,) = open_campaign(views.log, "camp", spec(units=1))
    claim(views.log, "camp", unit, 0, "1", 5)
    queue(views.log, "camp", unit, 0)
    assert views.state(unit) == "running"


def test_an_answer_that_does_not_count_leaves_the_holder_alone(views):
    (unit,) = open_campaign(views.log, "camp", spec(units=1))
    claim(views.log, "camp", unit, 1, "2", 5)
    answer(views.log, "camp", unit, 1, "1", "ab" * 32, counts=False)
    assert views.state(unit) == "running"
    answer(views.log, "camp", unit, 1, "2", "cd" * 32)
    views.sync()
    (replica,) = queries.replicas(views.con, unit)
    assert (replica["state"], replica["owner"], replica["counts"]) == ("answered", "box.2", True)


def test_disagreement_asks_for_another_replica(views):
    (unit,) = open_campaign(views.log, "camp", spec(units=1))
    for replica, slot in ((0, "1"), (1, "2")):
        claim(views.log, "camp", unit, replica, slot, 5 + replica)
        answer(views.log, "camp", unit, replica, slot, slot * 64)
    views.log.add(ReplicaRequested("camp", 2, "owners disagree"), unit)
    assert views.state(unit) == "queued"
    views.log.add(UnitInconclusive("camp", 0, "no quorum of 5", True), unit)
    got = views.unit(unit)
    assert (got["state"], got["reason"], got["kernel_flagged"]) == ("inconclusive", "no quorum of 5", True)


def test_the_first_verdict_stays(views):
    s = spec(units=1)
    (unit,) = open_campaign(views.log, "camp", s)
    views.log.add(UnitParked("camp", 0, 1, "three claims without progress"), unit)
    validate(views.log, "camp", s, 0, ())
    claim(views.log, "camp", unit, 0, "1", 99)
    assert views.state(unit) == "parked"
    (camp,) = queries.campaigns(views.con)
    assert (camp["parked"], camp["validated"]) == (1, 0)


def test_a_campaign_counts_its_verdicts_until_it_is_finished(views):
    s = spec(units=3)
    units = open_campaign(views.log, "camp", s)
    validate(views.log, "camp", s, 0, ())
    views.log.add(UnitInconclusive("camp", 1, "x", False), units[1])
    views.sync()
    (camp,) = queries.campaigns(views.con)
    assert (camp["state"], camp["units"], camp["validated"], camp["inconclusive"]) == ("open", 3, 1, 1)
    assert queries.unit_counts(views.con, "camp") == {
        "queued": 1, "running": 0, "waiting": 0, "validated": 1, "inconclusive": 1, "parked": 0
    }  # fmt: skip
    validate(views.log, "camp", s, 2, ())
    views.log.add(CampaignFinished("ef" * 32, 2, 1, 0, 1234), "camp")
    views.sync()
    camp = queries.campaign(views.con, "camp")
    assert camp is not None
    assert (camp["state"], camp["trials"], camp["digest"], camp["evaluated"]) == ("finished", 1234, "ef" * 32, 1002)
    assert json.loads(camp["spec"])["units"] == 3


def test_a_refused_campaign_says_why(views):
    views.log.add(CampaignRefused("no such dataset"), "camp")
    views.sync()
    (camp,) = queries.campaigns(views.con)
    assert (camp["state"], camp["reason"]) == ("refused", "no such dataset")


def test_the_same_find_twice_is_one_strategy_with_the_figures_of_the_first_validation(views):
    s = spec(units=2)
    first, second = open_campaign(views.log, "camp", s)
    sid = discover(views.log, "camp", first, find(30, 0.1), s.search)
    discover(views.log, "camp", second, find(30, 0.3), s.search)
    views.sync()
    (found,) = ranking.strategies(views.con)
    assert (found["id"], found["stage"], found["metrics"]["return"]) == (sid, "discovered", 0.1)
    for index, objective in enumerate((0.2, 0.4)):
        validate(views.log, "camp", s, index, (find(30, objective),))
    views.sync()
    (found,) = ranking.strategies(views.con)
    assert (found["stage"], found["metrics"]["return"], found["metrics"]["pnl"]) == ("validated", 0.2, 2000.0)
    assert found["rules"][0] == "Buy when RSI(14) is below 30."


def test_who_points_to_a_find_that_no_verdict_has_is_refused(views):
    s = spec(units=1)
    (unit,) = open_campaign(views.log, "camp", s)
    f = find(30, 0.1)
    sid = strategy_id(f.genome_id, s.search)
    pointing = StrategyValidated(f.genome, f.genome_id, s.search, None, "camp", unit)
    views.log.add(pointing, sid)
    # An answer's find is none that owners agreed on.
    discover(views.log, "camp", unit, f, s.search)
    views.log.add(pointing, sid)
    refused = views.store.apply_batch(views.log.made).rejected
    assert [r.reason.split(" has")[0] for r in refused] == ["no verdict before it"] * 2
    (found,) = ranking.strategies(views.con)
    assert found["stage"] == "discovered"


def test_a_find_is_kept_as_its_verdict_has_it_whatever_an_answer_said(views):
    s = spec(units=1)
    (unit,) = open_campaign(views.log, "camp", s)
    sid = discover(views.log, "camp", unit, find(30, 0.1), s.search)
    validate(views.log, "camp", s, 0, (find(30, 0.2),))
    discover(views.log, "camp", unit, find(30, 0.3), s.search)
    views.sync()
    assert [x["find"]["objective"] for x in ranking.strategy(views.con, sid)["evidence"]] == [0.2]
    assert views.con.execute("SELECT count(*), min(validated) FROM finds").fetchone()[:] == (1, 1)


def test_other_markets_and_other_searches_are_told_apart(views):
    f = find(30, 0.1)
    for index, where in enumerate((search(), search("ETH-USD"), search(population=80))):
        validate(views.log, "camp", msgspec.structs.replace(spec(), search=where), index, (f,))
    views.sync()
    assert {s["symbol"] for s in ranking.strategies(views.con)} == {"BTC-USD", "ETH-USD"}
    assert ranking.strategy_count(views.con) == 2
    btc = ranking.strategy(views.con, strategy_id(f.genome_id, search())[:12])
    assert btc is not None
    assert len(btc["evidence"]) == 2, "one strategy found by two searches has two pieces of evidence"


def test_strategies_are_ranked_validated_then_enough_trades_then_figures(views):
    s = spec(units=1)
    (unit,) = open_campaign(views.log, "camp", s)
    discover(views.log, "camp", unit, find(20, 9.0, walk=9.0), s.search)
    rows = (find(21, 0.5, 0.1), find(22, 0.1, 0.3), find(23, 7.0, 7.0, enough=False), find(24, 0.2, None))
    validate(views.log, "camp", s, 0, rows)
    views.sync()

    def order(by):
        return [x["genome"]["long"]["entry"][0] for x in ranking.strategies(views.con, by)]

    def thresholds(by):
        return [int(max(r["left"].get("value", 0), r["right"].get("value", 0))) for r in order(by)]

    assert thresholds("walk_forward") == [22, 21, 24, 23, 20]
    assert thresholds("fitness") == [21, 24, 22, 23, 20]
    best = ranking.best(views.con)
    assert best is not None
    assert (best["validated"], best["walk_forward_return"], best["pnl"]) == (True, 0.1, 5000.0)
    assert len(ranking.strategies(views.con, limit=2, offset=4)) == 1


def test_without_validation_the_best_so_far_is_marked_and_without_trades_there_is_none(views):
    s = spec(units=1)
    (unit,) = open_campaign(views.log, "camp", s)
    assert ranking.best(views.con) is None
    discover(views.log, "camp", unit, find(20, None, walk=None), s.search)
    views.sync()
    assert ranking.best(views.con) is None
    discover(views.log, "camp", unit, find(21, 0.5), s.search)
    views.sync()
    best = ranking.best(views.con)
    assert best is not None
    assert best["validated"] is False


def test_a_strategy_filed_under_another_id_is_refused(views):
    f = find(30, 0.1)
    views.log.add(StrategyValidated(f.genome, f.genome_id, search(), f, "camp", "u"), strategy_id("other", search()))
    changes = views.store.apply_batch(views.log.made)
    assert "filed under strategy" in changes.rejected[0].reason
    assert ranking.strategies(views.con) == []


def test_datasets_are_listed_once(views):
    dataset(views.log)
    dataset(views.log)
    views.sync()
    assert queries.datasets(views.con) == [
        {
            "id": "d" * 64,
            "venue": "coinbase",
            "symbol": "BTC-USD",
            "granularity": "5m",
            "candles": 4000,
            "first": "2023-11-14T22:15:00Z",
            "last": "2023-11-28T19:30:00Z",
        }
    ]


def test_agents_and_workers(views):
    views.log.add(AgentStarted("miner", "box", 11, "0.1.0"), "box-miner-1")
    views.log.add(AgentStopped("miner", "box", 11, -9, False), "box-miner-1")
    views.log.add(AgentStarted("miner", "box", 12, "0.1.0"), "box-miner-1")
    units = open_campaign(views.log, "camp", spec(units=2))
    for i, unit in enumerate(units):
        claim(views.log, "camp", unit, 0, "1", 5 + i)
    answer(views.log, "camp", units[0], 0, "1", "ab" * 32)
    views.sync()
    (agent,) = queries.agents(views.con, kind="miner")
    assert (agent["state"], agent["pid"], agent["starts"], agent["crashes"], agent["exit"]) == ("started", 12, 2, 1, -9)
    (worker,) = queries.workers(views.con)
    assert (worker["slot"], worker["answered"], worker["running"], worker["seconds"]) == ("1", 1, 1, 1.25)


@pytest.mark.parametrize(("seconds", "label"), [(60, "1m"), (300, "5m"), (21_600, "6h"), (86_400, "1d"), (7, "7s")])
def test_granularities_have_short_names(seconds, label):
    assert queries.granularity_label(seconds) == label


def test_a_validated_unit_is_not_counted_twice(views):
    s = spec(units=1)
    open_campaign(views.log, "camp", s)
    validate(views.log, "camp", s, 0, ())
    validate(views.log, "camp", s, 0, ())
    views.sync()
    (camp,) = queries.campaigns(views.con)
    assert (camp["validated"], camp["evaluated"]) == (1, 500)
