"""Follow EVENTS from the stored position, apply each event once, park what nobody can read.

Halts at an event that is too new, and where the log is damaged or another one than the read models are of.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import msgspec

from agents.projector.decide import Broken, gone, other
from bus import subjects
from bus.client import Stored
from bus.envelope import TooNew
from bus.messages import Finding
from bus.parking import park
from bus.runtime import Context
from bus.seals.reading import first_gone, nothing_left, read_openings
from bus.seals.seal import epoch_of
from bus.tail import Tail
from domain.errors import SluiceError, Unreachable
from projections import files
from projections.position import doubt
from projections.snapshots import Snapshots
from projections.store import Changes, ViewStore

log = logging.getLogger("sluice.projector")
T = TypeVar("T")
STREAM = "EVENTS"
TAKE = 1000
WAIT_S = 0.5
PARK_PATIENCE_S = 5.0
PARK_AGAIN_S = 10.0
#: How often the end of the log, and what the auditor found, is looked at.
LOOK_S = 3.0


async def run(context: Context) -> None:
    """The body of the agent; returns when asked to stop."""
    await Projector(context).run()


class Found(Broken):
    """The auditor found it; it says so when it finds the log whole again."""


class Projector:
    """One writer of the read models. Work on the file happens in a thread, one call at a time, so that heartbeats go on."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.bus = context.bus
        self.path = context.state_dir.views
        self.store: ViewStore | None = None
        self.tail: Tail | None = None
        self._reconnects = 0
        self._park_at = self._look_at = 0.0
        self.snapshots = Snapshots(context.state_dir.past / "every")
        self._taking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        stop = self.context.stop
        await asyncio.to_thread(self.snapshots.clean)
        try:
            while not stop.is_set():
                try:
                    await self._connected()
                    await self._establish()
                    await self._follow()
                except TooNew as e:
                    await self._halt(f"halted: {e}; update this host, nothing is lost")
                except Found as e:
                    await self._halt(str(e), self._found_whole)
                except Broken as e:
                    await self._halt(str(e))
                except files.Damaged as e:
                    log.error("%s; they are built anew", e)
                    self._close_store()
                    files.remove(self.path)
                except Unreachable as e:
                    log.warning("%s; trying again", e)
                    self.context.state, self.context.detail = "stalled", str(e)
                    await self.context.idle(1.0)
        finally:
            await self._close_tail()
            if self._taking is not None:
                await self._taking
            self._close_store()

    async def _halt(self, why: str, over: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Alive, but of no use until a newer program or a whole log takes over: the position does not move."""
        await self._close_tail()
        await self.context.halt(why, over)

    async def _found_whole(self) -> bool:
        try:
            await self._heed_auditor()
        except (Found, Unreachable):
            return False
        return True

    async def _heed_auditor(self) -> None:
        """Found when the auditor says that the log is not what was sealed."""
        there = await self.bus.last("AUDIT", subjects.FINDING)
        if there is not None:
            found = msgspec.json.decode(there.data, type=Finding)
            if not found.ok:
                raise Found(found.words)

    async def _establish(self) -> None:
        """Open the read models, make sure that they are of this log, and stand ready to follow it."""
        await self._close_tail()
        if self.store is None or not self.path.exists():
            self._close_store()
            self.store = await asyncio.to_thread(ViewStore, self.path)
        store = self.store
        self._reconnects = self.bus.nc.stats["reconnects"]
        last, created = await self._unless_stopped(self._fit(store))
        await self._unless_stopped(self._heed_auditor())
        store.adopt(created)
        self.tail = Tail(self.bus, STREAM, store.position.seq, batch=TAKE)
        self.context.state, self.context.detail = "alive", ""
        log.info("following %s from %d, which ends at %d", STREAM, store.position.seq, last)

    async def _connected(self) -> None:
        """Wait while the server is away: a request sent now would only wait out its time."""
        while not self.bus.nc.is_connected and not self.context.stop.is_set():
            await self.context.idle(0.1)

    async def _fit(self, store: ViewStore) -> tuple[int, str]:
        """(last sequence of the log, when it was made); Broken when it lacks events or the read models are of another one.

        A log that was restored from a copy says so by an event that opens an epoch: the read models are built anew then.
        """
        last, messages, created = await self.bus.stream_state(STREAM)
        if messages < last:
            raise Broken(gone(await first_gone(self.bus, STREAM), last - messages))
        seq = store.position.seq
        there = await self.bus.get(STREAM, seq) if 0 < seq <= last else None
        openings = await read_openings(self.bus)
        epoch = epoch_of(openings)
        if why := doubt(store.position, created, last, there):
            if epoch <= store.epoch:
                raise Broken(other(why))
            log.warning("the log was restored: %s; the read models are built anew from it", why)
            await asyncio.to_thread(store.rebuild, created)
        await asyncio.to_thread(store.set_epoch, epoch)
        return last, created

    async def _look(self) -> None:
        """Broken when the log ends before the server says so, Found when the auditor found something."""
        assert self.store is not None
        await self._heed_auditor()
        last, at = await self.bus.last_seq(STREAM), self.store.position.seq
        if last > at and await nothing_left(self.bus, at):
            raise Broken(gone(at + 1))

    async def _unless_stopped(self, work: Coroutine[None, None, T]) -> T:
        """The result of `work`; Unreachable when asked to stop before there is one (the server may be away for long)."""
        task, stop = asyncio.ensure_future(work), asyncio.create_task(self.context.stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Unreachable("asked to stop while the log did not answer")
        finally:
            task.cancel()
            stop.cancel()

    async def _follow(self) -> None:
        """Until asked to stop, or until the log or the file may be another one."""
        assert self.store is not None
        assert self.tail is not None
        while not self.context.stop.is_set():
            await self._connected()
            batch = await self.tail.next(WAIT_S)
            self.context.step(EVENTS=self.store.position.seq)
            if self.bus.nc.stats["reconnects"] != self._reconnects or not self.path.exists():
                # A server that came back may hold another log; a deleted file is the wish for a new one.
                return
            for start in range(0, len(batch), TAKE):
                await self._project_whole(batch[start : start + TAKE])
            if not batch and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_S
                await self._look()
            if time.monotonic() >= self._park_at:
                await self._park()

    async def _project_whole(self, batch: list[Stored]) -> None:
        """Apply up to the first event that is missing: no read model is built over a gap."""
        assert self.store is not None
        expected = self.store.position.seq
        for i, stored in enumerate(batch):
            if stored.seq > expected + 1:
                await self._project(batch[:i])
                raise Broken(gone(expected + 1))
            expected = max(expected, stored.seq)
        await self._project(batch)

    async def _project(self, batch: list[Stored]) -> None:
        assert self.store is not None
        before = self.store.position.seq
        try:
            changes = await asyncio.to_thread(self.store.apply_batch, batch)
        except TooNew as e:
            self._count(getattr(e, "changes", Changes()))
            await self._park()
            raise
        self._count(changes)
        if self.snapshots.due(before, changes.seq) and (self._taking is None or self._taking.done()):
            self._taking = asyncio.create_task(self._snapshot())

    async def _snapshot(self) -> None:
        """Leave a copy behind for those who look at the past; what follows is applied meanwhile, and nothing waits for it."""
        try:
            await asyncio.to_thread(self.snapshots.take, self.path)
        except (SluiceError, sqlite3.Error, OSError) as e:
            log.warning("no snapshot: %s", e)

    def _count(self, changes: Changes) -> None:
        self.context.done += changes.applied

    async def _park(self) -> None:
        """Park what was rejected, also by a run that died before it could; once each, however often it is tried."""
        assert self.store is not None
        for seq, reason in self.store.unparked():
            try:
                async with asyncio.timeout(PARK_PATIENCE_S):
                    stored = await self.bus.get(STREAM, seq)
                    if stored is not None:
                        await park(self.bus, STREAM, stored, reason, self.context.kind)
            except (TimeoutError, SluiceError) as e:
                log.warning("event %d is not parked yet: %s", seq, str(e) or "no answer")
                self._park_at = time.monotonic() + PARK_AGAIN_S
                return
            self.store.mark_parked(seq)

    async def _close_tail(self) -> None:
        tail, self.tail = self.tail, None
        if tail is not None:
            await tail.close()

    def _close_store(self) -> None:
        store, self.store = self.store, None
        if store is not None:
            store.close()
