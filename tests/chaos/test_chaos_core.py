"""The server, the dispatcher and the validator die at any moment: no event twice, none lost, the same digest."""

import asyncio
import random

import pytest

from bus import events as ev
from tests.support.campaign import Mine, facts, stored_in, undisturbed
from tests.support.instance import Instance, until

MEDIUM = {"population": 100, "generations": 40}
#: A unit takes most of a second on the fastest machine too: what is killed is killed in the middle.
PACE_MS = 20


async def test_the_server_killed_in_mid_campaign_loses_nothing_that_it_acknowledged(
    instance: Instance, mine: Mine
) -> None:
    instance.miners(2, pace_ms=PACE_MS)
    instance.hold(from_unit=3)
    campaign = await mine.request(4, **MEDIUM)
    await mine.seen(campaign, ev.ReplicaAnswered)
    before = {stream: await stored_in(mine.bus, stream) for stream in ("EVENTS", "RESULT")}
    assert not await mine.of(campaign, ev.CampaignFinished)
    instance.kill_server()

    async def noticed() -> bool:
        return not mine.bus.nc.is_connected

    await until("the connection is lost", noticed)
    await instance.serve()
    instance.go_on()
    end = await mine.finished(campaign)
    for stream, messages in before.items():
        after = await stored_in(mine.bus, stream)
        assert [(m.seq, m.subject, m.data) for m in after[: len(messages)]] == [
            (m.seq, m.subject, m.data) for m in messages
        ]
    assert end.validated == 4
    assert end.digest == await undisturbed(mine.candles, mine.spec(4, **MEDIUM))
    await mine.check_log(campaign)
    instance.assert_all_alive()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_judges_killed_at_random_moments_write_nothing_twice(instance: Instance, mine: Mine, seed: int) -> None:
    rng = random.Random(seed)
    running = {a.kind: a for a in instance.agents}
    instance.miners(2, pace_ms=PACE_MS)
    campaign = await mine.request(10, **MEDIUM)
    await mine.seen(campaign, ev.UnitOpened)
    for _ in range(8):
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        kind = rng.choice(["dispatcher", "validator"])
        running[kind].kill()
        await asyncio.sleep(rng.uniform(0.0, 0.3))
        running[kind] = instance.agent(kind)
    end = await mine.finished(campaign)
    assert end.validated == 10
    assert end.digest == await undisturbed(mine.candles, mine.spec(10, **MEDIUM))
    await mine.check_log(campaign)
    instance.assert_all_alive()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_killed_at_random_moments_gives_the_same_digest(
    instance: Instance, mine: Mine, seed: int
) -> None:
    rng = random.Random(seed)
    running = {(a.kind, a.slot): a for a in [*instance.agents, *instance.miners(3, pace_ms=PACE_MS)]}
    campaign = await mine.request(8, **MEDIUM)
    await mine.seen(campaign, ev.UnitOpened)
    for _ in range(10):
        await asyncio.sleep(rng.uniform(0.2, 1.2))
        victim = rng.choice(["server", *running])
        if victim == "server":
            instance.kill_server()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            await instance.serve()
        else:
            running[victim].kill()
            kind, slot = victim
            again = instance.miner(int(slot), pace_ms=PACE_MS) if kind == "miner" else instance.agent(kind)
            running[victim] = again
    end = await mine.finished(campaign)
    assert (end.validated, end.parked) == (8, 0)
    assert end.digest == await undisturbed(mine.candles, mine.spec(8, **MEDIUM))
    await mine.check_log(campaign)


@pytest.mark.slow
async def test_two_of_each_judge_at_once_write_nothing_twice_and_the_second_takes_over(
    instance: Instance, mine: Mine
) -> None:
    first = {a.kind: a for a in instance.agents}
    instance.judges()
    instance.miners(2, pace_ms=PACE_MS)
    campaign = await mine.request(6, **MEDIUM)
    await mine.seen(campaign, ev.ReplicaAnswered, count=2)
    for agent in first.values():
        agent.kill()
    end = await mine.finished(campaign)
    assert end.validated == 6
    assert end.digest == await undisturbed(mine.candles, mine.spec(6, **MEDIUM))
    await mine.check_log(campaign)
    instance.assert_all_alive()


@pytest.mark.slow
async def test_a_judge_stopped_and_continued_writes_nothing_twice(instance: Instance, mine: Mine) -> None:
    """It still believes that the lease is its own, and its model is old."""
    paused = {a.kind: a for a in instance.agents}
    instance.miners(2, pace_ms=PACE_MS)
    instance.hold(from_unit=3)
    campaign = await mine.request(6, **MEDIUM)
    await mine.seen(campaign, ev.ReplicaAnswered)
    for agent in paused.values():
        agent.pause()
    instance.judges()
    answered = len([f for f in await facts(mine.bus, campaign) if isinstance(f.data, ev.ReplicaAnswered)])
    instance.go_on()
    await mine.seen(campaign, ev.ReplicaAnswered, count=answered + 1)
    for agent in paused.values():
        agent.resume()
    end = await mine.finished(campaign)
    assert end.digest == await undisturbed(mine.candles, mine.spec(6, **MEDIUM))
    await mine.check_log(campaign)
    instance.assert_all_alive()
