"""Pages of what was searched for on several datasets: the strategy's own figures, and each other dataset beside its benchmark."""

from pathlib import Path

from domain.specs import strategy_id
from tests.unit.projections.event_log import EventLog, open_campaign, search, validate
from tests.unit.projections.test_projections_several import both, found
from tests.unit.web.test_web_pages import page, text_of
from tests.unit.web.web_app import project
from web.services import Services


async def test_a_page_says_on_which_datasets_and_shows_each_beside_buy_and_hold(
    tmp_path: Path, empty: Services
) -> None:
    log, s = EventLog(), both()
    open_campaign(log, "c1", s)
    validate(log, "c1", s, 0, (found(),))
    project(tmp_path / "views.sqlite", log.made)
    text = text_of(await page(empty, f"/strategies/{strategy_id(found().genome_id, search())}"))
    assert "on 2 datasets at once: mean fitness return of all +4.00 %" in text
    assert "It is a strategy of coinbase BTC-USD 5m" in text
    assert "kraken ETH/USD 1h −2.00 % +60.00 % −3.00 % +70.00 %" in text
    assert "coinbase BTC-USD 5m, also kraken ETH/USD 1h" in text_of(await page(empty, "/campaigns/c1"))


async def test_one_dataset_needs_no_such_words(services: Services, log: EventLog) -> None:
    text = text_of(await page(services, "/campaigns/c1"))
    assert "BTC-USD 5m" in text
    assert ", also" not in text
