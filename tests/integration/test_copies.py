"""Copies of a log on a real nats-server: made while it grows, refused where they would lie, restored sequence by sequence."""

import random
from pathlib import Path

import pytest

from bus.client import Bus, Stored
from bus.copies.backup import LogDamaged, OtherLog, Report, backup
from bus.copies.manifest import NAME, require_manifest
from bus.copies.marker import HalfRestored, refuse_half_restored
from bus.copies.publish import NotRestored
from bus.copies.read import read_copy, verify_copy
from bus.copies.records import CopyDamaged, leaf, own_headers
from bus.copies.restore import restored
from bus.copies.target import FolderTarget, open_target
from bus.seals.verify import record_of
from bus.settings import StateDir
from bus.streams import in_memory, stream_specs
from domain.errors import BadInput
from tests.support.auditing import fill, recorded, store_of
from tests.support.copies import events, message, write_copy
from tests.support.instance import Instance

STREAMS = {str(s.config.name) for s in stream_specs() if not in_memory(s)}
LOG = recorded(3)[:200]


@pytest.fixture
def target(tmp_path: Path) -> FolderTarget:
    return FolderTarget(tmp_path / "copy")


async def copied(bus: Bus, target: FolderTarget) -> Report:
    return await backup(bus, target, product="test", now="now", streams=STREAMS)


async def held(bus: Bus, stream: str) -> list[Stored]:
    """Without what differs by design: the server's time, and how the message was stored and read."""
    return [s._replace(time="", headers=own_headers(s.headers)) async for s in bus.read(stream, 1)]


def plain(messages: list[Stored]) -> list[Stored]:
    return [m._replace(time="") for m in messages]


def emptied(path: Path) -> StateDir:
    state = StateDir(path)
    state.create()
    return state


async def test_every_message_is_restored_at_its_sequence(tmp_path: Path, target: FolderTarget) -> None:
    log = events(2400)
    # The same id again, at once and later: the log may hold that, once the server's window is over.
    log[7] = log[7]._replace(headers=log[6].headers)
    log[1500] = log[1500]._replace(headers=log[600].headers)
    claims = [message(n, "claim.u.0.h.1", b"%d" % n) for n in (2, 3, *range(9, 30))]
    claims += [message(40, "claim.u.1.h.2", b"x"), message(1200, "claim.u.1.h.2", b"y")]
    artifacts = [message(n, f"art.h.s.{n % 2}", bytes([n]) * 300_000) for n in (1, 2, 3, 5)]
    results = [message(n, f"result.c.u.{n}.h.1", b"r") for n in range(1, 6)]
    streams = {"PARKED": [], "EVENTS": log, "CLAIM": claims, "RESULT": results, "ARTIFACTS": artifacts}
    write_copy(target, streams, per_file=500, CLAIM=1210)
    state = emptied(tmp_path / "state")
    async with restored(target, state, "now") as done:
        assert state.restoring.exists()
        bus = done.bus
        assert await held(bus, "EVENTS") == plain(log)
        assert await held(bus, "RESULT") == plain(results)
        # As many of a subject as the stream keeps, and no sequence is ever given again.
        assert await held(bus, "CLAIM") == plain([*claims[7:23], *claims[23:]])
        assert await bus.last_seq("CLAIM") == 1210
        assert [leaf(s) for s in await held(bus, "ARTIFACTS")] == [leaf(artifacts[1]), leaf(artifacts[3])]
        assert (done.common.seq, done.common.chain, done.epoch) == (2400, done.manifest.events.chain, 2)
        assert await bus.publish("ev.a.b.c.d", b"x") == 2401
        info = await bus.stream_info("CLAIM")
        assert info is not None
        assert not info["config"].get("allow_atomic")
        assert info["config"]["duplicate_window"] == 120 * 10**9
    refuse_half_restored(state)


async def test_a_restore_that_fails_leaves_a_state_that_nobody_takes_for_whole(
    tmp_path: Path, target: FolderTarget
) -> None:
    results = [message(n, f"result.c.u.{n}.h.1", b"r") for n in range(1, 6)]
    write_copy(target, {"EVENTS": events(120), "RESULT": results})
    bad = require_manifest(target).files()[-1].name
    assert bad.startswith("RESULT/")
    whole = target.read(bad)
    assert whole
    target.write(bad, whole[:-1] + b"x")
    state = emptied(tmp_path / "state")
    with pytest.raises(CopyDamaged, match="was altered"):
        async with restored(target, state, "now"):
            pass
    with pytest.raises(HalfRestored, match="cut short and its log is not whole"):
        refuse_half_restored(state)
    # What it made is cleared away by the next one.
    target.write(bad, whole)
    async with restored(target, state, "now") as done:
        assert await held(done.bus, "EVENTS") == plain(events(120))
    refuse_half_restored(state)
    with pytest.raises(BadInput, match="holds a log already"):
        async with restored(target, state, "now"):
            pass


async def test_a_copy_that_the_server_cannot_hold_as_it_is_is_not_called_restored(
    tmp_path: Path, target: FolderTarget
) -> None:
    write_copy(target, {"EVENTS": events(10), "RESULT": [message(n, "result.c.u.0.h.1", b"r") for n in (1, 2)]})
    state = emptied(tmp_path / "state")
    with pytest.raises(NotRestored, match="RESULT"):
        async with restored(target, state, "now"):
            pass
    with pytest.raises(HalfRestored):
        refuse_half_restored(state)


async def test_a_second_backup_adds_only_what_is_new(instance: Instance, target: FolderTarget) -> None:
    bus = await instance.bus()
    await fill(bus, LOG[:80])
    for n in range(20):
        await bus.publish("claim.u.0.alpha.1", b"%d" % n)
    await bus.publish("result.c.u.0.alpha.1", b"r", id="r")
    await bus.publish("art.alpha.s.1", b"a" * 400_000)
    first = await copied(bus, target)
    assert not first.incremental
    assert first.messages == {"AUDIT": 0, "PARKED": 0, "EVENTS": 80, "CLAIM": 16, "RESULT": 1, "ARTIFACTS": 1}
    before = {name: target.read(name) for name in target.sizes() if name != NAME}
    await fill(bus, LOG[80:])
    await bus.publish("claim.u.0.alpha.1", b"20")
    second = await copied(bus, target)
    assert (second.incremental, second.seq, second.files) == (True, 200, 2)
    assert {name: n for name, n in second.messages.items() if n} == {"EVENTS": 120, "CLAIM": 1}
    assert {name: target.read(name) for name in before} == before
    assert list(read_copy(target)) == [record_of(s) for s in await held(bus, "EVENTS")] == LOG
    assert (await copied(bus, target)).files == 0
    assert verify_copy(target).problems == []


async def test_a_copy_is_of_one_log_only_and_never_of_a_damaged_one(instance: Instance, target: FolderTarget) -> None:
    bus = await instance.bus()
    await fill(bus, LOG[:100])
    await copied(bus, target)
    manifest = target.read(NAME)
    # Another log, longer and shorter; something else; a copy that lacks a file.
    for count in (60, 160):
        other = FolderTarget(target.root.parent / f"other-{count}")
        write_copy(other, {"EVENTS": events(count)})
        with pytest.raises(OtherLog, match="nothing was added"):
            await copied(bus, other)
    foreign = FolderTarget(target.root.parent / "foreign")
    foreign.write("letter.txt", b"dear")
    with pytest.raises(BadInput, match=r"something else \(letter.txt\)"):
        await copied(bus, foreign)
    await fill(bus, LOG[100:])
    (name,) = [f.name for f in require_manifest(target).events.files]
    data = target.read(name)
    assert data
    target.write(name, data[:-1])
    with pytest.raises(CopyDamaged, match="missing or cut"):
        await copied(bus, target)
    target.write(name, data)
    # A flipped bit under the stopped server: that event is left out by the server, without a word.
    await instance.stop_server()
    block = min(store_of(instance, "EVENTS").rglob("*.blk"))
    raw = bytearray(block.read_bytes())
    raw[raw.index(LOG[150].payload) + 2] ^= 1
    block.write_bytes(raw)
    await instance.serve()
    bus = await instance.bus()
    with pytest.raises(LogDamaged, match="EVENTS lacks 151 to 151"):
        await copied(bus, target)
    assert target.read(NAME) == manifest
    assert [p[0] for p in verify_copy(target).problems] == []
    assert list(read_copy(target)) == LOG[:100]


async def test_a_copy_is_made_while_the_log_grows(instance: Instance, target: FolderTarget) -> None:
    """Whatever is stored meanwhile, the copy ends somewhere and is whole up to there."""
    import asyncio

    bus, writer = await instance.bus(), await instance.bus("admin")
    rng = random.Random(1)
    once = asyncio.Event()

    async def pour() -> None:
        # The second half waits for the first copy, so that there is one of a part of the log however slow copies are.
        await fill(writer, LOG[:100])
        await once.wait()
        await fill(writer, LOG[100:])

    task = asyncio.create_task(pour())
    reports = []
    while not task.done():
        reports.append(await copied(bus, target))
        once.set()
        assert list(read_copy(target)) == LOG[: reports[-1].seq]
        await asyncio.sleep(rng.random() / 100)
    await task
    reports.append(await copied(bus, target))
    assert reports[-1].seq == len(LOG)
    assert list(read_copy(target)) == LOG
    assert len({r.seq for r in reports}) > 1, "the log did not grow while it was copied"
    assert leaf((await held(bus, "EVENTS"))[-1]).hex() == require_manifest(open_target(target.where)).events.leaf
