"""The read models as this process sees them: one read-only connection, opened again whenever the file is another one."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from domain.errors import Unreachable
from projections import files

T = TypeVar("T")


class Views:
    """`read` runs a query in a thread at one position; `version` changes with everything that the projector writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._con: sqlite3.Connection | None = None
        self._inode = 0
        self._opened = 0

    def _connection(self) -> sqlite3.Connection:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = 0
        if self._con is None or inode != self._inode:
            self._drop()
            self._con = files.open_reader(self._path)
            self._inode = inode
            self._opened += 1
        return self._con

    def _drop(self) -> None:
        con, self._con = self._con, None
        if con is not None:
            con.close()

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            con = self._connection()
            try:
                with files.sqlite_errors(self._path):
                    yield con
            except files.Damaged as e:
                self._drop()
                raise Unreachable(str(e)) from e
            except Unreachable:
                self._drop()
                raise

    def version(self) -> tuple[int, int] | None:
        """Equal while nothing was written; None while there are no read models. A look costs some ten microseconds."""
        try:
            with self._using() as con:
                return self._opened, int(con.execute("PRAGMA data_version").fetchone()[0])
        except Unreachable:
            return None

    def read_now(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` here; all of it sees one position. Unreachable while there are no read models."""
        with self._using() as con, files.snapshot(con):
            return query(con)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self.read_now, query)

    def close(self) -> None:
        with self._lock:
            self._drop()
