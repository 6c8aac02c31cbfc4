"""How far campaigns are: what the read models know, for those who add the live views to it."""

import sqlite3
from typing import NamedTuple

from projections.queries import Json, campaign_row, rows, unit_counts

DECIDED = ("validated", "inconclusive", "parked")


class Work(NamedTuple):
    """Replicas answered and the seconds they took; `open_answers`: those of units that have no verdict yet."""

    answered: int
    seconds: float
    open_answers: int


def work_of(con: sqlite3.Connection, campaign: str) -> Work:
    """Of one campaign, through its units."""
    row = con.execute(
        "SELECT count(*), coalesce(sum(r.seconds), 0.0), coalesce(sum(u.state NOT IN (?, ?, ?)), 0) FROM units u"
        " JOIN replicas r ON r.unit = u.id WHERE u.campaign = ? AND r.state = 'answered'",
        (*DECIDED, campaign),
    ).fetchone()
    return Work(int(row[0]), float(row[1]), int(row[2]))


def open_campaigns(con: sqlite3.Connection, limit: int) -> list[Json]:
    """Campaigns that are asked for or open, oldest first, with their units by state."""
    sql = "SELECT * FROM campaigns WHERE state IN ('requested', 'open') ORDER BY opened_seq, requested_seq LIMIT ?"
    return [campaign_row(r) | {"units_by_state": unit_counts(con, r["id"])} for r in rows(con, sql, (limit,))]


def campaign_counts(con: sqlite3.Connection) -> dict[str, int]:
    """Campaigns by state."""
    return {str(s): int(n) for s, n in con.execute("SELECT state, count(*) FROM campaigns GROUP BY state")}


def answered_of(con: sqlite3.Connection, replicas: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those (unit, replica) that have their answer in the log."""
    sql = "SELECT 1 FROM replicas WHERE unit = ? AND replica = ? AND state = 'answered'"
    return [key for key in replicas if con.execute(sql, key).fetchone() is not None]
