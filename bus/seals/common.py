"""The last event that a log shares with what was sealed: what a restore names in `audit.epoch.opened`."""

from collections.abc import AsyncIterable, Iterable, Sequence
from typing import NamedTuple

from bus.chain import GENESIS, chain_hash, leaf_hash
from bus.seals.files import LeafFile
from bus.seals.seal import Opening, SignedSeal, in_force
from bus.seals.sealed import agrees
from bus.seals.tree import CompactRange
from bus.seals.verify import Record


class Common(NamedTuple):
    """`chain`: the hash chain up to and with `seq`, hex; 0 and the chain before the first event where nothing is shared."""

    seq: int
    chain: str


class CommonFinder:
    """`feed` the copy's events from sequence 1 on, then read `result`.

    `seals`: all that were ever made for this instance, superseded ones too (a new epoch must leave each of them either
    agreed with or beyond `seq`); `openings`: those in the copy itself. `leaves`, where the auditor's file is at hand,
    finds the very event; without it the result is the last seal that agrees. A copy that says nothing else than the
    seals is shared to its end.
    """

    def __init__(
        self, seals: Sequence[SignedSeal], openings: Sequence[Opening] = (), leaves: LeafFile | None = None
    ) -> None:
        bound, _ = in_force(seals, openings)
        self._to_come = sorted(bound, key=lambda s: s.seal.last_seq)
        self._known = leaves.count() if leaves is not None else 0
        self._leaves = leaves.each(1, self._known) if leaves is not None else iter(())
        self._tree, self._chain = CompactRange(), GENESIS
        self._agreed = Common(0, GENESIS.hex())
        self._parted = False

    def feed(self, records: Iterable[Record]) -> None:
        for seq, subject, id, payload in records:
            if self._parted:
                return
            leaf = leaf_hash(seq, subject, id, payload)
            known = next(self._leaves, None)
            if seq != self._tree.size + 1 or (known is not None and known != leaf):
                self._parted = True
                if known is not None:
                    self._agreed = Common(self._tree.size, self._chain.hex())
                return
            self._tree.append(leaf)
            self._chain = chain_hash(self._chain, leaf)
            while self._to_come and self._to_come[0].seal.last_seq == seq:
                if not agrees(self._to_come.pop(0), self._tree, self._chain):
                    self._parted = True
                    return
                self._agreed = Common(seq, self._chain.hex())

    @property
    def result(self) -> Common:
        if self._parted or (self._to_come and self._known < self._tree.size):
            return self._agreed
        return Common(self._tree.size, self._chain.hex())


async def last_common(
    batches: AsyncIterable[Iterable[Record]],
    seals: Sequence[SignedSeal],
    openings: Sequence[Opening] = (),
    leaves: LeafFile | None = None,
) -> Common:
    """As `CommonFinder`, over batches as they come."""
    finder = CommonFinder(seals, openings, leaves)
    async for batch in batches:
        finder.feed(batch)
    return finder.result
