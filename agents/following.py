"""Fold the event log into an agent's model: in order, without a gap, with what cannot be read parked."""

from typing import Protocol

from bus.client import Stored
from bus.envelope import Event, TooNew, read_event
from bus.parking import park
from bus.runtime import Context
from bus.tail import Tail
from domain.errors import BadInput, Unreachable


class Model(Protocol):
    """What an agent derives from the log."""

    def saw(self, stored: Stored) -> None:
        """Something lies there now, readable or not: whoever expects a last sequence has to count it."""

    def apply(self, stored: Stored, event: Event) -> None:
        """Fold an event in; BadInput when it cannot be read."""


class Follower:
    """Hands each event of EVENTS to the model, from the first on. At an event of a newer version the agent halts."""

    def __init__(self, context: Context, model: Model) -> None:
        self._context = context
        self._model = model
        self._tail = Tail(context.bus, "EVENTS")

    @property
    def position(self) -> int:
        """The last sequence folded in."""
        return self._tail.position

    async def follow(self, timeout_s: float) -> bool:
        """Fold in what is new; True when there was something. Never stops half-way: what follows would be lost."""
        messages = await self._tail.next(timeout_s)
        self._context.step(EVENTS=self.position)
        for stored in messages:
            self._model.saw(stored)
            try:
                self._model.apply(stored, read_event(stored.subject, stored.data))
            except BadInput as e:
                await self._park(stored, str(e))
            except TooNew as e:
                # Whatever were decided without it could be wrong; a program that knows it starts from the log again.
                await self._context.halt(f"halted: {e}; update this host, nothing is lost")
                return True
        return bool(messages)

    async def _park(self, stored: Stored, reason: str) -> None:
        while not self._context.stop.is_set():
            try:
                await park(self._context.bus, "EVENTS", stored, reason, self._context.kind)
                return
            except Unreachable:
                await self._context.idle(0.5)

    async def catch_up(self, end: int = 0) -> None:
        """Until the model knows sequence `end` (0 = the log's last one now), or we are told to stop."""
        end = end or await self._context.bus.last_seq("EVENTS")
        while self.position < end and not self._context.stop.is_set():
            await self.follow(0.5)

    async def close(self) -> None:
        await self._tail.close()
