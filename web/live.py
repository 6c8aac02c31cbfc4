"""What is going on now: notices new rows, heartbeats and progress, and wakes the pages that are open."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass, field

import msgspec

from bus.client import Bus
from bus.messages import Presence, Progress
from bus.presence import judged_state, read_presence
from bus.tail import Tail
from domain.errors import SluiceError, Unreachable
from projections import progress, queries
from web.views import Views

log = logging.getLogger("sluice.web")
LOOK_S = 0.1
PRESENCE_S = 1.0
RATE_WINDOW_S = 60.0
#: Progress older than this is of a miner that has stopped reporting.
PROGRESS_S = 20.0
MAX_CLIENTS = 64


@dataclass
class Now:
    """The live views of this moment. `connected`: the bus answers; `presence_at` (monotonic s): when it last did."""

    presences: list[Presence] = field(default_factory=list)
    progress: dict[tuple[str, int], tuple[float, Progress]] = field(default_factory=dict)
    connected: bool = False
    presence_at: float = 0.0
    last_seq: int = 0
    position: int = 0
    behind_since: float | None = None
    rate: float | None = None

    def miners(self) -> list[Presence]:
        """Miners whose heartbeats come in time and that can work."""
        return [p for p in self.presences if p.kind == "miner" and judged_state(p) == "alive"]

    def owners(self) -> int:
        """How many distinct owners a unit could have now: hosts from two on, else slots."""
        miners = self.miners()
        hosts = len({p.host for p in miners})
        return hosts if hosts > 1 else len(miners)

    def of_unit(self, unit: str) -> list[Progress]:
        """What miners said of this unit lately, one a replica."""
        late = time.monotonic() - PROGRESS_S
        return [p for (u, _), (at, p) in sorted(self.progress.items()) if u == unit and at > late]

    def of_campaign(self, campaign: str) -> list[Progress]:
        late = time.monotonic() - PROGRESS_S
        return [p for at, p in self.progress.values() if p.campaign == campaign and at > late]


class Hub:
    """`data` and `live` count changes of the read models and of the live views; `changed` wakes whoever waits."""

    def __init__(self, bus: Bus, views: Views) -> None:
        self.bus, self.views, self.now = bus, views, Now()
        self.data = self.live = self.clients = 0
        self.stopping = False
        self._seen: tuple[int, int] | None = None
        self._waiting: set[asyncio.Event] = set()
        self._totals: deque[tuple[float, int]] = deque()

    def look(self) -> None:
        """Has the projector written something? Cheap enough for every request."""
        version = self.views.version()
        if version != self._seen:
            self._seen = version
            self.data += 1
            self._wake()

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    @contextlib.contextmanager
    def listening(self):  # type: ignore[no-untyped-def]
        """An event that is set at every change, from now on."""
        event = asyncio.Event()
        event.set()
        self._waiting.add(event)
        self.clients += 1
        try:
            yield event
        finally:
            self._waiting.discard(event)
            self.clients -= 1

    def stop(self) -> None:
        self.stopping = True
        self._wake()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            tasks.create_task(self._heartbeats())
            tasks.create_task(self._progress())

    async def _look(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    async def _heartbeats(self) -> None:
        while True:
            try:
                async with asyncio.timeout(3.0):
                    self.now.presences = await read_presence(self.bus)
                    self.now.last_seq = await self.bus.last_seq("EVENTS")
                self.now.presence_at, self.now.connected = time.monotonic(), True
            except (SluiceError, TimeoutError) as e:
                log.debug("no heartbeats: %s", e)
                self.now.connected = False
            await self._figures()
            self.live += 1
            self._wake()
            await asyncio.sleep(PRESENCE_S)

    async def _figures(self) -> None:
        """How fast rules are tried: over the last minute, answers and what is under way together."""
        keys = list(self.now.progress)
        try:
            position, (_, answered, _), done = await self.views.read(
                lambda con: (queries.position(con), queries.answered(con), progress.answered_of(con, keys))
            )
        except Unreachable:
            self.now.position, self.now.rate = 0, None
            return
        n, at = self.now, time.monotonic()
        n.position = position
        for key in done:
            n.progress.pop(key, None)
        n.behind_since = None if n.position >= n.last_seq else n.behind_since or at
        for key in [k for k, (seen, _) in n.progress.items() if at - seen > PROGRESS_S]:
            del n.progress[key]
        self._totals.append((at, answered + sum(p.evaluated for _, p in n.progress.values())))
        while at - self._totals[0][0] > RATE_WINDOW_S:
            self._totals.popleft()
        (first, before), (last, total) = self._totals[0], self._totals[-1]
        n.rate = max(0.0, (total - before) / (last - first)) if last - first >= 2 * PRESENCE_S else None

    async def _progress(self) -> None:
        """Progress from now on; what was said before this process began is of no use."""
        while True:
            try:
                tail = Tail(self.bus, "TELEM", await self.bus.last_seq("TELEM"), "telem.*.*.progress")
                break
            except SluiceError as e:
                log.debug("no progress: %s", e)
                await asyncio.sleep(1.0)
        try:
            while True:
                for stored in await tail.next(1.0):
                    try:
                        said = msgspec.json.decode(stored.data, type=Progress)
                    except msgspec.MsgspecError as e:
                        log.warning("progress on %s cannot be read: %s", stored.subject, e)
                        continue
                    self.now.progress[(said.unit, said.replica)] = (time.monotonic(), said)
                    self.live += 1
                    self._wake()
        finally:
            await tail.close()
