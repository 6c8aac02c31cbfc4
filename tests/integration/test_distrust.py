"""Miners that lie or write nonsense, and nonsense on every subject: outvoted or parked, and everybody goes on."""

import msgspec

from agents.miner.decide import release
from bus import events as ev
from bus import subjects
from bus.envelope import encode_event, make_event, now_rfc3339
from bus.messages import POISON_ATTEMPTS, Claim, Presence
from kernels.version import lane
from tests.support.campaign import Mine, parked, stored_in, undisturbed
from tests.support.instance import Instance, until

LIAR = "tests.support.misbehaving"


async def test_a_liar_is_outvoted_by_a_third_owner_and_named(instance: Instance, mine: Mine) -> None:
    instance.miners(1)
    instance.agent("miner", 3, module=LIAR, SLUICE_TEST_MISBEHAVE="lie")
    campaign = await mine.request(3)
    asked = [(await mine.seen(campaign, ev.ReplicaRequested, count=n)).data for n in (1, 2, 3)]
    assert all(isinstance(a, ev.ReplicaRequested) and a.replica == 2 for a in asked)
    assert not await mine.of(campaign, ev.UnitValidated)
    instance.miners(1, first=2)
    end = await mine.finished(campaign)
    assert (end.validated, end.inconclusive) == (3, 0)
    for fact in await mine.of(campaign, ev.UnitValidated):
        assert isinstance(fact.data, ev.UnitValidated)
        assert fact.data.owners == ("alpha.1", "alpha.2")
        assert fact.data.outvoted == ("alpha.3",)
    assert end.digest == await undisturbed(mine.candles, mine.spec(3))
    await mine.check_log(campaign)
    instance.assert_all_alive()


async def test_an_answer_that_cannot_be_read_is_parked_and_another_owner_is_asked(
    instance: Instance, mine: Mine
) -> None:
    instance.miners(1)
    instance.agent("miner", 3, module=LIAR, SLUICE_TEST_MISBEHAVE="garble")
    campaign = await mine.request(2)
    await mine.seen(campaign, ev.ReplicaRequested, count=2)
    instance.miners(1, first=2)
    end = await mine.finished(campaign)
    assert end.validated == 2
    assert end.digest == await undisturbed(mine.candles, mine.spec(2))
    records = [p for p in await parked(mine.bus) if p.stream == "RESULT"]
    assert len(records) == 2
    assert all(p.by == "validator" and p.subject.endswith("alpha.3") and p.reason for p in records)
    unread = [f.data for f in await mine.of(campaign, ev.ReplicaAnswered)]
    assert sum(isinstance(a, ev.ReplicaAnswered) and not a.counts and a.digest == "" for a in unread) == 2
    await mine.check_log(campaign)
    instance.assert_all_alive()


async def test_nonsense_on_every_subject_is_parked_and_the_campaign_finishes(instance: Instance, mine: Mine) -> None:
    bus = mine.bus
    campaign = await mine.request(3)
    units = {f.data.index: f.event.subject for f in [await mine.seen(campaign, ev.UnitOpened, count=n) for n in (1, 2, 3)]
             if isinstance(f.data, ev.UnitOpened)}  # fmt: skip
    borrowed = make_event(
        ev.CampaignRefused("no"), id="x", source="test", subject="another", time=now_rfc3339(), correlation="another"
    )
    unknown = encode_event(borrowed).replace(b"mining.campaign.refused", b"mining.campaign.vanished")
    events = {
        "ev.mining.junk.x.happened": b"\xff\x00 not json",
        f"ev.mining.unit.{units[0]}.validated": b"{}",
        f"ev.mining.campaign.{campaign}.refused": encode_event(borrowed),
        "ev.mining.campaign.another.vanished": unknown,
        "ev.cmd.campaign.bad.requested": encode_event(borrowed).replace(b"mining.campaign.refused", b"nonsense"),
    }
    for subject, payload in events.items():
        await bus.publish(subject, payload)
    name = lane()
    await bus.publish(f"work.{name}.nowhere.nothing.0", b"junk")
    # In the very place where a replica of this campaign is to lie: the dispatcher's own message cannot be stored there.
    await bus.publish(subjects.work(name, campaign, units[1], 2), b'{"campaign": 1}')
    await bus.publish(subjects.claim(units[0], 0, "beta", "1"), b"junk")
    claim = Claim("id", campaign, units[1], 1, "gamma", "1", 0, 1)
    await bus.publish(subjects.claim(units[1], 1, "beta", "1"), msgspec.json.encode(claim))
    await bus.publish(subjects.result(campaign, units[2], 0, "beta", "1"), b"[1, 2")
    await bus.publish(subjects.result(campaign, "unknown", 0, "beta", "1"), b"{}")
    await bus.publish(f"result.{campaign}.{units[2]}.many.beta.1", b"{}")
    await bus.publish(subjects.checkpoint(units[0], 0, "beta", "1"), b"junk")
    await bus.publish(subjects.checkpoint(units[1], 0, "alpha", "1"), b"junk")
    await bus.publish(subjects.progress("beta", "miner-1"), b"junk")
    await bus.publish("log.beta.miner-1", b"junk")
    await bus.publish(subjects.artifact("beta", mine.candles.hash(), 0), b"junk")
    # The active ones lose their lease to nobody, until it runs out.
    for kind in ("dispatcher", "validator"):
        await bus.publish(f"$KV.LEASE.{kind}", b"junk")
    await bus.publish("$KV.PRESENCE.beta.miner-1", b"junk")
    await bus.publish("$KV.PRESENCE.beta.miner-2", b'{"agent": "miner-2"}')
    instance.agent("projector")
    instance.miners(3)
    end = await mine.finished(campaign)
    assert end.validated == 3
    assert end.digest == await undisturbed(mine.candles, mine.spec(3))
    await mine.check_log(campaign)
    instance.assert_all_alive()

    async def all_parked() -> bool:
        found = {(p.by, p.stream, p.subject) for p in await parked(bus)}
        wanted = {(by, "EVENTS", s) for by in ("dispatcher", "validator", "projector") for s in events}
        wanted |= {("validator", "CLAIM", subjects.claim(units[0], 0, "beta", "1"))}
        wanted |= {("validator", "CLAIM", subjects.claim(units[1], 1, "beta", "1"))}
        wanted |= {("validator", "RESULT", s.subject) for s in await stored_in(bus, "RESULT", "result.*.*.*.beta.1")}
        wanted |= {("miner", "WORK", f"work.{name}.nowhere.nothing.0")}
        return wanted <= found

    await until("all that nobody can read is parked", all_parked)
    reasons = [p.reason for p in await parked(bus)]
    assert all(reasons)


async def test_an_empty_message_stops_nobody_now_or_after_a_restart(instance: Instance, mine: Mine) -> None:
    """An empty body ends a streamed reply across accounts: readers must not wait behind it for ever."""
    bus = mine.bus
    campaign = await mine.request(2)
    await mine.seen(campaign, ev.UnitOpened, count=2)
    for subject in ("ev.cmd.x.y.z", "claim.none.0.beta.1", "result.none.none.0.beta.1", "ev.mining.unit.none.opened"):
        await bus.publish(subject, b"")
    instance.miners(2)
    assert (await mine.finished(campaign)).validated == 2
    # From the very beginning once more, past the empty messages.
    for kind in ("dispatcher", "validator"):
        judge = next(a for a in instance.agents if a.kind == kind and a.alive())
        judge.kill()
        instance.agent(kind)
    again = await mine.request(1, seed=9)
    assert (await mine.finished(again)).validated == 1


async def test_one_miner_cannot_talk_a_unit_into_being_poison(instance: Instance, mine: Mine) -> None:
    """Not by counting what was never claimed, and not by counting what others gave back in good order."""
    campaign = await mine.request(3)
    units = [(await mine.seen(campaign, ev.UnitOpened, count=n)).event.subject for n in (1, 2, 3)]
    alpha, beta = await instance.bus("miner-alpha"), await instance.bus("miner-beta")
    for n in range(POISON_ATTEMPTS):
        taken = Claim(f"c{n}", campaign, units[2], 0, "beta", "1", 0, 1)
        for claim in (taken, release(taken, f"r{n}")):
            await beta.publish(subjects.claim(units[2], 0, "beta", "1"), msgspec.json.encode(claim))
    for unit, attempts in zip(units, (1, 9, 9), strict=True):
        lie = Claim("lie", campaign, unit, 0, "alpha", "9", 0, attempts, poisoned=True)
        await alpha.publish(subjects.claim(unit, 0, "alpha", "9"), msgspec.json.encode(lie))
    lies = {subjects.claim(u, 0, "alpha", "9") for u in units}

    async def seen_through() -> bool:
        return {p.subject for p in await parked(mine.bus)} == lies

    # Before anybody works: of a unit that is decided nothing is read any more.
    await until("the lies are parked", seen_through)
    instance.miners(2)
    end = await mine.finished(campaign)
    assert (end.validated, end.parked) == (3, 0)
    assert await seen_through()


async def beat(mine: Mine, *places: tuple[str, str]) -> None:
    """A heartbeat for a miner in each (host, slot)."""
    for host, slot in places:
        now = now_rfc3339()
        presence = Presence(f"miner-{slot}", "miner", host, 1, "alive", now, now, 0.2, slot=slot, lane=lane())
        await mine.bus.publish(f"$KV.PRESENCE.{host}.miner-{slot}", msgspec.json.encode(presence))


async def test_a_work_item_gone_without_an_answer_is_put_again(instance: Instance, mine: Mine) -> None:
    """As when a miner acknowledges what it never did."""
    both = (("alpha", "1"), ("alpha", "2"))
    await beat(mine, *both)
    campaign = await mine.request(2)

    async def four_in_work() -> bool:
        await beat(mine, *both)
        return len(await stored_in(mine.bus, "WORK")) == 4

    await until("two replicas of two units are queued", four_in_work)
    purged = await mine.bus.request("sluice.api.STREAM.PURGE.WORK", b"{}")
    assert msgspec.json.decode(purged.data)["purged"] == 4
    instance.miners(2)
    assert (await mine.finished(campaign)).validated == 2
    await mine.check_log(campaign)


async def opened_while_there(mine: Mine, units: int, *hosts: str) -> tuple[str, ev.CampaignOpened]:
    """Ask for a campaign while these hosts have a miner: heartbeats from before the request until it is opened."""
    places = [(host, "8") for host in hosts]
    await beat(mine, *places)
    campaign = await mine.request(units)

    async def look() -> ev.CampaignOpened | None:
        await beat(mine, *places)
        found = await mine.of(campaign, ev.CampaignOpened)
        return found[0].data if found and isinstance(found[0].data, ev.CampaignOpened) else None

    opened = await until("the campaign is opened", look)
    assert opened is not None
    return campaign, opened


async def test_a_second_answer_of_one_owner_has_no_vote(instance: Instance, mine: Mine) -> None:
    """Two slots of one host are one owner: a copy of its answer under another replica confirms nothing."""
    campaign, opened = await opened_while_there(mine, 1, "alpha", "beta")
    assert opened.distinct == "host"
    (first,) = instance.miners(1, "alpha")
    await mine.seen(campaign, ev.ReplicaAnswered)
    (answer,) = await stored_in(mine.bus, "RESULT")
    said = msgspec.json.decode(answer.data)
    other = 1 - said["replica"]
    alpha = await instance.bus("miner-alpha")
    where = subjects.result(campaign, said["unit"], other, "alpha", "9")
    await alpha.publish(where, msgspec.json.encode(said | {"replica": other, "slot": "9"}))
    again = (await mine.seen(campaign, ev.ReplicaAnswered, count=2)).data
    assert isinstance(again, ev.ReplicaAnswered)
    assert (again.owner, again.counts, again.digest) == ("alpha", False, said["digest"])
    asked = (await mine.seen(campaign, ev.ReplicaRequested)).data
    assert isinstance(asked, ev.ReplicaRequested)
    assert asked.replica == 2
    assert not await mine.of(campaign, ev.UnitValidated)
    instance.miners(1, "beta")
    assert (await mine.finished(campaign)).validated == 1
    validated = (await mine.seen(campaign, ev.UnitValidated)).data
    assert isinstance(validated, ev.UnitValidated)
    assert validated.owners == ("alpha", "beta")
    await mine.check_log(campaign)
    assert first.alive()
