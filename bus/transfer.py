"""A whole stream from one server to another, as it is: sequences, times and headers stay (the servers' snapshot and restore).

Only the set-up user may do so; a server that serves agents refuses it to everybody.
"""

import asyncio
import hashlib
import json
from typing import Any, NamedTuple

import msgspec
import nats.errors

from bus.client import Bus
from domain.errors import SluiceError, Unreachable

CHUNK = 256 * 1024
#: Between two pieces of a snapshot, and for the end of a restore, where the server reads everything once more.
PIECE_S, END_S = 20.0, 120.0


class Copied(NamedTuple):
    """What two equal streams agree in."""

    first: int
    last: int
    messages: int
    sha256: str


async def copy_stream(source: Bus, target: Bus, name: str, replicas: int) -> None:
    """Copy `name`, which the target must not have, with so many replicas. What was cut off is no stream there."""
    inbox = source.nc.new_inbox()
    pieces = await source.nc.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
    try:
        query = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": CHUNK}
        snapshot = await _api(source, f"STREAM.SNAPSHOT.{name}", query)
        config = snapshot["config"] | {"num_replicas": replicas}
        restore = await _api(target, f"STREAM.RESTORE.{name}", {"config": config, "state": snapshot["state"]})
        while True:
            try:
                piece = await pieces.next_msg(timeout=PIECE_S)
            except (TimeoutError, nats.errors.Error) as e:
                raise Unreachable(f"the snapshot of {name} stopped coming; nothing was lost, try again") from e
            status = (piece.headers or {}).get("Status", "")
            if not piece.data and status not in ("", "204"):
                raise Unreachable(f"the snapshot of {name} was cut off: {(piece.headers or {}).get('Description')}")
            await _send(target, restore["deliver_subject"], piece.data, name)
            if not piece.data:
                return
            if piece.reply:
                await source.nc.publish(piece.reply, b"")
    finally:
        await pieces.unsubscribe()


async def _send(target: Bus, subject: str, data: bytes, name: str) -> None:
    answer = await target.request(subject, data, timeout_s=PIECE_S if data else END_S)
    error = msgspec.json.decode(answer.data, type=dict[str, Any]).get("error") if answer.data else None
    if error:
        raise SluiceError(f"{name} cannot be restored: {error.get('description')}")


async def _api(bus: Bus, name: str, query: dict[str, Any]) -> dict[str, Any]:
    reply = await bus.request(f"{bus.wire.api}.{name}", json.dumps(query).encode(), timeout_s=PIECE_S)
    answer = msgspec.json.decode(reply.data, type=dict[str, Any])
    if answer.get("error"):
        raise Unreachable(f"{name}: {answer['error'].get('description')}")
    return answer


async def remove_stream(bus: Bus, name: str) -> None:
    """Gone, or never there."""
    if await bus.stream_info(name) is not None:
        await _api(bus, f"STREAM.DELETE.{name}", {})


async def update_stream(bus: Bus, config: dict[str, Any]) -> None:
    await _api(bus, f"STREAM.UPDATE.{config['name']}", config)


async def content(bus: Bus, name: str) -> Copied:
    """A digest over all that a stream holds: sequence, subject, time, headers and payload of each message."""
    info = await bus.stream_info(name)
    if info is None:
        raise Unreachable(f"there is no stream {name}")
    state, sha, count = info["state"], hashlib.sha256(), 0
    async for m in bus.read(name, 1):
        # Those of a direct read itself are beside those of the message.
        own = sorted((k, v) for k, v in m.headers.items() if k not in _OF_THE_READ)
        head = json.dumps([m.seq, m.subject, m.time, own, len(m.data)])
        sha.update(head.encode() + m.data)
        count += 1
    # An empty stream's first sequence is 0 or the one after its last: it means nothing.
    return Copied(int(state["first_seq"]) if count else 0, int(state["last_seq"]), count, sha.hexdigest())


_OF_THE_READ = {"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-UpTo-Sequence",
                "Nats-Last-Sequence"}  # fmt: skip


class Replica(NamedTuple):
    """One copy of a stream: `current` when it has all that the leader has."""

    node: str
    leader: bool
    current: bool
    lag: int


def replicas_of(info: dict[str, Any]) -> list[Replica]:
    """Of a stream's info: all copies, by node; empty on a server that stands alone."""
    cluster = info.get("cluster") or {}
    out = [Replica(str(cluster["leader"]), True, True, 0)] if cluster.get("leader") else []
    for r in cluster.get("replicas") or ():
        out.append(
            Replica(str(r["name"]), False, bool(r.get("current")) and not r.get("offline"), int(r.get("lag", 0)))
        )
    return sorted(out)


def all_current(info: dict[str, Any], wanted: int) -> bool:
    found = replicas_of(info)
    return len(found) == wanted and any(r.leader for r in found) and all(r.current and not r.lag for r in found)


async def wait_current(bus: Bus, names: list[str], wanted: int, timeout_s: float) -> None:
    """Until each of them has had `wanted` copies that are current. Unreachable names those that have not."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    late = names
    while True:
        infos = {name: await bus.stream_info(name) for name in late}
        late = [name for name, info in infos.items() if info is None or not all_current(info, wanted)]
        if not late:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise Unreachable(f"not all copies of {', '.join(late)} are current yet; nothing is lost, run it again")
        await asyncio.sleep(0.1)
