"""The two digests over all read models: equal digests, equal read models, byte for byte."""

import hashlib
import sqlite3
from typing import NamedTuple

from domain.hashing import canonical
from projections.files import snapshot
from projections.models import TABLES
from projections.schema import Table

_ROWS = 1000


class Digests(NamedTuple):
    """SHA-256 (hex) at position `seq`: `all` over every column, `outcome` over what is a function of specs."""

    seq: int
    all: str
    outcome: str


def _feed(
    con: sqlite3.Connection, sha: "hashlib._Hash", table: Table, names: tuple[str, ...], order: str, where: str
) -> None:
    sha.update(canonical([table.name, names]) + b"\n")
    cursor = con.execute(f"SELECT {', '.join(names)} FROM {table.name} WHERE {where} ORDER BY {order}")
    while rows := cursor.fetchmany(_ROWS):
        sha.update(b"".join([canonical(list(row)) + b"\n" for row in rows]))


def digests(con: sqlite3.Connection) -> Digests:
    """Canonical JSON of each row, one a line, at one read snapshot; tables as declared, rows by primary key.

    Outcome rows are ordered by their own outcome columns instead: a key such as a campaign's id is trace, and two
    logs in which the same specs had the same outcomes give the same outcome digest.
    """
    everything, outcomes = hashlib.sha256(), hashlib.sha256()
    with snapshot(con):
        (seq,) = con.execute("SELECT seq FROM position").fetchone()
        for table in TABLES.values():
            _feed(con, everything, table, table.names, ", ".join(table.key), "1")
            if names := table.outcome_names:
                _feed(con, outcomes, table, names, ", ".join(names), table.outcome_if)
    return Digests(seq, everything.hexdigest(), outcomes.hexdigest())
