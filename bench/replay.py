"""`sluice bench replay`: rebuilding the read models from a long log, and jumping into it.

The log is made once (bench/made_log.py), written by atomic batches to a server of its own, and read in turn by the bare
client, which only counts, by our reader, which only counts too, and by a rebuild of all read models. `identical`: the bytes of
the log were all there, and rebuilt equals incrementally built, and what a snapshot led to equals what the whole log led to.
"""

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import made_log, reading
from bench.log_server import LogServer, log_server
from bus.client import Bus
from bus.envelope import encode_event
from bus.tail import Tail
from projections import files
from projections.replay import replay
from projections.snapshots import Snapshots
from projections.store import ViewStore

TITLE = "Rebuilding from the log"
COLUMNS = ("case", "events", "figure", "unit", "baseline", "ratio", "target", "identical")
EVENTS, QUICK, BATCH = 1_000_000, 100_000, 500
REBUILD_PER_S, JUMP_S, JUMPS, ROUNDS = 50_000, 2.0, 9, 3


def run(quick: bool = False, events: int = 0, searches: int = made_log.UNITS) -> list[dict[str, Any]]:
    """`searches`: how many run here to fill the log with what they found."""
    return asyncio.run(_run(events or (QUICK if quick else EVENTS), searches))


async def _run(events: int, searches: int) -> list[dict[str, Any]]:
    async with log_server() as server:
        bus = await server.bus()
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
            try:
                size = await _write(bus, events, searches)
                rows = await _reading(server, bus, events, size)
                rows += await _rebuilding(bus, Path(folder), events, rows[0]["figure"])
                rows += await _jumping(bus, Path(folder), events)
                return rows
            finally:
                await bus.close()


def _row(case: str, events: int, figure: float, unit: str, baseline: float | None, target: float | None, same: bool = True,
         ) -> dict[str, Any]:  # fmt: skip
    return {
        "case": case, "events": events, "figure": round(figure, 3 if unit == "s" else None), "unit": unit,
        "baseline": None if baseline is None else round(baseline, 3 if unit == "s" else None),
        "ratio": None if baseline is None else round(figure / baseline, 3), "target": target, "identical": same,
    }  # fmt: skip


async def _write(bus: Bus, events: int, searches: int) -> int:
    """The log, and how many bytes its events have."""
    source = made_log.MadeLog(*made_log.outcomes(searches)).events()
    size = left = 0
    left = events
    while left:
        batch = [next(source) for _ in range(min(BATCH, left))]
        size += sum(len(encode_event(e)) for e in batch)
        await bus.append_batch([(e, None) for e in batch])
        left -= len(batch)
    return size


async def _reading(server: LogServer, bus: Bus, events: int, size: int) -> list[dict[str, Any]]:
    """Nothing but reading, by turns."""
    nc, api = await server.bare()
    bare: list[float] = []
    ours: list[float] = []
    same = True
    try:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            same = same and await reading.by_callback(nc, api, "EVENTS", events) == (events, size)
            bare.append(events / (time.perf_counter() - began))
            began = time.perf_counter()
            same = same and await _count(bus, events) == (events, size)
            ours.append(events / (time.perf_counter() - began))
    finally:
        await nc.close()
    mean = f"{size // events} bytes an event"
    base = statistics.median(bare)
    return [
        _row(f"bare client, callback pull, {mean}", events, base, "events/s", None, None, same),
        _row("our reader", events, statistics.median(ours), "events/s", base, None, same),
    ]


async def _count(bus: Bus, events: int) -> tuple[int, int]:
    tail = Tail(bus, "EVENTS", batch=reading.BATCH)
    seen = size = 0
    while seen < events:
        for stored in await tail.next(5.0):
            seen, size = seen + 1, size + len(stored.data)
    await tail.close()
    return seen, size


async def _rebuilding(bus: Bus, folder: Path, events: int, bare: float) -> list[dict[str, Any]]:
    """In one go, and as a projector does it: a file that survives crashes, whatever batches come."""
    speeds, store = [], None
    for n in range(ROUNDS):
        path = folder / f"rebuilt-{n}.sqlite"
        began = time.perf_counter()
        store = await replay(bus, path)
        speeds.append(events / (time.perf_counter() - began))
        if n < ROUNDS - 1:
            store.close()
            files.remove(path)
    assert store is not None
    rebuilt = await asyncio.to_thread(store.digest)
    store.close()
    megabytes = (folder / f"rebuilt-{ROUNDS - 1}.sqlite").stat().st_size // 1024**2
    files.remove(folder / f"rebuilt-{ROUNDS - 1}.sqlite")
    live, took = await _incrementally(bus, folder / "live.sqlite", events)
    same = await asyncio.to_thread(live.digest) == rebuilt
    live.close()
    return [
        _row(
            f"rebuild of all read models ({megabytes} MB)",
            events,
            statistics.median(speeds),
            "events/s",
            bare,
            REBUILD_PER_S,
            same,
        ),
        _row("the projector's way, in random batches", events, events / took, "events/s", bare, None, same),
    ]


async def _incrementally(bus: Bus, path: Path, events: int) -> tuple[ViewStore, float]:
    r = random.Random(1)
    store = ViewStore(path)
    store.adopt((await bus.stream_state("EVENTS"))[2])
    tail = Tail(bus, "EVENTS", batch=reading.BATCH)
    began = time.perf_counter()
    while store.position.seq < events:
        batch = await tail.next(5.0)
        at = 0
        while at < len(batch):
            count = r.randint(1, 1_500)
            await asyncio.to_thread(store.apply_batch, batch[at : at + count])
            at += count
    took = time.perf_counter() - began
    await tail.close()
    return store, took


async def _jumping(bus: Bus, folder: Path, events: int) -> list[dict[str, Any]]:
    """To random sequences, with the snapshots that an earlier pass left behind, and once without."""
    snapshots = Snapshots(folder / "past")
    (await replay(bus, folder / "pass.sqlite", events, None, snapshots)).close()
    files.remove(folder / "pass.sqlite")
    kept = snapshots.all()
    size = sum(s.path.stat().st_size for s in kept) // 1024**2
    r = random.Random(2)
    # The furthest from its snapshot is among them, beside random ones.
    targets = [events - 1, *(r.randint(events // 2, events) for _ in range(JUMPS - 1))]
    seconds = []
    for n, target in enumerate(targets):
        took, store = await _jump(bus, folder / f"jump-{n}.sqlite", target, snapshots)
        seconds.append(took)
        if n < len(targets) - 1:
            store.close()
            files.remove(folder / f"jump-{n}.sqlite")
    jumped = await asyncio.to_thread(store.digest)
    store.close()
    whole_s, whole = await _jump(bus, folder / "whole.sqlite", targets[-1], None)
    same = await asyncio.to_thread(whole.digest) == jumped
    whole.close()
    name = f"jump with {len(kept)} snapshots ({size} MB)"
    return [
        _row(f"{name}, median of {JUMPS}", events, statistics.median(seconds), "s", whole_s, JUMP_S, same),
        _row(f"{name}, the slowest", events, max(seconds), "s", whole_s, JUMP_S, same),
    ]


async def _jump(bus: Bus, path: Path, target: int, snapshots: Snapshots | None) -> tuple[float, ViewStore]:
    began = time.perf_counter()
    store = await replay(bus, path, target, None, snapshots)
    return time.perf_counter() - began, store
