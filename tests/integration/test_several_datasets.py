"""Several datasets as one objective, from the request to what is said of the find, with real agents on a real server."""

import msgspec
import pytest

from bus import events as ev
from bus.campaigns import request_campaign
from bus.client import Bus
from cli.actions import register_dataset
from domain.candles import Candles
from domain.judgement_words import campaign_words
from domain.markets import timed, windows_beside
from domain.results import mean_return
from domain.specs import CampaignSpec, Market, split_windows, strategy_id
from market.store import DatasetStore
from tests.support.campaign import Mine, facts, undisturbed
from tests.support.instance import Instance
from tests.support.market import EXECUTION, small_market

#: Shorter than the first one: it ends within the other's hold-out.
FURTHER = small_market(3_500, 7, "ETH/USD")
PACE_MS = 50


def spec_on_both(mine: Mine, units: int, also: tuple[Market, ...] = (), **fields: int) -> CampaignSpec:
    spec = mine.spec(units, **fields)
    if not also:
        windows = windows_beside([(spec.search.windows, timed(mine.candles))], timed(FURTHER))
        also = (Market(FURTHER.hash(), "kraken", "ETH/USD", 3600, windows, EXECUTION),)
    return msgspec.structs.replace(spec, search=msgspec.structs.replace(spec.search, also=also))


async def registered(instance: Instance, bus: Bus, candles: Candles) -> str:
    """On the bus as by a person; the miners' caches do not have it."""
    return await register_dataset(
        bus, DatasetStore(instance.state.root / "elsewhere"), candles, "test", instance.hosts[0]
    )


async def test_two_datasets_two_owners_one_verdict_and_the_digest_repeats(instance: Instance, mine: Mine) -> None:
    await registered(instance, mine.bus, FURTHER)
    instance.miners(2)
    spec = spec_on_both(mine, 3)
    first = await request_campaign(mine.bus, spec, "test")
    end = await mine.finished(first)
    assert (end.validated, end.inconclusive, end.parked) == (3, 0, 0)
    expected = await undisturbed(mine.candles, spec, FURTHER)
    assert end.digest == expected
    alone = await undisturbed(mine.candles, mine.spec(3))
    assert alone != expected
    verdicts = [f.data for f in await mine.of(first, ev.UnitValidated)]
    finds = {f.genome_id: f for v in verdicts if isinstance(v, ev.UnitValidated) for f in v.finds}
    assert finds
    for v in verdicts:
        assert isinstance(v, ev.UnitValidated)
        assert v.owners == ("alpha.1", "alpha.2")
    for find in finds.values():
        (there,) = find.also
        assert there.dataset == FURTHER.hash()
        own, other = mean_return(find.fitness), mean_return(there.fitness)
        assert own is not None
        assert other is not None
        assert find.objective == (0.0 + own + other) / 2
        assert there.daily_walk
        assert there.hold_walk != find.hold_walk
    # A find is a strategy of the first market alone.
    named = {f.event.subject for f in await mine.of(first, ev.StrategyValidated)}
    assert named == {strategy_id(g, spec.search) for g in finds}
    assert not named & {strategy_id(g, spec.search.also[0]) for g in finds}
    await _judged_on_the_first_alone(mine, first, len(finds))

    second = await request_campaign(mine.bus, spec, "test")
    again = await mine.finished(second)
    assert (again.digest, again.trials) == (expected, end.trials)
    await mine.check_log(second)
    instance.assert_all_alive()


async def _judged_on_the_first_alone(mine: Mine, campaign: str, finds: int) -> None:
    fact = await mine.seen(campaign, ev.CampaignJudged, timeout_s=120.0)
    assert isinstance(fact.data, ev.CampaignJudged)
    j = fact.data.judgement
    assert (j.judged_on, j.also, j.candidates) == ("kraken BTC/USD 1h", ("kraken ETH/USD 1h",), finds)
    assert j.strategies
    assert not any(s.passed for s in j.strategies)
    words = campaign_words(j)
    assert "has no null repetitions" in words[0]
    assert words[1].endswith("on kraken ETH/USD 1h; all figures of this judgement are of kraken BTC/USD 1h alone.")


@pytest.mark.slow
async def test_what_was_tried_on_two_datasets_counts_on_the_second_one_too(instance: Instance, mine: Mine) -> None:
    await registered(instance, mine.bus, FURTHER)
    instance.miners(2)
    both = spec_on_both(mine, 1)
    tried = (await mine.finished(await request_campaign(mine.bus, both, "test"))).trials
    market = both.search.also[0]
    search = msgspec.structs.replace(
        both.search, dataset=market.dataset, symbol=market.symbol, windows=market.windows, also=()
    )
    alone = await request_campaign(mine.bus, CampaignSpec(search, 1), "test")
    end = await mine.finished(alone)
    fact = await mine.seen(alone, ev.CampaignJudged, timeout_s=120.0)
    assert isinstance(fact.data, ev.CampaignJudged)
    assert fact.data.judgement.trials == tried + end.trials
    found = {f.data.genome_id for f in await facts(mine.bus) if isinstance(f.data, ev.StrategyDiscovered)}
    assert fact.data.judgement.candidates == len(found)


async def test_datasets_that_do_not_go_together_are_refused(instance: Instance, mine: Mine) -> None:
    await registered(instance, mine.bus, FURTHER)
    good = spec_on_both(mine, 1).search.also[0]
    replace = msgspec.structs.replace
    # Its own split fits fitness to times that the first one walks; no header says so, the candles do.
    longer = small_market(6_000, 9, "SOL/USD")
    await registered(instance, mine.bus, longer)
    own = replace(good, dataset=longer.hash(), symbol="SOL/USD", windows=split_windows(6_000))
    asked = {
        "not registered": (replace(good, dataset="0" * 64),),
        "searched once": (good, good),
        "not what is asked for": (replace(good, symbol="SOL/USD"),),
        "not lie within": (replace(good, windows=split_windows(9_999)),),
        "keeps for walk-forward": (own,),
    }
    for why, also in asked.items():
        campaign = await request_campaign(mine.bus, spec_on_both(mine, 1, also), "test")
        refused = (await mine.seen(campaign, ev.CampaignRefused)).data
        assert isinstance(refused, ev.CampaignRefused)
        assert why in refused.reason
    instance.assert_all_alive()


@pytest.mark.slow
async def test_a_killed_miner_resumes_its_search_over_both_datasets(instance: Instance, mine: Mine) -> None:
    await registered(instance, mine.bus, FURTHER)
    instance.miners(2, pace_ms=PACE_MS)
    spec = spec_on_both(mine, 1, population=100, generations=80)
    instance.hold()
    campaign = await request_campaign(mine.bus, spec, "test")
    await mine.seen(campaign, ev.ReplicaClaimed, count=2)
    end = await mine.killed_and_resumed(campaign, PACE_MS)
    assert end.validated == 1
    assert end.digest == await undisturbed(mine.candles, spec, FURTHER)
    await mine.check_log(campaign)
