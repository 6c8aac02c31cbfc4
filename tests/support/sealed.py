"""Logs in memory with the seals that an auditor would have made over them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bus.chain import GENESIS, chain_hash, leaf_hash
from bus.seals.files import LeafFile
from bus.seals.seal import Opening, SignedSeal, make_seal
from bus.seals.sealed import Sealed
from bus.seals.tree import CompactRange
from bus.seals.verify import Record, Report, Verifier

CREATED = "2030-01-01T00:00:00Z"
TIME = "2030-01-02T00:00:00Z"


def records(count: int, salt: str = "") -> list[Record]:
    return [
        Record(n, f"ev.mining.unit.u{n % 7}.opened", f"{salt}id-{n}", f'{{"n":{n},"salt":"{salt}"}}'.encode())
        for n in range(1, count + 1)
    ]


def renumbered(log: Sequence[Record]) -> list[Record]:
    """As a forger would store them again: without a gap."""
    return [r._replace(seq=n) for n, r in enumerate(log, 1)]


def chain_of(log: Sequence[Record]) -> str:
    chain = GENESIS
    for r in log:
        chain = chain_hash(chain, leaf_hash(*r))
    return chain.hex()


@dataclass
class Auditor:
    """Seals in memory, leaf hashes in a file."""

    leaf_file: LeafFile
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    seals: list[SignedSeal] = field(default_factory=list)

    def seal(self, log: Sequence[Record], at: Sequence[int], epoch: int = 1, first: int = 1) -> None:
        """Seal `log` at these sequences; the leaf file ends with the last one."""
        tree, chain, leaves = CompactRange(), GENESIS, []
        for r in log[: max(at)]:
            leaf = leaf_hash(*r)
            leaves.append(leaf)
            tree.append(leaf)
            chain = chain_hash(chain, leaf)
            if r.seq in at:
                before = self.seals[-1] if self.seals else None
                made = make_seal(
                    tree, chain, before, self.key, created=CREATED, identity=leaves[0].hex(), epoch=epoch,
                    first_seq=first, time=TIME,
                )  # fmt: skip
                self.seals.append(made)
                first = r.seq + 1
        self.leaf_file.truncate(0)
        self.leaf_file.append(b"".join(leaves))

    def verify(
        self, log: Sequence[Record], openings: Sequence[Opening] = (), *, leaves: bool = True, created: str = CREATED,
    ) -> Report:  # fmt: skip
        file = self.leaf_file if leaves else None
        verifier = Verifier(Sealed(self.seals, openings, self.key.public_key(), file, created))
        verifier.feed(log)
        return verifier.finish()


def auditor(folder: Path, log: Sequence[Record], at: Sequence[int]) -> Auditor:
    made = Auditor(LeafFile(folder / "leaves"))
    made.seal(log, at)
    return made
