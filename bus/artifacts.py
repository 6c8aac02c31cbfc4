"""Datasets and other large content over the bus: chunks under `art.<host>.<sha256>.<n>`, verified by hash on arrival.

Part 0 is a header with the number of parts; a reader takes the parts of any one host whose bytes hash right.
"""

import msgspec

from bus import subjects
from bus.client import Bus
from domain.errors import Unreachable
from domain.hashing import sha256_hex

CHUNK = 512 * 1024


class ArtifactHeader(msgspec.Struct, frozen=True):
    sha256: str
    bytes: int
    parts: int
    kind: str


async def put_artifact(bus: Bus, host: str, data: bytes, kind: str) -> ArtifactHeader:
    """Store `data` under its hash in this host's name; a whole copy that is there already is left alone."""
    sha = sha256_hex(data)
    parts = max(1, -(-len(data) // CHUNK))
    header = ArtifactHeader(sha, len(data), parts, kind)
    if await bus.last("ARTIFACTS", subjects.artifact(host, sha, 0)) is None:
        for n in range(parts):
            await bus.publish(subjects.artifact(host, sha, n + 1), data[n * CHUNK : (n + 1) * CHUNK])
        # The header goes last: who sees it finds all parts.
        await bus.publish(subjects.artifact(host, sha, 0), msgspec.json.encode(header))
    return header


async def get_artifact(bus: Bus, sha256: str, hosts: list[str] | None = None) -> bytes:
    """The bytes whose SHA-256 is `sha256`, from the newest copy or, given `hosts`, from the first of them with a right one.

    Raises Unreachable when no copy is whole and right.
    """
    newest = await bus.last("ARTIFACTS", subjects.artifact("*", sha256, 0))
    if newest is None:
        raise Unreachable(f"artifact {sha256[:12]} is not on the bus")
    candidates = dict.fromkeys([newest.subject.split(".")[1], *(hosts or [])])
    for host in candidates:
        head = await bus.last("ARTIFACTS", subjects.artifact(host, sha256, 0))
        if head is None:
            continue
        header = msgspec.json.decode(head.data, type=ArtifactHeader)
        chunks = []
        for n in range(header.parts):
            stored = await bus.last("ARTIFACTS", subjects.artifact(host, sha256, n + 1))
            chunks.append(stored.data if stored else b"")
        data = b"".join(chunks)
        if sha256_hex(data) == sha256:
            return data
    raise Unreachable(f"artifact {sha256[:12]}: no whole copy with the right hash on the bus")
