"""The hash chain and the Merkle nodes over the log: one definition for all who seal it or check it.

leaf = SHA-256(0x00 || seq || len(subject) || subject || len(id) || id || payload), seq as 8 and lengths as 4 bytes
big-endian, id the Nats-Msg-Id ("" without one); chain_n = SHA-256(0x02 || chain_{n-1} || leaf_n). The first byte keeps
leaves, links and the inner nodes of a Merkle tree (0x01, RFC 9162) apart.
"""

import hashlib
import struct

#: What comes before the first event.
GENESIS = bytes(32)
_HEAD = struct.Struct(">cQI")
_LENGTH = struct.Struct(">I")


def leaf_hash(seq: int, subject: str, id: str, payload: bytes) -> bytes:
    """The hash of one message as it lies in the log."""
    subject_, id_ = subject.encode(), id.encode()
    head = _HEAD.pack(b"\x00", seq, len(subject_)) + subject_ + _LENGTH.pack(len(id_)) + id_
    return hashlib.sha256(head + payload).digest()


def chain_hash(previous: bytes, leaf: bytes) -> bytes:
    """The chain after the message with this leaf; `previous` is GENESIS before the first."""
    return hashlib.sha256(b"\x02" + previous + leaf).digest()
