"""Pure decisions: which replicas belong in WORK now, which must wait, and what a finished campaign's digest is."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from agents.dispatcher.model import Campaign, Unit
from bus.events import CampaignRequested
from bus.messages import Presence
from domain.candles import DatasetInfo
from domain.errors import BadInput
from domain.hashing import canonical
from domain.specs import Distinct, validate_campaign


class Plan(NamedTuple):
    """Replicas to put into WORK, to take out of it, and to mark as waiting (each (unit, replica))."""

    queue: list[tuple[Unit, int]]
    withhold: list[tuple[Unit, int]]


def owners_alive(presences: list[Presence], lane: str, distinct: Distinct) -> set[str]:
    """Owners that can work on this kernel version now."""
    live = [p for p in presences if p.kind == "miner" and p.lane == lane and p.state in ("starting", "alive")]
    return {owner(p.host, p.slot, distinct) for p in live}


def owner(host: str, slot: str, distinct: Distinct) -> str:
    """Who counts as one: the whole machine, or one slot of it."""
    return host if distinct == "host" else f"{host}.{slot}"


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
            replicas = _in_order(unit, c.distinct, alive)
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


def _in_order(unit: Unit, distinct: Distinct, alive: set[str]) -> list[int]:
    """What a live owner works on comes first, then what lies in WORK: nothing is moved about without need."""
    held = {r for r, (host, slot) in unit.holders.items() if owner(host, slot, distinct) in alive}
    return sorted(unit.open_replicas(), key=lambda r: (r not in held, unit.queue.get(r) != "queued", r))


def refusal(data: CampaignRequested, datasets: Mapping[str, DatasetInfo], now: datetime) -> str:
    """Why a campaign cannot be opened, or nothing."""
    try:
        until = datetime.fromisoformat(data.valid_until)
    except ValueError:
        return f"{data.valid_until!r} is no time until which the request is valid"
    if until.tzinfo is None or until < now:
        return f"the request was valid until {data.valid_until}"
    search = data.spec.search
    info = datasets.get(search.dataset)
    if info is None:
        return f"dataset {search.dataset[:12]} is not registered"
    if (search.venue, search.symbol, search.granularity_s) != (info.venue, info.symbol, info.granularity_s):
        return f"dataset {search.dataset[:12]} holds {info.venue} {info.symbol} at {info.granularity_s} s, not what is asked for"
    windows = (*search.windows.fitness, *search.windows.walk_forward)
    if not search.windows.fitness or not all(0 <= w.start < w.stop <= info.candles for w in windows):
        return f"the windows do not lie within the {info.candles} candles of the dataset"
    try:
        validate_campaign(data.spec)
    except BadInput as e:
        return str(e)
    return ""


def campaign_digest(campaign: Campaign) -> str:
    """SHA-256 over (index, verdict, result digest) in order of index."""
    h = hashlib.sha256()
    for u in sorted(campaign.units, key=lambda u: u.index):
        h.update(canonical([u.index, u.verdict, u.digest]) + b"\n")
    return h.hexdigest()
