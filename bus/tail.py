"""Follow a stream from a position, for ever: in order, without a gap, over reconnects and server restarts."""

import asyncio
import logging
import time
import uuid

import msgspec
from nats.aio.msg import Msg

from bus.client import Bus, Stored
from bus.pull import ConsumerGone, Pull
from domain.errors import Unreachable

log = logging.getLogger("sluice.tail")
#: On several nodes: after so long without a message the leader is asked whether there is really none.
QUIET_S = 3.0
_NONE: dict[str, str] = {}
#: What the named tuple's own constructor does, without its arguments by name.
_stored = tuple.__new__


class Tail:
    """An ordered reader. `position` is the last sequence handed out; after any doubt the consumer is made anew from there."""

    def __init__(
        self, bus: Bus, stream: str, position: int = 0, subject_filter: str = "", batch: int = 500,
        *, headers_only: bool = False,
    ) -> None:  # fmt: skip
        self.bus = bus
        self.stream = stream
        self.position = position
        self._filter = subject_filter
        self._batch = batch
        self._headers_only = headers_only
        self._pull: Pull | None = None
        self._consumer_seq = 0
        self._reopen = False
        self._quiet_since = time.monotonic()

    async def _open(self) -> Pull:
        # Whose it is stands in its name: who looks at consumers wants to know who is behind.
        name = f"{self.bus.credentials.role}-{uuid.uuid4().hex[:12]}"
        config = {
            "name": name,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.position + 1,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 60_000_000_000,
        }
        if self._headers_only:
            config["headers_only"] = True
        if self._filter:
            config["filter_subject"] = self._filter
        subject = f"{self.bus.wire.api}.CONSUMER.CREATE.{self.stream}.{name}"
        if self._filter:
            subject += f".{self._filter}"
        payload = msgspec.json.encode({"stream_name": self.stream, "config": config, "action": "create"})
        reply = msgspec.json.decode((await self.bus.request(subject, payload, timeout_s=3.0)).data)
        if "error" in reply:
            raise Unreachable(f"cannot follow {self.stream}: {reply['error'].get('description')}")
        pull = Pull(self.bus, self.stream, name, self._batch, ordered=True)
        await pull.start()
        self._consumer_seq = 0
        return pull

    async def next(self, timeout_s: float) -> list[Stored]:
        """New messages in order, or an empty list after `timeout_s` (also while the server is away)."""
        try:
            if self._reopen:
                self._reopen = False
                await self._drop()
            if self._pull is None:
                self._pull = await self._open()
            found = self._accept(await self._pull.next(timeout_s))
            if not found and await self._behind():
                found = self._accept(await self._pull.next(timeout_s))
                if not found:
                    raise ConsumerGone(f"{self.stream}: nothing beyond {self.position}, the leader has more")
            if found:
                self._quiet_since = time.monotonic()
            return found
        except Unreachable as e:
            if not isinstance(e, ConsumerGone):
                log.debug("%s", e)
                await self.bus.doubt()
                await asyncio.sleep(min(timeout_s, 0.3))
            await self._drop()
            return []

    async def _behind(self) -> bool:
        """Silence may be that of a copy which is cut off from the others; asked now and then."""
        if not self.bus.clustered or time.monotonic() - self._quiet_since < QUIET_S:
            return False
        self._quiet_since = time.monotonic()
        there = await self.bus.last(self.stream, self._filter or ">", patience_s=0.0)
        return there is not None and there.seq > self.position

    def _accept(self, messages: list[Msg]) -> list[Stored]:
        out = []
        expected, position = self._consumer_seq, self.position
        for m in messages:
            # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time ns>.<pending>
            _, seq_, consumer_seq, time_ns, _ = m.reply.rsplit(".", 4)
            expected += 1
            if int(consumer_seq) != expected:
                raise ConsumerGone(f"{self.stream}: consumer sequence {consumer_seq} after {expected - 1}")
            position = int(seq_)
            if not (m.data or m.headers):
                # A message of nothing, not even headers, ends a streamed reply across accounts: what follows never arrives.
                self._reopen = True
            out.append(_stored(Stored, (m.subject, position, m.data, m.headers or _NONE, time_ns)))
        self._consumer_seq, self.position = expected, position
        return out

    async def _drop(self) -> None:
        pull, self._pull = self._pull, None
        if pull is not None:
            await pull.stop()

    async def close(self) -> None:
        await self._drop()
