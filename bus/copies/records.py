"""The files of a copy: gzip over messages one after another, each a line of JSON followed by its payload and a newline.

The line holds sequence, subject, the server's time, headers and the payload's length in bytes, so that `zcat` shows it.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence

import msgspec

from bus.chain import ID_HEADER, leaf_hash
from bus.client import Stored
from domain.errors import SluiceError

#: A file is closed at this many bytes before compression or this many messages, whichever comes first.
FILE_BYTES = 16 * 1024**2
FILE_MESSAGES = 50_000
#: No file of ours grows beyond it: the last message, at most 8 MiB, may go beyond FILE_BYTES, and there are the lines.
_MOST = 4 * FILE_BYTES


class CopyDamaged(SluiceError):
    """A file of a copy is not what its manifest says."""


class _Head(msgspec.Struct):
    seq: int
    subject: str
    time: str
    headers: dict[str, str]
    bytes: int


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Head)


def own_headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers that belong to the message: its id, and what is not NATS's own.

    The others say how it was stored (batch, expectations) or how it was read, and would ask the next server for the same.
    """
    return {k: v for k, v in headers.items() if k == ID_HEADER or not k.startswith("Nats-")}


def leaf(stored: Stored) -> bytes:
    return leaf_hash(stored.seq, stored.subject, stored.headers.get(ID_HEADER, ""), stored.data)


def pack(messages: Sequence[Stored]) -> bytes:
    """The bytes of a file; the same messages give the same bytes."""
    parts = []
    for m in messages:
        parts.append(_ENCODER.encode(_Head(m.seq, m.subject, m.time, own_headers(m.headers), len(m.data))))
        parts += (b"\n", m.data, b"\n")
    return gzip.compress(b"".join(parts), compresslevel=6, mtime=0)


def unpack(name: str, data: bytes) -> Iterator[Stored]:
    """The messages of a file; CopyDamaged names it when it is not one of ours."""
    try:
        unzip = zlib.decompressobj(wbits=31)
        text = unzip.decompress(data, _MOST)
        if not unzip.eof:
            raise CopyDamaged(f"{name} is cut short, or larger than any file of a copy")
        at = 0
        while at < len(text):
            end = text.index(b"\n", at)
            head = _DECODER.decode(text[at:end])
            start, at = end + 1, end + 2 + head.bytes
            if head.bytes < 0 or text[at - 1 : at] != b"\n":
                raise CopyDamaged(f"{name}: message {head.seq} is not as long as it says")
            yield Stored(head.subject, head.seq, text[start : at - 1], head.headers, head.time)
    except (zlib.error, ValueError, msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise CopyDamaged(f"{name} cannot be read: {e}") from e
