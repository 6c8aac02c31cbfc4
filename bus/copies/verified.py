"""A copy compared with the seals that it brings along, and with those that were kept elsewhere: no server is needed."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from bus.copies.manifest import require_manifest
from bus.copies.read import read_copy
from bus.copies.sealed import auditor_key, openings_in, seals_in
from bus.copies.target import Target
from bus.seals.files import read_seals
from bus.seals.keys import read_public
from bus.seals.seal import SignedSeal, epoch_of
from bus.seals.sealed import Problem, Sealed, merge, order
from bus.seals.verify import Report, Verifier
from domain.errors import BadInput

_BATCH = 2000


def inspect_copy(
    target: Target, key_file: Path | None, seals_file: Path | None, progress: Callable[[int, int], None]
) -> Report:
    """As `sluice audit verify` does with a running log. `key_file`: the auditor's public key, None: the copy's own.

    Raises BadInput (no whole copy, no key), CopyDamaged when a file is not what the manifest says, Unreachable.
    """
    manifest = require_manifest(target)
    key = read_public(key_file) if key_file is not None else auditor_key(manifest, target.where)
    if key is None:
        raise BadInput(f"the log at {target.where} was not sealed when it was copied: there is nothing to compare with")
    events = manifest.events
    seals = order(seals_in(target, manifest))
    problems: list[Problem] = []
    notes = []
    if key_file is None:
        notes.append(
            "checked with the key that the copy brings along; name one that you have from elsewhere with --key"
        )
    openings = openings_in(target, manifest)
    if seals_file is not None:
        kept = read_seals(seals_file)
        reached = [s for s in kept if not _later(s, epoch_of(openings), events.last)]
        seals, problems = merge(seals, reached, key)
        if len(reached) < len(kept):
            notes.append(f"{len(kept) - len(reached)} seals of the file were made later than the copy")
    sealed = Sealed(seals, openings, key, None, events.created)
    sealed.problems += problems
    sealed.notes += notes
    verifier = Verifier(sealed)
    records = read_copy(target)
    while batch := list(islice(records, _BATCH)):
        verifier.feed(batch)
        progress(verifier.seq, events.last)
    return verifier.finish(events.last)


def _later(signed: SignedSeal, epoch: int, last: int) -> bool:
    """Over events that the copy does not reach, or after a restore that it knows nothing of."""
    seal = signed.seal
    return seal.epoch > epoch or (seal.epoch == epoch and seal.last_seq > last)
