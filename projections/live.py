"""Live views: what heartbeats say now, joined with what the log knows. No digest, nothing to replay."""

from datetime import datetime
from typing import Any

from bus.messages import Presence
from bus.presence import age_s, judged_state
from projections.queries import Json


def agent_rows(presences: list[Presence], now: datetime | None = None) -> list[Json]:
    """Agents of the `status` contract, by host and id; `last_seen_s` seconds since the last heartbeat."""
    found = [
        {
            "id": p.agent,
            "kind": p.kind,
            "host": p.host,
            "state": judged_state(p, now),
            "last_seen_s": round(max(0.0, age_s(p, now)), 1),
            "done": p.done,
            "detail": p.detail,
        }
        for p in presences
    ]
    return sorted(found, key=lambda a: (str(a["host"]), str(a["id"])))


def worker_rows(rows: list[Json], presences: list[Presence], now: datetime | None = None) -> list[Json]:
    """Miners by host and slot: work done comes from the log, liveness from heartbeats; without one a miner is dead."""
    live = {(p.host, p.slot): p for p in presences if p.kind == "miner"}
    known = {(r["host"], r["slot"]): r for r in rows}
    keys = sorted(known.keys() | live.keys(), key=_order)
    return [_worker(h, s, known.get((h, s), {}), live.get((h, s)), now) for h, s in keys]


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
