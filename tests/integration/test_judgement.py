"""A campaign with null repetitions, from the queue to what is said about luck, with real agents on a real server."""

import msgspec
import pytest

from bus import events as ev
from bus.campaigns import request_campaign
from domain.hashing import content_hash
from domain.judgement_words import campaign_words
from domain.specs import split_windows, strategy_id
from domain.tasks import Null
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.null import NullSearch
from tests.support.campaign import Mine, stored_in
from tests.support.instance import Instance


async def test_a_campaign_with_nulls_is_judged_once_with_every_figure(instance: Instance, mine: Mine) -> None:
    instance.miners(2)
    spec = msgspec.structs.replace(mine.spec(2), nulls=3, null_block=48)
    campaign = await request_campaign(mine.bus, spec, "test")
    end = await mine.finished(campaign)
    assert (end.validated, end.inconclusive, end.parked) == (5, 0, 0)
    opened = [f.data for f in await mine.of(campaign, ev.UnitOpened)]
    tasks = [o.task for o in opened if isinstance(o, ev.UnitOpened)]
    assert [isinstance(t, Null) for t in tasks] == [False, False, True, True, True]

    fact = await mine.seen(campaign, ev.CampaignJudged, timeout_s=120.0)
    assert isinstance(fact.data, ev.CampaignJudged)
    j = fact.data.judgement
    expected = []
    for o in opened:
        if isinstance(o, ev.UnitOpened) and isinstance(o.task, Null):
            search = NullSearch(spec.search, o.seed, o.task, mine.candles, CompiledEvaluator)
            while not search.done:
                search.step()
            expected.append(search.best)
    assert list(j.null_bests) == expected
    verdicts = [f.data for f in await mine.of(campaign, ev.UnitValidated)]
    finds = {f.genome_id for v in verdicts if isinstance(v, ev.UnitValidated) for f in v.finds}
    assert {s.strategy for s in j.strategies} == {strategy_id(g, spec.search) for g in finds}
    best = j.strategies[0]
    assert best.p_value == (1 + sum(e is not None and e >= (best.objective or 0.0) for e in expected)) / 4
    assert best.failed
    assert not best.passed
    assert (j.nulls_asked, j.trials, j.candidates) == (3, end.trials, len(finds))
    assert j.sampled > 10
    assert all(s.look_ahead == "" and s.dsr is not None and len(s.stress) == 3 for s in j.strategies)
    assert len(campaign_words(j)) > 4
    # What nulls tried is no trial of the dataset: the union is that of the searches alone.
    searches = [v for v in verdicts if isinstance(v, ev.UnitValidated) and v.finds]
    assert end.trials <= sum(v.evaluated for v in searches)
    assert len(await stored_in(mine.bus, "EVENTS", f"ev.mining.campaign.{campaign}.judged")) == 1

    # A validator that starts anew finds everything said.
    next(a for a in instance.agents if a.kind == "validator").stop()
    instance.agent("validator")
    again, _ = await mine.mine(1)
    second = await mine.seen(again, ev.CampaignJudged, timeout_s=120.0)
    assert isinstance(second.data, ev.CampaignJudged)
    assert second.data.judgement.trials > j.trials  # both campaigns tried their rules on the same candles
    assert second.data.judgement.candidates >= j.candidates
    assert all(s.p_value is None and not s.passed for s in second.data.judgement.strategies)
    assert len(await mine.of(campaign, ev.CampaignJudged)) == 1
    instance.assert_all_alive()


@pytest.mark.slow
async def test_mining_what_is_a_hold_out_to_others_counts_as_a_look(instance: Instance, mine: Mine) -> None:
    instance.miners(2)
    whole, _ = await mine.mine(1)
    assert not await mine.of(whole, ev.HoldOutLooked)
    spec = mine.spec(1)
    # A split over the last half: what is searched there is the hold-out of the split over everything.
    half = msgspec.structs.replace(spec, search=msgspec.structs.replace(spec.search, windows=split_windows(4000, 2000)))
    assert content_hash(half) != content_hash(spec)
    campaign = await request_campaign(mine.bus, half, "test")
    look = await mine.seen(campaign, ev.HoldOutLooked)
    assert isinstance(look.data, ev.HoldOutLooked)
    hour = 3_600_000
    assert (look.data.first_ms, look.data.last_ms) == (3_200 * hour, 3_599 * hour)
    await mine.finished(campaign)
    judged = await mine.seen(campaign, ev.CampaignJudged, timeout_s=120.0)
    assert isinstance(judged.data, ev.CampaignJudged)
    assert judged.data.judgement.hold_out_looks == 0  # nobody saw the last 400 candles
    again, _ = await mine.mine(1)
    judged = await mine.seen(again, ev.CampaignJudged, timeout_s=120.0)
    assert isinstance(judged.data, ev.CampaignJudged)
    assert judged.data.judgement.hold_out_looks == 1
