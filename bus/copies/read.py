"""Read a copy, with every byte checked against its manifest on the way."""

from collections.abc import Iterator
from typing import NamedTuple

from bus.chain import GENESIS, chain_hash
from bus.client import Stored
from bus.copies.manifest import COPIED, CopiedFile, CopiedStream, require_manifest
from bus.copies.records import CopyDamaged, leaf, unpack
from bus.copies.target import Target, open_target
from bus.seals.verify import Record, record_of
from domain.hashing import sha256_hex


class Problem(NamedTuple):
    """What is wrong with one file of a copy."""

    file: str
    detail: str


class Checked(NamedTuple):
    """Figures of a copy and what is wrong with it; `seq` is the last event in it."""

    files: int
    messages: int
    bytes: int
    seq: int
    problems: list[Problem]


def read_file(target: Target, file: CopiedFile) -> Iterator[Stored]:
    """The messages of one file in order; CopyDamaged when its bytes are not those that the manifest names."""
    data = target.read(file.name)
    if data is None:
        raise CopyDamaged(f"{file.name} is missing")
    if len(data) != file.bytes or sha256_hex(data) != file.sha256:
        raise CopyDamaged(f"{file.name} was altered: its bytes have another SHA-256 than the manifest says")
    count, last = 0, file.first - 1
    for stored in unpack(file.name, data):
        if stored.seq <= last:
            raise CopyDamaged(f"{file.name}: sequence {stored.seq} after {last}")
        count, last = count + 1, stored.seq
        yield stored
    if (count, last) != (file.messages, file.last):
        raise CopyDamaged(f"{file.name} holds {count} messages up to {last}, the manifest says {file.messages}")


def read_stream(target: Target, stream: CopiedStream) -> Iterator[Stored]:
    """All messages of a stream in order. A stream that loses nothing must have every sequence, and the chain must fit."""
    whole = {k.stream: k.whole for k in COPIED}.get(stream.name, True)
    chain, seq, count = GENESIS, 0, 0
    for file in stream.files:
        for stored in read_file(target, file):
            if stored.seq <= seq or (whole and stored.seq != seq + 1):
                raise CopyDamaged(f"{file.name}: sequence {stored.seq} follows {seq}")
            chain, seq, count = chain_hash(chain, leaf(stored)), stored.seq, count + 1
            yield stored
    if count != stream.messages or chain.hex() != stream.chain or (whole and seq != stream.last):
        raise CopyDamaged(f"{stream.name} ends at {seq} after {count} messages, or with another chain than recorded")


def read_copy(target: Target | str, stream: str = "EVENTS") -> Iterator[Record]:
    """Every message, for whoever verifies a log: a copy is one.

    Raises BadInput where no whole copy is, CopyDamaged when a file is not what the manifest says, Unreachable.
    """
    target = open_target(target) if isinstance(target, str) else target
    found = require_manifest(target).stream(stream)
    for stored in read_stream(target, found) if found is not None else ():
        yield record_of(stored)


def verify_copy(target: Target) -> Checked:
    """Every file against the manifest, all of them, whatever is wrong with one; then what only all together show."""
    manifest = require_manifest(target)
    problems: list[Problem] = []
    for stream in manifest.streams:
        try:
            for _ in read_stream(target, stream):
                pass
        except CopyDamaged as e:
            bad = [p for file in stream.files for p in _problem(target, file)]
            problems += bad or [Problem(stream.name, str(e))]
    files = manifest.files()
    messages = sum(s.messages for s in manifest.streams)
    return Checked(len(files), messages, sum(f.bytes for f in files), manifest.events.last, problems)


def _problem(target: Target, file: CopiedFile) -> list[Problem]:
    try:
        for _ in read_file(target, file):
            pass
    except CopyDamaged as e:
        return [Problem(file.name, str(e))]
    return []
