"""Checkpoints as bytes: a magic line, the SHA-256 of the body, the body (msgpack: floats keep their bits)."""

import hashlib
from typing import TypeVar

import msgspec

from domain.errors import BadInput

_DIGEST = 32
T = TypeVar("T")


def seal(magic: bytes, saved: object) -> bytes:
    """`magic` names what is saved and its version."""
    body = msgspec.msgpack.encode(saved)
    return magic + hashlib.sha256(body).digest() + body


def unseal(magic: bytes, data: bytes, kind: type[T]) -> T:
    """Inverse of `seal`; raises BadInput on damaged bytes or those of another kind or version."""
    head, body = data[: len(magic) + _DIGEST], data[len(magic) + _DIGEST :]
    if not head.startswith(magic):
        raise BadInput("these bytes are not a checkpoint of this kind and version")
    if head[len(magic) :] != hashlib.sha256(body).digest():
        raise BadInput("the checkpoint is damaged: its digest does not fit its body")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as e:
        raise BadInput(f"the checkpoint cannot be read: {e}") from e
