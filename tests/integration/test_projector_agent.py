"""The projector against a real nats-server: following, resuming, doubting, parking, halting, being killed."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bus.envelope import encode_event, make_event
from bus.events import AgentStarted, EpochOpened
from bus.messages import Parked
from domain.errors import BadInput
from projections import files, queries
from projections.replay import compare, replay
from projections.store import ViewStore
from tests.integration.projector_bus import Instance, append, projecting, until
from tests.support.instance import PATIENCE_S
from tests.unit.projections.event_log import TIME, EventLog, story

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def instance(tmp_path):
    made = Instance(tmp_path / "state")
    await made.start()
    yield made
    await made.server.stop()


@pytest.fixture
async def admin(instance):
    bus = await instance.connect("admin")
    yield bus
    await bus.close()


def position(instance: Instance) -> int:
    if not instance.state.views.exists():
        return -1
    store = files.open_writer(instance.state.views)
    try:
        return queries.position(store) if files.made_for(store) else -1
    finally:
        store.close()


def chain(instance: Instance) -> str:
    con = files.open_writer(instance.state.views)
    try:
        return str(con.execute("SELECT chain FROM position").fetchone()[0])
    finally:
        con.close()


async def reaches(instance: Instance, seq: int) -> None:
    await until(lambda: position(instance) == seq, f"the read models stand at {seq}")


async def clean(admin, tmp_path: Path, name: str = "clean") -> tuple[str, str]:
    """Digests of read models built from the log in one go."""
    store = await replay(admin, tmp_path / f"{name}.sqlite")
    digest = store.digest()
    store.close()
    return digest


def live(instance: Instance) -> tuple[str, str]:
    store = ViewStore(instance.state.views)
    digest = store.digest()
    store.close()
    return digest


async def test_it_follows_and_resumes_and_equals_a_replay(instance, admin, tmp_path):
    log = story(random.Random(1), 400)
    await append(admin, log.made[:150])
    async with projecting(instance) as context:
        await reaches(instance, 150)
        await append(admin, log.made[150:200])
        await reaches(instance, 200)
        # The rows are there a moment before the agent has counted them.
        await until(lambda: context.done == 200, "all are counted")
        assert context.state == "alive"
    await append(admin, log.made[200:])
    async with projecting(instance) as context:
        await reaches(instance, len(log.made))
        await until(lambda: context.done == len(log.made) - 200, "all are counted")
    report = await compare(admin, instance.state.views, tmp_path / "scratch.sqlite")
    assert (report.seq, report.equal, report.digest) == (len(log.made), True, report.live_digest)
    assert (report.digest, report.outcome_digest) == live(instance)


async def test_a_deleted_file_is_built_again_with_the_same_digests(instance, admin, tmp_path):
    log = story(random.Random(2), 300)
    await append(admin, log.made)
    async with projecting(instance):
        await reaches(instance, len(log.made))
    before = live(instance)
    files.remove(instance.state.views)
    async with projecting(instance):
        await reaches(instance, len(log.made))
    assert live(instance) == before
    async with projecting(instance):
        await reaches(instance, len(log.made))
        # As a person would, without the files that SQLite keeps beside it, while the projector runs.
        instance.state.views.unlink()
        await reaches(instance, len(log.made))
    assert live(instance) == before == await clean(admin, tmp_path)


async def test_replay_stops_where_it_is_told_and_compares_only_the_same_sequence(instance, admin, tmp_path):
    log = story(random.Random(3), 120)
    await append(admin, log.made)
    async with projecting(instance):
        await reaches(instance, len(log.made))
    seen: list[tuple[int, int]] = []
    report = await compare(admin, instance.state.views, tmp_path / "a", 50, lambda at, end: seen.append((at, end)))
    assert (report.seq, report.live_digest, report.equal) == (50, None, None)
    assert seen[-1] == (50, 50)
    one = ViewStore(tmp_path / "b")
    one.apply_batch(log.made[:50])
    one_digest = one.digest()
    one.close()
    assert (report.digest, report.outcome_digest) == one_digest
    with pytest.raises(BadInput, match="no sequence"):
        await replay(admin, tmp_path / "c", len(log.made) + 1)
    with pytest.raises(BadInput, match="exists already"):
        await replay(admin, instance.state.views)


async def test_a_difference_is_found(instance, admin, tmp_path):
    log = story(random.Random(4), 120)
    await append(admin, log.made)
    async with projecting(instance):
        await reaches(instance, len(log.made))
    con = files.open_writer(instance.state.views)
    con.execute("UPDATE units SET reason = 'edited by hand'")
    con.close()
    report = await compare(admin, instance.state.views, tmp_path / "scratch.sqlite")
    assert report.equal is False


async def test_at_another_log_it_halts_and_keeps_the_read_models(instance, admin, tmp_path):
    await append(admin, story(random.Random(5), 200).made)
    seq = await admin.last_seq("EVENTS")
    async with projecting(instance):
        await reaches(instance, seq)
    before = live(instance)
    await admin.close()
    await instance.destroy_log()
    bus = await instance.connect("admin")
    log = story(random.Random(6), 300)
    await append(bus, log.made)
    async with projecting(instance) as context:
        await until(lambda: context.state == "stalled", "it says that it halts")
        assert "the log was made at" in context.detail
        assert "delete views.sqlite" in context.detail
    assert (position(instance), live(instance)) == (seq, before)
    # As it says: whoever knows that this log is the right one deletes them.
    files.remove(instance.state.views)
    async with projecting(instance):
        await reaches(instance, len(log.made))
    assert live(instance) == await clean(bus, tmp_path)
    await bus.close()


async def test_at_another_event_at_the_same_sequence_of_the_same_log_it_halts(instance, admin):
    """As after a damaged last block: the stream is the same, sequences are used again."""
    log = story(random.Random(7), 100)
    await append(admin, log.made)
    async with projecting(instance):
        await reaches(instance, len(log.made))
    con = files.open_writer(instance.state.views)
    con.execute("UPDATE position SET chain = ?", ("00" * 32,))
    con.close()
    async with projecting(instance) as context:
        await until(lambda: "the content of event" in context.detail, "the doubt is said")
        assert context.detail.startswith("halted: ")
    assert chain(instance) == "00" * 32


async def test_read_models_of_an_earlier_epoch_are_built_anew_from_the_restored_log(instance, admin, tmp_path, caplog):
    log = story(random.Random(5), 200)
    await append(admin, log.made)
    async with projecting(instance):
        await reaches(instance, await admin.last_seq("EVENTS"))
    await admin.close()
    await instance.destroy_log()
    bus = await instance.connect("admin")
    opened = EventLog(log.made[:50])
    opened.add(EpochOpened(2, 50, "00" * 32, "a copy", "test"), "epoch-2")
    await append(bus, opened.made)
    async with projecting(instance):
        await reaches(instance, 51)
    assert "restored" in caplog.text
    assert live(instance) == await clean(bus, tmp_path)
    # Once it is known, the same event excuses no other change.
    con = files.open_writer(instance.state.views)
    con.execute("UPDATE position SET chain = ?", ("00" * 32,))
    con.close()
    async with projecting(instance) as context:
        await until(lambda: "the content of event" in context.detail, "the doubt is said")
    await bus.close()


async def test_malformed_events_are_parked_once_also_after_a_crash(instance, admin):
    log = EventLog()
    log.add(AgentStarted("miner", "box", 1, "0.1.0"), "miner-1")
    log.raw("ev.mining.unit.x.validated", b"{not json")
    log.add(AgentStarted("miner", "box", 2, "0.1.0"), "miner-1")
    await append(admin, log.made)
    # A run that died between applying and parking.
    store = ViewStore(instance.state.views)
    _, _, created = await admin.stream_state("EVENTS")
    store.adopt(created)
    store.apply_batch([stored async for stored in admin.read("EVENTS", 1)])
    store.close()

    async def parked() -> int:
        return await admin.last_seq("PARKED")

    async with projecting(instance):
        await until(lambda: _is(parked(), 1), "it is parked")
    for _ in range(2):
        files.remove(instance.state.views)
        async with projecting(instance):
            await reaches(instance, 3)
    assert await parked() == 1
    stored = await admin.last("PARKED", "parked.projector.EVENTS.2")
    record = msgspec.json.decode(stored.data, type=Parked)
    assert (record.seq, record.payload) == (2, b"{not json")
    assert "not an event envelope" in record.reason


async def _is(value, wanted) -> bool:
    return await value == wanted


async def test_it_halts_before_an_event_of_a_newer_program_and_stays_alive(instance, admin):
    log = story(random.Random(8), 50)
    await append(admin, log.made)
    event = make_event(AgentStarted("miner", "box", 1, "9"), id="x", source="t", subject="miner-1", time=TIME)
    newer = msgspec.structs.replace(event, schemaver=99)
    await admin.publish(newer.nats_subject(), encode_event(newer))
    async with projecting(instance) as context:
        await until(lambda: context.state == "stalled", "it says that it halted")
        assert "version 99" in context.detail
        assert context.detail.startswith("halted: event x is ")
        assert position(instance) == len(log.made)
        await append(admin, log.made[:3])
        await asyncio.sleep(0.3)
        assert position(instance) == len(log.made)
        await until(lambda: context.done == len(log.made), "all are counted")


async def test_it_goes_on_after_the_server_was_away(instance, admin, tmp_path):
    log = story(random.Random(9), 200)
    await append(admin, log.made[:100])
    async with projecting(instance):
        await reaches(instance, 100)
        await instance.server.stop()
        await instance.server.start(timeout_s=PATIENCE_S)
        await until(lambda: admin.nc.is_connected, "the admin is connected again")
        await append(admin, log.made[100:])
        await reaches(instance, len(log.made))
    assert live(instance) == await clean(admin, tmp_path)


def _spawn(instance: Instance) -> "subprocess.Popen[bytes]":
    with (instance.state.logs / "projector.log").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "agents.projector", "--state", str(instance.state.root)],
            cwd=ROOT, stdout=out, stderr=out, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip


async def test_killed_at_random_while_events_pour_in_nothing_is_applied_twice(instance, admin, tmp_path):
    """Each kill falls into its work: it has applied some of what was there, and more comes while it dies."""
    r = random.Random(10)
    log = story(r, 8_000)
    process, poured, seen = None, 0, []
    try:
        for _ in range(5):
            before = position(instance)
            pouring = asyncio.create_task(append(admin, log.made[poured : poured + 1_200]))
            poured += 1_200
            process = _spawn(instance)
            await until(lambda before=before: position(instance) > max(0, before), "it moves")
            await asyncio.sleep(r.uniform(0.0, 0.3))
            process.kill()
            process.wait()
            seen.append(position(instance))
            await pouring
        await append(admin, log.made[poured:])
        process = _spawn(instance)
        await reaches(instance, len(log.made))
        process.terminate()
        # Just started, it may end before it has a handler for the signal.
        assert await asyncio.to_thread(process.wait, PATIENCE_S) in (0, -signal.SIGTERM)
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
    assert 0 < seen[0] < seen[1] < seen[2] < seen[3] < seen[4] < len(log.made)
    assert live(instance) == await clean(admin, tmp_path)
