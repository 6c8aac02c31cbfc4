"""The proven best of an exhaustive campaign: of all units, whatever their order, and only once nothing of it is in doubt."""

import itertools
from pathlib import Path

import pytest
from msgspec.structs import replace

from bus.events import CampaignFinished, UnitInconclusive
from domain.results import Find
from domain.specs import CampaignSpec, strategy_id, unit_id
from projections import queries, ranking
from projections.files import open_reader
from projections.store import ViewStore
from tests.unit.projections.event_log import EventLog, find, open_campaign, search, spec, validate

SWEEP = CampaignSpec(replace(search(), grammar="primer", generations=24, method="sweep"), 9)
#: The third has more, with fewer trades than wanted; the second equals the first but for its hash.
FINDS = (find(30, 0.04), find(35, 0.04), find(40, 0.3, enough=False), find(45, 0.01), find(50, None))
BEST = min(FINDS[:2], key=lambda f: f.genome_id)


def log_of(order: tuple[Find, ...], doubtful: bool = False, s: CampaignSpec = SWEEP, id: str = "run") -> EventLog:
    log = EventLog()
    open_campaign(log, id, s)
    for index in range(s.units):
        if index < len(order):
            validate(log, id, s, index, (order[index],))
        elif doubtful and index == s.units - 1:
            log.add(UnitInconclusive(id, index, "owners disagree", False), unit_id(id, index))
        else:
            validate(log, id, s, index, ())
    return log


def views(tmp_path: Path, log: EventLog, finished: bool = True):
    if finished:
        log.add(CampaignFinished("d" * 64, 9, 0, 0, 20_916), "run")
    store = ViewStore(tmp_path / "views.sqlite")
    assert store.apply_batch(log.made).rejected == []
    store.close()
    return open_reader(tmp_path / "views.sqlite")


@pytest.mark.parametrize("order", list(itertools.permutations(FINDS))[::11])
def test_the_best_of_all_units_is_proven_in_whatever_order_they_came(tmp_path: Path, order: tuple[Find, ...]) -> None:
    con = views(tmp_path, log_of(order))
    (campaign,) = queries.campaigns(con)
    best = strategy_id(BEST.genome_id, SWEEP.search)
    assert campaign["proven"] == {"strategy": best, "objective": 0.04, "best_of": 20_916}
    assert campaign["method"] == "sweep"
    found = {s["id"]: s["proven"] for s in ranking.strategies(con)}
    assert found.pop(best) == {"best_of": 20_916, "grammar": "primer", "campaign": "run"}
    assert len(found) == 4
    assert not any(found.values())
    con.close()


@pytest.mark.parametrize("case", ["running", "doubtful", "evolved"])
def test_nothing_is_proven_while_a_unit_is_missing_or_in_doubt_or_when_it_was_a_search(
    tmp_path: Path, case: str
) -> None:
    log = log_of(FINDS, doubtful=case == "doubtful", s=spec(9) if case == "evolved" else SWEEP)
    con = views(tmp_path, log, finished=case != "running")
    (campaign,) = queries.campaigns(con)
    assert campaign["proven"] is None
    assert not any(s["proven"] for s in ranking.strategies(con))
    con.close()
