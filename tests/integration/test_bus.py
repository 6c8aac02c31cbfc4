"""The client, leases, tails, pulls and artifacts against a real server."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from bus import events as ev
from bus import subjects
from bus.artifacts import CHUNK, get_artifact, put_artifact
from bus.client import Bus, Credentials, Expect, Refused, SubjectTaken
from bus.envelope import Event, make_event
from bus.lease import Lease
from bus.messages import Presence
from bus.parking import park
from bus.presence import age_s, judged_state, read_presence
from bus.pull import ConsumerGone, Pull
from bus.tail import Tail
from domain.errors import BadInput, Conflict, Unreachable
from domain.hashing import sha256_hex
from tests.support.campaign import stored_in
from tests.support.instance import PATIENCE_S, Instance, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
#: A test that is held up for so long between two lines has lost its lease: on a busy machine seconds, not one.
LEASE_TTL_S = 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instance(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    root: Path = tmp_path_factory.mktemp("bus")
    instance = Instance(root / "state", hosts=("alpha", "beta"), lease_ttl_s=LEASE_TTL_S, presence_ttl_s=600)
    try:
        yield await instance.start()
    finally:
        await instance.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bus(instance: Instance) -> Bus:
    return await instance.bus("admin")


def refused(campaign: str, id_: str = "", reason: str = "why") -> Event:
    data = ev.CampaignRefused(reason)
    return make_event(data, id=id_ or str(uuid4()), source="test", subject=campaign, time="2026-01-01T00:00:00Z")


def anew() -> str:
    return uuid4().hex


async def test_a_connection_that_cannot_be_made_says_so_in_time() -> None:
    connecting = Bus.connect(Credentials("nats://127.0.0.1:1", "admin"), "nobody", timeout_s=0.5)
    with pytest.raises(Unreachable, match="no NATS server answers"):
        await asyncio.wait_for(connecting, 30.0)


async def test_publish_with_an_expectation(bus: Bus) -> None:
    subject = f"claim.{anew()}.0.alpha.1"
    seq = await bus.publish(subject, b"1", expect=Expect(subject, 0))
    with pytest.raises(Conflict):
        await bus.publish(subject, b"2", expect=Expect(subject, 0))
    assert await bus.publish(subject, b"2", expect=Expect(subject, seq)) > seq
    found = await bus.last("CLAIM", subject)
    assert found is not None
    assert found.data == b"2"


async def test_of_many_racers_one_wins(bus: Bus) -> None:
    unit = anew()

    async def race(n: int) -> int:
        try:
            await bus.publish(f"claim.{unit}.{n % 3}.alpha.{n}", b"x", expect=Expect(f"claim.{unit}.>", 0))
            return 1
        except Conflict:
            return 0

    assert sum(await asyncio.gather(*(race(n) for n in range(20)))) == 1
    assert len(await stored_in(bus, "CLAIM", f"claim.{unit}.>")) == 1


async def test_the_same_event_again_is_a_success_and_another_one_a_conflict(bus: Bus) -> None:
    campaign = anew()
    event = refused(campaign)
    expect = Expect(f"ev.mining.campaign.{campaign}.>", 0)
    seq = await bus.append(event, expect)
    assert await bus.append(event, expect) == seq
    with pytest.raises(Conflict):
        await bus.append(refused(campaign), expect)
    assert len(await stored_in(bus, "EVENTS", f"ev.mining.campaign.{campaign}.>")) == 1


async def test_a_batch_is_stored_whole_or_not_at_all(bus: Bus) -> None:
    names = [anew() for _ in range(5)]
    batch = [(refused(n), Expect(f"ev.mining.campaign.{n}.>", 0)) for n in names]
    last = await bus.append_batch(batch)
    stored = [await bus.last("EVENTS", e.nats_subject()) for e, _ in batch]
    assert [s.seq for s in stored if s is not None] == list(range(last - 4, last + 1))
    assert await bus.append_batch(batch) >= last, "the same batch again is a success"
    fresh = [anew() for _ in range(3)]
    mixed = [(refused(n), Expect(f"ev.mining.campaign.{n}.>", 0)) for n in (fresh[0], names[2], fresh[1])]
    end = await bus.last_seq("EVENTS")
    with pytest.raises(Conflict):
        await bus.append_batch(mixed)
    assert await bus.last_seq("EVENTS") == end


async def test_a_batch_with_an_event_that_is_stored_already_is_a_conflict(bus: Bus) -> None:
    """Two writers find the same strategy: the second batch is refused by the id of the message, whatever it expects."""
    known = refused(anew())
    await bus.append(known, Expect(known.nats_subject(), 0))
    end = await bus.last_seq("EVENTS")
    with pytest.raises(Conflict):
        await bus.append_batch([(refused(anew()), None), (known, None)])
    assert await bus.last_seq("EVENTS") == end


async def test_several_events_of_one_subject_in_a_batch_sent_twice(bus: Bus) -> None:
    unit = anew()
    events = [
        make_event(ev.ReplicaQueued("c", r), id=str(uuid4()), source="test", subject=unit, time="2026-01-01T00:00:00Z")
        for r in range(3)
    ]
    batch: list[tuple[Event, Expect | None]] = [(e, None) for e in events]
    batch[0] = (events[0], Expect(f"ev.mining.queue.{unit}.>", 0))
    await bus.append_batch(batch)
    await bus.append_batch(batch)
    assert len(await stored_in(bus, "EVENTS", f"ev.mining.queue.{unit}.>")) == 3


async def test_what_is_too_large_is_refused_and_the_connection_lives(bus: Bus) -> None:
    huge = refused(anew(), reason="x" * (9 * 1024 * 1024))
    with pytest.raises(Refused, match="more than the server takes"):
        await bus.append(huge, Expect(huge.nats_subject(), 0))
    with pytest.raises(Refused):
        await bus.append_batch([(huge, None), (refused(anew()), None)])
    assert await bus.last_seq("EVENTS") >= 0


async def test_the_first_message_of_a_subject_wins(bus: Bus) -> None:
    for subject in (f"work.l.c.{anew()}.0", f"result.c.{anew()}.0.alpha.1"):
        await bus.publish(subject, b"first")
        with pytest.raises(SubjectTaken):
            await bus.publish(subject, b"second")


async def test_a_message_is_parked_once(bus: Bus) -> None:
    seq = await bus.publish(f"claim.{anew()}.0.alpha.1", b"junk")
    stored = await bus.get("CLAIM", seq)
    assert stored is not None
    for _ in range(2):
        await park(bus, "CLAIM", stored, "why", "test")
    assert len(await stored_in(bus, "PARKED", subjects.parked("test", "CLAIM", seq))) == 1


async def test_reading_in_batches_gives_all_in_order(bus: Bus) -> None:
    unit = anew()
    for n in range(25):
        await bus.publish(f"claim.{unit}.{n}.alpha.1", str(n).encode())
    read = [s async for s in bus.read("CLAIM", 1, f"claim.{unit}.>", batch=10)]
    assert [s.data for s in read] == [str(n).encode() for n in range(25)]
    middle = [s async for s in bus.read("CLAIM", read[12].seq, f"claim.{unit}.>", batch=10)]
    assert [s.seq for s in middle] == [s.seq for s in read[12:]]
    assert await bus.subjects_in("CLAIM") >= {s.subject for s in read}


# -- lease ------------------------------------------------------------------------------------------------------------


async def test_a_lease_has_one_holder_and_moves_on_when_it_is_not_renewed(bus: Bus) -> None:
    kind = anew()
    one, two = Lease(bus, kind, "one", LEASE_TTL_S), Lease(bus, kind, "two", LEASE_TTL_S)
    at = time.monotonic()
    assert await one.hold()
    found = [await two.hold(), await one.hold()]
    # Held up between two lines for as long as that, it may have lost it.
    assert found == [False, True] or time.monotonic() - at > LEASE_TTL_S / 2

    async def taken() -> bool:
        return await two.hold()

    await until("the second one takes it", taken)
    assert not await one.hold(), "the first one has lost it"


async def test_a_released_lease_is_free_at_once_and_nobody_releases_anothers(bus: Bus) -> None:
    kind = anew()
    one, two, three = (Lease(bus, kind, name, 60.0) for name in ("one", "two", "three"))
    assert await one.hold()
    await one.release()
    assert not await two.hold(), "the first look finds out that it is free"
    assert await two.hold()
    await one.release()
    assert not await three.hold()
    assert not await three.hold()


async def test_of_many_that_want_a_lease_one_gets_it(bus: Bus) -> None:
    kind = anew()
    leases = [Lease(bus, kind, str(n), 60.0) for n in range(10)]
    assert sum(await asyncio.gather(*(x.hold() for x in leases))) == 1


# -- tail and pull ----------------------------------------------------------------------------------------------------


async def test_a_tail_goes_on_from_its_position(bus: Bus) -> None:
    unit = anew()
    seqs = [await bus.publish(f"claim.{unit}.{n}.alpha.1", b"x") for n in range(5)]
    tail = Tail(bus, "CLAIM", seqs[1], f"claim.{unit}.>")
    got = await collect(tail, 3)
    assert got == seqs[2:]
    assert tail.position == seqs[-1]
    assert await tail.next(0.2) == []
    await tail.close()


async def collect(tail: Tail, count: int) -> list[int]:
    got: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(got) < count and time.monotonic() < deadline:
        got += [s.seq for s in await tail.next(0.5)]
    return got


async def pulling(bus: Bus, miner: Bus, expires_s: float = 1.0) -> tuple[Pull, str]:
    lane = anew()
    config = ConsumerConfig(
        durable_name=f"miners-{lane}", ack_policy=AckPolicy.EXPLICIT, ack_wait=30, filter_subject=f"work.{lane}.>"
    )
    await bus.js.add_consumer("WORK", config)
    pull = Pull(miner, "WORK", f"miners-{lane}", 1, expires_s)
    await pull.start()
    return pull, lane


async def test_a_pull_brings_one_message_at_a_time(bus: Bus, instance: Instance) -> None:
    miner = await instance.bus("miner-alpha")
    pull, lane = await pulling(bus, miner)
    for n in range(3):
        await bus.publish(f"work.{lane}.c.u.{n}", str(n).encode())
    got: list[Msg] = []
    while len(got) < 3:
        messages = await pull.next(20.0)
        assert len(messages) == 1
        got += messages
        await miner.request(messages[0].reply, b"+ACK")
    assert not [s for s in await bus.subjects_in("WORK") if lane in s]
    assert [m.data for m in got] == [b"0", b"1", b"2"]
    assert await pull.next(0.3) == []
    await pull.stop()


async def test_what_arrives_while_nobody_waits_goes_back_at_once(bus: Bus, instance: Instance) -> None:
    """A delivery that lay about for the length of a unit may be another miner's by then."""
    miner = await instance.bus("miner-alpha")
    pull, lane = await pulling(bus, miner, expires_s=5.0)
    assert await pull.next(0.2) == []
    await bus.publish(f"work.{lane}.c.u.0", b"x")
    await asyncio.sleep(0.3)
    other = Pull(miner, "WORK", f"miners-{lane}", 1, 1.0)
    await other.start()
    (message,) = await other.next(20.0)  # long before the ack wait is over
    assert message.data == b"x"
    for p in (pull, other):
        await p.stop()


async def test_a_pull_on_a_consumer_that_is_not_there(bus: Bus) -> None:
    pull = Pull(bus, "WORK", "miners-nobody", 1, 1.0)
    await pull.start()
    with pytest.raises(ConsumerGone):
        await pull.next(20.0)
    await pull.stop()


# -- artifacts and presence -------------------------------------------------------------------------------------------


async def test_an_artifact_comes_back_whole_from_any_host(bus: Bus, instance: Instance) -> None:
    data = bytes(range(256)) * (CHUNK // 128) + b"the end"
    header = await put_artifact(bus, "alpha", data, "test")
    assert (header.parts, header.bytes, header.sha256) == (3, len(data), sha256_hex(data))
    miner = await instance.bus("miner-beta")
    assert await get_artifact(miner, header.sha256) == data
    assert await put_artifact(bus, "alpha", b"", "test")
    assert await get_artifact(bus, sha256_hex(b"")) == b""


@pytest.mark.parametrize("damage", ["a part", "a missing part", "the header", "endless parts"])
async def test_a_damaged_copy_of_one_host_hides_no_good_one(bus: Bus, damage: str) -> None:
    data = anew().encode() * CHUNK
    sha = (await put_artifact(bus, "alpha", data[: CHUNK * 2], "test")).sha256
    if damage == "a missing part":
        head = await bus.last("ARTIFACTS", subjects.artifact("alpha", sha, 0))
        assert head is not None
        await bus.publish(subjects.artifact("beta", sha, 0), head.data)
    else:
        await put_artifact(bus, "beta", data[: CHUNK * 2], "test")
        where, junk = {
            "a part": (1, b"junk"),
            "the header": (0, b"junk"),
            "endless parts": (0, b'{"sha256":"%s","bytes":1,"parts":1000000000,"kind":"x"}' % sha.encode()),
        }[damage]
        await bus.publish(subjects.artifact("beta", sha, where), junk)
    assert await get_artifact(bus, sha) == data[: CHUNK * 2]
    await bus.publish(subjects.artifact("alpha", sha, 2), b"junk")
    if damage != "a missing part":
        with pytest.raises(Unreachable, match="no whole copy"):
            await get_artifact(bus, sha)


async def test_an_artifact_that_is_not_there(bus: Bus) -> None:
    with pytest.raises(Unreachable, match="not on the bus"):
        await get_artifact(bus, "0" * 64)
    with pytest.raises(BadInput):
        await get_artifact(bus, "no.hash")


async def test_a_heartbeat_in_anothers_name_is_not_believed(bus: Bus) -> None:
    fine = Presence("miner-1", "miner", "alpha", 1, "alive", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 0.2)
    await bus.publish("$KV.PRESENCE.alpha.miner-1", msgspec.json.encode(fine))
    await bus.publish("$KV.PRESENCE.alpha.miner-2", msgspec.json.encode(fine))
    await bus.publish("$KV.PRESENCE.beta.miner-1", msgspec.json.encode(fine))
    await bus.publish("$KV.PRESENCE.beta.miner-2", b"junk")
    late = msgspec.structs.replace(fine, host="beta", agent="miner-3", time="yesterday")
    await bus.publish("$KV.PRESENCE.beta.miner-3", msgspec.json.encode(late))
    assert [p for p in await read_presence(bus) if p.kind == "miner"] == [fine]
    assert age_s(fine) > 1000
    assert judged_state(fine) == "stalled"
    assert judged_state(msgspec.structs.replace(fine, state="stopped")) == "stopped"


# -- restarts of the server: last, because they cut everybody's connection --------------------------------------------


async def test_a_tail_over_a_killed_server_has_no_gap_and_no_repeat(bus: Bus, instance: Instance) -> None:
    unit = anew()
    tail = Tail(bus, "CLAIM", await bus.last_seq("CLAIM"), f"claim.{unit}.>")
    sent = [await bus.publish(f"claim.{unit}.{n}.alpha.1", b"x") for n in range(5)]
    got = await collect(tail, 3)
    instance.kill_server()
    writing = asyncio.create_task(write_on(bus, unit))
    # What had arrived before is still given out; then nothing, and no error either.
    got += [s.seq for s in await tail.next(0.3)]
    await instance.serve()
    sent += await writing
    got += await collect(tail, len(sent) - len(got))
    assert got == sent
    await tail.close()


async def write_on(bus: Bus, unit: str) -> list[int]:
    """Published while there is no server: stored once when it is back."""
    return [
        await bus.publish(
            f"claim.{unit}.{n}.alpha.1", b"x", expect=Expect(f"claim.{unit}.{n}.alpha.1", 0), patience_s=PATIENCE_S
        )
        for n in range(5, 10)
    ]


async def test_a_batch_while_the_server_is_away_is_unreachable_and_succeeds_later(bus: Bus, instance: Instance) -> None:
    batch: list[tuple[Event, Expect | None]] = []
    for name in (anew(), anew()):
        batch.append((refused(name), Expect(f"ev.mining.campaign.{name}.>", 0)))
    instance.kill_server()
    sending = asyncio.create_task(bus.append_batch(batch))
    await asyncio.sleep(0.2)
    await instance.serve()
    try:
        await sending
    except Unreachable:
        await bus.append_batch(batch)
    for event, _ in batch:
        assert len(await stored_in(bus, "EVENTS", event.nats_subject())) == 1
