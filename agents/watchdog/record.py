"""What happened to agents, as events: kept (in a file, should we die) while the bus is away, stored once each.

A joined machine may not write events. Its watchdog reports under its own host token, and the first one turns the
reports into events, as the validator does with claims.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

from agents.watchdog.children import agent_kind
from bus.client import Bus, Expect
from bus.envelope import Event, TooNew, decode_event, encode_event, make_event
from bus.events import AgentGaveUp, AgentStalled, AgentStarted, AgentStopped
from bus.run_file import Mode
from bus.runtime import VERSION
from bus.subjects import entity_filter, ops_report
from bus.tail import Tail
from domain.errors import BadInput, Conflict, SluiceError
from domain.hashing import derived_id

log = logging.getLogger("sluice.watchdog")
Told = AgentStarted | AgentStopped | AgentStalled | AgentGaveUp
KEPT = 1000
REPORTS = "telem.*.watchdog.ops"


class Recorder:
    """Takes facts at any time and stores them in order as soon as the bus takes them.

    `untold`: a file with the facts that are not stored yet, one a line; those of an earlier watchdog come first.
    """

    def __init__(self, bus: Bus, host: str, mode: Mode, untold: Path, now: Callable[[], str]) -> None:
        self.bus, self.host, self.mode, self.now = bus, host, mode, now
        self._untold = untold
        self._waiting: deque[Event] = deque(read_untold(untold), maxlen=KEPT)
        self._more = asyncio.Event()
        self._more.set()

    def started(self, agent: str, pid: int, mark: str) -> None:
        self._tell(agent, AgentStarted(agent_kind(agent), self.host, pid, VERSION), pid, mark)

    def stopped(self, agent: str, pid: int, mark: str, exit: int | None, *, wanted: bool) -> None:
        self._tell(agent, AgentStopped(agent_kind(agent), self.host, pid, exit, wanted), pid, mark)

    def stalled(self, agent: str, pid: int, mark: str, reason: str) -> None:
        self._tell(agent, AgentStalled(agent_kind(agent), self.host, pid, reason), pid, mark)

    def gave_up(self, agent: str, pid: int, mark: str, deaths: int, window_s: float, retry_s: float) -> None:
        self._tell(agent, AgentGaveUp(agent_kind(agent), self.host, deaths, window_s, retry_s), pid, mark)

    def _tell(self, agent: str, data: Told, pid: int, mark: str) -> None:
        """`mark` is the process's start: what happens to one process happens once."""
        event = make_event(
            data,
            id=derived_id(type(data).__name__, self.host, agent, pid, mark),
            source="watchdog",
            subject=f"{self.host}_{agent}",
            time=self.now(),
        )
        self._waiting.append(event)
        try:
            with self._untold.open("ab") as f:
                f.write(encode_event(event) + b"\n")
        except OSError as e:
            # It is still told, if only the watchdog lives until the bus is back.
            log.error("%s cannot be written: %s", self._untold, e)
        self._more.set()

    async def run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                if not await self._store(self._waiting[0]):
                    await asyncio.sleep(0.3)
                    continue
                self._waiting.popleft()
            self._untold.unlink(missing_ok=True)

    async def flush(self, timeout_s: float) -> None:
        """Wait until all is stored, but no longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._waiting:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.warning("%d facts about agents were not recorded: the bus is away", len(self._waiting))

    async def _store(self, event: Event) -> bool:
        try:
            if self.mode == "join":
                await self.bus.publish(ops_report(self.host), encode_event(event), patience_s=1.0)
            else:
                await append(self.bus, event)
        except SluiceError as e:
            log.debug("not recorded yet: %s", e)
            return False
        return True


def read_untold(path: Path) -> list[Event]:
    """What an earlier watchdog could not store; a line that it did not finish is left out."""
    out = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            out.append(decode_event(line))
        except BadInput as e:
            log.warning("%s: %s", path, e)
    return out


async def append(bus: Bus, event: Event) -> None:
    """Store the event unless this agent's events hold it already, however long ago (they are few)."""
    entity = entity_filter(event.type, event.subject)
    for _ in range(5):
        last = await bus.last("EVENTS", entity)
        end = 0
        async for stored in bus.read("EVENTS", 1, entity):
            end = stored.seq
            if decode_event(stored.data).id == event.id:
                return
        if end != (last.seq if last else 0):
            continue  # read from a copy that lags behind
        try:
            await bus.append(event, Expect(entity, end), 1.0)
            return
        except Conflict as e:
            log.debug("another writer was first: %s", e)
    raise SluiceError(f"{event.subject}: others write about this agent at the same time")


def read_report(subject: str, data: bytes, seq: int) -> Event:
    """A joined machine's report as the event to store. BadInput unless it is about an agent of the machine that sent it."""
    host = subject.split(".")[1]
    event = decode_event(data)
    told = event.payload()
    if not isinstance(told, AgentStarted | AgentStopped | AgentStalled | AgentGaveUp):
        raise BadInput(f"{event.type} is nothing that a joined machine may report")
    agent = event.subject.removeprefix(f"{host}_")
    if told.host != host or agent == event.subject or not re.fullmatch(r"(watchdog|miner-\d+)", agent):
        raise BadInput(f"{host} reports about {event.subject}, which is not an agent of its own")
    return make_event(
        told, id=event.id, source="watchdog", subject=event.subject, time=event.time, causation=f"TELEM.{seq}"
    )


class Reports:
    """Turns the reports of joined machines into events, each once: an event names the report that it came from."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._tail = Tail(bus, "TELEM", 0, REPORTS)

    async def run(self) -> None:
        while True:
            for stored in await self._tail.next(1.0):
                await self._take(stored.subject, stored.data, stored.seq)

    async def _take(self, subject: str, data: bytes, seq: int) -> None:
        while True:
            try:
                event = read_report(subject, data, seq)
                if seq > await self._taken(event):
                    await append(self.bus, event)
                return
            except (BadInput, TooNew, ValueError) as e:
                log.warning("report %d on %s is left out: %s", seq, subject, e)
                return
            except SluiceError as e:
                log.debug("report %d waits: %s", seq, e)
                await asyncio.sleep(0.5)

    async def _taken(self, event: Event) -> int:
        """The sequence of the last report about this agent that is an event."""
        last = await self.bus.last("EVENTS", entity_filter(event.type, event.subject))
        cause = decode_event(last.data).causationid if last is not None else ""
        return int(cause.removeprefix("TELEM.")) if cause.startswith("TELEM.") else 0
