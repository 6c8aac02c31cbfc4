"""Datasets and other large content over the bus: chunks under `art.<host>.<sha256>.<n>`, verified by hash on arrival.

Part 0 is a header with the number of parts; a reader takes the parts of any one host whose bytes hash right.
"""

import logging

import msgspec

from bus import subjects
from bus.client import Bus, Stored
from domain.errors import Unreachable
from domain.hashing import sha256_hex

log = logging.getLogger("sluice.artifacts")
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


async def get_artifact(bus: Bus, sha256: str) -> bytes:
    """The bytes whose SHA-256 is `sha256`, from the newest whole and right copy of any host.

    Raises Unreachable when there is none, BadInput when `sha256` is no hash.
    """
    headers = []
    at: Stored | None = await bus.next("ARTIFACTS", 1, subjects.artifact("*", sha256, 0))
    while at is not None:
        headers.append(at)
        at = await bus.next("ARTIFACTS", at.seq + 1, subjects.artifact("*", sha256, 0))
    for stored in reversed(headers):
        data = await _copy_of(bus, stored, sha256)
        if data is not None:
            return data
    if not headers:
        raise Unreachable(f"artifact {sha256[:12]} is not on the bus")
    raise Unreachable(f"artifact {sha256[:12]}: no whole copy with the right hash on the bus")


async def _copy_of(bus: Bus, header: Stored, sha256: str) -> bytes | None:
    """One host's copy, or None when it is damaged."""
    host = header.subject.split(".")[1]
    try:
        said = msgspec.json.decode(header.data, type=ArtifactHeader)
    except msgspec.MsgspecError as e:
        log.warning("artifact %s of %s: its header cannot be read: %s", sha256[:12], host, e)
        return None
    parts: list[bytes] = []
    size = 0
    for n in range(said.parts):
        part = await bus.last("ARTIFACTS", subjects.artifact(host, sha256, n + 1))
        if part is None or size > said.bytes:
            break
        parts.append(part.data)
        size += len(part.data)
    data = b"".join(parts)
    if sha256_hex(data) == sha256:
        return data
    log.warning("artifact %s of %s is damaged", sha256[:12], host)
    return None
