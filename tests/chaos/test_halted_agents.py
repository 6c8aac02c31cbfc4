"""An event of a newer program halts whoever would have to understand it: said everywhere, and no loop of restarts."""

import asyncio
import http.cookiejar
import json
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.envelope import encode_event, make_event
from bus.events import AgentStarted
from bus.messages import Presence
from projections import files, queries
from tests.support.instance import until
from tests.support.running import PATIENCE_S, Running, sluice

STALL_S = 3.0
READERS = ("dispatcher", "validator", "projector")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """An instance in which whoever makes no progress for seconds is replaced, if only its heartbeats do not say why."""
    # A heartbeat that is late by seconds, on a busy machine, is still one.
    instance = Running(tmp_path / "state", "alpha", stall_s=STALL_S, silent_s=60.0, presence_ttl_s=60.0)
    try:
        instance.start()
        await instance.alive(*READERS, "watchdog", "web")
        yield instance
    finally:
        await instance.close()


def position(running: Running) -> int:
    con = files.open_reader(running.state.views)
    try:
        return queries.position(con)
    finally:
        con.close()


def asked(running: Running, path: str) -> tuple[int, str]:
    """(status, body) for somebody who signed in with the link."""
    web = json.loads((running.state.root / "web.json").read_text())
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    browser.open(web["link"], timeout=PATIENCE_S).read()
    try:
        with browser.open(web["url"] + path, timeout=PATIENCE_S) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


async def beats(running: Running) -> dict[str, Presence]:
    """The last heartbeats of all readers, from a server that may take its time to answer."""

    async def look() -> dict[str, Presence]:
        found = {n: p for n, p in (await running.presences()).items() if n in READERS}
        return found if len(found) == len(READERS) else {}

    return await until("heartbeats of all readers", look, PATIENCE_S)


@pytest.mark.slow
async def test_an_event_of_a_newer_program_halts_its_readers_and_nobody_restarts_them(running: Running) -> None:
    bus = await running.bus()
    event = make_event(AgentStarted("miner", "alpha", 1, "9"), id="x", source="t", subject="alpha_miner-9", time="now")
    newer = msgspec.structs.replace(event, schemaver=99)
    seq = await bus.publish(newer.nats_subject(), encode_event(newer))
    words = "halted: event x is ops.agent.started version 99, this program knows 1; update this host, nothing is lost"

    async def halted() -> dict[str, Any]:
        found = {n: a for n, a in (await running.agents()).items() if n in READERS and a["detail"] == words}
        return found if len(found) == len(READERS) else {}

    before = await until("all readers of the log say that they halted", halted, PATIENCE_S)
    assert {a["state"] for a in before.values()} == {"stalled"}
    there = await beats(running)
    started = {n: p.started for n, p in there.items()}
    pids = {n: running.pid_of(n) for n in READERS}
    since = datetime.fromisoformat(there["projector"].time)

    async def long_after() -> bool:
        """By the projector's own heartbeats: the patience with who makes no progress is over, twice."""
        p = (await running.presences()).get("projector")
        return p is not None and (datetime.fromisoformat(p.time) - since).total_seconds() > 2 * STALL_S

    await until("more heartbeats of the halted projector", long_after, PATIENCE_S)
    # What else happened since then is in the log, and not in the read models.
    assert position(running) == seq - 1
    assert {n: running.pid_of(n) for n in READERS} == pids
    assert {n: p.started for n, p in (await beats(running)).items()} == started
    said = await asyncio.to_thread(sluice, running.state.root, "status")
    assert f"projector {words}" in said.stdout
    status, body = await asyncio.to_thread(asked, running, "/health/ready")
    assert (status, json.loads(body)["ready"]) == (503, False)
    assert sorted(json.loads(body)["halted"]) == sorted(READERS)
    for path in ("/", "/workers", "/strategies"):
        page = (await asyncio.to_thread(asked, running, path))[1]
        (who,) = re.findall(r"<strong>([\w ]+) have halted\.</strong> Event x is ops\.agent\.started version 99", page)
        assert set(who.lower().split(" and ")) == set(READERS)
