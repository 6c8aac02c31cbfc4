"""Pure decisions: which replicas belong in WORK now, which must wait, and what a finished campaign's digest is."""

import hashlib
from typing import NamedTuple

from agents.dispatcher.model import Campaign, Unit
from bus.messages import Presence
from domain.hashing import canonical
from domain.specs import Distinct


class Plan(NamedTuple):
    """Replicas to put into WORK, to take out of it, and to mark as waiting (each (unit, replica))."""

    queue: list[tuple[Unit, int]]
    withhold: list[tuple[Unit, int]]


def owners_alive(presences: list[Presence], lane: str, distinct: Distinct) -> set[str]:
    """Owners that can work on this kernel version now."""
    live = [p for p in presences if p.kind == "miner" and p.lane == lane and p.state in ("starting", "alive")]
    return {p.host if distinct == "host" else f"{p.host}.{p.slot}" for p in live}


def plan(campaigns: list[Campaign], presences: list[Presence], room: int, may_withhold: bool) -> Plan:
    """Walk units in order. A unit may have as many open replicas in WORK as owners are eligible for it.

    `room`: how many messages WORK may hold (half of max_ack_pending, so that a few naks starve nobody).
    """
    out = Plan([], [])
    for c in campaigns:
        alive = owners_alive(presences, c.lane, c.distinct)
        for unit in c.undecided():
            if room <= 0:
                return out
            # Those in WORK already come first: a replica is not moved about without need.
            replicas = sorted(unit.open_replicas(), key=lambda r: (unit.queue.get(r) != "queued", r))
            allowed = len(alive - unit.owners)
            for i, replica in enumerate(replicas):
                if i < allowed:
                    room -= 1
                    if unit.queue.get(replica) != "queued":
                        out.queue.append((unit, replica))
                elif unit.queue.get(replica) != "withheld" and may_withhold:
                    out.withhold.append((unit, replica))
                elif unit.queue.get(replica) == "queued":
                    room -= 1
    return out


def campaign_digest(campaign: Campaign) -> str:
    """SHA-256 over (index, verdict, result digest) in order of index."""
    h = hashlib.sha256()
    for u in sorted(campaign.units, key=lambda u: u.index):
        h.update(canonical([u.index, u.verdict, u.digest]) + b"\n")
    return h.hexdigest()
