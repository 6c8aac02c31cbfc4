"""Walk from an event to what caused it and what it rests on, by reading the log's entities: never the whole log, unless a
cause is not where causes lie."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple, Protocol

import msgspec

from bus.causes import causes_of, may_be_root
from bus.client import Stored
from bus.envelope import Event, TooNew, decode_event
from domain.errors import BadInput
from projections.lineage.rules import ORIGIN, Rest, Told, tell

#: How many events of one kind are followed further, unless all are wanted.
MOST = 12
ID_HEADER = "Nats-Msg-Id"


class Reader(Protocol):
    """What is needed of the bus."""

    def read(self, stream: str, start: int, subject_filter: str = ">", batch: int = 500) -> AsyncIterator[Stored]: ...
    async def get(self, stream: str, seq: int) -> Stored | None: ...


#: Subjects and headers of the log, from its beginning.
Skim = Callable[[], AsyncIterator[Stored]]


class Node(msgspec.Struct, frozen=True):
    """One event in words. `causes`: sequences of the events before it, its cause first; `left_out`: how many more there are."""

    seq: int
    id: str
    type: str
    entity: str
    source: str
    time: str
    words: str
    origin: dict[str, str]
    causes: tuple[int, ...]
    left_out: int = 0


class Why(msgspec.Struct, frozen=True):
    """`nodes`, newest first, of what was asked for (`start`). `rests_on`: dataset hashes, seeds, kernel versions (lane),
    miners (host.slot) and replicas at the ends of all chains; `missing`: what should be there and is not, in words."""

    kind: str
    entity: str
    start: int
    nodes: tuple[Node, ...]
    rests_on: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.missing


class Found(NamedTuple):
    seq: int
    event: Event


class Lineage:
    """Reads what it needs once, so that many questions to one log cost little. `most` 0 = follow everything."""

    def __init__(self, reader: Reader, skim: Skim, most: int = MOST) -> None:
        self._reader, self.skim, self._most = reader, skim, most
        self._entities: dict[tuple[str, str], list[Found]] = {}
        self._by_id: dict[str, Found] = {}
        self._by_seq: dict[int, Found] = {}

    async def about(self, group: str, entity: str) -> list[Found]:
        """All readable events of an entity, in order; `group` is the first two parts of their types."""
        key = (group, entity)
        if key not in self._entities:
            found = [self._keep(s) async for s in self._reader.read("EVENTS", 1, f"ev.{group}.{entity}.>")]
            self._entities[key] = [f for f in found if f is not None]
        return self._entities[key]

    def _keep(self, stored: Stored) -> Found | None:
        try:
            found = Found(stored.seq, decode_event(stored.data))
        except BadInput:
            return None  # parked by those whose work it is
        self._by_seq[found.seq] = self._by_id[found.event.id] = found
        return found

    async def at(self, seq: int) -> Found | None:
        if seq not in self._by_seq:
            stored = await self._reader.get("EVENTS", seq)
            return self._keep(stored) if stored is not None else None
        return self._by_seq[seq]

    async def why(self, start: Found, kind: str = "event", entity: str = "") -> Why:
        """The chains that end at `start`, each event once."""
        nodes: dict[int, Node] = {}
        missing: list[str] = []
        waiting = [start]
        while waiting:
            found = waiting.pop()
            if found.seq in nodes:
                continue
            nodes[found.seq], further = await self._node(found, missing)
            waiting += [f for f in further if f.seq not in nodes]
        ordered = tuple(nodes[seq] for seq in sorted(nodes, reverse=True))
        return Why(kind, entity or start.event.subject, start.seq, ordered, _origins(ordered), tuple(missing))

    async def _node(self, found: Found, missing: list[str]) -> tuple[Node, list[Found]]:
        seq, event = found
        try:
            told = tell(event, event.payload())
        except (BadInput, TooNew) as e:
            told = Told(f"{event.type} that cannot be read here: {e}", near=(event.correlationid,))
            missing.append(f"event {seq} cannot be read: {e}")
        causes = await self._cause(found, told, missing)
        seen = {f.seq for f in causes}
        rests: list[Found] = []
        for rest in told.rests:
            these = await self._rests(seq, rest)
            if not these and rest.types == ("data.dataset.imported",):
                missing.append(f"event {seq} names dataset {rest.entity[:12]}, which the log has no import of")
            rests += [f for f in these if f.seq not in seen and not seen.add(f.seq)]  # type: ignore[func-returns-value]
        left_out = max(0, len(rests) - self._most) if self._most else 0
        further = [*causes, *rests[: len(rests) - left_out]]
        node = Node(
            seq, event.id, event.type, event.subject, event.source, event.time, told.words, told.origin,
            tuple(f.seq for f in further), left_out,
        )  # fmt: skip
        return node, further

    async def _cause(self, found: Found, told: Told, missing: list[str]) -> list[Found]:
        """The event that this one names as its cause, looked for where its kind of cause is filed."""
        seq, event = found
        cause, types = event.causationid, causes_of(event.type)
        if not cause:
            if types and not may_be_root(event.type):
                missing.append(f"event {seq} ({event.type}) names no cause")
            return []
        if cause.startswith("TELEM."):
            return []  # the report of a joined machine, which is no event
        entities = tuple(dict.fromkeys((event.subject, *told.near)))
        groups = dict.fromkeys(t.rpartition(".")[0] for t in types)
        places = [(group, entity) for group in groups for entity in entities]
        for group, entity in [*places, *(("*.*", entity) for entity in entities)]:
            if cause not in self._by_id:
                await self.about(group, entity)
        before = self._by_id.get(cause) or await self._anywhere(cause, seq)
        if before is not None and before.seq < seq:
            return [before]
        missing.append(f"event {seq} names the cause {cause}, which is not in the log before it")
        return []

    async def _anywhere(self, id: str, end: int) -> Found | None:
        """Through the whole log up to `end`: only for a cause that is filed where none is expected."""
        async for stored in self.skim():
            if stored.seq >= end:
                return None
            if stored.headers.get(ID_HEADER) == id:
                return await self.at(stored.seq)
        return None

    async def _rests(self, seq: int, rest: Rest) -> list[Found]:
        out: list[Found] = []
        for group in dict.fromkeys(t.rpartition(".")[0] for t in rest.types):
            for f in await self.about(group, rest.entity):
                if f.seq < seq and f.event.type in rest.types and _wanted(f.event, rest):
                    out.append(f)
        return out[-1:] if rest.newest else out


def _wanted(event: Event, rest: Rest) -> bool:
    try:
        return rest.wanted(event.payload())
    except (BadInput, TooNew):
        return False


def _origins(nodes: Iterable[Node]) -> dict[str, tuple[str, ...]]:
    out: dict[str, set[str]] = defaultdict(set)
    for node in nodes:
        for name, value in node.origin.items():
            out[name].add(value)
    return {name: tuple(sorted(out[name])) for name in ORIGIN}
