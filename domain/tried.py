"""The trial ledger: which genomes a unit has tried, as bytes in ARTIFACTS that a campaign's distinct trials are counted from.

A search stores the sorted 32-byte hashes of what it tried. An exhaustive unit tried everything there is under one stop
and one target: a descriptor of a few hundred bytes says so, where hashes would be 54 MB a unit.
"""

import msgspec

from domain.errors import BadInput
from domain.grammar import Space
from domain.hashing import canonical, content_hash
from domain.specs import SearchSpec
from domain.sweep import set_count

HASH_BYTES = 32
#: No set of hashes begins so: its first hash would have to, by chance, in 20 bytes of it.
_MAGIC = b"SLUICE-GRAMMAR-SET-1"


class SweptSets(msgspec.Struct, frozen=True):
    """Every rule set of a space with one stop and one target, `count` genomes. Two that differ share no genome: the stop
    and target are part of it, and within one campaign the space is the same."""

    grammar: str
    risk: str
    venue: str
    space: str
    stop_bps: int
    target_bps: int
    count: int

    def to_bytes(self) -> bytes:
        return _MAGIC + canonical(self)


def swept_sets(search: SearchSpec, space: Space, stop_bps: int, target_bps: int) -> SweptSets:
    """`space` is named by its content too, so that another version of a grammar is another set."""
    fixed = (space.entry_rules, space.directions, space.trailing_bps, space.max_hold, space.size_bps, space.leverage)
    return SweptSets(
        search.grammar,
        search.risk,
        search.venue,
        content_hash([space.rules, fixed]),
        stop_bps,
        target_bps,
        set_count(space),
    )


def read_tried(data: bytes) -> SweptSets | None:
    """The descriptor, or None when the bytes are sorted hashes; raises BadInput when they are neither."""
    if data.startswith(_MAGIC):
        try:
            return msgspec.json.decode(data[len(_MAGIC) :], type=SweptSets)
        except msgspec.MsgspecError as e:
            raise BadInput(f"the descriptor of tried genomes cannot be read: {e}") from e
    if len(data) % HASH_BYTES:
        raise BadInput(f"{len(data)} bytes are no set of tried genomes")
    return None
