"""The one way to talk to JetStream: publish with expectations, atomic batches, reads for decisions, fast batched reads.

Works in the account of the streams and, through renamed service imports, in those of agents and miners (`Wire`).
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import nats
from nats.errors import MaxPayloadError
from nats.js.client import JetStreamContext

from bus.answers import PubAck, raise_for
from bus.answers import Refused as Refused
from bus.answers import SubjectTaken as SubjectTaken
from bus.credentials import AGENT_WIRE as AGENT_WIRE
from bus.credentials import MINER_WIRE as MINER_WIRE
from bus.credentials import Credentials as Credentials
from bus.credentials import Wire as Wire
from bus.credentials import refused
from bus.envelope import Event, encode_event
from bus.lean import LeanClient
from bus.reading import Reader
from bus.reading import Stored as Stored
from bus.tls import client_options, words
from bus.urls import in_any_order, server_urls
from bus.violations import Watched
from domain.errors import BadInput, Conflict, SluiceError, Unreachable

log = logging.getLogger("sluice.bus")
#: The longest that an old leader, which knows no better, answers beside the new one.
BEHIND_S = 5.0


class Expect(NamedTuple):
    """The last sequence over `filter` must be `seq` (0 = nothing there yet).

    All writers of an entity use the same filter: on three nodes, writes under way are compared by its text alone (ADR 0019).
    """

    filter: str
    seq: int


class Bus(Reader):
    """A connection in one role. All waits are bounded; a lost server is waited for by reconnecting for ever."""

    def __init__(
        self, nc: LeanClient, credentials: Credentials, patience_s: float = 30.0, watched: Watched | None = None
    ) -> None:
        super().__init__(nc, credentials, patience_s, watched or Watched(credentials.role, credentials.user))
        self.wire = credentials.wire
        self.js: JetStreamContext = nc.jetstream(prefix=credentials.wire.api)

    @classmethod
    async def connect(
        cls, credentials: Credentials, name: str, timeout_s: float = 10.0, patience_s: float = 30.0
    ) -> "Bus":
        """Connect or raise Unreachable with one clear line. A permission violation is logged as what it is."""
        watched = Watched(name, credentials.user)
        options: dict[str, Any] = {"reconnect_time_wait": 0.25, "dont_randomize": True}
        options |= client_options(credentials.ca)
        if credentials.user:
            options |= {"nkeys_seed_str": credentials.seed, "inbox_prefix": f"_INBOX.{credentials.user}".encode()}
        nc = LeanClient()
        connecting = nc.connect(
            in_any_order(server_urls(credentials.url)),
            name=name,
            error_cb=watched.on_error,
            max_reconnect_attempts=-1,
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=3,
            allow_reconnect=True,
            **options,
        )
        # With endless reconnects the client tries for ever at the first connection too: the deadline is ours.
        task = asyncio.ensure_future(connecting)
        deadline = time.monotonic() + timeout_s
        while not task.done() and time.monotonic() < deadline and not watched.hopeless():
            await asyncio.wait({task}, timeout=0.05)
        if task.done() and task.exception() is None:
            watched.connected = True
            return cls(nc, credentials, patience_s, watched)
        await _abandon(task, nc)
        if watched.turned_away():
            raise Unreachable(refused(credentials))
        why = words(watched.last, credentials.url, credentials.ca) if watched.last is not None else ""
        raise Unreachable(why or f"no NATS server answers at {credentials.url}; is `sluice up` running?")

    @property
    def server_version(self) -> str:
        v = self.nc.connected_server_version
        return f"{v.major}.{v.minor}.{v.patch}"

    async def close(self) -> None:
        """Flush what is under way, then close (never `drain`: it hangs with pull subscriptions)."""
        try:
            await asyncio.wait_for(self.nc.flush(1), 1.5)
        except (TimeoutError, nats.errors.Error, OSError) as e:
            log.debug("flush on close: %s", e)
        await self.nc.close()

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        id: str = "",
        expect: Expect | None = None,
        headers: dict[str, str] | None = None,
        patience_s: float | None = None,
    ) -> int:
        """Store a message and return its sequence. Repeats over outages up to `patience_s`, with the same id.

        Raises Conflict (the expectation failed: perhaps our own earlier try, read back to know), SubjectTaken,
        Refused, Forbidden, Unreachable.
        """
        h = dict(headers or {})
        if id:
            h["Nats-Msg-Id"] = id
        if expect is not None:
            h["Nats-Expected-Last-Subject-Sequence"] = str(expect.seq)
            if expect.filter != subject:
                h["Nats-Expected-Last-Subject-Sequence-Subject"] = expect.filter
        began = time.monotonic()
        deadline = began + (self.patience_s if patience_s is None else patience_s)
        pause = 0.05
        while True:
            try:
                reply = await self.request(subject, payload, h or None, timeout_s=3.0)
                ack = msgspec.json.decode(reply.data, type=PubAck)
                if ack.error is not None:
                    raise_for(ack.error, subject)
                self._heard = time.monotonic()
                return ack.seq
            except Conflict as e:
                if not self._undecided(e, expect) or time.monotonic() + pause > min(deadline, began + BEHIND_S):
                    raise
            except Unreachable:
                await self.doubt()
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _undecided(self, conflict: Conflict, expect: Expect | None) -> bool:
        """Several nodes: another write over the filter is on its way (perhaps our own earlier try), or an old leader that
        does not know yet what we expect has answered before the new one."""
        if not self.clustered or expect is None:
            return False
        return conflict.actual is None or conflict.actual < expect.seq

    async def append(self, event: Event, expect: Expect, patience_s: float | None = None) -> int:
        """Store a fact that may happen once: same id already there = its sequence, another one there = Conflict."""
        subject = event.nats_subject()
        try:
            return await self.publish(subject, encode_event(event), id=event.id, expect=expect, patience_s=patience_s)
        except Conflict as e:
            for there in (await self.winner("EVENTS", expect, e), await self.last("EVENTS", subject)):
                if there is not None and _id_of(there) == event.id:
                    return there.seq
            raise

    async def winner(self, stream: str, expect: Expect, conflict: Conflict) -> Stored | None:
        """The first message beyond what was expected: if an earlier try of ours was stored, it is this one.

        A reader that does not show it yet is behind (an old leader, a copy), which is no evidence of a lost race: it is asked
        again. None when the expectation was wrong by itself: nothing lies beyond it.
        """
        if conflict.actual is not None and conflict.actual <= expect.seq:
            return None
        deadline = time.monotonic() + (BEHIND_S if self.clustered else 0.0)
        while True:
            there = await self.next(stream, expect.seq + 1, expect.filter)
            if there is not None or time.monotonic() >= deadline:
                return there
            await asyncio.sleep(0.1)

    async def append_batch(
        self, entries: Sequence[tuple[Event, Expect | None]], patience_s: float | None = None
    ) -> int:
        """Store up to 1000 events atomically, all or none. Conflict as in `append`.

        Returns a sequence by which all of them are stored: the last one's, or the stream's when an earlier try of
        this batch turns out to have succeeded.
        """
        if len(entries) == 1:
            only, expect = entries[0]
            if expect is not None:
                return await self.append(only, expect, patience_s)
            return await self.publish(only.nats_subject(), encode_event(only), id=only.id, patience_s=patience_s)
        batch = uuid.uuid4().hex
        last = entries[-1][0]
        headers = _batch_headers(batch, len(entries), *entries[-1]) | {"Nats-Batch-Commit": "1"}
        try:
            for i, (event, expect) in enumerate(entries[:-1], 1):
                await self.nc.publish(
                    event.nats_subject(), encode_event(event), headers=_batch_headers(batch, i, event, expect)
                )
            reply = await self.request(last.nats_subject(), encode_event(last), headers, timeout_s=5.0)
            ack = msgspec.json.decode(reply.data, type=PubAck)
            if ack.error is not None:
                raise_for(ack.error, last.nats_subject())
            return ack.seq
        except MaxPayloadError as e:
            raise Refused(f"an event of {last.correlationid} is larger than the server takes") from e
        except (Unreachable, Conflict, nats.errors.Error) as e:
            if await self._committed([event for event, _ in entries]):
                return await self.last_seq("EVENTS")
            if forbidden := self.watched.violation(*(event.nats_subject() for event, _ in entries)):
                raise forbidden from e
            if isinstance(e, SluiceError):
                raise
            raise Unreachable(f"a batch of {len(entries)} events was not sent: {e}") from e

    async def _committed(self, events: list[Event]) -> bool:
        """All or none: when the newest event under one of the subjects is ours, an earlier try has succeeded.

        Looked for by the first event that no later one of the batch covers; it carries the batch's own expectation.
        """
        subjects_ = [e.nats_subject() for e in events]
        own = next(e for i, e in enumerate(events) if subjects_[i] not in subjects_[i + 1 :])
        there = await self.last("EVENTS", own.nats_subject())
        return there is not None and _id_of(there) == own.id


async def _abandon(task: "asyncio.Future[None]", nc: LeanClient) -> None:
    """Give a first connection up, whatever it waits for."""
    task.cancel()
    try:
        await task
    except (asyncio.CancelledError, OSError, TimeoutError, nats.errors.Error) as e:
        log.debug("connecting was given up: %r", e)
    await nc.close()


def _batch_headers(batch: str, sequence: int, event: Event, expect: Expect | None) -> dict[str, str]:
    h = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(sequence), "Nats-Msg-Id": event.id}
    if expect is not None:
        h["Nats-Expected-Last-Subject-Sequence"] = str(expect.seq)
        if expect.filter != event.nats_subject():
            h["Nats-Expected-Last-Subject-Sequence-Subject"] = expect.filter
    return h


def _id_of(stored: Stored) -> str:
    try:
        return msgspec.json.decode(stored.data, type=Event).id
    except msgspec.MsgspecError as e:
        raise BadInput(f"{stored.subject} holds something that is not an event: {e}") from e
