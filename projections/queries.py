"""What the command line and the pages read: plain dictionaries, in the shapes of the JSON contract.

Connections come from `files.open_reader`; wrap several calls in `files.snapshot` to see one position.
"""

import sqlite3
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from domain.candles import DatasetInfo
from domain.errors import BadInput
from domain.judgement import Judgement
from domain.judgement_rows import campaign_rows, gate_rows, stands_out
from domain.judgement_words import campaign_words
from domain.markets import granularity_label
from domain.specs import CampaignSpec
from projections.agents import UNKNOWN_EXIT
from projections.files import snapshot
from projections.gathered import distribution_of, front_of

Json = dict[str, Any]
UNIT_STATES = ("queued", "running", "waiting", "validated", "inconclusive", "parked")
MAX_ROWS = 1_000_000


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as UTC; the bare number when it lies outside the calendar."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(ms)


def rows(con: sqlite3.Connection, sql: str, args: tuple[Any, ...] = ()) -> list[Json]:
    cursor = con.execute(sql, args)
    names = [c[0] for c in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def position(con: sqlite3.Connection) -> int:
    """The sequence of the last event that is in the read models."""
    return int(con.execute("SELECT seq FROM position").fetchone()[0])


def unit_counts(con: sqlite3.Connection, campaign: str = "") -> dict[str, int]:
    """Units by state, all six states named, of one campaign or of all."""
    where, args = ("WHERE campaign = ?", (campaign,)) if campaign else ("", ())
    found = dict(con.execute(f"SELECT state, count(*) FROM units {where} GROUP BY state", args).fetchall())
    return {state: int(found.get(state, 0)) for state in UNIT_STATES}


def campaigns(con: sqlite3.Connection, limit: int = MAX_ROWS, offset: int = 0) -> list[Json]:
    """Newest first, without the spec (see `campaign`)."""
    found = rows(
        con,
        "SELECT * FROM campaigns ORDER BY max(opened_seq, requested_seq, finished_seq) DESC, id LIMIT ? OFFSET ?",
        (limit, offset),
    )
    return [campaign_row(r) for r in found]


def campaign_row(row: Json) -> Json:
    """A row of the table in the shape of the JSON contract. `proven`: the best of all strategies of the grammar on the
    fitness windows, once every exhaustive unit is validated."""
    inner = (
        "spec",
        "granularity_s",
        "seed",
        "distinct_by",
        "best",
        "best_genome",
        "best_objective",
        "best_enough",
        "judgement",
    )
    keep = {k: v for k, v in row.items() if k not in inner}
    proven = row["best"] and row["state"] == "finished" and row["validated"] == row["units"]
    return keep | {
        "passed": row["passed"] if row["judged_seq"] else None,
        "proven": {"strategy": row["best"], "objective": row["best_objective"], "best_of": row["trials"]}
        if proven
        else None,
        "seed": int(row["seed"] or 0),
        "granularity": granularity_label(row["granularity_s"]),
        "also": [
            {"dataset": dataset, "venue": venue, "symbol": symbol, "granularity": granularity_label(seconds)}
            for dataset, venue, symbol, seconds in (msgspec.json.decode(row["also"]) if row["also"] else ())
        ],
        "distinct": row["distinct_by"],
    }


def campaign(con: sqlite3.Connection, id: str) -> Json | None:
    """One campaign with its spec (JSON text), its units by state, what they found put together and what is said of luck.

    `front`: what no other find dominates; `distribution` of an exhaustive campaign; `checks` of the campaign as a whole;
    `gates` of the find that stands out, `of`.
    """
    with snapshot(con):
        found = rows(con, "SELECT * FROM campaigns WHERE id = ?", (id,))
        if not found:
            return None
        said = found[0]["judgement"]
        judgement = msgspec.json.decode(said, type=Judgement) if said else None
        best = stands_out(judgement) if judgement else None
        search = msgspec.json.decode(found[0]["spec"], type=CampaignSpec).search if found[0]["spec"] else None
        return campaign_row(found[0]) | {
            "spec": found[0]["spec"],
            "units_by_state": unit_counts(con, id),
            "judgement": msgspec.json.decode(said) if said else None,
            "luck": campaign_words(judgement) if judgement else [],
            "checks": msgspec.to_builtins(campaign_rows(judgement)) if judgement else [],
            "gates": {"of": best.strategy, "rows": msgspec.to_builtins(gate_rows(judgement, best))}
            if judgement and best
            else None,
            "front": front_of(con, id, search) if search else [],
            "distribution": distribution_of(con, id),
        }


def campaign_by_prefix(con: sqlite3.Connection, id: str) -> Json | None:
    """One campaign by its id or by a beginning of it (8 signs or more)."""
    if len(id) < 8:
        return None
    found = con.execute("SELECT id FROM campaigns WHERE id BETWEEN ? AND ? LIMIT 2", (id, id + "g")).fetchall()
    if len(found) > 1:
        raise BadInput(f"more than one campaign begins with {id}; give more of its id")
    return campaign(con, found[0][0]) if found else None


def units(
    con: sqlite3.Connection, campaign: str = "", state: str = "", limit: int = MAX_ROWS, offset: int = 0
) -> list[Json]:
    """Units in order of campaign and index, filtered by campaign and state where given."""
    if state and state not in UNIT_STATES:
        raise BadInput(f"a unit's state is one of {', '.join(UNIT_STATES)}, not {state}")
    wanted = [(f"{name} = ?", value) for name, value in (("campaign", campaign), ("state", state)) if value]
    where = "WHERE " + " AND ".join(w for w, _ in wanted) if wanted else ""
    found = rows(
        con,
        f"SELECT * FROM units {where} ORDER BY campaign, idx, id LIMIT ? OFFSET ?",
        (*(v for _, v in wanted), limit, offset),
    )
    return [_unit(r) for r in found]


def unit(con: sqlite3.Connection, id: str) -> Json | None:
    """One unit by its whole id."""
    found = rows(con, "SELECT * FROM units WHERE id = ?", (id,))
    return _unit(found[0]) if found else None


def _unit(row: Json) -> Json:
    renamed = {"idx": "index", "distinct_by": "distinct"}
    out = {renamed.get(k, k): v for k, v in row.items()}
    for name in ("owners", "outvoted"):
        out[name] = msgspec.json.decode(row[name]) if row[name] else []
    out["seed"] = int(row["seed"] or 0)
    out["task"] = msgspec.json.decode(row["task"]) if row["task"] else None
    out["kernel_flagged"] = bool(row["kernel_flagged"])
    out["replicas"] = {k: out.pop(k) for k in ("queued", "withheld", "running", "answered")}
    return out


def replicas(con: sqlite3.Connection, unit: str) -> list[Json]:
    """All replicas of a unit, with holder, claims and answer."""
    found = rows(con, "SELECT * FROM replicas WHERE unit = ? ORDER BY replica", (unit,))
    return [r | {"counts": bool(r["counts"])} for r in found]


def workers(con: sqlite3.Connection) -> list[Json]:
    """Miners that ever held a replica: answers given, seconds worked on them, replicas held now. Liveness is not here."""
    return rows(
        con,
        "SELECT host, slot, sum(state = 'answered') AS answered, sum(state = 'running') AS running,"
        " coalesce(sum(seconds), 0.0) AS seconds, sum(evaluated) AS evaluated, max(answered_time) AS last_answer"
        " FROM replicas WHERE host <> '' GROUP BY host, slot ORDER BY host, slot",
    )


def agents(
    con: sqlite3.Connection, kind: str = "", state: Literal["", "started", "stopped", "stalled", "gave up"] = ""
) -> list[Json]:
    """Agents as their watchdogs recorded them; `exit` is null when nobody saw it."""
    found = rows(
        con,
        "SELECT * FROM agents WHERE (? = '' OR kind = ?) AND (? = '' OR state = ?) ORDER BY host, kind, id",
        (kind, kind, state, state),
    )
    return [r | {"wanted": bool(r["wanted"]), "exit": None if r["exit"] == UNKNOWN_EXIT else r["exit"]} for r in found]


def datasets(con: sqlite3.Connection) -> list[Json]:
    """`data list`: granularity as `5m`, first and last open time in RFC 3339."""
    return [
        {
            "id": r["id"],
            "venue": r["venue"],
            "symbol": r["symbol"],
            "granularity": granularity_label(r["granularity_s"]),
            "candles": r["candles"],
            "first": rfc3339(r["first_ms"]),
            "last": rfc3339(r["last_ms"]),
        }
        for r in rows(con, "SELECT * FROM datasets ORDER BY imported_seq, id")
    ]


def dataset_info(con: sqlite3.Connection, id: str) -> DatasetInfo | None:
    """The header of a registered dataset, by its whole id."""
    found = rows(con, "SELECT * FROM datasets WHERE id = ?", (id,))
    return DatasetInfo(**{name: found[0][name] for name in DatasetInfo.__struct_fields__}) if found else None


def trials(con: sqlite3.Connection) -> int:
    """Rules tried: distinct genomes of finished campaigns, and what the validated units of running ones evaluated."""
    sql = "SELECT coalesce(sum(CASE WHEN state = 'finished' THEN trials ELSE evaluated END), 0) FROM campaigns"
    return int(con.execute(sql).fetchone()[0])


def answered(con: sqlite3.Connection) -> tuple[int, int, float]:
    """(replicas answered, genomes evaluated in them, seconds of work), replicas of one unit each counted."""
    sql = "SELECT count(*), coalesce(sum(evaluated), 0), coalesce(sum(seconds), 0.0) FROM replicas WHERE state = 'answered'"
    n, evaluated, seconds = con.execute(sql).fetchone()
    return int(n), int(evaluated), float(seconds)


def rejected(con: sqlite3.Connection) -> list[Json]:
    """Events that no read model could take; the reason stands in PARKED."""
    return rows(con, "SELECT * FROM rejected ORDER BY seq")
