"""From what a person types (a sequence, an id, the beginning of one) to the event whose causes are wanted."""

import re
import sqlite3
from collections.abc import Callable
from typing import NamedTuple, Protocol

from bus.client import Stored
from bus.subjects import token
from domain.errors import BadInput, SluiceError
from projections.lineage.rules import KINDS, Kind
from projections.lineage.walk import ID_HEADER, Found, Lineage

#: Signs that a beginning of an id needs, as everywhere.
LEAST = 8
NEAR = 4
SHOWN = 5
Progress = Callable[[int], None]


class Unknown(SluiceError):
    """Nothing in the log has that id."""


class Log(Protocol):
    """What is needed of the bus beside a Reader."""

    async def next(self, stream: str, start: int, subject_filter: str) -> Stored | None: ...
    async def last_seq(self, stream: str) -> int: ...


class Start(NamedTuple):
    """The event to begin at, and what it was asked for as."""

    found: Found
    kind: str
    entity: str


async def resolve(
    lineage: Lineage, log: Log, con: sqlite3.Connection | None, wanted: str, progress: Progress | None = None
) -> Start:
    """`con`: the read models, if there are any: they only save a walk through the log, also while they are behind it.

    Raises Unknown when nothing has that id, BadInput when it cannot be one or when several ids begin so.
    """
    last = await log.last_seq("EVENTS")
    # A hash may well begin with digits alone: a sequence is what is one in this log, and has no zero before it.
    number = int(wanted) if re.fullmatch(r"[1-9][0-9]{0,17}", wanted) else 0
    if 1 <= number <= last:
        return await _event_at(lineage, number)
    token(wanted)
    if len(wanted) < LEAST:
        if number:
            raise Unknown(f"there is no event {wanted}: the log ends at {last}")
        raise BadInput(f"{wanted!r} is too short: {LEAST} signs of an id are needed at least, or a sequence of the log")
    known = _in_views(con, wanted) if con is not None else []
    known = [k for k in known if k[1] == wanted] or known
    if len({id for _, id in known}) > 1:
        raise _several(wanted, [f"{kind.name} {id}" for kind, id in known])
    if known:
        return await _entity(lineage, *known[0])
    stored = await log.next("EVENTS", 1, f"ev.*.*.{wanted}.*")
    if stored is not None:
        return await _entity(lineage, _kind_of(stored.subject), wanted)
    return await _walk(lineage, con, wanted, progress)


async def _event_at(lineage: Lineage, seq: int) -> Start:
    found = await lineage.at(seq)
    if found is None:
        raise Unknown(f"event {seq} cannot be read; `sluice events --since {seq} --limit 1` shows what lies there")
    return Start(found, "event", found.event.subject)


async def _entity(lineage: Lineage, kind: Kind, id: str) -> Start:
    """The event that says most about the entity."""
    events = await lineage.about(kind.group, id)
    if not events and kind.name == "campaign":
        events = await lineage.about("cmd.campaign", id)
    for verb in kind.verbs:
        best = [f for f in events if f.event.type == f"{kind.group}.{verb}"]
        if best:
            # The first verdict counts, and the first judgement.
            return Start(best[0], kind.name, id)
    if not events:
        raise Unknown(f"the log has no readable event of {kind.name} {id}")
    return Start(events[-1], kind.name, id)


def _kind_of(subject: str) -> Kind:
    """By its subject; an entity without an entry of its own is called by it."""
    context, name = subject.split(".")[1:3]
    group = {"cmd.campaign": "mining.campaign", "mining.queue": "mining.unit"}.get(
        f"{context}.{name}", f"{context}.{name}"
    )
    return next((k for k in KINDS if k.group == group), Kind(name, group, ""))


def _in_views(con: sqlite3.Connection, wanted: str) -> list[tuple[Kind, str]]:
    """Entities with that id, or whose ids begin so."""
    out = []
    for kind in KINDS:
        # No sign of an id sorts behind "~".
        sql = f"SELECT id FROM {kind.table} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
        out += [(kind, str(r[0])) for r in con.execute(sql, (wanted, wanted + "~", SHOWN + 1))]
    return out


async def _walk(lineage: Lineage, con: sqlite3.Connection | None, wanted: str, progress: Progress | None) -> Start:
    """Ids of events stand in no index: the log is read from its beginning, until the whole id is found or all of it."""
    events: dict[str, int] = {}
    entities: dict[str, str] = {}
    async for stored in lineage.skim():
        if progress is not None and stored.seq % 10_000 == 0:
            progress(stored.seq)
        id = stored.headers.get(ID_HEADER, "")
        if id == wanted:
            return await _event_at(lineage, stored.seq)
        if id.startswith(wanted):
            events[id] = stored.seq
        entity = stored.subject.split(".")[3]
        if entity.startswith(wanted):
            entities.setdefault(entity, stored.subject)
    if len(events) + len(entities) > 1:
        said = [f"event {seq} ({id})" for id, seq in events.items()]
        raise _several(wanted, said + [f"{_kind_of(s).name} {e}" for e, s in entities.items()])
    if entities:
        ((entity, subject),) = entities.items()
        return await _entity(lineage, _kind_of(subject), entity)
    if events:
        return await _event_at(lineage, events.popitem()[1])
    raise Unknown(f"nothing in the log has the id {wanted!r}{_near(con, wanted)}")


def _several(wanted: str, what: list[str]) -> BadInput:
    more = f" and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
    return BadInput(
        f"several ids begin with {wanted}: {', '.join(what[:SHOWN])}{more}; give more of the one that is meant"
    )


def _near(con: sqlite3.Connection | None, wanted: str) -> str:
    """Known ids with the longest beginning in common, from four signs on."""
    if con is None:
        return ""
    for length in range(len(wanted) - 1, NEAR - 1, -1):
        found = _in_views(con, wanted[:length])
        if found:
            return "; it begins like " + ", ".join(f"{kind.name} {id}" for kind, id in found[:SHOWN])
    return ""
