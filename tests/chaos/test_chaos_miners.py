"""Miners that die, stop and come back: nothing counts twice, nothing waits for ever, the digest stays the same."""

import asyncio
import re

import pytest

from bus import events as ev
from bus.presence import judged_state, read_presence
from tests.support.campaign import Mine, stored_in, undisturbed
from tests.support.instance import Agent, Instance, until

SLOW = {"population": 100, "generations": 80}
#: Several checkpoints fall into a unit, on the fastest machine too; units are held so that they are disturbed in the middle.
PACE_MS = 60


@pytest.mark.slow
async def test_a_stopped_miner_loses_its_claim_and_its_late_work_changes_nothing(
    instance: Instance, mine: Mine
) -> None:
    miners = {m.slot: m for m in instance.miners(3, pace_ms=PACE_MS)}
    instance.hold()
    campaign = await mine.request(1, **SLOW)
    checkpoint = await mine.checkpoint_beyond(3)
    stopped = miners[checkpoint.slot]
    stopped.pause()

    async def taken() -> ev.ReplicaClaimed | None:
        claims = [f.data for f in await mine.of(campaign, ev.ReplicaClaimed)]
        return next((c for c in claims if isinstance(c, ev.ReplicaClaimed) and c.takeover_from == stopped.owner), None)

    takeover = await until("another owner took over", taken)
    assert takeover is not None
    assert takeover.slot != stopped.slot
    assert takeover.generation == 0, "another owner never starts from somebody else's checkpoint"
    stopped.resume()
    instance.go_on()
    end = await mine.finished(campaign)
    assert end.digest == await undisturbed(mine.candles, mine.spec(1, **SLOW))
    answers = [f.data for f in await mine.of(campaign, ev.ReplicaAnswered)]
    by_new_holder = [a for a in answers if isinstance(a, ev.ReplicaAnswered) and a.slot == takeover.slot]
    assert [a.replica for a in by_new_holder] == [takeover.replica]

    async def fenced() -> bool:
        # At its next look, or at the latest before it answers.
        return bool(re.search("another miner (holds|took) this replica", stopped.log.read_text()))

    await until("the stopped miner noticed that it lost its replica", fenced)
    await mine.check_log(campaign)
    instance.assert_all_alive()


@pytest.mark.slow
async def test_dead_miners_are_not_counted_and_their_work_is_reassigned(instance: Instance, mine: Mine) -> None:
    miners = {m.slot: m for m in instance.miners(3, pace_ms=PACE_MS)}

    async def active() -> set[str]:
        found = await read_presence(mine.bus)
        return {p.slot for p in found if p.kind == "miner" and judged_state(p) == "alive"}

    async def all_there() -> bool:
        return await active() == set(miners)

    await until("three miners are active", all_there)
    instance.hold()
    campaign = await mine.request(1, **SLOW)
    checkpoint = await mine.checkpoint_beyond(3)
    miners[checkpoint.slot].kill()

    async def gone() -> bool:
        return checkpoint.slot not in await active()

    await until("the dead one is not counted as active", gone)
    instance.go_on()
    end = await mine.finished(campaign)
    assert end.digest == await undisturbed(mine.candles, mine.spec(1, **SLOW))
    assert checkpoint.slot not in {p.slot for p in await read_presence(mine.bus) if p.kind == "miner"}
    claims = [f.data for f in await mine.of(campaign, ev.ReplicaClaimed)]
    over = [c for c in claims if isinstance(c, ev.ReplicaClaimed) and c.takeover_from == f"alpha.{checkpoint.slot}"]
    assert [c.generation for c in over] == [0]
    await mine.check_log(campaign)


@pytest.mark.slow
async def test_a_unit_that_kills_every_miner_is_parked_after_three_claims(instance: Instance, mine: Mine) -> None:
    async def keep_up(slot: int) -> None:
        """What a supervisor does."""
        while True:
            agent = instance.agent("miner", slot, module="tests.support.misbehaving", SLUICE_TEST_MISBEHAVE="crash:1")
            agent.killed = True
            while agent.alive():
                await asyncio.sleep(0.1)

    keepers = [asyncio.create_task(keep_up(slot)) for slot in (1, 2)]
    try:
        campaign, end = await mine.mine(3)
    finally:
        for keeper in keepers:
            keeper.cancel()
    assert (end.validated, end.inconclusive, end.parked) == (2, 0, 1)
    parked = (await mine.seen(campaign, ev.UnitParked)).data
    assert isinstance(parked, ev.UnitParked)
    assert parked.index == 1
    assert "3 claims without progress" in parked.reason
    unit = (await mine.seen(campaign, ev.UnitParked)).event.subject
    claims = [f.data for f in await mine.of(campaign, ev.ReplicaClaimed) if f.event.subject == unit]
    assert sum(isinstance(c, ev.ReplicaClaimed) and c.replica == parked.replica for c in claims) == 3
    await mine.check_log(campaign)


async def withheld_after(mine: Mine, campaign: str, seq: int) -> None:
    async def look() -> bool:
        return any(f.seq > seq for f in await mine.of(campaign, ev.ReplicaWithheld))

    await until("a replica waits for an owner", look)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before its claim", "in mid-unit", "after its answer"])
async def test_an_owner_gone_for_good_and_back_again_deadlocks_nothing(
    instance: Instance, mine: Mine, moment: str
) -> None:
    miners: dict[str, Agent] = {m.slot: m for m in instance.miners(2, pace_ms=PACE_MS)}

    async def both() -> bool:
        return {p.slot for p in await read_presence(mine.bus) if p.kind == "miner" and p.state == "alive"} == {"1", "2"}

    await until("both owners are there", both)
    gone, killed_at = "2", await mine.bus.last_seq("EVENTS")
    if moment == "before its claim":
        miners[gone].kill()
        campaign = await mine.request(2, **SLOW)
    else:
        # Of the second unit nobody can answer before somebody is gone.
        instance.hold(from_unit=0 if moment == "in mid-unit" else 1)
        campaign = await mine.request(2, **SLOW)
        if moment == "in mid-unit":
            gone = (await mine.checkpoint_beyond(3)).slot
        else:
            first = (await mine.seen(campaign, ev.ReplicaAnswered)).data
            assert isinstance(first, ev.ReplicaAnswered)
            gone = first.slot
        killed_at = await mine.bus.last_seq("EVENTS")
        miners[gone].kill()
        instance.go_on()
    await withheld_after(mine, campaign, killed_at)
    instance.miner(int(gone), pace_ms=PACE_MS)
    end = await mine.finished(campaign)
    assert end.validated == 2
    assert end.digest == await undisturbed(mine.candles, mine.spec(2, **SLOW))
    assert not await stored_in(mine.bus, "WORK"), "work is left over"
    await mine.check_log(campaign)
    instance.assert_all_alive()
