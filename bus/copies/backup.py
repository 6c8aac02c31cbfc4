"""Copy the log while it runs: everything that is truth, in files of bounded size; a second time only what is new.

Copied message by message: a snapshot of a stream would be made by the server, but who may ask for one chooses where it is
sent, and that is a way to write into EVENTS.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from bus.bounded import read_until, rfc3339
from bus.chain import GENESIS, chain_hash
from bus.client import Bus, Stored
from bus.copies.manifest import (
    COPIED,
    FORMAT,
    CopiedFile,
    CopiedStream,
    Kind,
    Manifest,
    file_name,
    is_ours,
    read_manifest,
    write_manifest,
)
from bus.copies.records import FILE_BYTES, FILE_MESSAGES, CopyDamaged, leaf, pack
from bus.copies.target import Target
from bus.messages import Finding
from bus.subjects import FINDING
from domain.errors import BadInput, SluiceError, Unreachable
from domain.hashing import sha256_hex

Progress = Callable[[str, int, int], None]


class LogDamaged(SluiceError):
    """The log lacks what it can never have lost in good order; nothing is copied from it."""


class OtherLog(BadInput):
    """The target holds a copy of another log than this one."""


class Head(NamedTuple):
    """How a stream stands: `last` sequence ever given, `messages` in it now."""

    kind: Kind
    created: str
    last: int
    messages: int
    config: dict[str, Any]


class Report(NamedTuple):
    """What a backup added; `messages` by stream, `seq` is the last event that the copy holds now."""

    messages: dict[str, int]
    files: int
    bytes: int
    seq: int
    incremental: bool


async def backup(
    bus: Bus,
    target: Target,
    *,
    product: str,
    now: str,
    streams: set[str],
    auditor_key: str = "",
    progress: Progress | None = None,
) -> Report:
    """Bring the copy at `target` up to the log as it is now; `streams` are those that this version has.

    Whatever cuts it short, the copy that was there before stays whole. Raises OtherLog, LogDamaged, CopyDamaged,
    BadInput (something else lies at `target`), Unreachable.
    """
    before = await asyncio.to_thread(_what_is_there, target)
    unknown = sorted({s.name for s in before.streams} - streams) if before else []
    if unknown:
        raise BadInput(
            f"the copy at {target.where} holds {', '.join(unknown)}: a newer version made it; nothing was added"
        )
    await _heed_the_auditor(bus)
    heads = [await _head(bus, kind) for kind in COPIED if kind.stream in streams]
    for head in heads:
        await _check_continues(bus, target, head, before.stream(head.kind.stream) if before else None)
    copied, files = [], []
    for head in heads:
        old = before.stream(head.kind.stream) if before else None
        stream, added = await _copy(bus, target, head, old, progress)
        copied.append(stream)
        files += added
    await asyncio.to_thread(write_manifest, target, Manifest(FORMAT, product, now, tuple(copied), auditor_key))
    new = {s.name: s.messages - _messages(before, s.name) for s in copied}
    seq = next(s.last for s in copied if s.name == "EVENTS")
    return Report(new, len(files), sum(f.bytes for f in files), seq, before is not None)


def _messages(before: Manifest | None, name: str) -> int:
    stream = before.stream(name) if before else None
    return stream.messages if stream else 0


def _what_is_there(target: Target) -> Manifest | None:
    """The copy that is to be continued; one that lacks a file must not be built upon, nor anything that is no copy."""
    manifest = read_manifest(target)
    there = target.sizes()
    if manifest is None:
        foreign = sorted(name for name in there if not is_ours(name))
        if foreign:
            raise BadInput(f"{target.where} holds something else ({foreign[0]}); name an empty or a new place")
        return None
    for file in manifest.files():
        if there.get(file.name) != file.bytes:
            raise CopyDamaged(
                f"the copy at {target.where} is damaged: {file.name} is missing or cut; nothing was added, "
                "make a new copy elsewhere"
            )
    return manifest


async def _head(bus: Bus, kind: Kind) -> Head:
    info = await bus.stream_info(kind.stream)
    if info is None:
        raise Unreachable(f"the log has no stream {kind.stream}; was it made by this version?")
    state = info["state"]
    head = Head(kind, str(info["created"]), int(state["last_seq"]), int(state["messages"]), info["config"])
    if kind.whole and head.messages != head.last:
        raise LogDamaged(_damaged(kind.stream, f"holds {head.messages} messages of {head.last}"))
    return head


async def _heed_the_auditor(bus: Bus) -> None:
    """What is in a copy already is not read again; the auditor reads the whole log, and says what it found."""
    there = await bus.last("AUDIT", FINDING)
    found = msgspec.json.decode(there.data, type=Finding) if there is not None else None
    if found is not None and not found.ok:
        raise LogDamaged(f"nothing was copied: the auditor {found.words}")


def _damaged(stream: str, what: str) -> str:
    return (
        f"{stream} {what}: the log is damaged and was not copied; copies made before are as they were, "
        "`sluice restore` makes a new state of one"
    )


async def _check_continues(bus: Bus, target: Target, head: Head, old: CopiedStream | None) -> None:
    """The last message of the copy must be the log's message of that sequence, byte for byte."""
    if old is None or old.last == 0:
        return
    name = head.kind.stream
    if head.last < old.last:
        raise OtherLog(
            f"the copy at {target.where} goes to {old.last} in {name}, the log only to {head.last}: it is another log's, "
            "or this log has lost its end; nothing was added"
        )
    there = await bus.get(name, old.files[-1].last) if old.files else None
    if there is None and not head.kind.whole:
        return  # replaced by a newer one since
    if there is None or leaf(there).hex() != old.leaf:
        raise OtherLog(
            f"the copy at {target.where} is of another log: its last message in {name} ({old.files[-1].last}) is not ours; "
            "nothing was added, name another place"
        )


async def _copy(
    bus: Bus, target: Target, head: Head, old: CopiedStream | None, progress: Progress | None
) -> tuple[CopiedStream, list[CopiedFile]]:
    """What the stream has beyond the old copy, up to its end as it was fixed, as new files."""
    name = head.kind.stream
    chain = bytes.fromhex(old.chain) if old else GENESIS
    last_leaf, seq, messages = old.leaf if old else "", old.last if old else 0, old.messages if old else 0
    added: list[CopiedFile] = []
    waiting: list[Stored] = []
    size = 0
    async for batch in read_until(bus, name, seq + 1, head.last):
        for stored in batch:
            if head.kind.whole and stored.seq != seq + 1:
                raise LogDamaged(_damaged(name, f"lacks {seq + 1} to {stored.seq - 1}"))
            here = leaf(stored)
            chain, last_leaf, seq, messages = chain_hash(chain, here), here.hex(), stored.seq, messages + 1
            waiting.append(stored._replace(time=rfc3339(stored.time)))
            size += len(stored.data) + len(stored.subject) + 256
            if size >= FILE_BYTES or len(waiting) >= FILE_MESSAGES:
                added.append(await asyncio.to_thread(_write, target, name, waiting))
                waiting, size = [], 0
                if progress is not None:
                    progress(name, seq, head.last)
    if waiting:
        added.append(await asyncio.to_thread(_write, target, name, waiting))
    if head.kind.whole and seq != head.last:
        raise LogDamaged(_damaged(name, f"lacks {seq + 1} to {head.last}"))
    files = (*(old.files if old else ()), *added)
    return CopiedStream(name, head.created, head.last, messages, chain.hex(), last_leaf, head.config, files), added


def _write(target: Target, stream: str, messages: list[Stored]) -> CopiedFile:
    data = pack(messages)
    digest = sha256_hex(data)
    first, last = messages[0].seq, messages[-1].seq
    name = file_name(stream, first, last, digest)
    target.write(name, data)
    return CopiedFile(name, first, last, len(messages), len(data), digest)
