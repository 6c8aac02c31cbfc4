"""The Merkle tree of RFC 9162 (section 2.1) over the leaves of the log: grown a leaf at a time, in O(log n) memory."""

import hashlib
from collections.abc import Iterable, Sequence

from bus.chain import node_hash

HASH_BYTES = 32


class CompactRange:
    """The roots of the full subtrees that the leaves so far fall into, largest first: as many as `size` has one bits."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} full subtrees, not {len(self.peaks)}")

    def append(self, leaf: bytes) -> None:
        """As many hashes as `size` has trailing one bits: one on average."""
        node, size, peaks = leaf, self.size, self.peaks
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The Merkle tree hash; that of no leaves is SHA-256 of nothing."""
        if not self.peaks:
            return hashlib.sha256().digest()
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def copy(self) -> "CompactRange":
        return CompactRange(self.size, self.peaks)


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (from two on)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves) of RFC 9162, section 2.1.3.1: the siblings from the leaf up. Hashes all leaves once."""
    path: list[bytes] = []
    start, stop = 0, len(leaves)
    if not start <= index < stop:
        raise IndexError(index)
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_root_of(leaves, middle, stop))
            stop = middle
        else:
            path.append(_root_of(leaves, start, middle))
            start = middle
    return path[::-1]


def _root_of(leaves: Sequence[bytes], start: int, stop: int) -> bytes:
    tree = CompactRange()
    for i in range(start, stop):
        tree.append(leaves[i])
    return tree.root()


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that a tree of `size` leaves has when `leaf` stands at `index` (from 0) and `path` is true.

    RFC 9162, section 2.1.3.2. ValueError when the path has not the length that index and size ask for.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has none at {index}")
    node, fn, sn = leaf, index, size - 1
    for sibling in path:
        if sn == 0:
            raise ValueError("the path is longer than the tree is high")
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ValueError("the path is shorter than the tree is high")
    return node
