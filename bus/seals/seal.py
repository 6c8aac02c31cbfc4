"""A seal: what the log was up to a sequence, signed. And the openings of epochs that a restored log holds."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bus.envelope import UNREADABLE, decode_event
from bus.events import EpochOpened
from bus.seals.keys import key_id, signed_by
from bus.seals.tree import CompactRange
from domain.errors import BadInput

#: Signed bytes begin with this line, so that a signature over a seal is one over nothing else.
DOMAIN = b"sluice seal 1\n"
OPENED = "audit.epoch.opened"
OPENED_FILTER = "ev.audit.epoch.*.opened"


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log up to and with `last_seq`; hashes in hex.

    `created`: when the stream was made (the server's words); `identity`: the leaf hash of event 1, which a restored copy
    shares. `epoch` counts restores from 1; `first_seq`: the first event that this seal is the first one to cover.
    `size` leaves give the Merkle `root`; `chain` is the hash chain; `previous`: the digest of the seal before, "" for the
    first. `time`: when it was sealed (RFC 3339, the auditor's clock); `key`: id of the public key.
    """

    created: str
    identity: str
    epoch: int
    first_seq: int
    last_seq: int
    size: int
    root: str
    chain: str
    previous: str
    time: str
    key: str
    version: int = 1

    def canonical(self) -> bytes:
        """The bytes that are signed: a line that names them, then the fields as JSON in this order, without spaces."""
        return DOMAIN + msgspec.json.encode(self)


class SignedSeal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`signature`: Ed25519 over `seal.canonical()`, base64."""

    seal: Seal
    signature: str

    def digest(self) -> str:
        """What the next seal names as `previous`: SHA-256 over signed bytes and signature, hex."""
        return hashlib.sha256(self.seal.canonical() + self.signature.encode()).hexdigest()

    def flaw(self, key: Ed25519PublicKey) -> str:
        """Why this is no seal by `key`, in words; "" when it is one."""
        try:
            signature = base64.b64decode(self.signature, validate=True)
        except (binascii.Error, ValueError):
            return "its signature is not base64"
        if not signed_by(key, signature, self.seal.canonical()):
            other = "" if self.seal.key == key_id(key) else f" (it says it was made with key {self.seal.key})"
            return f"its signature is not by key {key_id(key)}{other}"
        return ""


def sign(seal: Seal, key: Ed25519PrivateKey) -> SignedSeal:
    return SignedSeal(seal, base64.b64encode(key.sign(seal.canonical())).decode())


def make_seal(
    tree: CompactRange, chain: bytes, before: SignedSeal | None, key: Ed25519PrivateKey,
    *, created: str, identity: str, epoch: int, first_seq: int, time: str,
) -> SignedSeal:  # fmt: skip
    """The seal over the whole `tree`, whose last leaf is the event of sequence `tree.size`."""
    seal = Seal(
        created=created, identity=identity, epoch=epoch, first_seq=first_seq, last_seq=tree.size, size=tree.size,
        root=tree.root().hex(), chain=chain.hex(), previous=before.digest() if before else "", time=time,
        key=key_id(key.public_key()),
    )  # fmt: skip
    return sign(seal, key)


def decode_seal(raw: bytes) -> SignedSeal:
    """BadInput when the bytes are no seal that this program knows."""
    try:
        found = msgspec.json.decode(raw, type=SignedSeal)
    except UNREADABLE as e:
        raise BadInput(f"not a seal: {e}") from e
    if found.seal.version != 1:
        raise BadInput(f"a seal of version {found.seal.version}, this program knows 1")
    return found


class Opening(msgspec.Struct, frozen=True):
    """The event at `seq` says that the log was restored: of earlier epochs, only events up to `last_seq` are in it."""

    seq: int
    epoch: int
    last_seq: int
    chain: str


def epoch_of(openings: Sequence[Opening]) -> int:
    """The epoch that a log with these openings is in; the first one needs none."""
    return max([1, *(o.epoch for o in openings)])


def opening_at(seq: int, payload: bytes) -> Opening | None:
    """What an event under OPENED_FILTER says; None when it is none (whoever reads events parks it)."""
    try:
        data = decode_event(payload).payload()
    except BadInput:
        return None
    if not isinstance(data, EpochOpened) or not 0 <= data.last_seq < seq:
        return None
    return Opening(seq, data.epoch, data.last_seq, data.chain)


def is_opening(subject: str) -> bool:
    return subject.startswith("ev.audit.epoch.") and subject.endswith(".opened")


def in_force(seals: Iterable[SignedSeal], openings: Sequence[Opening]) -> tuple[list[SignedSeal], list[SignedSeal]]:
    """(seals that this log must agree with, seals of earlier epochs beyond what a restored copy holds)."""
    bound: list[SignedSeal] = []
    superseded: list[SignedSeal] = []
    for s in seals:
        late = any(s.seal.epoch < o.epoch and s.seal.last_seq > o.last_seq for o in openings)
        (superseded if late else bound).append(s)
    return bound, superseded
