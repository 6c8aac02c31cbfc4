"""Apply events to the read models: all or nothing, rows and position in one transaction, nothing twice."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bus.chain import ID_HEADER
from bus.client import Stored
from bus.envelope import TooNew
from domain.errors import BadInput
from projections import digest, files
from projections.decoding import Misplaced, fact_of
from projections.models import MODELS, TABLES, fingerprint
from projections.position import Position, chain_bytes, link
from projections.schema import INT64, Handler, Key, Put, Row, Value

log = logging.getLogger("sluice.views")
_CACHED_ROWS = 16_384
#: Some 60 bytes each.
_PRESENT = 2_000_000
_HANDLERS: dict[str, list[Handler]] = {}
for _model in MODELS:
    for _type, _handler in _model.handlers.items():
        _HANDLERS.setdefault(_type, []).append(_handler)


class Rejected(NamedTuple):
    """An event that no read model can take; the caller parks it."""

    stored: Stored
    reason: str


@dataclass
class Changes:
    """What a batch brought: how many events were applied, which rows changed by table, what was refused."""

    applied: int = 0
    seq: int = 0
    keys: dict[str, set[Key]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)


class Halted(TooNew):
    """An event is newer than this program. What came before it is applied (`changes`), the position stands before it."""

    def __init__(self, message: str, changes: Changes) -> None:
        super().__init__(message)
        self.changes = changes


class ViewStore:
    """The read models for their one writer. `opened` says in words what opening found, `opened_at` where they stood.

    Not for two threads at a time.
    """

    def __init__(self, path: Path, *, scratch: bool = False) -> None:
        """`scratch`: a file of our own that is thrown away if anything fails, so that nothing has to be safe from a crash."""
        self.path = path
        self.opened = ""
        self._scratch = scratch
        self._rows: dict[str, dict[Key, dict[str, Value] | None]] = {name: {} for name in TABLES}
        self._dirty: dict[str, set[Key]] = {name: set() for name in TABLES}
        #: Hashes of all keys that the file may have, while they are few enough to be kept: what is not here need not be
        #: looked for. None when the file had rows that we did not write.
        self._present: set[int] | None = None
        self._con = self._open()
        self._position = self._read_position()
        self.opened_at = self._position.seq
        if not self._position.seq:
            self._present = set()
        self._sql = {
            t.name: f"INSERT OR REPLACE INTO {t.name} VALUES ({', '.join('?' * len(t.names))})" for t in TABLES.values()
        }
        self._get = {
            t.name: f"SELECT * FROM {t.name} WHERE " + " AND ".join(f"{k} = ?" for k in t.key) for t in TABLES.values()
        }

    # -- opening and position -------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            con = files.open_writer(self.path, scratch=self._scratch)
            with files.sqlite_errors(self.path):
                found = files.made_for(con)
        except files.Damaged as e:
            self.opened = f"{e}; they were deleted and are built anew from the log"
            files.remove(self.path)
            con, found = files.open_writer(self.path, scratch=self._scratch), ""
        else:
            if found and found != fingerprint():
                self.opened = "the read models were made by another version; they are built anew from the log"
        if self.opened:
            log.warning("%s", self.opened)
        self._con = con
        if found != fingerprint():
            with self._transaction():
                files.create_tables(con)
        return con

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with files.sqlite_errors(self.path):
            self._con.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._con.execute("COMMIT")
            except BaseException:
                # Whatever it was, the cache may hold what the file does not.
                self._forget()
                if self._con.in_transaction:
                    self._con.execute("ROLLBACK")
                raise

    def _read_position(self) -> Position:
        with files.sqlite_errors(self.path):
            row = self._con.execute("SELECT created, seq, event_id, chain, previous FROM position").fetchone()
        return Position(*row)

    @property
    def position(self) -> Position:
        return self._position

    @property
    def epoch(self) -> int:
        """The epoch of the log that these read models were last found to be of; 1 until told otherwise."""
        with files.sqlite_errors(self.path):
            return max(1, int(self._con.execute("PRAGMA user_version").fetchone()[0]))

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            with files.sqlite_errors(self.path):
                self._con.execute(f"PRAGMA user_version = {epoch:d}")

    def close(self) -> None:
        self._con.close()

    def rebuild(self, created: str = "") -> None:
        """Drop all rows and stand before the first event of the stream made at `created`, in one transaction."""
        with self._transaction():
            files.create_tables(self._con)
            self._con.execute("UPDATE position SET created = ?", (created,))
        self._forget()
        self._present = set()
        self._position = Position(created)

    def digest(self) -> tuple[str, str]:
        """(over all columns, over outcome columns) of what is committed."""
        with files.sqlite_errors(self.path):
            d = digest.digests(self._con)
        return d.all, d.outcome

    # -- parking --------------------------------------------------------------------------------------------------

    def unparked(self) -> list[tuple[int, str]]:
        """(sequence, reason) of rejected events that nobody has confirmed to be parked: survives a crash in between."""
        with files.sqlite_errors(self.path):
            return [(int(s), str(r)) for s, r in self._con.execute("SELECT seq, reason FROM to_park ORDER BY seq")]

    def mark_parked(self, seq: int) -> None:
        with self._transaction():
            self._con.execute("DELETE FROM to_park WHERE seq = ?", (seq,))

    # -- applying -------------------------------------------------------------------------------------------------

    def get(self, table: str, key: Key) -> Row | None:
        """The row as it is before the event being applied (the `View` that handlers see)."""
        rows = self._rows[table]
        if key in rows:
            return rows[key]
        if any(type(k) is int and not -INT64 <= k < INT64 for k in key):
            raise BadInput(f"{key} holds a number too large for {table}")
        if self._present is not None and hash((table, key)) not in self._present:
            rows[key] = None
            return None
        found = self._con.execute(self._get[table], key).fetchone()
        row = rows[key] = dict(zip(TABLES[table].names, found, strict=True)) if found else None
        return row

    def _forget(self) -> None:
        for name in TABLES:
            self._rows[name].clear()
            self._dirty[name].clear()

    def _trim(self) -> None:
        """Keep memory bounded: rows with whole finds in them go at once, the others when there are many."""
        for name in ("finds", "strategies", "evidence"):
            self._rows[name].clear()
        if sum(map(len, self._rows.values())) > _CACHED_ROWS:
            self._forget()
        if self._present is not None and len(self._present) > _PRESENT:
            self._present = None

    def apply_batch(self, batch: Sequence[Stored]) -> Changes:
        """Apply events in stream order; what lies at or below the position is left out.

        Raises Halted at an event newer than this program (those before it are applied), Unreachable when the file
        cannot be written now and Damaged when it is broken; in both cases nothing of the batch is applied.
        """
        changes = Changes()
        halt: TooNew | None = None
        with self._transaction():
            position = self._read_position()
            if position != self._position:
                # Another projector wrote to the file.
                self._forget()
                self._present = None
            created, seq, event_id = position.created, position.seq, position.event_id
            previous, chain = chain_bytes(position.previous), chain_bytes(position.chain)
            for stored in batch:
                if stored.seq <= seq:
                    continue
                try:
                    self._apply(stored, changes)
                except TooNew as e:
                    halt = e
                    break
                seq, event_id = stored.seq, stored.headers.get(ID_HEADER, "")
                previous, chain = chain, link(chain, stored)
                changes.applied += 1
            if changes.applied:
                position = Position(created, seq, event_id, chain.hex(), previous.hex())
                self._write(position, changes)
        self._position = position
        changes.seq = position.seq
        self._trim()
        if halt is not None:
            raise Halted(str(halt), changes)
        return changes

    def _apply(self, stored: Stored, changes: Changes) -> None:
        """Merge one event into the cached rows; a refused one becomes a row of `rejected`."""
        event_id = ""
        try:
            fact = fact_of(stored)
            event_id = fact.id
            # All handlers see the rows as they were before the event, so that their order means nothing.
            puts = [p for handler in _HANDLERS.get(fact.type, ()) for p in handler(self, stored.seq, fact)]
            for table, key, values in puts:
                TABLES[table].check(values)
                self.get(table, key)  # into the cache, before anything changes
        except BadInput as e:
            event_id = e.event_id if isinstance(e, Misplaced) else event_id
            changes.rejected.append(Rejected(stored, str(e)))
            puts = [Put("rejected", (stored.seq,), {"subject": stored.subject, "event_id": event_id})]
        for table, key, values in puts:
            row = self._rows[table].get(key)
            if row is None:
                row = self._rows[table][key] = TABLES[table].blank(key)
                if self._present is not None:
                    self._present.add(hash((table, key)))
            row.update(values)
            self._dirty[table].add(key)

    def _write(self, position: Position, changes: Changes) -> None:
        for name, keys in self._dirty.items():
            if keys:
                rows = self._rows[name]
                # Rows hold their columns in the table's order from `blank` or from SELECT on.
                changed = [tuple(rows[key].values()) for key in keys]  # type: ignore[union-attr]
                if TABLES[name].late:
                    changed = [tuple([v.text() if hasattr(v, "text") else v for v in row]) for row in changed]
                self._con.executemany(self._sql[name], changed)
                changes.keys[name] = set(keys)
                keys.clear()
        self._con.executemany(
            "INSERT OR REPLACE INTO to_park VALUES (?, ?)", [(r.stored.seq, r.reason) for r in changes.rejected]
        )
        self._con.execute(
            "UPDATE position SET created = ?, seq = ?, event_id = ?, chain = ?, previous = ?", tuple(position)
        )

    def adopt(self, created: str) -> None:
        """Bind read models that stand before the first event to the stream made at `created`."""
        if self._position.seq == 0 and self._position.created != created:
            self.rebuild(created)
