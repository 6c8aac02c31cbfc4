"""What the bus says of this host's agents: heartbeats and the ends of the streams they read; and who answers over HTTP."""

import asyncio
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import msgspec

from bus.client import Bus
from bus.messages import Claim, Presence
from bus.subjects import claims_of_replica
from domain.errors import SluiceError

log = logging.getLogger("sluice.watchdog")
POISON_ATTEMPTS = 3


class Observer:
    """Looks every `every_s`. `reachable_since` is None while the bus does not answer: then nobody may be judged."""

    def __init__(self, bus: Bus, host: str, names: list[str], every_s: float) -> None:
        self.bus, self.host, self.names, self.every_s = bus, host, names, every_s
        self.reachable_since: float | None = None
        self.presences: dict[str, Presence] = {}
        self.ends: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            try:
                await self.look()
                if self.reachable_since is None:
                    self.reachable_since = time.monotonic()
            except SluiceError as e:
                if self.reachable_since is not None:
                    log.warning("the bus does not answer, nobody is judged: %s", e)
                self.reachable_since = None
            await asyncio.sleep(self.every_s)

    async def look(self) -> None:
        """One look; Unreachable when the bus does not answer."""
        found = await asyncio.gather(*(self._presence(name) for name in self.names))
        self.presences = {p.agent: p for p in found if p is not None}
        streams = sorted({s for p in self.presences.values() for s in p.positions})
        ends = await asyncio.gather(*(self.bus.last_seq(s) for s in streams))
        self.ends = dict(zip(streams, ends, strict=True))
        if not self.names:
            await self.bus.last("KV_PRESENCE", f"$KV.PRESENCE.{self.host}.watchdog")

    async def _presence(self, name: str) -> Presence | None:
        stored = await self.bus.last("KV_PRESENCE", f"$KV.PRESENCE.{self.host}.{name}")
        if stored is None or not stored.data:
            return None
        try:
            presence = msgspec.json.decode(stored.data, type=Presence)
        except msgspec.MsgspecError as e:
            log.warning("the heartbeat of %s cannot be read: %s", name, e)
            return None
        return presence if (presence.host, presence.agent) == (self.host, name) else None

    async def poisoned(self, work: str) -> bool:
        """Whether the replica `unit.replica` has brought down as many claimants as it may: then it is to blame."""
        unit, _, replica = work.partition(".")
        try:
            stored = await self.bus.last("CLAIM", claims_of_replica(unit, int(replica)))
            claim = msgspec.json.decode(stored.data, type=Claim) if stored is not None else None
        except (SluiceError, ValueError, msgspec.MsgspecError) as e:
            log.warning("whether %s is poison cannot be told: %s", work, e)
            return False
        return claim is not None and (claim.poisoned or claim.attempts >= POISON_ATTEMPTS)


class Answers:
    """Asks over HTTP, in a task of its own; `last` is when there was an answer (monotonic)."""

    def __init__(self, ask: Callable[[], bool], every_s: float) -> None:
        self._ask, self._every_s = ask, every_s
        self.last = time.monotonic()

    def forgive(self) -> None:
        """A process that has just started owes no answer yet."""
        self.last = time.monotonic()

    def silent_s(self) -> float:
        return time.monotonic() - self.last

    async def run(self) -> None:
        while True:
            if await asyncio.to_thread(self._ask):
                self.last = time.monotonic()
            await asyncio.sleep(self._every_s)


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether `url` gives any answer below 500."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as r:
            return bool(r.status < 500)
    except urllib.error.HTTPError as e:
        return e.code < 500
    except (urllib.error.URLError, OSError, ValueError):
        return False
