"""The hash chain over the log, defined once: what an event's hash covers, and how each hash carries the one before it."""

import hashlib

#: What the first event is chained to.
GENESIS = bytes(32)


def leaf_hash(seq: int, subject: str, id: str, payload: bytes) -> bytes:
    """SHA-256(0x00 || seq as 8 bytes BE || len(subject) as 4 bytes BE || subject || len(id) as 4 bytes BE || id || payload).

    `id` is the Nats-Msg-Id header, "" without one. The first byte is that of a leaf in RFC 9162.
    """
    s, i = subject.encode(), id.encode()
    head = b"\x00" + seq.to_bytes(8, "big") + len(s).to_bytes(4, "big") + s + len(i).to_bytes(4, "big") + i
    return hashlib.sha256(head + payload).digest()


def chain_hash(previous: bytes, leaf: bytes) -> bytes:
    """SHA-256(0x02 || hash of the event before (GENESIS before the first) || leaf)."""
    return hashlib.sha256(b"\x02" + previous + leaf).digest()
