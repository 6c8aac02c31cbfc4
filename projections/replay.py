"""Build the read models anew from the log, to any sequence, and compare with the live ones at the same sequence."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from bus.bounded import read_whole
from bus.client import Bus, Stored
from domain.errors import BadInput, Unreachable
from projections import files
from projections.digest import digests
from projections.position import doubt
from projections.snapshots import Snapshot, Snapshots, position_of
from projections.store import ViewStore

log = logging.getLogger("sluice.views")
BATCH = 1000
Progress = Callable[[int, int], None]


class ReplayReport(msgspec.Struct, frozen=True):
    """`live_digest` and `equal` are null when the live read models do not stand at `seq`, so that nothing was compared."""

    seq: int
    digest: str
    live_digest: str | None
    equal: bool | None
    outcome_digest: str


async def replay(
    bus: Bus,
    path: Path,
    until_seq: int | None = None,
    progress: Progress | None = None,
    snapshots: Snapshots | None = None,
) -> ViewStore:
    """Read models in a new file at `path` with every event up to `until_seq` (default: the log's end) applied.

    With `snapshots` it begins at the newest one that the log confirms and leaves others behind as it passes, else at the first
    event. `progress(position, target)` is called after each batch. Raises BadInput for a sequence beyond the log's end and
    for a file that exists, TooNew at an event of a newer program, Unreachable when the log stops answering.
    """
    last, _, created = await bus.stream_state("EVENTS")
    target = last if until_seq is None else until_seq
    if not 0 <= target <= last:
        raise BadInput(f"the log has events 1 to {last}, there is no sequence {target}")
    if path.exists():
        raise BadInput(f"{path} exists already; name a file that does not")
    try:
        if snapshots is not None:
            await _begin_at_snapshot(bus, snapshots, path, target, created, last)
        store = ViewStore(path, scratch=True)
        try:
            store.adopt(created)
            await _follow(bus, store, target, progress, snapshots)
        except BaseException:
            store.close()
            raise
    except BaseException:
        files.remove(path)
        raise
    return store


async def _begin_at_snapshot(bus: Bus, snapshots: Snapshots, path: Path, target: int, created: str, last: int) -> None:
    """Put the newest read models at or before `target` that are of this log at `path`; nothing when there are none."""
    for snapshot in await asyncio.to_thread(snapshots.before, target):
        if await confirmed(bus, snapshots, snapshot, created, last) and await asyncio.to_thread(
            snapshots.fetch, snapshot, path
        ):
            return


async def confirmed(bus: Bus, snapshots: Snapshots, snapshot: Snapshot, created: str, last: int) -> bool:
    """Whether the log holds, where the snapshot stands, what the snapshot has seen; it is deleted when not."""
    try:
        position = await asyncio.to_thread(position_of, snapshot.path)
    except (files.Damaged, Unreachable) as e:
        why = str(e)
    else:
        why = doubt(position, created, last, await bus.get("EVENTS", position.seq))
    if why:
        log.warning("the snapshot %s is not used and deleted: %s", snapshot.path.name, why)
        snapshots.drop(snapshot)
    return not why


async def _follow(
    bus: Bus, store: ViewStore, target: int, progress: Progress | None, snapshots: Snapshots | None
) -> None:
    """Apply up to `target` through an ordered reader, nearly twice as fast as direct gets."""
    async for batch in read_whole(bus, "EVENTS", store.position.seq + 1, target):
        for start in range(0, len(batch), BATCH):
            await asyncio.to_thread(_apply, store, batch[start : start + BATCH], snapshots)
            if progress is not None:
                progress(store.position.seq, target)


def _apply(store: ViewStore, batch: list[Stored], snapshots: Snapshots | None) -> None:
    before = store.position.seq
    store.apply_batch(batch)
    if snapshots is not None and snapshots.due(before, store.position.seq):
        snapshots.copy(store.path)


async def compare(
    bus: Bus,
    live: Path,
    scratch: Path,
    until_seq: int | None = None,
    progress: Progress | None = None,
    snapshots: Snapshots | None = None,
) -> ReplayReport:
    """Replay into `scratch` up to where the read models at `live` stand (or `until_seq`) and compare the digests.

    `snapshots` are for looking, not for proving: without them every event from the first on is applied.
    """
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
    store = await replay(bus, scratch, seq, progress, snapshots)
    try:
        everything, outcomes = store.digest()
        equal = None if live_digest is None else everything == live_digest
        return ReplayReport(store.position.seq, everything, live_digest, equal, outcomes)
    finally:
        store.close()
