"""Time travel over a real log: the same moment gives the same bytes, whatever came later and whatever lies in the cache."""

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from bus.client import Bus
from domain.errors import BadInput, Unreachable
from projections import queries, snapshots
from projections.past import Past
from projections.replay import replay
from projections.snapshots import Snapshots
from projections.when import sequence_of, time_ns
from tests.integration.projector_bus import Instance, append, projecting, until
from tests.unit.projections.event_log import EventLog, story
from tests.unit.web.web_app import browser, services_on

EVENTS = 300


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    made = Instance(tmp_path / "state")
    await made.start()
    yield made
    await made.server.stop()


@pytest.fixture
async def admin(instance: Instance) -> AsyncIterator[Bus]:
    bus = await instance.connect("admin")
    yield bus
    await bus.close()


@contextlib.asynccontextmanager
async def api(instance: Instance, folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Past]]:
    """The JSON interface over the instance's log in the name of the pages, with its scratch databases in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    bus = await instance.connect("web")
    past = Past(bus, folder)
    services = replace(services_on(instance.state.root), bus=bus, past=past)
    try:
        async with browser(services) as client:
            yield client, past
    finally:
        services.views.close()
        await past.close()
        await bus.close()


def paths(log: EventLog, seq: int) -> list[str]:
    """Every answer about the past that there is, with ids that the log knew by then."""
    campaign = next(m.subject.split(".")[3] for m in log.made if m.subject.startswith("ev.mining.campaign"))
    found = [m.subject.split(".")[3] for m in log.made[:seq] if m.subject.startswith("ev.strategy")]
    named = [
        "status",
        "workers",
        "datasets",
        "units",
        "units?state=running",
        "campaigns",
        "strategies?limit=50",
        "events",
    ]
    named += [f"campaigns/{campaign}", f"strategies/{found[0]}"]
    return [f"/api/{path}{'&' if '?' in path else '?'}as_of={seq}" for path in named]


async def answers(client: httpx.AsyncClient, asked: list[str]) -> dict[str, bytes]:
    out = {}
    for path in asked:
        answer = await client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        out[path] = answer.content
    return out


async def test_the_same_moment_gives_the_same_bytes_later_after_more_events_and_after_a_rebuild(
    instance: Instance, admin: Bus, tmp_path: Path
) -> None:
    log = story(random.Random(1), EVENTS)
    seq = 200
    await append(admin, log.made[:seq])
    asked = paths(log, seq)
    async with api(instance, tmp_path / "past") as (client, past):
        first = await answers(client, asked)
        assert past.built == 1
        await append(admin, log.made[seq:])
        assert await answers(client, asked) == first
        later = (await client.get(f"/api/units?as_of={len(log.made)}")).json()["result"]
    async with projecting(instance), api(instance, tmp_path / "past") as (client, past):
        assert await answers(client, asked) == first
        assert past.built == 0, "what is kept on disk is not built again"
    shutil.rmtree(tmp_path / "past")
    async with projecting(instance), api(instance, tmp_path / "past") as (client, past):
        assert await answers(client, asked) == first
        assert past.built == 1
        for path, body in first.items():
            assert body.startswith(f'{{"as_of":{seq},'.encode()), path
        then = (await client.get(f"/api/units?as_of={seq}")).json()["result"]
    assert then != later, "the two moments differ, else equal bytes would say nothing"


async def test_live_views_say_that_they_are_not_recorded(instance: Instance, admin: Bus, tmp_path: Path) -> None:
    log = story(random.Random(2), EVENTS)
    await append(admin, log.made)
    async with api(instance, tmp_path / "past") as (client, _):
        status = (await client.get(f"/api/status?as_of={len(log.made)}")).json()
        workers = (await client.get(f"/api/workers?as_of={len(log.made)}")).json()
    assert (status["as_of"], status["result"]["last_seq"]) == (len(log.made), len(log.made))
    assert status["not_recorded"] == ["nats", "agents.state", "agents.last_seen_s", "agents.done"]
    assert status["result"]["nats"] is None
    assert {(a["state"], a["last_seen_s"]) for a in status["result"]["agents"]} == {("not recorded", None)}
    assert workers["not_recorded"] == ["state", "last_seen_s"]
    assert {w["state"] for w in workers["result"]} == {"not recorded"}
    assert sum(w["answered"] for w in workers["result"]) > 0


async def test_many_who_ask_for_one_moment_have_it_built_once(instance: Instance, admin: Bus, tmp_path: Path) -> None:
    log = story(random.Random(3), EVENTS)
    await append(admin, log.made)
    past = Past(admin, tmp_path / "past")
    found = await asyncio.gather(*(past.read(150 + n % 2, queries.position) for n in range(12)))
    assert sorted(set(found)) == [150, 151]
    assert past.built == 2
    await past.close()


async def test_whoever_waits_too_long_is_told_how_far_it_is_and_building_goes_on(
    instance: Instance, admin: Bus, tmp_path: Path
) -> None:
    await append(admin, story(random.Random(4), EVENTS).made)
    past = Past(admin, tmp_path / "past", wait_s=0.0)
    with pytest.raises(Unreachable, match="are being built"):
        await past.read(150, queries.position)

    async def built() -> bool:
        with contextlib.suppress(Unreachable):
            return await past.read(150, queries.position) == 150
        return False

    await until(built, "it is built in the end")
    assert past.built == 1
    await past.close()


async def test_what_is_no_moment_of_the_log_is_refused_in_one_clear_line(
    instance: Instance, admin: Bus, tmp_path: Path
) -> None:
    log = story(random.Random(5), 30)
    await append(admin, log.made)
    async with api(instance, tmp_path / "past") as (client, past):
        for asked, said in (
            ("31", "the log has events 1 to 30, there is no sequence 31 yet"),
            ("0", "begins with event 1"),
            ("-1", "neither a sequence nor a time"),
            ("yesterday", "neither a sequence nor a time"),
            ("2026-13-01T00:00:00Z", "is no time"),
            ("2099-01-01T00:00:00Z", "lies ahead"),
            ("2001-01-01T00:00:00Z", "nothing was in the log"),
        ):
            for path in ("/api/units", "/api/status", "/api/events", "/api/strategies/abcdefgh/curves"):
                answer = await client.get(path, params={"as_of": asked})
                if path == "/api/events" and asked == "0":
                    continue
                assert answer.status_code == 400, f"{path} {asked}: {answer.text}"
                assert said in answer.json()["detail"]
        missing = await client.get("/api/campaigns/nobody?as_of=20")
        assert missing.status_code == 404
        assert "as of 20" in missing.json()["detail"]
        assert past.built == 1


async def test_a_time_is_the_last_event_stored_by_then(instance: Instance, admin: Bus) -> None:
    await append(admin, story(random.Random(6), 40).made)
    stored = [await admin.get("EVENTS", seq) for seq in range(1, 41)]
    times = [time_ns(s.time) for s in stored if s is not None]
    assert times == sorted(times)
    assert len(times) == 40
    now = time.time_ns()
    for s in stored:
        assert s is not None
        wanted = max(n for n, at in enumerate(times, 1) if at <= time_ns(s.time))
        assert await sequence_of(admin, s.time, now) == wanted
    assert await sequence_of(admin, stored[-1].time.replace("Z", "+00:00"), now) == 40  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="nothing was in the log"):
        await sequence_of(admin, "1999-12-31T23:59:59Z", now)


async def test_a_jump_begins_at_a_snapshot_and_ends_as_the_whole_log_does(
    instance: Instance, admin: Bus, tmp_path: Path
) -> None:
    await append(admin, story(random.Random(7), EVENTS).made)
    shelf = Snapshots(tmp_path / "past", every=40)
    (await replay(admin, tmp_path / "pass.sqlite", EVENTS, None, shelf)).close()
    assert len(shelf.all()) >= 1
    target = shelf.all()[-1].seq + 1
    jumped = await replay(admin, tmp_path / "jump.sqlite", target, None, shelf)
    whole = await replay(admin, tmp_path / "whole.sqlite", target)
    assert (jumped.opened_at, whole.opened_at) == (target - 1, 0)
    assert (jumped.digest(), jumped.position) == (whole.digest(), whole.position)
    jumped.close()
    whole.close()


async def test_a_snapshot_that_the_log_does_not_confirm_is_not_used(
    instance: Instance, admin: Bus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a restart with another log, or after a damaged last block whose sequences were used again."""
    await append(admin, story(random.Random(8), EVENTS).made)
    shelf = Snapshots(tmp_path / "past", every=100)
    (await replay(admin, tmp_path / "pass.sqlite", EVENTS, None, shelf)).close()
    before = [s.seq for s in shelf.all()]
    assert before
    await admin.close()
    await instance.destroy_log()
    bus = await instance.connect("admin")
    await append(bus, story(random.Random(9), EVENTS).made)
    built = await replay(bus, tmp_path / "again.sqlite", EVENTS, None, shelf)
    assert built.opened_at == 0
    assert "is not used and deleted" in caplog.text
    whole = await replay(bus, tmp_path / "whole.sqlite", EVENTS)
    assert built.digest() == whole.digest()
    built.close()
    whole.close()
    await bus.close()


async def test_a_damaged_snapshot_is_not_used(instance: Instance, admin: Bus, tmp_path: Path) -> None:
    await append(admin, story(random.Random(10), EVENTS).made)
    shelf = Snapshots(tmp_path / "past", every=100)
    (await replay(admin, tmp_path / "pass.sqlite", EVENTS, None, shelf)).close()
    for s in shelf.all():
        s.path.write_bytes(s.path.read_bytes()[:-4096] + bytes(4096))
    built = await replay(admin, tmp_path / "again.sqlite", EVENTS, None, shelf)
    assert built.opened_at == 0
    built.close()


async def test_the_projector_leaves_snapshots_behind(
    instance: Instance, admin: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 50)
    shelf = Snapshots(instance.state.past / "every")
    async with projecting(instance):
        await append(admin, story(random.Random(11), EVENTS).made)
        await until(lambda: bool(shelf.all()), "there is a snapshot")
    seq = shelf.all()[-1].seq
    jumped = await replay(admin, tmp_path / "jump.sqlite", seq, None, shelf)
    whole = await replay(admin, tmp_path / "whole.sqlite", seq)
    assert jumped.opened_at == seq
    assert jumped.digest() == whole.digest()
    jumped.close()
    whole.close()
