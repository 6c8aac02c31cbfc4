"""`manifest.json` of a copy: what lies in it and by which hashes. Written last, so that a copy that was cut short has none."""

import re
from typing import Any, NamedTuple

import msgspec

from bus.copies.records import CopyDamaged
from bus.copies.target import Target
from domain.errors import BadInput
from domain.hashing import canonical, sha256_hex

FORMAT = 1
NAME = "manifest.json"
_FILE = re.compile(r"[A-Z]+/[0-9]{20}-[0-9]{20}-[0-9a-f]{12}\.gz")


class Kind(NamedTuple):
    """`whole`: nothing is ever deleted from it, so that a missing sequence means damage."""

    stream: str
    whole: bool


#: What is copied, in the order in which the ends are fixed: first what speaks about events (seals, parked messages), so
#: that the copy holds every event that these name; then the events; then what events name (claims, results, artifacts),
#: which was stored before them. What is stored in between is in the copy too early, as after any crash: harmless.
COPIED = (
    Kind("AUDIT", True),
    Kind("PARKED", True),
    Kind("EVENTS", True),
    Kind("CLAIM", False),
    Kind("RESULT", True),
    Kind("ARTIFACTS", False),
)


class CopiedFile(msgspec.Struct, frozen=True):
    """`first` and `last` sequence, how many messages, bytes as they lie there."""

    name: str
    first: int
    last: int
    messages: int
    bytes: int
    sha256: str


class CopiedStream(msgspec.Struct, frozen=True):
    """`last`: the sequence up to which the copy goes; `chain` (hex) over all its messages, `leaf` of the last of them.

    `created` and `config` are those of the stream that was copied last.
    """

    name: str
    created: str
    last: int
    messages: int
    chain: str
    leaf: str
    config: dict[str, Any]
    files: tuple[CopiedFile, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """`product`: the version that wrote it; `auditor_key`: the public key (PEM) that the seals in AUDIT are checked with, ""
    when the log was never sealed. `sha256` is that of all the rest in canonical JSON.
    """

    format: int
    product: str
    time: str
    streams: tuple[CopiedStream, ...]
    auditor_key: str = ""
    sha256: str = ""

    def stream(self, name: str) -> CopiedStream | None:
        return next((s for s in self.streams if s.name == name), None)

    @property
    def events(self) -> CopiedStream:
        found = self.stream("EVENTS")
        assert found is not None  # looked at when the manifest was read
        return found

    def files(self) -> tuple[CopiedFile, ...]:
        return tuple(f for s in self.streams for f in s.files)

    def digest(self) -> str:
        return sha256_hex(canonical(msgspec.structs.replace(self, sha256="")))


class _Format(msgspec.Struct):
    format: int


def write_manifest(target: Target, manifest: Manifest) -> None:
    whole = msgspec.structs.replace(manifest, sha256=manifest.digest())
    target.write(NAME, msgspec.json.format(msgspec.json.encode(whole), indent=1))


def read_manifest(target: Target) -> Manifest | None:
    """None where no copy was ever finished; CopyDamaged when it was altered, BadInput when a newer version wrote it."""
    raw = target.read(NAME)
    if raw is None:
        return None
    try:
        said = msgspec.json.decode(raw, type=_Format).format
        if said > FORMAT:
            raise BadInput(
                f"the copy at {target.where} has format {said}, this program knows {FORMAT}; use a newer one"
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise CopyDamaged(f"{NAME} of the copy at {target.where} is damaged: {e}") from e
    if manifest.digest() != manifest.sha256:
        raise CopyDamaged(f"{NAME} of the copy at {target.where} was altered: its own hash does not fit")
    bad = [f.name for f in manifest.files() if not _FILE.fullmatch(f.name)]
    if bad or manifest.stream("EVENTS") is None:
        raise CopyDamaged(f"{NAME} of the copy at {target.where} names what no copy holds: {bad[:1] or 'no EVENTS'}")
    return manifest


def require_manifest(target: Target) -> Manifest:
    """BadInput where there is no whole copy."""
    manifest = read_manifest(target)
    if manifest is None:
        what = "a copy that was cut short" if target.sizes() else "nothing"
        raise BadInput(
            f"there is {what} at {target.where}, and no {NAME}; run `sluice backup {target.where}` to the end"
        )
    return manifest


def file_name(stream: str, first: int, last: int, sha256: str) -> str:
    """Named by its hash too: a second backup at the same time can never put other bytes under a name in use."""
    return f"{stream}/{first:020}-{last:020}-{sha256[:12]}.gz"


def is_ours(name: str) -> bool:
    return name == NAME or _FILE.fullmatch(name) is not None
