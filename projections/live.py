"""Live views: what heartbeats say now, joined with what the log knows. No digest, nothing to replay."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bus.messages import Presence
from bus.presence import age_s, judged_state
from projections.queries import Json

#: Recorded like agents, but judged in other ways than by a heartbeat.
NO_HEARTBEAT = ("nats-server",)


def agent_rows(presences: list[Presence], recorded: Sequence[Json] = (), now: datetime | None = None) -> list[Json]:
    """Agents of the `status` contract, by host and id; `last_seen_s` seconds since the last heartbeat.

    `recorded` (queries.agents) names who should be there: without a heartbeat it is dead, which is never health.
    """
    rows = {(r["host"], r["id"].removeprefix(f"{r['host']}_")): r for r in recorded}
    found: list[Json] = []
    for p in presences:
        row = rows.pop((p.host, p.agent), {})
        found.append(
            {
                "id": p.agent,
                "kind": p.kind,
                "host": p.host,
                "state": judged_state(p, now),
                "last_seen_s": round(max(0.0, age_s(p, now)), 1),
                "done": p.done,
                "restarts": row.get("crashes", 0),
                "detail": p.detail or p.work,
            }
        )
    for (host, name), r in rows.items():
        if r["kind"] in NO_HEARTBEAT or (r["state"] == "stopped" and r["wanted"]):
            continue
        shown = {"id": name, "kind": r["kind"], "host": host, "state": "dead", "last_seen_s": None, "done": 0}
        found.append(shown | {"restarts": r["crashes"], "detail": r["reason"]})
    return sorted(found, key=lambda a: (str(a["host"]), str(a["id"])))


def halted(presences: list[Presence]) -> list[Json]:
    """Agents that stand still until somebody acts, with the reason: the log is damaged, or newer than they are."""
    return [
        {"id": p.agent, "host": p.host, "detail": p.detail}
        for p in presences
        if p.state == "stalled" and p.detail.startswith("halted: ")
    ]


def worker_rows(
    rows: list[Json], presences: list[Presence], recorded: Sequence[Json] = (), now: datetime | None = None
) -> list[Json]:
    """Miners by host and slot: work done comes from the log, liveness from heartbeats; without one a miner is dead.

    Unless it was told to stop (`recorded`, queries.agents): then it is `stopped`, and nobody need look for it.
    """
    left = {
        (r["host"], r["id"].removeprefix(f"{r['host']}_miner-"))
        for r in recorded
        if r["state"] == "stopped" and r["wanted"]
    }
    live = {(p.host, p.slot): p for p in presences if p.kind == "miner"}
    known = {(r["host"], r["slot"]): r for r in rows}
    keys = sorted(known.keys() | live.keys(), key=_order)
    found = [_worker(h, s, known.get((h, s), {}), live.get((h, s)), now) for h, s in keys]
    for row in found:
        if row["state"] == "dead" and (row["host"], row["slot"]) in left:
            row["state"] = "stopped"
    return found


#: Instead of a state, for moments that are past: heartbeats are not kept.
NOT_RECORDED = "not recorded"
#: Which fields of the rows below say nothing of the past.
NOT_RECORDED_AGENT, NOT_RECORDED_WORKER = ("state", "last_seen_s", "done"), ("state", "last_seen_s")


def past_agent_rows(recorded: Sequence[Json]) -> list[Json]:
    """As `agent_rows` for a moment that is past: who should have been there, but not whether they lived."""
    return [r | {"state": NOT_RECORDED, "last_seen_s": None, "done": None} for r in agent_rows([], recorded)]


def past_worker_rows(rows: list[Json]) -> list[Json]:
    """As `worker_rows` for a moment that is past: what was done by then, but not whether they lived."""
    return [r | {"state": NOT_RECORDED, "last_seen_s": None} for r in worker_rows(rows, [])]


def _order(key: tuple[str, str]) -> tuple[str, int, str]:
    host, slot = key
    return host, int(slot) if slot.isdigit() else 0, slot


def _worker(host: str, slot: str, row: dict[str, Any], presence: Presence | None, now: datetime | None) -> Json:
    return {
        "host": host,
        "slot": slot,
        "state": judged_state(presence, now) if presence else "dead",
        "last_seen_s": round(max(0.0, age_s(presence, now)), 1) if presence else None,
        "answered": row.get("answered", 0),
        "seconds": round(row.get("seconds", 0.0), 1),
        "evaluated": row.get("evaluated", 0),
    }
