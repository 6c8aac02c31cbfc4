"""Questions to JetStream: reads for decisions (by the leader), fast batched reads, and what to do with a node that is silent."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, MaxPayloadError

from bus.answers import NO_MESSAGE, NO_STREAM, GetReply, Refused, for_now, headers_of, raise_for
from bus.credentials import Credentials, refused
from bus.violations import Watched
from domain.errors import Unreachable

log = logging.getLogger("sluice.bus")
#: A node that answers nothing for so long while we are connected to it may be cut off from the others.
SILENT_S = 6.0


class Stored(NamedTuple):
    """A message as it lies in a stream. `time` is the server's, RFC 3339."""

    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    time: str


class Reader:
    """The reading half of the bus: all waits are bounded, and what is behind is waited for."""

    def __init__(self, nc: Client, credentials: Credentials, patience_s: float, watched: Watched) -> None:
        """`watched` hears what the server says of violated rights."""
        self.nc = nc
        self.credentials = credentials
        self.watched = watched
        self.patience_s = patience_s
        self._api = credentials.wire.api
        self._heard = time.monotonic()

    @property
    def clustered(self) -> bool:
        """Whether the server we are connected to is one of several, which may be behind or cut off."""
        return bool(self.nc._server_info.get("cluster"))

    async def doubt(self) -> None:
        """Something was not answered. A node that is cut off answers nothing and stays connected: go to another one."""
        if self.clustered and self.nc.is_connected and time.monotonic() - self._heard > SILENT_S:
            log.warning(
                "%s answers nothing; trying another node", self.nc.connected_url and self.nc.connected_url.netloc
            )
            self._heard = time.monotonic()
            await self.nc.force_reconnect()

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

    async def last(self, stream: str, subject_filter: str, patience_s: float | None = None) -> Stored | None:
        """The newest message under a filter, read by the leader (fit for decisions)."""
        return await self._get(stream, {"last_by_subj": subject_filter}, patience_s)

    async def get(self, stream: str, seq: int) -> Stored | None:
        return await self._get(stream, {"seq": seq})

    async def next(self, stream: str, start: int, subject_filter: str) -> Stored | None:
        """The first message under a filter from sequence `start` on, read by the leader."""
        return await self._get(stream, {"seq": start, "next_by_subj": subject_filter})

    async def _get(self, stream: str, query: dict[str, Any], patience_s: float | None = None) -> Stored | None:
        patience_s = self.patience_s if patience_s is None else patience_s
        reply = await self._ask(f"STREAM.MSG.GET.{stream}", msgspec.json.encode(query), patience_s, 3.0)
        answer = msgspec.json.decode(reply, type=GetReply)
        if answer.error is not None:
            if answer.error.err_code == NO_MESSAGE:
                return None
            raise_for(answer.error, f"a read of {stream}")
        m = answer.message
        assert m is not None
        headers = headers_of(base64.b64decode(m.hdrs)) if m.hdrs else {}
        return Stored(m.subject, m.seq, base64.b64decode(m.data), headers, m.time)

    async def _ask(self, name: str, query: bytes, patience_s: float, timeout_s: float) -> bytes:
        """The answer to a question of the JetStream API; asked again while nobody answers or there is no leader."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                reply = await self.request(f"{self._api}.{name}", query, timeout_s=timeout_s)
                error = msgspec.json.decode(reply.data, type=GetReply).error
                if error is not None and for_now(error):
                    raise Unreachable(f"{name}: {error.description}")
                self._heard = time.monotonic()
                return reply.data
            except Unreachable:
                await self.doubt()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def last_seq(self, stream: str) -> int:
        """The stream's last sequence; Unreachable when the stream is not there."""
        return (await self.stream_state(stream))[0]

    async def stream_state(self, stream: str) -> tuple[int, int, str]:
        """(last sequence, messages, created time)."""
        info = await self._known(stream)
        return int(info["state"]["last_seq"]), int(info["state"]["messages"]), str(info["created"])

    async def subjects_in(self, stream: str) -> set[str]:
        """All subjects that have a message in the stream now (for streams of at most some ten thousand)."""
        info = await self._known(stream, msgspec.json.encode({"subjects_filter": ">"}))
        return set(info["state"].get("subjects") or ())

    async def _known(self, stream: str, query: bytes = b"") -> dict[str, Any]:
        info = await self.stream_info(stream, query)
        if info is None:
            raise Unreachable(f"stream {stream}: stream not found")
        return info

    async def stream_info(self, stream: str, query: bytes = b"") -> dict[str, Any] | None:
        """What its leader says of a stream (config, state, cluster); None when there is no such stream."""
        # A single server that does not answer is away; among several, an election is under way.
        patience_s = self.patience_s if self.clustered else 0.0
        info = msgspec.json.decode(
            await self._ask(f"STREAM.INFO.{stream}", query, patience_s, 5.0), type=dict[str, Any]
        )
        error = info.get("error", {})
        if error.get("err_code") == NO_STREAM:
            return None
        if error:
            raise Unreachable(f"stream {stream}: {error.get('description')}")
        return info

    async def read(self, stream: str, start: int, subject_filter: str = ">", batch: int = 500) -> AsyncIterator[Stored]:
        """All messages from sequence `start` to the stream's end, in order, by batched direct gets (60k a second).

        To the end that the leader knew at the beginning: a copy that is behind is waited for.
        """
        end = await self._end(stream, subject_filter) if self.clustered else 0
        deadline = time.monotonic() + self.patience_s
        while True:
            count, pause = 0, 0.05
            try:
                async for stored in self._direct_batch(stream, start, subject_filter, batch):
                    start = stored.seq + 1
                    count += 1
                    yield stored
                if count == batch:
                    continue
                if start <= end:
                    end = await self._end(stream, subject_filter)  # what it was may be gone by now
                if start > end:
                    return
            except Unreachable:
                # Any copy may be asked, also one that stands still just now.
                if not self.clustered or time.monotonic() > deadline:
                    raise
                await self.doubt()
                pause = 0.2
            if count:
                deadline = time.monotonic() + self.patience_s
            if time.monotonic() > deadline:
                raise Unreachable(f"the copy of {stream} that we read ends before {end}, which is stored")
            await asyncio.sleep(pause)

    async def _end(self, stream: str, subject_filter: str) -> int:
        there = await self.last(stream, subject_filter)
        return there.seq if there is not None else 0

    async def _direct_batch(self, stream: str, start: int, subject_filter: str, batch: int) -> AsyncIterator[Stored]:
        inbox = self.nc.new_inbox()
        # Among several, one that stands still may be asked: another one answers the next time.
        timeout_s = 1.0 if self.clustered else 5.0
        sub = await self.nc.subscribe(inbox, pending_msgs_limit=batch + 16, pending_bytes_limit=-1)
        try:
            query = msgspec.json.encode({"seq": start, "next_by_subj": subject_filter, "batch": batch})
            subject = f"{self._api}.DIRECT.GET.{stream}"
            await self.nc.publish(subject, query, reply=inbox)
            while True:
                try:
                    msg = await sub.next_msg(timeout=timeout_s)
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
