"""The auditor as a process that dies at any moment, and the webhook that hears of its seals."""

import asyncio
import http.server
import random
import threading
from pathlib import Path

import msgspec
import pytest

from bus.seals.files import places, read_seals
from bus.seals.keys import read_public
from bus.seals.seal import SignedSeal
from tests.support.auditing import at_work, fill, recorded, sealed_through, verified
from tests.support.instance import Instance, until

LOG, NEW = recorded(1)[:160], recorded(2)


@pytest.fixture
async def instance(tmp_path):
    made = await Instance(tmp_path / "state", seal_events=50, seal_s=0.2).start()
    yield made
    await made.close()


@pytest.mark.slow
async def test_killed_at_any_moment_the_auditor_leaves_seals_that_go_together(instance):
    """Between leaf hashes, AUDIT and the file, wherever it dies; and an agent that another one replaces writes nothing."""
    bus, rng, at = await instance.bus(), random.Random(5), places(instance.state, instance.settings)
    log = [m._replace(id=f"{n}") for n, m in enumerate(LOG + NEW)]
    poured = 0
    for _ in range(4):
        auditor = instance.agent("auditor")
        before = await bus.last_seq("AUDIT")
        await fill(bus, log[poured : poured + 60])
        poured += 60
        await until("it seals", lambda before=before: grown(bus, before))
        await asyncio.sleep(rng.uniform(0.0, 0.1))
        auditor.kill()
    with at.leaves.open("ab") as f:
        f.write(b"half a leaf")
    instance.agent("auditor")
    await sealed_through(bus, await bus.last_seq("EVENTS"))
    await until("the file has it, too", lambda: in_file(at.seals, poured))
    report = await verified(instance, bus)
    assert (report.ok, report.events, report.notes) == (True, poured, [])
    instance.assert_all_alive()


async def grown(bus, before: int) -> bool:  # type: ignore[no-untyped-def]
    return await bus.last_seq("AUDIT") > before


async def in_file(path: Path, seq: int) -> bool:
    seals = read_seals(path) if path.exists() else []
    return bool(seals) and seals[-1].seal.last_seq == seq


class Hook(http.server.BaseHTTPRequestHandler):
    """Refuses the first seal that it is sent, takes all others."""

    took: list[bytes]
    refused: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not type(self).refused:
            type(self).refused = 1
            self.send_response(503)
        else:
            type(self).took.append(body)
            self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.mark.slow
async def test_a_webhook_hears_of_every_seal_also_after_it_was_away(tmp_path):
    hook = type("OneHook", (Hook,), {"took": [], "refused": 0})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/seals"
    made = await Instance(
        tmp_path / "state", seal_events=50, seal_s=0.2, seal_webhook=url, seal_file="outside.jsonl"
    ).start()  # type: ignore[arg-type]
    try:
        bus = await made.bus()
        await fill(bus, LOG)
        async with at_work(made, "auditor"):
            await sealed_through(bus, 160)
            await until("all are told", lambda: told(hook, made.state.root / "outside.jsonl", 160))
        key = read_public(places(made.state, made.settings).public_key)
        assert all(not msgspec.json.decode(b, type=SignedSeal).flaw(key) for b in hook.took)
        assert hook.refused == 1
    finally:
        await made.close()
        server.shutdown()
        server.server_close()
        await asyncio.to_thread(thread.join)


async def told(hook, file: Path, seq: int) -> bool:  # type: ignore[no-untyped-def]
    """The file has a seal a moment after AUDIT has it, and the webhook a moment after the file."""
    seals = read_seals(file) if file.exists() else []
    return (
        bool(seals)
        and seals[-1].seal.last_seq == seq
        and [msgspec.json.decode(b, type=SignedSeal) for b in hook.took] == seals
    )
