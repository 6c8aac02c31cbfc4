"""Publish a copied stream again, every message at its old sequence: atomic batches, fillers where sequences are missing."""

import asyncio
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import msgspec
import nats.errors
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from bus.chain import ID_HEADER
from bus.client import Bus, Stored
from bus.copies.records import own_headers
from domain.errors import SluiceError, Unreachable

#: What the server takes in one batch; bytes bound what it holds in memory meanwhile.
BATCH_MESSAGES = 1000
BATCH_BYTES = 8 * 1024**2
#: While a stream is restored: the log may hold an id twice (the window was over), and must again.
WINDOW_S = 0.1
DUPLICATE_IN_BATCH = 10201
_TRIES = 20


class NotRestored(SluiceError):
    """The server does not hold what the copy holds."""


class _Message(NamedTuple):
    subject: str
    headers: dict[str, str]
    data: bytes


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    error: _Error | None = None


def while_restored(config: StreamConfig) -> StreamConfig:
    """The stream as it is filled: batches allowed, hardly any dedup window."""
    return replace(config, allow_atomic=True, duplicate_window=WINDOW_S)


async def publish_stream(bus: Bus, config: StreamConfig, messages: Iterable[Stored], last: int) -> None:
    """Fill an empty stream so that it ends at sequence `last` and holds `messages` where they were.

    Raises NotRestored when the server stores one elsewhere or refuses it, Unreachable.
    """
    seq, filler = 0, _filler(config)
    batch: list[_Message] = []
    size = 0
    ids: set[str] = set()
    for message in _with_fillers(messages, filler, last):
        id = message.headers.get(ID_HEADER, "")
        if batch and (len(batch) >= BATCH_MESSAGES or size + len(message.data) > BATCH_BYTES or id in ids):
            seq = await _publish(bus, str(config.name), batch, seq)
            batch, size, ids = [], 0, set()
        batch.append(message)
        size += len(message.data)
        if id:
            ids.add(id)
    if batch:
        await _publish(bus, str(config.name), batch, seq)
    if not (config.deny_purge or config.deny_delete):
        await bus.js.purge_stream(str(config.name), subject=filler)


def _filler(config: StreamConfig) -> str:
    """A subject of the stream that nothing real has."""
    return str((config.subjects or [""])[0]).removesuffix(">") + "restore.filler"


def _with_fillers(messages: Iterable[Stored], filler: str, last: int) -> Iterator[_Message]:
    seq = 0
    for stored in messages:
        for _ in range(seq + 1, stored.seq):
            yield _Message(filler, {}, b"")
        yield _Message(stored.subject, own_headers(stored.headers), stored.data)
        seq = stored.seq
    for _ in range(seq + 1, last + 1):
        yield _Message(filler, {}, b"")


async def _publish(bus: Bus, stream: str, batch: list[_Message], seq: int) -> int:
    """All of them behind `seq`; the sequence of the last one. An id that was stored a moment ago is waited for."""
    for _ in range(_TRIES):
        ack = await _send(bus, batch)
        if ack.error is None:
            break
        if ack.error.err_code != DUPLICATE_IN_BATCH:
            raise NotRestored(f"the server refuses messages of {stream} after {seq}: {ack.error.description}")
        await asyncio.sleep(2 * WINDOW_S)
    else:
        raise NotRestored(f"the server takes an id twice in {stream} after {seq} for the same message")
    if ack.seq != seq + len(batch):
        raise NotRestored(f"{stream}: the message of sequence {seq + len(batch)} was stored as {ack.seq}")
    return ack.seq


async def _send(bus: Bus, batch: list[_Message]) -> _Ack:
    id = uuid.uuid4().hex
    try:
        for n, m in enumerate(batch[:-1], 1):
            headers = m.headers | {"Nats-Batch-Id": id, "Nats-Batch-Sequence": str(n)}
            await bus.nc.publish(m.subject, m.data, headers=headers)
        m = batch[-1]
        headers = m.headers | {"Nats-Batch-Id": id, "Nats-Batch-Sequence": str(len(batch)), "Nats-Batch-Commit": "1"}
        reply = await bus.request(m.subject, m.data, headers, timeout_s=60.0)
    except (nats.errors.Error, OSError) as e:
        raise Unreachable(f"the server went away while the log was restored: {e}") from e
    return msgspec.json.decode(reply.data, type=_Ack)


async def seal_config(bus: Bus, config: StreamConfig) -> None:
    """From now on the stream is what it is in any instance."""
    try:
        await bus.js.update_stream(config)
    except APIError as e:
        raise NotRestored(f"stream {config.name} cannot be given its settings: {e.description}") from e
