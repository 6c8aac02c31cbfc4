"""A fast pull with a callback of its own (nats-py's `fetch(n>1)` can stall for seconds, and loses time over restarts)."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.client import Bus
from domain.errors import Unreachable


class ConsumerGone(Unreachable):
    """The consumer does not exist (any more): create it again."""


class _Straight(asyncio.Queue[Msg]):
    """Takes the place of a subscription's queue: what arrives is handled at once instead of by a task that waits for it.

    The queue, its task and a coroutine for each message cost as much as all that we do with a message.
    """

    def __init__(self, take: Callable[[Msg], None]) -> None:
        super().__init__()
        self.put_nowait = take  # type: ignore[method-assign,assignment]


class Pull:
    """Keeps one pull request open on a consumer and hands out what arrives, in order.

    `batch` messages a request. With `batch=1` it is fit for work that must not be held back from others: what an
    earlier request still brings while nobody waits goes back at once (a delivery that lay about may be another's by now).
    """

    def __init__(
        self, bus: Bus, stream: str, consumer: str, batch: int, expires_s: float = 5.0, *, ordered: bool = False
    ) -> None:
        self.bus = bus
        self._ordered = ordered
        self._subject = f"{bus.wire.api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._batch = batch
        self._expires_s = expires_s
        self._heartbeat_s = max(0.5, expires_s / 5)
        self._buffer: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._wanted = 0
        self._heard = 0.0
        self._gone = ""
        self._inbox = ""
        self._request = 0
        self._waiting = False
        #: Somebody waits for the first of what comes next: only that one has to wake him.
        self._idle = True
        self._sub: Subscription | None = None

    async def start(self) -> None:
        self._inbox = self.bus.nc.new_inbox()
        one = self._batch == 1
        self._sub = await self.bus.nc.subscribe(
            f"{self._inbox}.*",
            cb=self._on_message if one else None,
            pending_msgs_limit=self._batch * 4 + 64,
            pending_bytes_limit=-1,
        )
        if not one:
            self._sub._pending_queue = _Straight(self._take)

    async def finish(self) -> list[Msg]:
        """Ask no more, wait until the open request has run out, and return what it still brought."""
        deadline = time.monotonic() + self._expires_s + 0.5
        while self._wanted > 0 and not self._gone and time.monotonic() < deadline and self.bus.nc.is_connected:
            self._idle = True
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), 0.2)
            except TimeoutError:
                continue
        out = list(self._buffer)
        self._buffer.clear()
        return out

    async def stop(self) -> None:
        if self._sub is not None and not self.bus.nc.is_closed:
            await self._sub.unsubscribe()

    async def _on_message(self, msg: Msg) -> None:
        """With `batch=1`: what nobody waits for goes back."""
        if (self._buffer or not self._waiting) and msg.reply.startswith("$JS.ACK"):
            self._heard = time.monotonic()
            self._wanted -= 1
            await self.bus.nc.publish(msg.reply, b"-NAK")
            self._arrived.set()
        else:
            self._take(msg)

    def _take(self, msg: Msg) -> None:
        if msg.reply.startswith("$JS.ACK"):
            self._wanted -= 1
            self._buffer.append(msg)
            if self._idle:
                self._idle = False
                self._heard = time.monotonic()
                self._arrived.set()
        else:
            self._heard = time.monotonic()
            self._on_status(msg)
            self._idle = False
            self._arrived.set()

    def _on_status(self, msg: Msg) -> None:
        headers = msg.headers or {}
        status = headers.get("Status")
        if status == "100" or msg.subject != f"{self._inbox}.{self._request}":
            return  # a sign of life, or the end of an earlier request
        self._wanted = 0
        description = headers.get("Description", "")
        if status not in ("404", "408") and "batch completed" not in description.lower():
            self._gone = f"{status} {description}"

    async def _ask(self) -> None:
        request = {
            "batch": self._batch,
            "expires": int(self._expires_s * 1e9),
            "idle_heartbeat": int(self._heartbeat_s * 1e9),
        }
        self._wanted = max(0, self._wanted) + self._batch
        self._heard = time.monotonic()
        self._request += 1
        reply = f"{self._inbox}.{self._request}"
        try:
            await self.bus.nc.publish(self._subject, msgspec.json.encode(request), reply=reply)
        except (nats.errors.Error, OSError) as e:
            raise Unreachable(f"cannot ask {self._subject} now: {e}") from e

    async def next(self, timeout_s: float) -> list[Msg]:
        """All that has arrived, at least one message; an empty list after `timeout_s`. Raises ConsumerGone, Unreachable."""
        self._waiting = True
        try:
            return await self._next(time.monotonic() + timeout_s)
        finally:
            self._waiting = False

    def _silent(self) -> bool:
        return time.monotonic() - self._heard > 2.5 * self._heartbeat_s

    async def _next(self, deadline: float) -> list[Msg]:
        while not self._buffer:
            if self._gone:
                gone, self._gone = self._gone, ""
                raise ConsumerGone(f"{self._subject}: {gone}")
            now = time.monotonic()
            if now >= deadline:
                return []
            if self._wanted > 0 and self._silent():
                await asyncio.sleep(0.05)  # we may have been busy ourselves: let in what waits on the socket
                if self._buffer or not self._silent():
                    continue
                await self.bus.doubt()
                if self._ordered:
                    # What the request has brought may be lost: its reader must start anew from its position.
                    raise ConsumerGone(f"{self._subject}: no sign of life")
                self._wanted = 0
            if self._wanted <= 0:
                await self._ask()
            self._idle = True
            self._arrived.clear()
            # Wake at least once a heartbeat, so that a silent server is noticed and asked anew.
            wait = min(deadline - now, self._heartbeat_s)
            try:
                await asyncio.wait_for(self._arrived.wait(), wait)
            except TimeoutError:
                continue
        self._heard = time.monotonic()
        out = list(self._buffer)
        self._buffer.clear()
        if self._batch > 1 and self._wanted <= self._batch // 2:
            # Before the last request has run out, so that the server always has something to send.
            await self._ask()
        return out
