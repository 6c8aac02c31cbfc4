"""The hash chain over the log and the hashes of its Merkle tree: the one definition that all readers share.

Prefixes keep leaves, inner nodes and links of the chain apart (RFC 9162, section 2.1.1, for the first two).
"""

import hashlib

#: What the chain is before the first event.
GENESIS = bytes(32)
#: Where the id of an event stands in its message.
ID_HEADER = "Nats-Msg-Id"
_sha256 = hashlib.sha256


def leaf_hash(seq: int, subject: str, id: str, payload: bytes) -> bytes:
    """SHA-256(0x00 || seq || len(subject) || subject || len(id) || id || payload); seq 8 bytes, lengths 4, big-endian.

    `id` is the Nats-Msg-Id header, "" for a message without one.
    """
    s, i = subject.encode(), id.encode()
    head = b"\0" + seq.to_bytes(8, "big") + len(s).to_bytes(4, "big") + s + len(i).to_bytes(4, "big") + i
    return _sha256(head + payload).digest()


def chain_hash(previous: bytes, leaf: bytes) -> bytes:
    """SHA-256(0x02 || previous || leaf): the chain up to and with this leaf."""
    return _sha256(b"\2" + previous + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): an inner node of the Merkle tree."""
    return _sha256(b"\1" + left + right).digest()
