"""Writers that race for the same facts through whatever happens to the nodes, and remember what they were told."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from uuid import uuid4

from bus.client import Bus, Expect
from bus.envelope import Event, encode_event, make_event, now_rfc3339
from bus.events import AgentStarted
from bus.subjects import entity_filter
from bus.tail import Tail
from domain.errors import Conflict, Unreachable
from tests.support.campaign import facts


def fact(entity: str) -> Event:
    """A fact that nobody acts on, with an id of its own."""
    data = AgentStarted("racer", "alpha", 1, "0")
    return make_event(data, id=uuid4().hex, source="test", subject=entity, time=now_rfc3339())


@dataclass
class Racers:
    """Several writers, each over its own connection, try to be the first to say something of race 0, 1, 2 …

    One more writer only appends, with ids and without expectations; a reader follows the log.
    """

    buses: list[Bus]
    won: dict[str, tuple[str, int]] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)
    appended: dict[str, int] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    decided: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._race())]
        self._tasks += [
            asyncio.create_task(self._append(self.buses[0])),
            asyncio.create_task(self._read(self.buses[-1])),
        ]

    async def _race(self) -> None:
        while not self._stop.is_set():
            entity = f"race_{self.decided}"
            await asyncio.gather(*(self._one(bus, fact(entity)) for bus in self.buses))
            self.decided += 1
            await asyncio.sleep(0.02)

    async def _one(self, bus: Bus, event: Event) -> None:
        """Until it is told whether it was the first; an unknown outcome is asked for again, with the same event."""
        while True:
            try:
                seq = await bus.append(event, Expect(entity_filter(event.type, event.subject), 0), 1.0)
            except Conflict:
                self.lost.append((event.subject, event.id))
                return
            except Unreachable:
                continue
            assert event.subject not in self.won, f"two were told that they were first in {event.subject}"
            self.won[event.subject] = (event.id, seq)
            return

    async def _append(self, bus: Bus) -> None:
        n = 0
        while not self._stop.is_set():
            event = fact(f"plain_{n}")
            n += 1
            while event.id not in self.appended:
                try:
                    seq = await bus.publish(event.nats_subject(), encode_event(event), id=event.id, patience_s=1.0)
                    self.appended[event.id] = seq
                except Unreachable:
                    continue
            await asyncio.sleep(0.02)

    async def _read(self, bus: Bus) -> None:
        tail = Tail(bus, "EVENTS")
        while not self._stop.is_set():
            self.seen += [s.seq for s in await tail.next(0.5)]
        # All that is stored by now.
        end = await bus.last_seq("EVENTS")
        while tail.position < end:
            self.seen += [s.seq for s in await tail.next(0.5)]
        await tail.close()

    def healthy(self) -> None:
        """Raises what ended a task."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def finish(self) -> None:
        """Everybody has got an answer; then what each was told is held against the log."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        log = await facts(self.buses[0])
        by_seq = {f.seq: f.event for f in log}
        ids = Counter(f.event.id for f in log)
        entities = Counter(f.event.subject for f in log if f.event.subject.startswith("race_"))
        assert not [i for i, count in ids.items() if count > 1], "an event was stored twice"
        assert set(entities.values()) == {1}, "a race has two firsts"
        for entity, (id_, seq) in self.won.items():
            assert by_seq[seq].id == id_, f"{entity}: what was acknowledged at {seq} is not there"
        for id_, seq in self.appended.items():
            assert ids[id_] == 1
            assert by_seq[seq].id == id_
        for entity, id_ in self.lost:
            assert ids[id_] == 0, f"{entity}: told that it was lost, but it is in the log"
            assert self.won[entity][0] != id_
        assert len(self.won) == len(entities), "a fact is in the log that nobody was told of"
        assert self.seen == sorted(by_seq), "the reader missed something, or saw it twice"
