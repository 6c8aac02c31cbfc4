"""Follow EVENTS from the stored position, apply each event once, park what nobody can read, halt at what is too new."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Coroutine
from typing import TypeVar

from agents.projector.decide import doubt
from bus.client import Stored
from bus.envelope import TooNew
from bus.parking import park
from bus.runtime import Context
from bus.tail import Tail
from domain.errors import SluiceError, Unreachable
from projections import files
from projections.snapshots import Snapshots
from projections.store import Changes, ViewStore

log = logging.getLogger("sluice.projector")
T = TypeVar("T")
STREAM = "EVENTS"
TAKE = 1000
WAIT_S = 0.5
PARK_PATIENCE_S = 5.0
PARK_AGAIN_S = 10.0


async def run(context: Context) -> None:
    """The body of the agent; returns when asked to stop."""
    await Projector(context).run()


class Projector:
    """One writer of the read models. Work on the file happens in a thread, one call at a time, so that heartbeats go on."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.bus = context.bus
        self.path = context.state_dir.views
        self.store: ViewStore | None = None
        self.tail: Tail | None = None
        self._reconnects = 0
        self._park_at = 0.0
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

    async def _halt(self, why: str) -> None:
        """Alive, but of no use until a newer program takes over: the position does not move."""
        log.error("%s", why)
        self.context.state, self.context.detail = "stalled", why
        await self._close_tail()
        await self.context.stop.wait()

    async def _establish(self) -> None:
        """Open the read models, make sure that they are of this log, and stand ready to follow it."""
        await self._close_tail()
        if self.store is None or not self.path.exists():
            self._close_store()
            self.store = await asyncio.to_thread(ViewStore, self.path)
        store = self.store
        self._reconnects = self.bus.nc.stats["reconnects"]
        last, created, there = await self._unless_stopped(self._look(store.position.seq))
        if why := doubt(store.position, created, last, there):
            log.error("the read models are not used any more: %s; they are built anew from the log", why)
            await asyncio.to_thread(store.rebuild, created)
        store.adopt(created)
        self.tail = Tail(self.bus, STREAM, store.position.seq, batch=TAKE)
        self.context.state, self.context.detail = "alive", ""
        log.info("following %s from %d, which ends at %d", STREAM, store.position.seq, last)

    async def _connected(self) -> None:
        """Wait while the server is away: a request sent now would only wait out its time."""
        while not self.bus.nc.is_connected and not self.context.stop.is_set():
            await self.context.idle(0.1)

    async def _look(self, seq: int) -> tuple[int, str, Stored | None]:
        """(last sequence of the log, when it was made, what it holds at `seq`)."""
        last, _, created = await self.bus.stream_state(STREAM)
        return last, created, await self.bus.get(STREAM, seq) if 0 < seq <= last else None

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
                await self._project(batch[start : start + TAKE])
            if time.monotonic() >= self._park_at:
                await self._park()

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
