"""What a copy shares with all that was ever sealed of its log, and whether its seals go on where it is restored."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bus.client import Stored
from bus.copies.manifest import Manifest
from bus.copies.read import read_stream
from bus.copies.target import Target
from bus.seals.common import CommonFinder
from bus.seals.files import LeafFile, Places, read_seals
from bus.seals.keys import key_id, make_or_read_key, parse_public
from bus.seals.seal import Opening, SignedSeal, decode_seal, epoch_of, is_opening, opening_at
from bus.seals.verify import record_of
from bus.subjects import FINDING
from domain.errors import BadInput

_AUDIT = "AUDIT"


class Before(NamedTuple):
    """`seals` of earlier epochs, those beyond the copy too. `go_on`: the key that made them is in the state (or none
    was made), so that AUDIT is restored; otherwise a new key begins, and the old seals stay with the copy.
    """

    seals: list[SignedSeal]
    openings: list[Opening]
    go_on: bool

    @property
    def epoch(self) -> int:
        """The one that begins now."""
        return 1 + max([epoch_of(self.openings), *(s.seal.epoch for s in self.seals)])


def auditor_key(manifest: Manifest, where: str) -> Ed25519PublicKey | None:
    """The public key that the copy brings along; None when its log was never sealed."""
    return parse_public(manifest.auditor_key.encode(), f"the copy at {where}") if manifest.auditor_key else None


def seals_in(source: Target, manifest: Manifest) -> list[SignedSeal]:
    """In the order of the stream. BadInput at one that this program does not know."""
    audit = manifest.stream(_AUDIT)
    found = read_stream(source, audit) if audit is not None else ()
    return [decode_seal(stored.data) for stored in found if stored.subject != FINDING]


def openings_in(source: Target, manifest: Manifest) -> list[Opening]:
    found = (s for s in read_stream(source, manifest.events) if is_opening(s.subject))
    return [o for s in found if (o := opening_at(s.seq, s.data)) is not None]


async def sealed_before(source: Target, manifest: Manifest, at: Places, given: Path | None) -> Before:
    """Read what there is of seals: in the copy, in the state's seal file, in the file that was `given`.

    BadInput when the state holds seals without the key that made them, or another key than the copy's.
    """
    return await asyncio.to_thread(_sealed_before, source, manifest, at, given)


def _sealed_before(source: Target, manifest: Manifest, at: Places, given: Path | None) -> Before:
    own = at.private_key.exists()
    in_file = at.seals.exists() and at.seals.stat().st_size > 0
    if in_file and not own:
        raise BadInput(
            f"{at.seals} holds seals, and the key that made them is not in {at.private_key}; nothing was changed. "
            "Put the key there, or move the seals away and name them with --seals: a new key begins then"
        )
    copied = seals_in(source, manifest)
    key = make_or_read_key(at.private_key, at.public_key).public_key() if own else auditor_key(manifest, source.where)
    if own and key is not None and any(s.flaw(key) for s in copied):
        raise BadInput(
            f"{at.private_key} (key {key_id(key)}) did not seal the log at {source.where}; nothing was changed. "
            f"Put the right key there, or move {at.private_key.parent} away: a new key begins then"
        )
    outside = [s for path in (at.seals if in_file else None, given) if path is not None for s in read_seals(path)]
    known = {(s.seal.epoch, s.seal.last_seq): s for s in (*copied, *outside) if key is None or not s.flaw(key)}
    return Before(list(known.values()), openings_in(source, manifest), own or not copied)


class Watch:
    """Finds the last common event while the copied events go by."""

    def __init__(self, before: Before, at: Places) -> None:
        leaves = LeafFile(at.leaves) if at.leaves.exists() and before.go_on else None
        self.finder = CommonFinder(before.seals, before.openings, leaves)

    def over(self, messages: Iterable[Stored]) -> Iterator[Stored]:
        for stored in messages:
            self.finder.feed((record_of(stored),))
            yield stored


def keep_given(given: Path | None, at: Places) -> None:
    """Seals that were kept elsewhere become the state's own seal file, so that what was once sealed stays known."""
    if given is not None and not at.seals.exists():
        at.seals.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        at.seals.write_bytes(given.read_bytes())
