"""A proof that one event is in the sealed log: checked with the public key alone, without log or server."""

import base64
import binascii
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bus.chain import leaf_hash
from bus.envelope import UNREADABLE
from bus.seals.keys import key_id, parse_public, public_pem
from bus.seals.seal import SignedSeal
from bus.seals.tree import inclusion_path, root_from_path
from bus.seals.verify import Record
from domain.errors import BadInput


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event itself (`payload` in base64), the path of RFC 9162 from its leaf up (hex), and the seal over the root.

    `public_key` (PEM) is for comfort: whoever checks should have the key from elsewhere.
    """

    seq: int
    subject: str
    id: str
    payload: str
    path: list[str]
    seal: SignedSeal
    public_key: str
    version: int = 1


class Checked(msgspec.Struct, frozen=True):
    """`trusted_key`: the key was given by whoever checks, not taken from the proof."""

    ok: bool
    seq: int
    subject: str
    id: str
    sealed_at: str
    sealed_through: int
    key: str
    trusted_key: bool
    detail: str


def make_proof(record: Record, leaves: Sequence[bytes], seal: SignedSeal, key: Ed25519PublicKey) -> Proof:
    """`leaves` are those of the seal, all `seal.size` of them."""
    path = inclusion_path(leaves, record.seq - 1)
    return Proof(
        record.seq, record.subject, record.id, base64.b64encode(record.payload).decode(),
        [p.hex() for p in path], seal, public_pem(key).decode(),
    )  # fmt: skip


def decode_proof(raw: bytes) -> Proof:
    """BadInput when the bytes are no proof."""
    try:
        proof = msgspec.json.decode(raw, type=Proof)
    except UNREADABLE as e:
        raise BadInput(f"not a proof made by `sluice audit prove`: {e}") from e
    if proof.version != 1:
        raise BadInput(f"a proof of version {proof.version}, this program knows 1")
    return proof


def check_proof(proof: Proof, key: Ed25519PublicKey | None = None) -> Checked:
    """Whether the event was in the log that was sealed, by `key` or, without one, by the key in the proof."""
    used = key or parse_public(proof.public_key.encode(), "the proof")
    detail = proof.seal.flaw(used) or _flaw(proof)
    seal = proof.seal.seal
    return Checked(
        not detail, proof.seq, proof.subject, proof.id, seal.time, seal.last_seq, key_id(used), key is not None, detail
    )


def _flaw(proof: Proof) -> str:
    try:
        payload = base64.b64decode(proof.payload, validate=True)
        path = [bytes.fromhex(p) for p in proof.path]
        leaf = leaf_hash(proof.seq, proof.subject, proof.id, payload)
        root = root_from_path(leaf, proof.seq - 1, proof.seal.seal.size, path)
    except (binascii.Error, ValueError, OverflowError) as e:
        return f"the proof is broken: {e}"
    if root.hex() != proof.seal.seal.root:
        return "the event, or the path, is not the one that was sealed"
    return ""


def payload_of(proof: Proof) -> bytes:
    return base64.b64decode(proof.payload)
