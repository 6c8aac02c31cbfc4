"""The auditor's Ed25519 key: made at its first start, the private half 0600, the public half beside it."""

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.errors import BadInput, Unreachable


def raw_public(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 signs of SHA-256 over the 32 raw bytes of the public key, hex."""
    return hashlib.sha256(raw_public(key)).hexdigest()[:16]


def make_or_read_key(private: Path, public: Path) -> Ed25519PrivateKey:
    """Read `private`, or make both files where neither is there.

    Unreachable when the private one cannot be read, or is gone while the public one stands: a new key would make all
    earlier seals look forged.
    """
    if not private.exists():
        if public.exists():
            raise Unreachable(
                f"the auditor's key {private} is gone while {public.name} stands; put it back, or remove {public.name} "
                "to begin with another key (earlier seals are then verified with `--key` and the old public key)"
            )
        _make(private, public)
    try:
        key = serialization.load_pem_private_key(private.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise Unreachable(f"the auditor's key {private} cannot be read ({e}); put the right file back") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise Unreachable(f"{private} holds no Ed25519 key; put the right file back")
    if not public.exists():
        _write_public(public, key)
    return key


def _make(private: Path, public: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    tmp = private.with_suffix(".tmp")
    tmp.unlink(missing_ok=True)
    with os.fdopen(os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(pem)
        f.flush()
        os.fsync(f.fileno())
    tmp.replace(private)
    _write_public(public, key)


def _write_public(public: Path, key: Ed25519PrivateKey) -> None:
    public.write_bytes(public_pem(key.public_key()))


def public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def parse_public(pem: bytes, where: str) -> Ed25519PublicKey:
    """BadInput when `pem` is no Ed25519 public key; `where` says in words where it comes from."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise BadInput(f"{where} holds no public key in PEM: {e}") from e
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{where} holds another kind of key than Ed25519")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """Unreachable when the file cannot be read, BadInput when it is no such key."""
    try:
        pem = path.read_bytes()
    except OSError as e:
        raise Unreachable(f"the public key {path} cannot be read ({e.strerror}); name it with --key") from e
    return parse_public(pem, str(path))


def signed_by(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
