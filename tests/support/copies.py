"""Copies made by hand, of logs that no test would otherwise see; and small logs to copy."""

import hashlib
from collections.abc import Sequence

from bus.chain import GENESIS, ID_HEADER, chain_hash
from bus.client import Stored
from bus.copies.manifest import FORMAT, CopiedFile, CopiedStream, Manifest, file_name, write_manifest
from bus.copies.records import leaf, pack
from bus.copies.target import Target

TIME = "2030-01-02T03:04:05.000000006Z"


def message(seq: int, subject: str, data: bytes, id: str = "") -> Stored:
    return Stored(subject, seq, data, {ID_HEADER: id} if id else {}, TIME)


def events(count: int, first: int = 1) -> list[Stored]:
    """Messages with ids and payloads of many lengths, newlines and bytes that are no text among them."""
    return [
        message(n, f"ev.mining.unit.u{n % 5}.opened", bytes([n % 256, 10, 255]) * (n % 40 + 1), f"id-{n}")
        for n in range(first, first + count)
    ]


def write_copy(target: Target, streams: dict[str, Sequence[Stored]], per_file: int = 50, **last: int) -> Manifest:
    """A whole copy of these messages; `last`: where a stream ends when not with its last message."""
    manifest = Manifest(
        FORMAT, "test", TIME, tuple(_stream(target, n, m, per_file, last.get(n, 0)) for n, m in streams.items())
    )
    write_manifest(target, manifest)
    return manifest


def _stream(target: Target, name: str, messages: Sequence[Stored], per_file: int, last: int) -> CopiedStream:
    files, chain = [], GENESIS
    for start in range(0, len(messages), per_file):
        part = messages[start : start + per_file]
        data = pack(part)
        sha = hashlib.sha256(data).hexdigest()
        file = CopiedFile(
            file_name(name, part[0].seq, part[-1].seq, sha), part[0].seq, part[-1].seq, len(part), len(data), sha
        )
        target.write(file.name, data)
        files.append(file)
    for m in messages:
        chain = chain_hash(chain, leaf(m))
    end = last or (messages[-1].seq if messages else 0)
    tail = leaf(messages[-1]).hex() if messages else ""
    return CopiedStream(name, TIME, end, len(messages), chain.hex(), tail, {}, tuple(files))
