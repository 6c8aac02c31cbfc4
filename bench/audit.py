"""`sluice bench audit`: verify a sealed log of a million events, beside a bare nats-py client that reads the same log.

A real nats-server as `sluice up` configures it (accounts, `sync_interval: always`). Events are written in atomic batches, the
auditor runs as a process of its own until it has sealed the last one, and the reader and the verifier are processes of their
own too, so that memory and core seconds (`core_s`, which a busy machine changes least) are their own. `figure` and `baseline`
are seconds; the bare client pulls with a callback, the fastest way that it has, and looks at nothing. `limit_s` and `limit_mb`
are what the verifier has to keep to with a million events.
"""

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from argparse import Namespace
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.msg import Msg

from bus.accounts import load_accounts, read_credentials, write_credentials
from bus.client import Bus, Credentials
from bus.envelope import encode_event, make_event, now_rfc3339
from bus.events import ReplicaClaimed
from bus.server import Server, free_port
from bus.settings import StateDir
from bus.setup import create_streams
from bus.streams import in_memory, stream_specs
from bus.subjects import event_subject
from cli.commands.audit import inspect
from domain.hashing import derived_id

TITLE = "Verifying a sealed log, beside a bare client that only reads it (seconds)"
COLUMNS = ("case", "events", "figure", "baseline", "ratio", "core_s", "rss_mb", "limit_s", "limit_mb", "identical")
EVENTS, QUICK, BATCH, READ = 1_000_000, 100_000, 500, 4_000
#: Seals over a million events: as many as a campaign of that size would get in some hours.
SEAL_EVENTS = 5_000
LIMIT_S, LIMIT_MB = 30.0, 200.0
PATIENCE_S = 600.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    return asyncio.run(_measure(QUICK if quick else EVENTS))


async def _measure(count: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-audit-") as folder:
        state = StateDir(Path(folder))
        state.create()
        state.config.write_text(f"seal_events = {SEAL_EVENTS}\n")
        async with _server(state, count) as bus:
            sealing = await asyncio.to_thread(_sealed, state, bus.credentials.url)
            bare = [await asyncio.to_thread(_alone, "read", state)]
            ours = await asyncio.to_thread(_alone, "verify", state)
            bare.append(await asyncio.to_thread(_alone, "read", state))
    baseline = sum(b["seconds"] for b in bare) / len(bare)
    whole = ours["ok"] and ours["events"] == count == ours["sealed_through"] and all(b["events"] == count for b in bare)
    return [
        _row("verify", count, ours["seconds"], baseline, ours, whole, LIMIT_S if count == EVENTS else None, LIMIT_MB),
        _row("seal, from the first event on", count, sealing, baseline, {}, True, None, None),
    ]


def _row(
    case: str, count: int, figure: float, baseline: float, process: dict[str, Any], whole: bool,
    limit_s: float | None, limit_mb: float | None,
) -> dict[str, Any]:  # fmt: skip
    values = (case, count, round(figure, 2), round(baseline, 2), round(figure / baseline, 2))
    own = (process.get("core_s"), process.get("rss_mb"))
    return dict(zip(COLUMNS, (*values, *own, limit_s, limit_mb, whole), strict=True))


@contextlib.asynccontextmanager
async def _server(state: StateDir, count: int) -> AsyncIterator[Bus]:
    """A server with `count` events, served to agents."""
    settings = state.settings()
    accounts = load_accounts(state.root / "accounts.json", ["bench"])
    server = Server(state, accounts, settings, free_port())
    specs = stream_specs(settings.presence_ttl_s, settings.lease_ttl_s)
    try:
        await server.start(setup=True)
        bus = await Bus.connect(Credentials(server.url, "setup", "setup", accounts.setup), "setup")
        await create_streams(bus, tuple(s for s in specs if not in_memory(s)))
        await _write(bus, count)
        await bus.close()
        await server.stop(timeout_s=60.0)
        await server.start(timeout_s=60.0)
        write_credentials(state.creds, accounts, server.url)
        bus = await Bus.connect(read_credentials(state.creds / "watchdog.json"), "bench")
        await create_streams(bus, tuple(s for s in specs if in_memory(s)))
        yield bus
        await bus.close()
    finally:
        await server.stop()


async def _write(bus: Bus, count: int) -> None:
    """Claims and answers of units, three events each, in atomic batches."""
    time_ = now_rfc3339()
    for start in range(0, count, BATCH):
        batch, size = uuid.uuid4().hex, min(BATCH, count - start)
        for i in range(size):
            subject, id, payload = _event(start + i, time_)
            headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(i + 1), "Nats-Msg-Id": id}
            if i < size - 1:
                await bus.nc.publish(subject, payload, headers=headers)
            else:
                reply = await bus.request(subject, payload, headers | {"Nats-Batch-Commit": "1"}, timeout_s=30.0)
                ack = msgspec.json.decode(reply.data)
                if "error" in ack:
                    raise RuntimeError(ack["error"])


def _event(n: int, time_: str) -> tuple[str, str, bytes]:
    unit, campaign = derived_id("bench", n // 3), "0b5a3f9e-6a0c-5d3e-9d0e-000000000000"
    data = ReplicaClaimed(campaign, n % 2, "bench", str(n % 4), n, "", 0)
    event = make_event(
        data, id=derived_id("event", n), source="validator", subject=unit, time=time_, correlation=campaign
    )
    return event_subject(event.type, unit), event.id, encode_event(event)


def _sealed(state: StateDir, url: str) -> float:
    """Seconds until the auditor, started now, has sealed every event."""
    at = time.monotonic()
    log = (state.logs / "auditor.out").open("wb")
    with log, subprocess.Popen(
        [sys.executable, "-m", "agents.auditor", "--state", str(state.root)], stdout=log, stderr=log
    ) as process:  # fmt: skip
        try:
            while not asyncio.run(_all_sealed(state)):
                if process.poll() is not None or time.monotonic() - at > PATIENCE_S:
                    raise RuntimeError(f"the auditor does not seal: see {log.name}")
                time.sleep(0.2)
            return time.monotonic() - at
        finally:
            process.terminate()


async def _all_sealed(state: StateDir) -> bool:
    bus = await Bus.connect(read_credentials(state.creds / "admin.json"), "bench look")
    try:
        newest = await bus.last("AUDIT", "audit.seal.>")
        return newest is not None and newest.subject.endswith(f".{await bus.last_seq('EVENTS')}")
    finally:
        await bus.close()


def _alone(what: str, state: StateDir) -> dict[str, Any]:
    """Run `read` or `verify` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.audit", what, str(state.root)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _read(state: StateDir) -> dict[str, Any]:
    """The bare client, nats-py's own and nothing of ours: an ordered pull with a callback that counts."""
    c = read_credentials(state.creds / "admin.json")
    nc = await nats.connect(c.url, nkeys_seed_str=c.seed, inbox_prefix=f"_INBOX.{c.user}".encode())
    api = c.wire.api
    last = msgspec.json.decode((await nc.request(f"{api}.STREAM.INFO.EVENTS")).data)["state"]["last_seq"]
    at = time.monotonic()
    name = f"bench-{uuid.uuid4().hex[:8]}"
    config = {"name": name, "ack_policy": "none", "deliver_policy": "all", "mem_storage": True, "num_replicas": 1}
    body = msgspec.json.encode({"stream_name": "EVENTS", "config": config, "action": "create"})
    await nc.request(f"{api}.CONSUMER.CREATE.EVENTS.{name}", body)
    inbox, seen, wanted, done = nc.new_inbox(), 0, 0, asyncio.Event()

    async def ask() -> None:
        nonlocal wanted
        wanted = READ
        query = msgspec.json.encode({"batch": READ, "expires": 30_000_000_000})
        await nc.publish(f"{api}.CONSUMER.MSG.NEXT.EVENTS.{name}", query, reply=inbox)

    async def took(msg: Msg) -> None:
        nonlocal seen, wanted
        if not msg.reply:
            return
        seen, wanted = seen + 1, wanted - 1
        if seen == last:
            done.set()
        elif not wanted:
            await ask()

    await nc.subscribe(inbox, cb=took, pending_msgs_limit=READ * 4, pending_bytes_limit=-1)
    await ask()
    await asyncio.wait_for(done.wait(), PATIENCE_S)
    seconds = time.monotonic() - at
    await nc.close()
    return {"events": seen, "seconds": seconds}


async def _verify(state: StateDir) -> dict[str, Any]:
    bus = await Bus.connect(read_credentials(state.creds / "admin.json"), "bench verify")
    at = time.monotonic()
    report = await inspect(bus, Namespace(state=state.root, seals=None, key=None), lambda seq, last: None)
    seconds = time.monotonic() - at
    await bus.close()
    return {"ok": report.ok, "events": report.events, "sealed_through": report.sealed_through, "seconds": seconds}


def _own() -> dict[str, float]:
    """Core seconds of this process, and the most memory that it ever held (Linux counts in KiB, macOS in bytes)."""
    r = resource.getrusage(resource.RUSAGE_SELF)
    rss_mb = r.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return {"core_s": round(r.ru_utime + r.ru_stime, 2), "rss_mb": round(rss_mb, 1)}


if __name__ == "__main__":
    found = asyncio.run((_verify if sys.argv[1] == "verify" else _read)(StateDir(Path(sys.argv[2]))))
    print(json.dumps(found | _own()))
