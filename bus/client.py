"""The one way to talk to JetStream: publish with expectations, atomic batches, reads for decisions, fast batched reads.

Works in the account of the streams and, through renamed service imports, in those of agents and miners (`Wire`).
"""

import asyncio
import base64
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec
import nats
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, MaxPayloadError
from nats.js.client import JetStreamContext

from bus.credentials import AGENT_WIRE as AGENT_WIRE
from bus.credentials import MINER_WIRE as MINER_WIRE
from bus.credentials import Credentials as Credentials
from bus.credentials import Wire as Wire
from bus.credentials import refused
from bus.envelope import Event, encode_event
from bus.lean import LeanClient
from bus.tls import client_options, words
from bus.violations import Watched
from domain.errors import BadInput, Conflict, SluiceError, Unreachable

log = logging.getLogger("sluice.bus")
#: Another writer was first; 10201: a batch holds the id of a message that is stored already.
WRONG_SEQUENCE = {10071, 10164, 10201}
#: Parts of an atomic batch were lost on the way (a restart in between): nothing was stored, send it again.
BATCH_CUT = {10175, 10176}
STORE_FAILED = 10077
NO_MESSAGE = 10037


class Refused(SluiceError):
    """The server will not take this message, and trying again will not change that."""


class SubjectTaken(Refused):
    """The subject may hold one message and has one already."""


class Stored(NamedTuple):
    """A message as it lies in a stream. `time` is the server's, RFC 3339."""

    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    time: str


class Expect(NamedTuple):
    """The last sequence over `filter` must be `seq` (0 = nothing there yet)."""

    filter: str
    seq: int


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


class _StoredReply(msgspec.Struct):
    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""


class _GetReply(msgspec.Struct):
    message: _StoredReply | None = None
    error: _ApiError | None = None


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode(errors="replace").split("\r\n")[1:]
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}


def _raise_for(error: _ApiError, subject: str) -> None:
    if error.err_code in WRONG_SEQUENCE:
        raise Conflict(f"{subject}: {error.description}")
    if error.err_code == STORE_FAILED and "per subject" in error.description:
        raise SubjectTaken(f"{subject} holds a message already")
    if error.code == 503 or error.err_code in (10023, 10047, STORE_FAILED) or error.err_code in BATCH_CUT:
        raise Unreachable(f"the server cannot store {subject} now: {error.description}")
    raise Refused(f"the server refuses {subject}: {error.description} ({error.err_code})")


class Bus:
    """A connection in one role. All waits are bounded; a lost server is waited for by reconnecting for ever."""

    def __init__(
        self, nc: LeanClient, credentials: Credentials, patience_s: float = 30.0, watched: Watched | None = None
    ) -> None:
        self.nc = nc
        self.watched = watched or Watched(credentials.role, credentials.user)
        self.patience_s = patience_s
        self.credentials = credentials
        self.wire = credentials.wire
        self.js: JetStreamContext = nc.jetstream(prefix=credentials.wire.api)

    @classmethod
    async def connect(
        cls, credentials: Credentials, name: str, timeout_s: float = 10.0, patience_s: float = 30.0
    ) -> "Bus":
        """Connect or raise Unreachable with one clear line. A permission violation is logged as what it is."""
        watched = Watched(name, credentials.user)
        options: dict[str, Any] = {"reconnect_time_wait": 0.25, **client_options(credentials.ca)}
        if credentials.user:
            options |= {"nkeys_seed_str": credentials.seed, "inbox_prefix": f"_INBOX.{credentials.user}".encode()}
        nc = LeanClient()
        connecting = nc.connect(
            credentials.url,
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

    async def request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None, timeout_s: float = 2.0
    ) -> Msg:
        """One request, one answer; Unreachable on time-out or while disconnected, Refused when it is too large, Forbidden."""
        try:
            return await self.watched.request(self.nc, subject, payload, headers, timeout_s)
        except MaxPayloadError as e:
            raise Refused(f"{subject}: {len(payload)} bytes are more than the server takes") from e
        except (TimeoutError, nats.errors.Error, OSError) as e:
            if self.watched.turned_away() and not self.nc.is_connected:
                raise Unreachable(refused(self.credentials)) from e
            raise Unreachable(f"no answer to {subject} within {timeout_s:g} s ({type(e).__name__})") from e

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
        deadline = time.monotonic() + (self.patience_s if patience_s is None else patience_s)
        pause = 0.05
        while True:
            try:
                reply = await self.request(subject, payload, h or None, timeout_s=3.0)
                ack = msgspec.json.decode(reply.data, type=_PubAck)
                if ack.error is not None:
                    _raise_for(ack.error, subject)
                return ack.seq
            except Unreachable:
                if time.monotonic() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def append(self, event: Event, expect: Expect, patience_s: float | None = None) -> int:
        """Store a fact that may happen once: same id already there = its sequence, another one there = Conflict."""
        subject = event.nats_subject()
        try:
            return await self.publish(subject, encode_event(event), id=event.id, expect=expect, patience_s=patience_s)
        except Conflict:
            there = await self.last("EVENTS", subject)
            if there is not None and _id_of(there) == event.id:
                return there.seq
            raise

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
            ack = msgspec.json.decode(reply.data, type=_PubAck)
            if ack.error is not None:
                _raise_for(ack.error, last.nats_subject())
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

    async def last(self, stream: str, subject_filter: str) -> Stored | None:
        """The newest message under a filter, read by the leader (fit for decisions)."""
        return await self._get(stream, {"last_by_subj": subject_filter})

    async def get(self, stream: str, seq: int) -> Stored | None:
        return await self._get(stream, {"seq": seq})

    async def next(self, stream: str, start: int, subject_filter: str) -> Stored | None:
        """The first message under a filter from sequence `start` on, read by the leader."""
        return await self._get(stream, {"seq": start, "next_by_subj": subject_filter})

    async def _get(self, stream: str, query: dict[str, Any], patience_s: float | None = None) -> Stored | None:
        deadline = time.monotonic() + (self.patience_s if patience_s is None else patience_s)
        while True:
            try:
                reply = await self.request(
                    f"{self.wire.api}.STREAM.MSG.GET.{stream}", msgspec.json.encode(query), timeout_s=3.0
                )
                break
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        answer = msgspec.json.decode(reply.data, type=_GetReply)
        if answer.error is not None:
            if answer.error.err_code == NO_MESSAGE:
                return None
            _raise_for(answer.error, f"a read of {stream}")
        m = answer.message
        assert m is not None
        headers = _headers(base64.b64decode(m.hdrs)) if m.hdrs else {}
        return Stored(m.subject, m.seq, base64.b64decode(m.data), headers, m.time)

    async def last_seq(self, stream: str) -> int:
        """The stream's last sequence; Unreachable when the stream is not there."""
        return (await self.stream_state(stream))[0]

    async def stream_state(self, stream: str) -> tuple[int, int, str]:
        """(last sequence, messages, created time)."""
        reply = await self.request(f"{self.wire.api}.STREAM.INFO.{stream}", b"", timeout_s=5.0)
        info = msgspec.json.decode(reply.data)
        if "error" in info:
            raise Unreachable(f"stream {stream}: {info['error'].get('description')}")
        return int(info["state"]["last_seq"]), int(info["state"]["messages"]), str(info["created"])

    async def subjects_in(self, stream: str) -> set[str]:
        """All subjects that have a message in the stream now (for streams of at most some ten thousand)."""
        query = msgspec.json.encode({"subjects_filter": ">"})
        reply = await self.request(f"{self.wire.api}.STREAM.INFO.{stream}", query, timeout_s=5.0)
        info = msgspec.json.decode(reply.data)
        if "error" in info:
            raise Unreachable(f"stream {stream}: {info['error'].get('description')}")
        return set(info["state"].get("subjects") or ())

    async def read(self, stream: str, start: int, subject_filter: str = ">", batch: int = 500) -> AsyncIterator[Stored]:
        """All messages from sequence `start` to the stream's end, in order, by batched direct gets (60k a second)."""
        while True:
            count = 0
            async for stored in self._direct_batch(stream, start, subject_filter, batch):
                start = stored.seq + 1
                count += 1
                yield stored
            if count < batch:
                return

    async def _direct_batch(self, stream: str, start: int, subject_filter: str, batch: int) -> AsyncIterator[Stored]:
        inbox = self.nc.new_inbox()
        sub = await self.nc.subscribe(inbox, pending_msgs_limit=batch + 16, pending_bytes_limit=-1)
        try:
            query = msgspec.json.encode({"seq": start, "next_by_subj": subject_filter, "batch": batch})
            subject = f"{self.wire.api}.DIRECT.GET.{stream}"
            await self.nc.publish(subject, query, reply=inbox)
            while True:
                try:
                    msg = await sub.next_msg(timeout=5.0)
                except (TimeoutError, nats.errors.TimeoutError, ConnectionClosedError) as e:
                    forbidden = self.watched.violation(subject)
                    raise forbidden or Unreachable(f"reading {stream} from {start} stopped answering") from e
                h = msg.headers or {}
                status = h.get("Status")
                if status in ("204", "404"):
                    return
                if status:
                    raise Unreachable(f"reading {stream} from {start}: {status} {h.get('Description', '')}")
                yield Stored(h["Nats-Subject"], int(h["Nats-Sequence"]), msg.data, h, h["Nats-Time-Stamp"])
        finally:
            await sub.unsubscribe()


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
