"""Canonical bytes, content hashes and derived ids: the same thing has the same name on every machine."""

import hashlib
import uuid
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="deterministic")
NAMESPACE = uuid.UUID("5b1f9c1e-6d0a-5c0e-9d51-511ce0000001")


def canonical(obj: Any) -> bytes:
    """JSON without spaces, mapping keys sorted, struct fields in their order, shortest round-trip floats.

    Equal objects give equal bytes, if their float fields went through `same_spelling` and no struct omits defaults
    (msgspec omits by identity: a 0.0 that was computed would be written, the very default would not).
    """
    return _ENCODER.encode(obj)


def same_spelling(obj: msgspec.Struct, *names: str) -> None:
    """Make float fields of a new struct floats: 30 and 30.0 are equal, as are 0.0 and -0.0, but not as JSON."""
    for name in names:
        msgspec.structs.force_setattr(obj, name, float(getattr(obj, name)) + 0.0)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content_hash(obj: Any) -> str:
    """SHA-256 (64 hex digits) over the canonical JSON of `obj`."""
    return sha256_hex(canonical(obj))


def derived_id(*parts: str | int) -> str:
    """UUIDv5 over the parts: a fact that may happen once gets the same id however often it is published."""
    return str(uuid.uuid5(NAMESPACE, "/".join(str(p) for p in parts)))


def derived_seed(*parts: str | int) -> int:
    """An unsigned 64-bit seed from SHA-256 over the parts; independent streams for independent names."""
    digest = hashlib.sha256("/".join(str(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big")
