"""Replicas of units: who holds each, who answered what. All of it is trace: outcomes belong to the unit."""

from collections.abc import Callable
from typing import Any

from bus.events import (
    ReplicaAnswered,
    ReplicaClaimed,
    ReplicaQueued,
    ReplicaReleased,
    ReplicaRequested,
    ReplicaWithheld,
)
from projections.schema import Fact, Put, ReadModel, Row, Table, Value, View, number, trace, words

#: requested (asked for, not in WORK yet), queued, withheld (no owner is eligible), running, answered.
TABLE = Table(
    "replicas",
    ("unit", "replica"),
    (
        *trace("text", "unit"),
        *trace("int", "replica"),
        *trace("text", "campaign", "state", "host", "slot", "digest", "owner", "reason"),
        *trace("text", "queued_time", "claimed_time", "answered_time"),
        *trace("int", "claim_seq", "claims", "takeovers", "start_generation"),
        *trace("int", "result_seq", "counts", "evaluated", "generations"),
        *trace("real", "seconds", "best"),
    ),
    indexes=(("host", "slot"),),
)
EVENTS = (
    "mining.queue.replica_queued",
    "mining.queue.replica_withheld",
    "mining.unit.replica_claimed",
    "mining.unit.replica_released",
    "mining.unit.replica_answered",
    "mining.unit.replica_requested",
)


def _queued(before: str, row: Row | None, d: ReplicaQueued) -> str:
    return "queued" if before in ("", "requested", "withheld") else before


def _withheld(before: str, row: Row | None, d: ReplicaWithheld) -> str:
    return "withheld" if before in ("", "requested", "queued") else before


def _requested(before: str, row: Row | None, d: ReplicaRequested) -> str:
    return before or "requested"


def _claimed(before: str, row: Row | None, d: ReplicaClaimed) -> str:
    return before if before == "answered" or d.claim_seq <= number(row, "claim_seq") else "running"


def _released(before: str, row: Row | None, d: ReplicaReleased) -> str:
    return "queued" if before == "running" and d.claim_seq >= number(row, "claim_seq") else before


def _answered(before: str, row: Row | None, d: ReplicaAnswered) -> str:
    held_by_another = before == "running" and (d.host, d.slot) != (words(row, "host"), words(row, "slot"))
    return before if held_by_another and not d.counts else "answered"


_NEXT: dict[type[Any], Callable[[str, Row | None, Any], str]] = {
    ReplicaQueued: _queued,
    ReplicaWithheld: _withheld,
    ReplicaRequested: _requested,
    ReplicaClaimed: _claimed,
    ReplicaReleased: _released,
    ReplicaAnswered: _answered,
}


def next_state(row: Row | None, data: Any) -> str:
    """The state after `data`, the same as before where the event comes too late to say anything.

    Dispatcher and validator write independently: "queued" can arrive after the claim that it made possible.
    """
    return _NEXT[type(data)](words(row, "state"), row, data)


def _claim_values(row: Row | None, event: Fact, after: str) -> dict[str, Value]:
    d: ReplicaClaimed = event.data
    if d.claim_seq <= number(row, "claim_seq"):
        return {}
    values: dict[str, Value] = {
        "claim_seq": d.claim_seq,
        "claims": number(row, "claims") + 1,
        "takeovers": number(row, "takeovers") + bool(d.takeover_from),
    }
    if after == "running":
        values |= {"host": d.host, "slot": d.slot, "start_generation": d.generation, "claimed_time": event.time}
    return values


def _answer_values(row: Row | None, event: Fact, after: str) -> dict[str, Value]:
    """The first answer that counts stays; one that does not is shown until another comes."""
    d: ReplicaAnswered = event.data
    if after != "answered" or number(row, "counts"):
        return {}
    return {
        "host": d.host,
        "slot": d.slot,
        "digest": d.digest,
        "owner": d.owner,
        "result_seq": d.result_seq,
        "counts": d.counts,
        "evaluated": d.evaluated,
        "generations": d.generations,
        "seconds": d.seconds,
        "best": d.best_objective,
        "answered_time": event.time,
    }


def _values(row: Row | None, event: Fact, after: str, changed: bool) -> dict[str, Value]:
    d = event.data
    kind = type(d)
    if kind is ReplicaClaimed:
        return _claim_values(row, event, after)
    if kind is ReplicaAnswered:
        return _answer_values(row, event, after)
    if not changed:
        return {}
    if kind is ReplicaQueued:
        return {"queued_time": event.time, "reason": ""}
    if kind is ReplicaReleased:
        return {"host": "", "slot": ""}
    return {"reason": d.reason}


def _apply(view: View, seq: int, event: Fact) -> list[Put]:
    key = (event.subject, event.data.replica)
    row = view.get("replicas", key)
    after = next_state(row, event.data)
    changed = after != words(row, "state")
    values = _values(row, event, after, changed)
    if row is None:
        values["campaign"] = event.data.campaign
    if changed:
        values["state"] = after
    return [Put("replicas", key, values)] if values else []


MODEL = ReadModel(TABLE, dict.fromkeys(EVENTS, _apply))
apply = MODEL.apply
