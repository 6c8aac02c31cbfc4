"""Pure decisions: which replicas belong in WORK now, which must wait, and what a finished campaign's digest is."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from agents.dispatcher.model import Campaign, Unit
from bus.events import CampaignRequested
from bus.messages import Presence
from domain.candles import DatasetInfo
from domain.errors import BadInput
from domain.hashing import canonical
from domain.ledger import span_of
from domain.specs import MIN_CANDLES, CampaignSpec, Distinct, Market, split_windows, validate_campaign


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
    """Searches of all campaigns in order, then null repetitions: what luck finds can wait for what is found.

    A unit may have as many open replicas in WORK as owners are eligible for it. `room`: how many messages WORK may hold
    (half of max_ack_pending, so that a few naks starve nobody). Of null repetitions there lie no more in it than keep the
    owners busy, so that a search asked for later need not wait behind all of them.
    """
    out = Plan([], [])
    owners = {c.id: owners_alive(presences, c.lane, c.distinct) for c in campaigns}
    open_units = [(c, u, owners[c.id]) for c in campaigns for u in c.undecided()]
    room = _fill(out, (x for x in open_units if x[1].index < x[0].spec.units), room, may_withhold)
    busy = 2 * max(map(len, owners.values()), default=0)
    _fill(out, (x for x in open_units if x[1].index >= x[0].spec.units), min(room, busy), may_withhold)
    return out


def _fill(out: Plan, units: Iterable[tuple[Campaign, Unit, set[str]]], room: int, may_withhold: bool) -> int:
    """Add these units to the plan; returns the room that is left."""
    for campaign, unit, alive in units:
        if room <= 0:
            break
        replicas = _in_order(unit, campaign.distinct, alive)
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
    return room


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
    for market in data.spec.search.markets:
        reason = _market_refusal(market, datasets.get(market.dataset))
        if reason:
            return reason
    try:
        validate_campaign(data.spec)
    except BadInput as e:
        return str(e)
    return ""


def _market_refusal(market: Market, info: DatasetInfo | None) -> str:
    name = market.dataset[:12]
    if info is None:
        return f"dataset {name} is not registered"
    if (market.venue, market.symbol, market.granularity_s) != (info.venue, info.symbol, info.granularity_s):
        return f"dataset {name} holds {info.venue} {info.symbol} at {info.granularity_s} s, not what is asked for"
    windows, held = (*market.windows.fitness, *market.windows.walk_forward), market.windows.hold_out
    if not market.windows.fitness or not all(0 <= w.start < w.stop <= info.candles for w in windows):
        return f"the windows do not lie within the {info.candles} candles of the dataset"
    if not 0 <= held.start <= held.stop <= info.candles:
        return f"the hold-out does not lie within the {info.candles} candles of the dataset"
    return ""


class Look(NamedTuple):
    """Candles of a dataset's hold-out that somebody else will see."""

    dataset: str
    symbol: str
    first_ms: int
    last_ms: int


def looks(spec: CampaignSpec, datasets: Mapping[str, DatasetInfo], others: Iterable[CampaignSpec]) -> list[Look]:
    """What a campaign will look at that is a hold-out to others: of the same asset, under whatever venue, granularity,
    dataset version or split. Its own hold-out it does not see."""
    splits = {(d, split_windows(i.candles).hold_out) for d, i in datasets.items() if i.candles >= MIN_CANDLES}
    splits |= {(m.dataset, m.windows.hold_out) for o in others for m in o.search.markets if m.dataset in datasets}
    splits -= {(m.dataset, m.windows.hold_out) for m in spec.search.markets}
    out: dict[Look, None] = {}
    for market in spec.search.markets:
        seen = span_of(datasets[market.dataset], (*market.windows.fitness, *market.windows.walk_forward))
        for dataset, window in sorted(splits):
            info = datasets[dataset]
            held = span_of(info, (window,))
            if window.start < window.stop and held.overlaps(seen):
                first, last = max(held.first_ms, seen.first_ms), min(held.last_ms, seen.last_ms)
                out[Look(dataset, info.symbol, first, last)] = None
    return list(out)


def campaign_digest(campaign: Campaign) -> str:
    """SHA-256 over (index, verdict, result digest) in order of index."""
    h = hashlib.sha256()
    for u in sorted(campaign.units, key=lambda u: u.index):
        h.update(canonical([u.index, u.verdict, u.digest]) + b"\n")
    return h.hexdigest()
