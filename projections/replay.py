"""Build the read models anew from the log, to any sequence, and compare with the live ones at the same sequence."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from bus.client import Bus, Stored
from domain.errors import BadInput, Unreachable
from projections import files
from projections.digest import digests
from projections.store import ViewStore

BATCH = 1000
Progress = Callable[[int, int], None]


class ReplayReport(msgspec.Struct, frozen=True):
    """`live_digest` and `equal` are null when the live read models do not stand at `seq`, so that nothing was compared."""

    seq: int
    digest: str
    live_digest: str | None
    equal: bool | None
    outcome_digest: str


async def replay(bus: Bus, path: Path, until_seq: int | None = None, progress: Progress | None = None) -> ViewStore:
    """Read models in a new file at `path` with every event up to `until_seq` (default: the log's end) applied.

    `progress(position, target)` is called after each batch. Raises BadInput for a sequence beyond the log's end and for a
    file that exists, TooNew at an event of a newer program, Unreachable when the log stops answering.
    """
    last, _, created = await bus.stream_state("EVENTS")
    target = last if until_seq is None else until_seq
    if not 0 <= target <= last:
        raise BadInput(f"the log has events 1 to {last}, there is no sequence {target}")
    if path.exists():
        raise BadInput(f"{path} exists already; name a file that does not")
    store = ViewStore(path)
    try:
        store.adopt(created)
        while store.position.seq < target:
            before = store.position.seq
            await _pass(bus, store, target, progress)
            if store.position.seq == before:
                raise Unreachable(f"the log ends at {before} although it should reach {target}")
    except BaseException:
        store.close()
        raise
    return store


async def _pass(bus: Bus, store: ViewStore, target: int, progress: Progress | None) -> None:
    batch: list[Stored] = []

    async def flush() -> None:
        if batch:
            await asyncio.to_thread(store.apply_batch, batch)
            batch.clear()
            if progress is not None:
                progress(store.position.seq, target)

    async with contextlib.aclosing(bus.read("EVENTS", store.position.seq + 1, batch=BATCH)) as log:  # type: ignore[type-var]
        async for stored in log:
            if stored.seq > target:
                break
            batch.append(stored)
            if len(batch) == BATCH:
                await flush()
    await flush()


async def compare(
    bus: Bus, live: Path, scratch: Path, until_seq: int | None = None, progress: Progress | None = None
) -> ReplayReport:
    """Replay into `scratch` up to where the read models at `live` stand (or `until_seq`) and compare the digests."""
    live_seq, live_digest = None, None
    if live.exists():
        con = files.open_reader(live)
        try:
            with files.sqlite_errors(live):
                live_seq, live_digest, _ = await asyncio.to_thread(digests, con)
        finally:
            con.close()
    seq = live_seq if until_seq is None else until_seq
    if seq != live_seq:
        live_digest = None
    store = await replay(bus, scratch, seq, progress)
    try:
        everything, outcomes = store.digest()
        equal = None if live_digest is None else everything == live_digest
        return ReplayReport(store.position.seq, everything, live_digest, equal, outcomes)
    finally:
        store.close()
