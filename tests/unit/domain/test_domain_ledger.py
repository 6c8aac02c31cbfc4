"""Looks are metered by asset and time: no other name, venue, granularity or version makes candles fresh."""

import msgspec
import pytest

from agents.dispatcher.decide import looks
from agents.validator.looks import Looks
from bus import events as ev
from domain.candles import DatasetInfo
from domain.execution import ExecutionModel
from domain.ledger import Ledger, Span, asset_of, hold_out_span, span_of
from domain.specs import CampaignSpec, Market, SearchSpec, Window, split_windows, strategy_id
from tests.support.made import example

STEP = 300_000
INFO = DatasetInfo("coinbase", "BTC-USD", 300, 2, 8, 10_000, 0, 9_999 * STEP)


def search(info: DatasetInfo = INFO, dataset: str = "a" * 64, last: int = 0) -> SearchSpec:
    windows = split_windows(info.candles, last)
    return SearchSpec(dataset, info.venue, info.symbol, info.granularity_s, windows, ExecutionModel())


@pytest.mark.parametrize("symbol", ["BTC-USD", "BTC/EUR", "XBT/USD", "btc-usd", "BTC_USDT"])
def test_one_asset_has_many_names(symbol: str) -> None:
    assert asset_of(symbol) == "BTC"


def test_another_asset_is_another_asset() -> None:
    assert asset_of("SOL-USD") == "SOL"
    assert not Span("BTC", 0, 10).overlaps(Span("SOL", 0, 10))


def test_spans_know_gaps_at_most() -> None:
    assert span_of(INFO, (Window(0, 6_000),)) == Span("BTC", 0, 5_999 * STEP)
    gappy = msgspec.structs.replace(INFO, last_ms=INFO.last_ms + 50 * STEP)
    assert span_of(gappy, (Window(0, 6_000),)) == Span("BTC", 0, 6_049 * STEP)


def test_what_was_evaluated_on_overlapping_candles_counts_once() -> None:
    ledger = Ledger()
    ledger.add(Span("BTC", 0, 10), ["x", "y"])
    ledger.add(Span("BTC", 5, 15), ["y", "z"])
    ledger.add(Span("BTC", 20, 30), ["w"])
    assert ledger.names(Span("BTC", 8, 9)) == {"x", "y", "z"}
    assert ledger.names(Span("BTC", 15, 19)) == {"y", "z"}
    assert ledger.names(Span("ETH", 0, 99)) == frozenset()


def test_one_appended_candle_does_not_make_a_hold_out_fresh() -> None:
    longer = msgspec.structs.replace(INFO, candles=10_001, last_ms=10_000 * STEP, venue="kraken", symbol="XBT/USD")
    coarser = msgspec.structs.replace(INFO, granularity_s=3_600, candles=833, last_ms=832 * 3_600_000)
    looked = hold_out_span(INFO, search())
    assert looked.overlaps(hold_out_span(longer, search(longer, "b" * 64)))
    assert looked.overlaps(span_of(coarser, (Window(800, 833),)))


def test_a_campaign_on_its_own_split_looks_at_no_hold_out() -> None:
    assert looks(CampaignSpec(search(), 1), {"a" * 64: INFO}, []) == []


def test_a_campaign_on_the_end_of_the_candles_looks_at_the_hold_out_of_all_of_them() -> None:
    (look,) = looks(CampaignSpec(search(last=2_000), 1), {"a" * 64: INFO}, [])
    assert (look.first_ms, look.last_ms) == (8_000 * STEP, 9_599 * STEP)


def test_the_same_market_from_another_venue_is_no_way_around_it() -> None:
    later = msgspec.structs.replace(INFO, venue="kraken", symbol="XBT/USD", candles=4_000, first_ms=7_000 * STEP,
                                    last_ms=10_999 * STEP)  # fmt: skip
    infos = {"a" * 64: INFO, "b" * 64: later}
    (look,) = looks(CampaignSpec(search(later, "b" * 64), 1), infos, [])
    assert (look.dataset, look.symbol) == ("a" * 64, "BTC-USD")
    assert (look.first_ms, look.last_ms) == (8_000 * STEP, 9_999 * STEP)
    other = msgspec.structs.replace(later, symbol="SOL/USD")
    assert looks(CampaignSpec(search(other, "b" * 64), 1), {"a" * 64: INFO, "b" * 64: other}, []) == []


def test_the_hold_out_of_another_campaigns_split_counts_too() -> None:
    half = CampaignSpec(search(last=4_000), 1)  # its hold-out: candles 9200 to 9999
    early = msgspec.structs.replace(search(), windows=split_windows(10_000))
    late = msgspec.structs.replace(early, windows=msgspec.structs.replace(early.windows, fitness=(Window(0, 9_500),)))
    found = looks(CampaignSpec(late, 1), {"a" * 64: INFO}, [half])
    assert [(x.first_ms, x.last_ms) for x in found] == [(9_200 * STEP, 9_499 * STEP)]


# -- several datasets at once -----------------------------------------------------------------------------------------

ETH = msgspec.structs.replace(INFO, symbol="ETH-USD")
BOTH = msgspec.structs.replace(
    search(), also=(Market("b" * 64, "coinbase", "ETH-USD", 300, split_windows(10_000), ExecutionModel()),)
)
INFOS = {"a" * 64: INFO, "b" * 64: ETH}


class Opened(msgspec.Struct):
    spec: CampaignSpec


def told(of: SearchSpec, trials: int = 70) -> Looks:
    """A campaign that found two genomes, from its first event to its last."""
    looked = Looks()
    for digest, info in INFOS.items():
        looked.apply(digest, ev.DatasetImported(digest, info, "test", 1, 1), {})
    campaigns = {"c": Opened(CampaignSpec(of, 1))}
    for genome in ("x", "y"):
        found = _event(ev.StrategyDiscovered, genome_id=genome, search=of)
        looked.apply(genome, found, campaigns)
    looked.apply("c", _event(ev.CampaignFinished, trials=trials), campaigns)
    return looked


def _event(kind: type[ev.EventData], **fields: object) -> ev.EventData:
    return msgspec.structs.replace(example(kind), **fields)


def test_what_was_tried_on_several_datasets_was_tried_on_each() -> None:
    looked = told(BOTH)
    for of in (search(), search(ETH, "b" * 64)):
        assert (looked.trials(of), looked.candidates(of)) == (70, 2)
    alone = told(search())
    assert (alone.trials(search()), alone.candidates(search())) == (70, 2)
    assert (alone.trials(search(ETH, "b" * 64)), alone.candidates(search(ETH, "b" * 64))) == (0, 0)


def test_two_granularities_of_an_asset_are_two_candidates_on_its_candles_and_one_trial() -> None:
    """The campaign's trials are genomes, counted once; on the same walk-forward candles each market makes a strategy."""
    coarse = msgspec.structs.replace(ETH, symbol="BTC-USD", granularity_s=600, candles=5_000, last_ms=4_999 * 2 * STEP)
    infos = INFOS | {"b" * 64: coarse}
    looked = Looks()
    for digest, info in infos.items():
        looked.apply(digest, ev.DatasetImported(digest, info, "test", 1, 1), {})
    also = Market("b" * 64, "coinbase", "BTC-USD", 600, split_windows(5_000), ExecutionModel())
    of = msgspec.structs.replace(search(), also=(also,))
    assert strategy_id("x", of) != strategy_id("x", also)
    looked.apply("x", _event(ev.StrategyDiscovered, genome_id="x", search=of), {})
    looked.apply("c", _event(ev.CampaignFinished, trials=70), {"c": Opened(CampaignSpec(of, 1))})
    assert (looked.trials(search()), looked.candidates(search())) == (70, 2)


def test_a_further_dataset_is_looked_at_like_the_first() -> None:
    """Its own split shows nobody's hold-out; all of its candles do."""
    assert looks(CampaignSpec(BOTH, 1), INFOS, []) == []
    whole = Market("b" * 64, "coinbase", "ETH-USD", 300, split_windows(10_000, 2_000), ExecutionModel())
    (look,) = looks(CampaignSpec(msgspec.structs.replace(BOTH, also=(whole,)), 1), INFOS, [])
    assert (look.dataset, look.symbol) == ("b" * 64, "ETH-USD")
    assert (look.first_ms, look.last_ms) == (8_000 * STEP, 9_599 * STEP)


def test_the_hold_out_of_another_campaigns_further_dataset_counts_too() -> None:
    half = msgspec.structs.replace(
        BOTH.also[0], windows=split_windows(10_000, 4_000)
    )  # its hold-out: candles 9200 to 9999
    other = CampaignSpec(msgspec.structs.replace(BOTH, also=(half,)), 1)
    eth = search(ETH, "b" * 64)
    late = msgspec.structs.replace(eth, windows=msgspec.structs.replace(eth.windows, fitness=(Window(0, 9_500),)))
    found = looks(CampaignSpec(late, 1), INFOS, [other])
    assert [(x.first_ms, x.last_ms) for x in found] == [(9_200 * STEP, 9_499 * STEP)]
