"""What lies outside NATS' store: the seals, a line each, and the leaf hashes, 32 bytes an event."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.seals.seal import SignedSeal, decode_seal
from bus.seals.tree import HASH_BYTES, CompactRange
from bus.settings import Settings, StateDir
from domain.errors import BadInput, Unreachable

_CHUNK = 32_768 * HASH_BYTES


class Places(NamedTuple):
    """Files of one instance's auditor."""

    seals: Path
    leaves: Path
    private_key: Path
    public_key: Path
    tree: Path


def places(state: StateDir, settings: Settings) -> Places:
    folder = state.root / "audit"
    seals = Path(settings.seal_file) if settings.seal_file else folder / "seals.jsonl"
    if not seals.is_absolute():
        seals = state.root / seals
    return Places(seals, folder / "leaves", folder / "key.pem", folder / "key.pub", folder / "tree.json")


def read_seals(path: Path) -> list[SignedSeal]:
    """All seals of a file in its order; a last line without its end was cut off by a crash and is left out.

    Unreachable when the file cannot be read, BadInput with the line that is no seal.
    """
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise Unreachable(f"the seals in {path} cannot be read ({e.strerror}); name the file with --seals") from e
    out = []
    for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), 1):
        try:
            out.append(decode_seal(line))
        except BadInput as e:
            raise BadInput(f"{path}, line {number}: {e}") from e
    return out


def append_seal(path: Path, seal: SignedSeal) -> None:
    """Append and sync. OSError when that fails: nothing is half there, or the next append completes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as f:
        end = f.seek(0, os.SEEK_END)
        if end:
            f.seek(end - 1)
            if f.read(1) != b"\n":
                f.seek(0)
                f.truncate(f.read().rfind(b"\n") + 1)
        f.seek(0, os.SEEK_END)
        f.write(msgspec.json.encode(seal) + b"\n")
        f.flush()
        os.fsync(f.fileno())


class LeafFile:
    """Leaf n of the log (sequence n, from 1) at byte 32 × (n − 1). It proves nothing by itself: seals vouch for it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def count(self) -> int:
        return self.path.stat().st_size // HASH_BYTES if self.path.exists() else 0

    def read(self, first: int, last: int) -> bytes:
        """Leaves `first` to `last` (sequences, both included), fewer where the file ends."""
        with self.path.open("rb") as f:
            f.seek((first - 1) * HASH_BYTES)
            return f.read((last - first + 1) * HASH_BYTES)

    def each(self, first: int, last: int) -> Iterator[bytes]:
        for at in range(first, last + 1, _CHUNK // HASH_BYTES):
            part = self.read(at, min(last, at + _CHUNK // HASH_BYTES - 1))
            for i in range(0, len(part) - HASH_BYTES + 1, HASH_BYTES):
                yield part[i : i + HASH_BYTES]

    def truncate(self, count: int) -> None:
        """Keep the first `count` leaves."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as f:
            f.truncate(count * HASH_BYTES)
            os.fsync(f.fileno())

    def append(self, leaves: bytes) -> None:
        """Append and sync: a seal follows."""
        with self.path.open("ab") as f:
            f.write(leaves)
            f.flush()
            os.fsync(f.fileno())


class _Tree(msgspec.Struct):
    size: int
    peaks: list[str]


def write_tree(path: Path, tree: CompactRange) -> None:
    """The tree at the last seal, so that the auditor resumes without hashing all leaves; a cache."""
    tmp = path.with_suffix(".tmp")
    tmp.write_bytes(msgspec.json.encode(_Tree(tree.size, [p.hex() for p in tree.peaks])))
    tmp.replace(path)


def read_tree(path: Path, size: int, root: str) -> CompactRange | None:
    """The tree of `size` leaves with this root, if the file holds it."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Tree)
        tree = CompactRange(found.size, [bytes.fromhex(p) for p in found.peaks])
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    return tree if tree.size == size and tree.root().hex() == root else None
