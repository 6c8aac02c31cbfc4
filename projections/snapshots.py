"""Read models of earlier sequences, kept on disk so that a jump into a long log need not begin at its first event.

A cache and nothing else: named by the code that made it, bounded in number and bytes, to be deleted at any time. A file is
taken for what it says only when its bytes have the digest in its name and the log holds, at its position, what it has seen.
"""

import contextlib
import functools
import hashlib
import logging
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from projections import files
from projections.models import fingerprint
from projections.position import Position

log = logging.getLogger("sluice.views")
#: Events from one snapshot to the next: about a second's work where events carry finds.
EVERY = 10_000
MOST_FILES = 64
MOST_BYTES = 4 * 1024**3
#: What a cache may take of the room that is left on the disk.
SHARE = 10
_BLOCK = 4 * 1024**2
_PACKAGES = ("bus", "domain", "projections")


class Snapshot(NamedTuple):
    """A file with the read models as of `seq`; `sha256` of its bytes."""

    seq: int
    sha256: str
    path: Path


@functools.cache
def code_version() -> str:
    """16 hex digits over what decides which rows come of an event: the read models' fingerprint and our sources."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(fingerprint().encode())
    for package in _PACKAGES:
        for path in sorted((root / package).glob("*.py")):
            body = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{package}/{path.name}\0{len(body)}\0".encode() + body)
    return digest.hexdigest()[:16]


class Snapshots:
    """The files of this code in `folder`, for any number of processes. `forget`: which one goes when there are too many.

    `nearest`: the one whose neighbours are closest to each other, so that the log stays covered; `unused`: the one that
    nobody asked for the longest.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int = 0,
        most_files: int = MOST_FILES,
        most_bytes: int = MOST_BYTES,
        forget: Literal["nearest", "unused"] = "nearest",
    ) -> None:
        self.every = every or EVERY
        self._folder = folder / code_version()
        self._most_files, self._most_bytes, self._forget = most_files, most_bytes, forget

    def all(self) -> list[Snapshot]:
        """By sequence."""
        found = []
        for path in self._folder.glob("*.sqlite"):
            seq, _, sha256 = path.stem.partition("-")
            if seq.isdigit() and len(sha256) == 64:
                found.append(Snapshot(int(seq), sha256, path))
        return sorted(found)

    def before(self, seq: int) -> list[Snapshot]:
        """Those at or before `seq`, the nearest first."""
        return [s for s in reversed(self.all()) if s.seq <= seq]

    def due(self, before: int, after: int) -> bool:
        """Whether a reader that went from one sequence to another has come to where a snapshot belongs."""
        return before // self.every != after // self.every and not any(
            after // self.every == s.seq // self.every for s in self.all()
        )

    def take(self, source: Path) -> Snapshot | None:
        """Copy the read models at `source` as they stand now, whoever writes to them meanwhile; None when there is no room."""
        with self._new() as path:
            if _size(source) > self._room():
                return None
            _copy_of(source, path)
            return self.add(path)

    def copy(self, finished: Path) -> Snapshot | None:
        """The same of a plain file that nobody writes to now."""
        with self._new() as path:
            if _size(finished) > self._room():
                return None
            shutil.copyfile(finished, path)
            return self.add(path)

    def add(self, path: Path) -> Snapshot | None:
        """Move a finished file in; None, and the file is gone, when there is no room or another process was first."""
        seq = position_of(path).seq
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            size = path.stat().st_size
            if size > self._room():
                log.info("no snapshot at %d: %d MB are more than the cache may take", seq, size // 1024**2)
                return None
            made = Snapshot(seq, _sha256(path), self._folder / path.name)
            made = made._replace(path=self._folder / f"{seq}-{made.sha256}.sqlite")
            path.replace(made.path)
            self._trim(made)
            return made
        except OSError as e:
            log.warning("no snapshot at %d: %s", seq, e)
            return None
        finally:
            path.unlink(missing_ok=True)

    def fetch(self, snapshot: Snapshot, target: Path) -> bool:
        """Copy it to `target` and mark it as used; False, and neither is there, when its bytes are not what they were."""
        digest = hashlib.sha256()
        try:
            with snapshot.path.open("rb") as source, target.open("wb") as out:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    out.write(block)
            os.utime(snapshot.path)
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            return False
        if digest.hexdigest() == snapshot.sha256:
            return True
        log.warning("the snapshot %s is damaged; it is deleted", snapshot.path.name)
        target.unlink(missing_ok=True)
        self.drop(snapshot)
        return False

    def intact(self, snapshot: Snapshot) -> bool:
        """Whether its bytes are what they were; it is marked as used, or deleted."""
        try:
            if _sha256(snapshot.path) == snapshot.sha256:
                os.utime(snapshot.path)
                return True
        except FileNotFoundError:
            return False
        log.warning("the snapshot %s is damaged; it is deleted", snapshot.path.name)
        self.drop(snapshot)
        return False

    def drop(self, snapshot: Snapshot) -> None:
        snapshot.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _new(self) -> Iterator[Path]:
        """A name for a file that is being made; whatever is there at the end goes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self.scratch()
        try:
            yield path
        finally:
            files.remove(path)

    def scratch(self) -> Path:
        """A name of its own in the folder, not taken for a snapshot; on the same disk, so that moving it costs nothing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"making-{uuid.uuid4().hex}.tmp"

    def clean(self) -> None:
        """Delete what other code has made, and what was left half made: for the one process that owns the folder."""
        for path in self._folder.parent.glob("*"):
            if path != self._folder and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        for path in self._folder.glob("making-*"):
            path.unlink(missing_ok=True)

    def _room(self) -> int:
        """Bytes that all files may take together, those that are there already included."""
        taken = sum(_size(s.path) for s in self.all())
        return min(self._most_bytes, taken + shutil.disk_usage(self._folder).free // SHARE)

    def _trim(self, keep: Snapshot) -> None:
        there = self.all()
        while len(there) > 1 and (
            len(there) > self._most_files or sum(_size(s.path) for s in there) > min(self._most_bytes, self._room())
        ):
            going = self._least(there, keep)
            there.remove(going)
            self.drop(going)

    def _least(self, there: list[Snapshot], keep: Snapshot) -> Snapshot:
        others = [i for i, s in enumerate(there) if s != keep]
        if self._forget == "unused":
            return there[min(others, key=lambda i: _used(there[i].path))]
        last = len(there) - 1

        def gap(i: int) -> int:
            """What a jump would have to go further without it; the newest is where most jumps begin."""
            below = there[i - 1].seq if i else 0
            return there[i + 1].seq - below if i < last else there[i].seq

        return there[min(others, key=gap)]


def position_of(path: Path) -> Position:
    """Where the read models in a finished file stand."""
    con = files.open_past(path)
    try:
        with files.sqlite_errors(path):
            row = con.execute("SELECT created, seq, event_id, chain, previous FROM position").fetchone()
        return Position(*row)
    finally:
        con.close()


def _copy_of(source: Path, target: Path) -> None:
    """One plain file with what a reader of `source` sees now."""
    con = files.open_reader(source)
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        with files.sqlite_errors(source):
            copy.execute("PRAGMA synchronous = OFF")
            con.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
        con.close()


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
