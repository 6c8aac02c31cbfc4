"""Canonical bytes, content hashes and derived ids: the same thing has the same name on every machine."""

import hashlib
import uuid
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="deterministic")
NAMESPACE = uuid.UUID("5b1f9c1e-6d0a-5c0e-9d51-511ce0000001")


def canonical(obj: Any) -> bytes:
    """JSON with sorted keys, no spaces, shortest round-trip floats: equal objects give equal bytes."""
    return _ENCODER.encode(obj)


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
