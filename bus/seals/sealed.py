"""What the seals say by themselves, before any event is read: which hold, in which order, and whether leaves match them."""

from collections.abc import Iterable, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bus.chain import GENESIS, chain_hash
from bus.seals.files import LeafFile
from bus.seals.keys import key_id
from bus.seals.seal import Opening, SignedSeal, in_force
from bus.seals.tree import CompactRange


class Problem(msgspec.Struct, frozen=True):
    """`seq`: where in the log; `kind` one of changed, deleted, inserted, reordered, rewound, cut, replaced, forged,
    seals_differ, seal_missing, epoch, unverified; `detail` in words."""

    seq: int
    kind: str
    detail: str


def order(seals: Iterable[SignedSeal]) -> list[SignedSeal]:
    """In the order in which they were made: a stream that was filled again may hold them in another."""
    return sorted(seals, key=lambda s: (s.seal.epoch, s.seal.last_seq))


def merge(
    audit: Sequence[SignedSeal], file: Sequence[SignedSeal], key: Ed25519PublicKey
) -> tuple[list[SignedSeal], list[Problem]]:
    """The seals of the stream AUDIT and of the file outside as one list, and where the two do not say the same.

    The newest one may stand in one of them only: the auditor may have died, or just be, between the two.
    """
    problems = []
    ours, theirs = ({(s.seal.epoch, s.seal.last_seq): s for s in side} for side in (audit, file))
    out = {}
    keys = sorted(ours.keys() | theirs.keys())
    for at in keys:
        a, b = ours.get(at), theirs.get(at)
        if a is not None and b is not None and a != b:
            words = f"the seal through {at[1]} in AUDIT and the one in the file differ"
            forged = [n for n, s in (("AUDIT", a), ("the file", b)) if s.flaw(key)]
            words += f"; the one in {' and '.join(forged)} is not by key {key_id(key)}" if forged else ""
            problems.append(Problem(at[1], "seals_differ", words))
            out[at] = b if a.flaw(key) else a
            continue
        if (a is None or b is None) and at != keys[-1]:
            where = "AUDIT" if a is None else "the file"
            problems.append(Problem(at[1], "seal_missing", f"{where} lacks the seal of epoch {at[0]} through {at[1]}"))
        found = a or b
        assert found is not None
        out[at] = found
    return order(out.values()), problems


class Sealed:
    """The seals that a log must agree with. `through`: how far they reach; `trusted`: how far the leaf file is vouched for.

    `leaves` None: there is no leaf file; then a difference is found as a range between two seals. `wanted`: sequences
    whose chain is to be kept (in `chains`), beside those that openings name.
    """

    def __init__(
        self, seals: Sequence[SignedSeal], openings: Sequence[Opening], key: Ed25519PublicKey,
        leaves: LeafFile | None = None, created: str = "",
    ) -> None:  # fmt: skip
        self.openings = list(openings)
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.count = len(seals)
        held, self.superseded = in_force(self._signed(seals, key), openings)
        self.bound = self._ordered(held, created)
        self.through = self.bound[-1].seal.last_seq if self.bound else 0
        self.wanted = {o.last_seq for o in openings}
        self.chains: dict[int, bytes] = {0: GENESIS}
        self.trusted = 0
        self.tree, self.chain = CompactRange(), GENESIS
        self.leaves = leaves if leaves is not None and leaves.count() else None
        if self.leaves is not None:
            self._vouch(self.leaves)

    def _signed(self, seals: Sequence[SignedSeal], key: Ed25519PublicKey) -> list[SignedSeal]:
        good = []
        for i, s in enumerate(seals):
            flaw = s.flaw(key)
            before = seals[i - 1].digest() if i else ""
            if flaw:
                self.problems.append(Problem(s.seal.last_seq, "forged", f"the seal through {s.seal.last_seq}: {flaw}"))
                continue
            good.append(s)
            if s.seal.previous != before and not (i and seals[i - 1].flaw(key)):
                words = f"the seal through {s.seal.last_seq} names another one before it: one is gone or was replaced"
                self.problems.append(Problem(s.seal.first_seq, "forged", words))
        return good

    def _ordered(self, seals: Sequence[SignedSeal], created: str) -> list[SignedSeal]:
        epochs = {1} | {o.epoch for o in self.openings}
        out: list[SignedSeal] = []
        for s in seals:
            seal = s.seal
            if seal.epoch not in epochs or (out and seal.last_seq <= out[-1].seal.last_seq):
                words = f"epoch {seal.epoch} was sealed through {seal.last_seq}, and no event of the log opens it"
                self.problems.append(Problem(seal.first_seq, "epoch", words))
                continue
            out.append(s)
            if created and seal.epoch == max(epochs) and seal.created != created and not self._told("replaced"):
                words = f"the log was made at {created}, the sealed one at {seal.created}, and no event opens an epoch"
                self.problems.append(Problem(1, "replaced", words))
        return out

    def _told(self, kind: str) -> bool:
        return any(p.kind == kind for p in self.problems)

    def _vouch(self, leaves: LeafFile) -> None:
        """Hash the leaves once, as far as seals agree with them."""
        tree, chain = CompactRange(), GENESIS
        for s in self.bound:
            for leaf in leaves.each(tree.size + 1, s.seal.last_seq):
                tree.append(leaf)
                chain = chain_hash(chain, leaf)
                if tree.size in self.wanted:
                    self.chains[tree.size] = chain
            if not agrees(s, tree, chain):
                self.chains = {seq: c for seq, c in self.chains.items() if seq <= self.trusted}
                self.notes.append(
                    f"the file of leaf hashes does not match the seal through {s.seal.last_seq}: from {self.trusted + 1} "
                    "on, a difference is found as a range between two seals"
                )
                return
            self.trusted, self.tree, self.chain = tree.size, tree.copy(), chain


def agrees(signed: SignedSeal, tree: CompactRange, chain: bytes) -> bool:
    seal = signed.seal
    return (seal.last_seq, seal.size, seal.root, seal.chain) == (
        tree.size, tree.size, tree.root().hex(), chain.hex(),
    )  # fmt: skip
