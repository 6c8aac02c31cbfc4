"""Campaigns from the request to the digest, with all agents as real processes on a real server."""

import pytest

from bus import events as ev
from bus.presence import read_presence
from tests.support.campaign import Mine, undisturbed
from tests.support.instance import Instance, until

SLOW = {"population": 100, "generations": 80}
#: Several checkpoints fall into a unit, on the fastest machine too.
PACE_MS = 50


async def test_eight_of_eight_units_validate_at_distinct_slots_with_the_digest_of_an_undisturbed_search(
    instance: Instance, mine: Mine
) -> None:
    instance.miners(2)
    campaign, end = await mine.mine(8, population=40, generations=10)
    assert (end.validated, end.inconclusive, end.parked) == (8, 0, 0)
    verdicts = [f.data for f in await mine.of(campaign, ev.UnitValidated)]
    assert all(isinstance(v, ev.UnitValidated) and v.owners == ("alpha.1", "alpha.2") for v in verdicts)
    answers = [f.data for f in await mine.of(campaign, ev.ReplicaAnswered)]
    assert len(answers) == 16
    assert len({(v.index, v.digest) for v in verdicts if isinstance(v, ev.UnitValidated)}) == 8
    assert end.digest == await undisturbed(mine.candles, mine.spec(8, population=40, generations=10))
    await mine.check_log(campaign)
    instance.assert_all_alive()


@pytest.mark.slow
async def test_the_same_seed_on_other_machines_gives_the_same_digest_and_another_seed_another(
    instance: Instance, mine: Mine
) -> None:
    instance.miners(2, "alpha")
    instance.miners(1, "beta")

    async def both_hosts() -> bool:
        return {p.host for p in await read_presence(mine.bus) if p.kind == "miner" and p.state == "alive"} == {
            "alpha",
            "beta",
        }

    await until("both hosts are there", both_hosts)
    campaign, end = await mine.mine(3)
    opened = (await mine.seen(campaign, ev.CampaignOpened)).data
    assert isinstance(opened, ev.CampaignOpened)
    assert opened.distinct == "host"
    for fact in await mine.of(campaign, ev.UnitValidated):
        assert isinstance(fact.data, ev.UnitValidated)
        assert (fact.data.distinct, fact.data.owners) == ("host", ("alpha", "beta"))
    again, other = await mine.mine(3), await mine.mine(3, seed=2)
    assert end.digest == again[1].digest == await undisturbed(mine.candles, mine.spec(3))
    assert other[1].digest == await undisturbed(mine.candles, mine.spec(3, seed=2)) != end.digest
    assert end.trials == again[1].trials > 0
    for ran in (campaign, again[0], other[0]):
        await mine.check_log(ran)


@pytest.mark.slow
async def test_a_killed_miner_resumes_its_unit_from_its_checkpoint(instance: Instance, mine: Mine) -> None:
    instance.miners(2, pace_ms=PACE_MS)
    instance.hold()
    campaign = await mine.request(1, **SLOW)
    # Both replicas are held: what one miner leaves, the other may not take.
    await mine.seen(campaign, ev.ReplicaClaimed, count=2)
    end = await mine.killed_and_resumed(campaign, PACE_MS)
    assert end.validated == 1
    assert end.digest == await undisturbed(mine.candles, mine.spec(1, **SLOW))
    await mine.check_log(campaign)


@pytest.mark.slow
async def test_a_miner_that_is_told_to_stop_gives_its_replica_back_with_a_checkpoint(
    instance: Instance, mine: Mine
) -> None:
    miners = {m.slot: m for m in instance.miners(2, pace_ms=PACE_MS)}
    instance.hold()
    campaign = await mine.request(1, **SLOW)
    # Both replicas are held: what one miner leaves, the other may not take.
    await mine.seen(campaign, ev.ReplicaClaimed, count=2)
    checkpoint = await mine.checkpoint_beyond(5)
    assert miners[checkpoint.slot].stop() == 0
    await mine.seen(campaign, ev.ReplicaReleased)
    instance.go_on()
    instance.miner(int(checkpoint.slot), pace_ms=PACE_MS)
    end = await mine.finished(campaign)
    claims = [f.data for f in await mine.of(campaign, ev.ReplicaClaimed)]
    again = [c for c in claims if isinstance(c, ev.ReplicaClaimed) and c.slot == checkpoint.slot]
    assert again[-1].generation >= checkpoint.generation
    assert again[-1].takeover_from == ""
    assert end.digest == await undisturbed(mine.candles, mine.spec(1, **SLOW))
    await mine.check_log(campaign)


async def test_with_one_owner_units_wait_and_finish_when_a_second_one_comes(instance: Instance, mine: Mine) -> None:
    (alone,) = instance.miners(1)
    campaign = await mine.request(2)
    waiting = await mine.seen(campaign, ev.ReplicaWithheld, count=2)
    assert isinstance(waiting.data, ev.ReplicaWithheld)
    await mine.seen(campaign, ev.ReplicaAnswered, count=2)
    assert not await mine.of(campaign, ev.UnitValidated)
    instance.miners(1, first=2)
    assert (await mine.finished(campaign)).validated == 2
    await mine.check_log(campaign)
    assert alone.alive()


async def test_requests_that_cannot_be_met_are_refused_with_a_reason_and_hold_nobody_up(
    instance: Instance, mine: Mine
) -> None:
    instance.miners(2)
    reasons = await mine.refused_requests()
    assert "valid until" in reasons["expired"]
    assert "is no time" in reasons["no time"]
    assert "was valid until" in reasons["no zone"]
    assert "not registered" in reasons["unknown dataset"]
    assert "not lie within" in reasons["windows beyond the end"]
    assert "population" in reasons["population of one"]
    assert (await mine.mine(1))[1].validated == 1
    instance.assert_all_alive()


@pytest.mark.parametrize("how", ["die", "lose"])
async def test_a_verdict_is_given_although_its_judge_was_cut_off_after_the_last_answer(
    instance: Instance, mine: Mine, how: str
) -> None:
    """No further answer comes that would remind anybody of the unit."""
    next(a for a in instance.agents if a.kind == "validator").stop()
    cut_off = instance.agent("validator", module="tests.support.dying_judge", SLUICE_TEST_MISBEHAVE=how)
    cut_off.killed = how == "die"
    instance.miners(2)
    campaign = await mine.request(1)
    if how == "die":

        async def died() -> bool:
            return not cut_off.alive()

        await until("it dies instead of giving its verdict", died)
        assert not await mine.of(campaign, ev.UnitValidated)
        instance.agent("validator")
    end = await mine.finished(campaign)
    assert end.validated == 1
    assert cut_off.alive() == (how == "lose")
    await mine.check_log(campaign)
    instance.assert_all_alive()
