"""The auditor and `sluice audit` on a real nats-server: sealing, resuming, forged logs, damaged stores, epochs."""

import shutil
from pathlib import Path

import msgspec
import pytest

from bus.client import Expect
from bus.envelope import make_event
from bus.events import EpochOpened
from bus.seals.common import last_common
from bus.seals.files import LeafFile, places, read_seals
from bus.seals.reading import read_records
from projections import files, queries
from tests.support.auditing import (
    at_work,
    fill,
    forged,
    found_whole,
    halts,
    recorded,
    sealed_through,
    store_of,
    verified,
)
from tests.support.instance import Instance, until
from tests.support.sealed import renumbered
from tests.unit.projections.event_log import TIME

LOG, NEW = recorded(1)[:160], recorded(2)


@pytest.fixture
async def instance(tmp_path):
    made = await Instance(tmp_path / "state", seal_events=50, seal_s=0.2).start()
    yield made
    await made.close()


def problems(report) -> list[tuple[int, str]]:  # type: ignore[no-untyped-def]
    return [(p.seq, p.kind) for p in report.problems]


async def sealed(instance: Instance, log=LOG) -> None:  # type: ignore[no-untyped-def]
    """An instance that holds `log`, sealed to its end, with read models."""
    bus = await instance.bus()
    await fill(bus, log)
    async with at_work(instance, "auditor"), at_work(instance, "projector") as projector:
        await sealed_through(bus, len(log))
        await found_whole(bus)
        await until("the read models are there", lambda: stands_at(projector, len(log)))


async def stands_at(projector, seq: int) -> bool:  # type: ignore[no-untyped-def]
    return projector.positions.get("EVENTS") == seq


@pytest.mark.slow
async def test_the_log_is_sealed_inside_and_outside_and_the_auditor_resumes_after_its_last_seal(instance):
    bus = await instance.bus()
    at = places(instance.state, instance.settings)
    await fill(bus, LOG[:120])
    async with at_work(instance, "auditor") as auditor:
        await sealed_through(bus, 120)
        await found_whole(bus)
        assert auditor.state == "alive"
    seals = read_seals(at.seals)
    assert [s.seal.last_seq for s in seals if s.seal.last_seq <= 100] == [50, 100]
    assert at.private_key.stat().st_mode & 0o777 == 0o600
    assert LeafFile(at.leaves).count() == 120
    await fill(bus, LOG[120:])
    async with at_work(instance, "auditor") as auditor:
        await sealed_through(bus, 160)
        await until("it stands there", lambda: stands_at(auditor, 160))
    later = read_seals(at.seals)[len(seals) :]
    assert later[0].seal.first_seq == 121
    report = await verified(instance, bus)
    assert (report.ok, report.events, report.sealed_through, report.notes) == (True, 160, 160, [])
    # With the tree and the leaf hashes gone they are made anew from the log.
    before = at.leaves.read_bytes()
    at.leaves.unlink()
    at.tree.unlink()
    report = await verified(instance, bus)
    assert report.ok
    assert "a range between two seals" in report.notes[0]
    async with at_work(instance, "auditor") as auditor:
        await until("it stands there", lambda: stands_at(auditor, 160))
    assert at.leaves.read_bytes() == before
    # Leaf hashes that are not those of the seals are noticed and made anew, too.
    at.leaves.write_bytes(b"\0" * 32 + before[32:])
    async with at_work(instance, "auditor"):
        await until("they are made anew", lambda: same(at.leaves, before))


async def same(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


@pytest.mark.slow
async def test_what_a_crash_left_out_of_the_file_or_of_the_stream_is_added_at_the_next_start(instance):
    await sealed(instance)
    at = places(instance.state, instance.settings)
    whole = at.seals.read_bytes()
    at.seals.write_bytes(whole[: whole[:-1].rfind(b"\n") + 20])
    async with at_work(instance, "auditor"):
        await until("the file is whole", lambda: same(at.seals, whole))
    # The stream as of an older copy of the store: what the file knows is stored again.
    await instance.stop_server()
    shutil.rmtree(store_of(instance, "AUDIT"))
    await forged(instance, LOG)
    bus = await instance.bus()
    async with at_work(instance, "auditor") as auditor:
        assert "replaced" in await settled(auditor)
    assert len(read_seals(at.seals)) == len(whole.splitlines())
    assert await bus.last("AUDIT", "audit.seal.>") is not None


FORGED = {
    "changed": ([*LOG[:44], LOG[44]._replace(payload=NEW[44].payload), *LOG[45:]], (45, "changed")),
    "deleted": (renumbered([*LOG[:44], *LOG[45:]]), (45, "deleted")),
    "inserted": (renumbered([*LOG[:44], NEW[300], *LOG[44:]]), (45, "inserted")),
    "reordered": (renumbered([*LOG[:44], LOG[45], LOG[44], *LOG[46:]]), (45, "reordered")),
    "cut": (LOG[:100], (101, "cut")),
    "rewound": ([*LOG[:100], *NEW[100:170]], (101, "rewound")),
}


@pytest.mark.slow
async def test_a_log_that_was_stored_anew_with_one_thing_changed_is_told_from_the_sealed_one(instance):
    await sealed(instance)
    for log, expected in FORGED.values():
        bus = await forged(instance, log)
        report = await verified(instance, bus)
        assert problems(report)[0] == (1, "replaced")
        assert expected in problems(report)
        async with at_work(instance, "auditor") as auditor, at_work(instance, "projector") as projector:
            assert "at event 1 (replaced)" in await settled(auditor)
            assert "sluice restore" in await halts(projector)
    bus = await forged(instance, FORGED["changed"][0])
    async with at_work(instance, "auditor") as auditor:
        # The projector heeds the auditor also where it has nothing of its own to compare.
        await halts(auditor)
        files.remove(instance.state.views)
        async with at_work(instance, "projector") as projector:
            assert await halts(projector) == auditor.detail


async def settled(auditor) -> str:  # type: ignore[no-untyped-def]
    """With what it says once it has looked through the whole log."""
    await halts(auditor)
    at = auditor.progress
    await until("it turns in its halt", lambda: beyond(auditor, turns=at))
    return str(auditor.detail)


async def turned(*agents) -> bool:  # type: ignore[no-untyped-def]
    return not any(a.positions for a in agents)


def flip(instance: Instance, share: float) -> int:
    """One bit of a payload in the log's block file; the sequence of that event."""
    block = min(store_of(instance, "EVENTS").rglob("*.blk"))
    data = bytearray(block.read_bytes())
    wanted = LOG[int(len(LOG) * share)]
    data[data.index(wanted.payload) + 2] ^= 1
    block.write_bytes(data)
    return wanted.seq


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.999])
async def test_a_flipped_bit_under_a_stopped_server_halts_auditor_and_projector_with_the_sequence(instance, share):
    await sealed(instance)
    await instance.stop_server()
    seq = flip(instance, share)
    await instance.serve()
    bus = await instance.bus()
    assert problems(await verified(instance, bus))[0] == (seq, "deleted")
    async with at_work(instance, "projector") as projector, at_work(instance, "auditor") as auditor:
        words = await settled(auditor)
        assert f"at event {seq} " in words
        assert "sluice audit verify" in words
        assert f"event {seq}" in await halts(projector)
        # Halted is not stalled: a watchdog sees it turn and nothing wait for it.
        await until("nothing waits for them", lambda: turned(auditor, projector))
        at = auditor.progress + projector.progress
        await until("both turn", lambda: beyond(auditor, projector, turns=at + 1))


async def beyond(*agents, turns: int) -> bool:  # type: ignore[no-untyped-def]
    return sum(a.progress for a in agents) > turns


@pytest.mark.slow
async def test_a_truncated_block_is_found_and_new_read_models_are_not_built_over_the_gap(instance):
    await sealed(instance)
    await instance.stop_server()
    block = min(store_of(instance, "EVENTS").rglob("*.blk"))
    data = block.read_bytes()
    block.write_bytes(data[: data.index(LOG[80].payload)])
    await instance.serve()
    bus = await instance.bus()
    report = await verified(instance, bus)
    assert report.problems[0].seq in (80, 81)
    assert report.sealed_through == 50
    files.remove(instance.state.views)
    async with at_work(instance, "projector") as projector, at_work(instance, "auditor") as auditor:
        assert f"event {report.problems[0].seq} " in await settled(auditor)
        assert str(report.problems[0].seq) in await halts(projector)


@pytest.mark.slow
async def test_a_missing_index_is_made_anew_by_the_server_and_nothing_is_lost(instance):
    await sealed(instance)
    await instance.stop_server()
    for path in store_of(instance, "EVENTS").rglob("index.db"):
        path.unlink()
    await instance.serve()
    bus = await instance.bus()
    assert (await verified(instance, bus)).ok
    async with at_work(instance, "projector") as projector, at_work(instance, "auditor") as auditor:
        await until("both follow", lambda: both_at(auditor, projector, 160))


async def both_at(auditor, projector, seq: int) -> bool:  # type: ignore[no-untyped-def]
    return await stands_at(auditor, seq) and await stands_at(projector, seq)


async def test_a_lost_index_over_a_flipped_bit_cuts_the_log_and_is_found(instance):
    """What the server makes of it: the log ends before the damage, and its sequences would be used again."""
    await sealed(instance)
    await instance.stop_server()
    seq = flip(instance, 0.5)
    for path in store_of(instance, "EVENTS").rglob("index.db"):
        path.unlink()
    await instance.serve()
    bus = await instance.bus()
    assert await bus.last_seq("EVENTS") == seq - 1
    assert problems(await verified(instance, bus)) == [(seq, "cut")]
    await fill(bus, NEW[300:303])
    assert problems(await verified(instance, bus))[0] == (seq, "rewound")
    async with at_work(instance, "auditor") as auditor, at_work(instance, "projector") as projector:
        assert f"at event {seq} (rewound)" in await settled(auditor)
        assert "the read models stand at 160" in await halts(projector)


@pytest.mark.slow
async def test_a_forged_seal_is_found_by_both(instance):
    await sealed(instance)
    at = places(instance.state, instance.settings)
    seals = read_seals(at.seals)
    other = msgspec.structs.replace(seals[0], seal=msgspec.structs.replace(seals[0].seal, time="2031-01-01T00:00:00Z"))
    at.seals.write_bytes(b"".join(msgspec.json.encode(s) + b"\n" for s in [other, *seals[1:]]))
    bus = await instance.bus()
    report = await verified(instance, bus)
    assert problems(report) == [(50, "seals_differ")]
    assert "the one in the file is not by key" in report.problems[0].detail
    async with at_work(instance, "auditor") as auditor:
        assert "(seals_differ)" in await settled(auditor)


def copy_store(instance: Instance, to: Path) -> None:
    shutil.copytree(instance.state.nats_store, to)


async def restore(instance: Instance, copy: Path) -> None:
    await instance.stop_server()
    shutil.rmtree(instance.state.nats_store)
    shutil.copytree(copy, instance.state.nats_store)
    await instance.serve()


async def open_epoch(instance: Instance, bus) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """What a restore does; (last common sequence, sequence of the event)."""
    at = places(instance.state, instance.settings)
    common = await last_common(
        read_records(bus, await bus.last_seq("EVENTS")), read_seals(at.seals), (), LeafFile(at.leaves)
    )
    data = EpochOpened(2, common.seq, common.chain, "a copy", "test")
    event = make_event(data, id="epoch-2", source="cli", subject="epoch-2", time=TIME)
    return common.seq, await bus.append(event, Expect(event.nats_subject(), 0))


@pytest.mark.slow
async def test_a_restored_copy_opens_an_epoch_and_is_no_tampering(instance, tmp_path):
    log = LOG[:150]
    bus = await instance.bus()
    await fill(bus, log[:80])
    async with at_work(instance, "auditor"):
        await sealed_through(bus, 80)
    await instance.stop_server()
    copy_store(instance, tmp_path / "copy")
    await instance.serve()
    bus = await instance.bus()
    await fill(bus, log[80:])
    async with at_work(instance, "auditor"), at_work(instance, "projector") as projector:
        await sealed_through(bus, len(log))
        await until("the read models are there", lambda: stands_at(projector, len(log)))
    await restore(instance, tmp_path / "copy")
    bus = await instance.bus()
    # Without a word it is a rewound log, for everybody.
    assert (81, "cut") in problems(await verified(instance, bus))
    async with at_work(instance, "auditor") as auditor, at_work(instance, "projector") as projector:
        await halts(auditor)
        await halts(projector)
    await restore(instance, tmp_path / "copy")
    bus = await instance.bus()
    shared, opened = await open_epoch(instance, bus)
    assert (shared, opened) == (80, 81)
    await fill(bus, NEW[300:305])
    async with at_work(instance, "auditor"), at_work(instance, "projector") as projector:
        await sealed_through(bus, 86)
        await until("they are built anew", lambda: stands_at(projector, 86))
    report = await verified(instance, bus)
    assert (report.ok, report.epoch, report.sealed_through) == (True, 2, 86)
    assert report.superseded > 0
    con = files.open_reader(instance.state.views)
    assert queries.position(con) == 86
    con.close()
