"""The read models as of any earlier sequence, for whoever asks: built once, kept on disk within bounds."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bus.client import Bus
from domain.errors import BadInput, SluiceError, Unreachable
from projections import files
from projections.replay import confirmed, replay
from projections.snapshots import Snapshots

log = logging.getLogger("sluice.views")
T = TypeVar("T")
#: Files that were asked for, beside the snapshots that the log is covered with.
ASKED_FILES, ASKED_BYTES = 8, 2 * 1024**3
OPEN = 4
#: Different sequences that may wait to be built: each is work for seconds.
WAITING = 8
#: How long one request waits before it is told how far the building is.
WAIT_S = 20.0


class _Closed(Exception):
    """Others were asked for more lately: it is opened again."""


class _Opened:
    """A finished file; one query at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._con: sqlite3.Connection | None = files.open_past(path)
        self._lock = threading.Lock()

    def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, files.sqlite_errors(self._path):
            if self._con is None:
                raise _Closed
            return query(self._con)

    def close(self) -> None:
        with self._lock:
            con, self._con = self._con, None
            if con is not None:
                con.close()


class Past:
    """Scratch databases below `folder`, which the processes of an instance share. One is built at a time.

    The log is what counts: a file from before is used only if the log confirms its position, asked again after every
    reconnection, since a server that came back may hold another log.
    """

    def __init__(self, bus: Bus, folder: Path, *, wait_s: float = WAIT_S) -> None:
        self.bus = bus
        self.wait_s = wait_s
        self.built = 0
        self.snapshots = Snapshots(folder / "every")
        self._asked = Snapshots(folder / "asked", most_files=ASKED_FILES, most_bytes=ASKED_BYTES, forget="unused")
        self._open: OrderedDict[int, _Opened] = OrderedDict()
        self._making: dict[int, asyncio.Task[_Opened]] = {}
        self._at: dict[int, int] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._one = asyncio.Lock()
        self._reconnects = -1

    async def read(self, seq: int, query: Callable[[sqlite3.Connection], T]) -> T:
        """`query` over the read models as of `seq`, in a thread.

        BadInput beyond the log's end or before its first event; Unreachable while they are still being built after `wait_s`
        (building goes on), when too many others wait, and when the log does not answer.
        """
        while True:
            opened = await self._opened(seq)
            try:
                return await asyncio.to_thread(opened.run, query)
            except _Closed:
                continue

    async def _opened(self, seq: int) -> _Opened:
        self._forget_other_logs()
        if (opened := self._open.get(seq)) is not None:
            self._open.move_to_end(seq)
            return opened
        task = self._making.get(seq)
        if task is None:
            if seq < 1:
                raise BadInput(f"the log begins with event 1, there is no sequence {seq}")
            if len(self._making) >= WAITING:
                raise Unreachable(f"{WAITING} other sequences are being built; ask again in a moment")
            task = self._making[seq] = asyncio.create_task(self._make(seq))
            task.add_done_callback(lambda done: self._made(seq, done))
        await asyncio.wait({task}, timeout=self.wait_s)
        if not task.done():
            raise Unreachable(
                f"the read models as of {seq} are being built, {self._at.get(seq, 0)} of {seq} events so far;"
                " nothing has to be done, ask again in a moment"
            )
        return task.result()

    def _made(self, seq: int, task: "asyncio.Task[_Opened]") -> None:
        self._making.pop(seq, None)
        self._at.pop(seq, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever still waits is told; a request that has gone away must not leave an error that nobody fetched.
            log.log(logging.DEBUG if isinstance(error, SluiceError) else logging.ERROR, "as of %d: %s", seq, error)

    async def _make(self, seq: int) -> _Opened:
        async with self._one:
            opened = await self._kept(seq) or await self._build(seq)
        self._open[seq] = opened
        while len(self._open) > OPEN:
            self._close(next(iter(self._open)))
        return opened

    async def _kept(self, seq: int) -> _Opened | None:
        """A finished file from before. It is opened where it lies: nobody changes it, and deleting it takes nothing from us."""
        last, _, created = await self.bus.stream_state("EVENTS")
        if seq > last:
            raise BadInput(f"the log has events 1 to {last}, there is no sequence {seq} yet")
        for shelf in (self._asked, self.snapshots):
            for snapshot in await asyncio.to_thread(shelf.before, seq):
                if (
                    snapshot.seq == seq
                    and await confirmed(self.bus, shelf, snapshot, created, last)
                    and await asyncio.to_thread(shelf.intact, snapshot)
                ):
                    with contextlib.suppress(Unreachable):  # another process made room
                        return await asyncio.to_thread(_Opened, snapshot.path)
        return None

    async def _build(self, seq: int) -> _Opened:
        path = self._asked.scratch()
        self.built += 1

        def progress(position: int, target: int) -> None:
            self._at[seq] = position

        try:
            store = await replay(self.bus, path, seq, progress, self.snapshots)
            await asyncio.to_thread(store.close)
            # Opened before it is moved, since the cache may have no room for it.
            opened = await asyncio.to_thread(_Opened, path)
        except BaseException:
            files.remove(path)
            raise
        await asyncio.to_thread(self._asked.add, path)
        return opened

    def _forget_other_logs(self) -> None:
        reconnects = self.bus.nc.stats["reconnects"]
        if reconnects != self._reconnects:
            self._reconnects = reconnects
            for seq in list(self._open):
                self._close(seq)

    def _close(self, seq: int) -> None:
        """Not here: a query may be at work on it."""
        if (opened := self._open.pop(seq, None)) is not None:
            closing = asyncio.create_task(asyncio.to_thread(opened.close))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Stop building and close every file."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, SluiceError):
                await task
        for seq in list(self._open):
            self._close(seq)
        if self._closing:
            await asyncio.wait(self._closing)
