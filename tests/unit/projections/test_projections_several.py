"""What people see of a search over several datasets: all of them, each with its own figures and its own benchmark."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bus.events import CampaignFinished
from domain.execution import ExecutionModel
from domain.results import Find, MarketFigures, WindowFigures
from domain.specs import CampaignSpec, Market, split_windows, strategy_id
from projections import queries, ranking
from projections.estimate import estimate
from projections.files import open_reader
from projections.store import ViewStore
from tests.unit.projections.event_log import EventLog, answer, find, open_campaign, search, spec, validate


class Views:
    """A store fed from a log, and a reader on the same file."""

    def __init__(self, path: Path) -> None:
        self.log, self.store, self.con = EventLog(), ViewStore(path), open_reader(path)

    def sync(self) -> None:
        assert self.store.apply_batch(self.log.made).rejected == []


@pytest.fixture
def views(tmp_path: Path) -> Iterator[Views]:
    found = Views(tmp_path / "views.sqlite")
    yield found
    found.con.close()
    found.store.close()


ETH = Market("e" * 64, "kraken", "ETH/USD", 3_600, split_windows(3_000), ExecutionModel())


def both(units: int = 1) -> CampaignSpec:
    one = spec(units=units)
    return msgspec.structs.replace(one, search=msgspec.structs.replace(one.search, also=(ETH,)))


def found(threshold: int = 30) -> Find:
    """Earned 10 % on the first dataset, lost 2 % on the other."""
    here = find(threshold, 0.04)
    own = tuple(
        msgspec.structs.replace(w, tier1={"trades": 70, "net_pnl": 1_000.0, "return_frac": 0.1}) for w in here.fitness
    )
    there = MarketFigures(
        ETH.dataset,
        (WindowFigures(0, 1_800, {"trades": 20, "net_pnl": -200.0, "return_frac": -0.02}),),
        (),
        {"total_return": -0.02},
        {"total_return": -0.03},
        {"total_return": 0.6},
        {"total_return": 0.7},
    )
    return msgspec.structs.replace(here, fitness=own, also=(there,))


def test_a_strategy_shows_each_dataset_beside_its_own_benchmark(views: Views) -> None:
    s = both()
    open_campaign(views.log, "camp", s)
    validate(views.log, "camp", s, 0, (found(),))
    views.sync()
    (shown,) = ranking.strategies(views.con)
    assert shown["id"] == strategy_id(found().genome_id, search())
    assert (shown["symbol"], shown["metrics"]["return"], shown["objective"]) == ("BTC-USD", 0.1, 0.04)
    (there,) = shown["also"]
    assert (there["dataset"], there["venue"], there["symbol"], there["granularity"]) == (
        ETH.dataset, "kraken", "ETH/USD", "1h",
    )  # fmt: skip
    assert (there["metrics"]["return"], there["benchmark"]["fitness_return"]) == (-0.02, 0.6)
    assert (there["walk_forward"]["return"], there["benchmark"]["return"]) == (-0.03, 0.7)


def test_one_dataset_shows_no_other(views: Views) -> None:
    s = spec(units=1)
    open_campaign(views.log, "camp", s)
    validate(views.log, "camp", s, 0, (find(30, 0.1),))
    views.sync()
    (shown,) = ranking.strategies(views.con)
    assert (shown["also"], shown["objective"], shown["metrics"]["return"]) == ([], 0.1, 0.1)
    (camp,) = queries.campaigns(views.con)
    assert camp["also"] == []


def test_a_campaign_names_all_its_datasets(views: Views) -> None:
    open_campaign(views.log, "camp", both())
    views.sync()
    (camp,) = queries.campaigns(views.con)
    assert camp["also"] == [{"dataset": ETH.dataset, "venue": "kraken", "symbol": "ETH/USD", "granularity": "1h"}]
    assert (camp["dataset"], camp["symbol"]) == ("d" * 64, "BTC-USD")


def test_trials_count_on_every_dataset_that_they_were_made_on(views: Views) -> None:
    """A strategy of ETH was found among the trials on ETH alone and among those that had ETH beside BTC."""
    joint = both()
    open_campaign(views.log, "camp", joint)
    validate(views.log, "camp", joint, 0, ())
    views.log.add(CampaignFinished("ef" * 32, 1, 0, 0, 700), "camp")
    there = msgspec.structs.replace(
        joint.search, dataset=ETH.dataset, venue=ETH.venue, symbol=ETH.symbol, granularity_s=ETH.granularity_s,
        windows=ETH.windows, also=(),
    )  # fmt: skip
    alone = CampaignSpec(there, 1)
    open_campaign(views.log, "other", alone)
    validate(views.log, "other", alone, 0, (find(30, 0.1),))
    views.log.add(CampaignFinished("ab" * 32, 1, 0, 0, 50), "other")
    views.sync()
    (shown,) = ranking.strategies(views.con)
    assert (shown["symbol"], shown["trials"]) == ("ETH/USD", 750)


def test_an_estimate_reckons_with_the_candles_of_all_datasets(views: Views) -> None:
    s = spec(units=1)
    (unit,) = open_campaign(views.log, "camp", s)
    answer(views.log, "camp", unit, 0, "1", "a" * 64)
    views.sync()
    one, two = estimate(views.con, s, 1), estimate(views.con, both(), 1)
    assert one.trials == two.trials
    assert one.work_s is not None
    assert two.work_s == pytest.approx(one.work_s * (2_400 + 1_800) / 2_400)
