"""The SQLite file of the read models: open it to write or only to read, with errors in our own words."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from domain.errors import SluiceError, Unreachable
from projections.models import TABLES, fingerprint

#: Bookkeeping beside the read models: the position, what the file was made for, what is still to be parked.
_BOOKS = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) STRICT",
    "CREATE TABLE position (one INTEGER PRIMARY KEY CHECK (one = 1), created TEXT, seq INTEGER, event_id TEXT,"
    " chain TEXT, previous TEXT) STRICT",
    "CREATE TABLE to_park (seq INTEGER PRIMARY KEY, reason TEXT) STRICT",
)


class Damaged(SluiceError):
    """The file is not a database any more; the read models must be built anew."""


@contextlib.contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Unreachable (retryable) for a full disk, a lock, a folder without rights; Damaged for a broken file."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        # A mistake of ours, not of the file's: building anew would only repeat it.
        raise
    except sqlite3.OperationalError as e:
        raise Unreachable(f"the read models in {path} cannot be used now: {e}") from e
    except sqlite3.DatabaseError as e:
        raise Damaged(f"the read models in {path} are damaged: {e}") from e


def create_tables(con: sqlite3.Connection) -> None:
    """Empty read models at position 0, replacing all that was there; inside the caller's transaction."""
    there = [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in there:
        con.execute(f'DROP TABLE "{name}"')
    for table in TABLES.values():
        for sql in table.create_sql():
            con.execute(sql)
    for sql in _BOOKS:
        con.execute(sql)
    con.execute("INSERT INTO meta VALUES ('fingerprint', ?)", (fingerprint(),))
    con.execute("INSERT INTO position VALUES (1, '', 0, '', '', '')")


def made_for(con: sqlite3.Connection) -> str:
    """The fingerprint that the file was made with; "" when it holds no read models yet."""
    if con.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        return ""
    row = con.execute("SELECT value FROM meta WHERE name = 'fingerprint'").fetchone()
    return str(row[0]) if row else ""


def remove(path: Path) -> None:
    """Delete the file and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def open_writer(path: Path, *, scratch: bool = False) -> sqlite3.Connection:
    """A connection in autocommit; transactions are ours to begin. May move between threads, one at a time.

    `scratch`: one plain file without a journal, which an error or a crash makes worthless.
    """
    with sqlite_errors(path):
        con = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            con.execute(f"PRAGMA journal_mode = {'OFF' if scratch else 'WAL'}")
            # The position is in the same transaction as the rows: what a power loss takes is projected again.
            con.execute(f"PRAGMA synchronous = {'OFF' if scratch else 'NORMAL'}")
            con.execute("PRAGMA cache_size = -32000")
            con.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            con.close()
            raise
    return con


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, with rows by name; may move between threads, one at a time.

    Unreachable when there are no read models of this version.
    """
    if not path.exists():
        raise Unreachable(
            f"there are no read models at {path} yet; was `sluice up` ever run with this state directory?"
        )
    with sqlite_errors(path):
        con = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        con.execute("PRAGMA query_only = ON")
        con.row_factory = sqlite3.Row
        found = made_for(con)
    if found != fingerprint():
        con.close()
        what = "made by another version" if found else "empty"
        raise Unreachable(f"the read models at {path} are {what}; the projector builds them anew when it starts")
    return con


def open_past(path: Path) -> sqlite3.Connection:
    """A finished file that nobody writes to any more, rows by name; may move between threads, one at a time."""
    with sqlite_errors(path):
        con = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
        con.row_factory = sqlite3.Row
        found = made_for(con)
    if found != fingerprint():
        con.close()
        raise Damaged(f"the read models in {path} are of another version")
    return con


@contextlib.contextmanager
def snapshot(con: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All reads inside see one and the same position."""
    if con.in_transaction:
        yield con
        return
    con.execute("BEGIN")
    try:
        yield con
    finally:
        con.execute("ROLLBACK")
