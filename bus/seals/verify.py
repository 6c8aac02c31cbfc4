"""Compare a log with its seals, event by event as it streams, and say where they part."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from bus.chain import ID_HEADER, chain_hash, leaf_hash
from bus.client import Stored
from bus.seals.seal import epoch_of
from bus.seals.sealed import Problem, Sealed, agrees
from bus.seals.tree import HASH_BYTES

#: How many events a difference is looked through to tell a deleted or moved event from a changed one.
LOOK = 64
#: More problems than this are counted and not listed.
MOST = 100
_CHUNK = 16_384


class Record(NamedTuple):
    """An event as it lies in a log, from wherever it is read. `id`: the header Nats-Msg-Id, "" without one."""

    seq: int
    subject: str
    id: str
    payload: bytes


def record_of(stored: Stored) -> Record:
    return Record(stored.seq, stored.subject, stored.headers.get(ID_HEADER, ""), stored.data)


class Report(msgspec.Struct, frozen=True):
    """`sealed_through`: the last seal before the first problem. `superseded`: seals of earlier epochs, lost by a restore."""

    ok: bool
    events: int
    sealed_through: int
    problems: list[Problem]
    seals: int
    superseded: int
    epoch: int
    more_problems: int = 0
    notes: list[str] = []


class _Run(msgspec.Struct):
    """Problems of one kind side by side: log sequences, and those of the log that was sealed."""

    kind: str
    first: int
    last: int
    sealed_last: int


class Verifier:
    """`feed` all events from sequence 1 on, in order, then `finish`. Memory does not grow with the log."""

    def __init__(self, sealed: Sealed) -> None:
        self.sealed = sealed
        self.seq = 0
        self._at = (
            0  # the sequence in the log that was sealed; another than `seq` after an event was deleted or inserted
        )
        self._events = 0
        self._tree, self._chain = sealed.tree.copy(), sealed.chain
        self._to_come = [s for s in sealed.bound if s.seal.last_seq > sealed.trusted]
        self._end = max([sealed.through, *sealed.wanted])
        self._unknown = False
        self._held: list[Record] = []
        self._runs: list[_Run] = []
        self._problems: list[Problem] = []
        self._chunk, self._chunk_first = b"", 1

    @property
    def troubled(self) -> bool:
        """Something was found already."""
        return bool(self._problems or self._runs or self._held)

    def feed(self, records: Iterable[Record]) -> None:
        for record in records:
            if self._held:
                self._held.append(record)
                if len(self._held) > LOOK:
                    self._resolve()
            elif not self._step(record):
                self._held.append(record)

    def _step(self, record: Record) -> bool:
        """Take the event as the next one of the sealed log; False (nothing happened) when it is another one."""
        seq, subject, id, payload = record
        if seq != self.seq + 1:
            self._jump(seq)
        at = self._at + 1
        if at <= self.sealed.trusted:
            if leaf_hash(at, subject, id, payload) != self._leaf(at):
                return False
        elif at <= self._end and not self._unknown:
            leaf = leaf_hash(at, subject, id, payload)
            self._tree.append(leaf)
            self._chain = chain_hash(self._chain, leaf)
            if at in self.sealed.wanted:
                self.sealed.chains[at] = self._chain
            self._compare(at)
        self._at, self.seq = at, seq
        self._events += 1
        return True

    def _jump(self, seq: int) -> None:
        if seq <= self.seq:
            self._problems.append(Problem(seq, "rewound", f"sequence {seq} comes after {self.seq}"))
        else:
            gap = seq - 1 - self.seq
            self._run("deleted", self.seq + 1, seq - 1, self._at + gap)
            self._at += gap
            self._unknown = self._unknown or self._at > self.sealed.trusted
        self.seq = seq - 1

    def _leaf(self, at: int) -> bytes:
        i = (at - self._chunk_first) * HASH_BYTES
        if not 0 <= i < len(self._chunk):
            assert self.sealed.leaves is not None
            self._chunk, self._chunk_first = self.sealed.leaves.read(at, at + _CHUNK - 1), at
            i = 0
        return self._chunk[i : i + HASH_BYTES]

    def _compare(self, at: int) -> None:
        """Without leaves that a seal vouches for, only whole ranges can be compared."""
        while self._to_come and self._to_come[0].seal.last_seq == at:
            s = self._to_come.pop(0)
            if not agrees(s, self._tree, self._chain):
                first = s.seal.first_seq
                words = f"between {first} and {at} something was changed, deleted, inserted or reordered"
                words += "; without the leaf hashes of the auditor it cannot be told which event"
                self._problems.append(Problem(first, "changed", words))
                self._unknown = True

    # -- telling what happened ------------------------------------------------------------------------------------

    def _is(self, record: Record, at: int) -> bool:
        """This event stood at sequence `at` of the sealed log."""
        if at > self.sealed.trusted:
            return False
        return leaf_hash(at, record.subject, record.id, record.payload) == self._leaf(at)

    def _resolve(self) -> None:
        """The first of the held events is not the one that was sealed: say why, and go on after it."""
        held, self._held = self._held, []
        self.feed(held[self._tell(held) :])

    def _tell(self, held: list[Record]) -> int:
        """Record what happened and return how many of the held events it explains."""
        head, at = held[0], self._at + 1
        ahead = next((k for k in range(1, LOOK) if self._is(head, at + k)), 0)
        behind = next((j for j in range(1, len(held)) if self._is(held[j], at)), 0)
        if ahead and behind:
            width = max(ahead, behind) + 1
            places = [next((at + k for k in range(width) if self._is(r, at + k)), 0) for r in held[:width]]
            if sorted(places) == list(range(at, at + width)):
                self._run("reordered", head.seq, held[width - 1].seq, at + width - 1)
                self._at, self.seq = self._at + width, held[width - 1].seq
                self._events += width
                return width
        if ahead and (not behind or ahead <= behind):
            self._run("deleted", at, at + ahead - 1, at + ahead - 1)
            self._at += ahead
            return 0
        if behind:
            self._run("inserted", head.seq, held[behind - 1].seq, self._at)
            self.seq = held[behind - 1].seq
            self._events += behind
            return behind
        self._run("changed", head.seq, head.seq, at)
        self._at, self.seq = at, head.seq
        self._events += 1
        return 1

    def _run(self, kind: str, first: int, last: int, sealed_last: int) -> None:
        run = self._runs[-1] if self._runs else None
        if kind == "changed" and run is not None and run.kind == kind and run.last == first - 1:
            run.last, run.sealed_last = last, sealed_last
        else:
            self._runs.append(_Run(kind, first, last, sealed_last))

    # -- the end --------------------------------------------------------------------------------------------------

    def finish(self, last: int = 0) -> Report:
        """Call once, after the last event. `last`: where the log says that it ends; what lies before it must be readable."""
        while self._held:
            self._resolve()
        if last > self.seq:
            self._jump(last + 1)
        s = self.sealed
        cut = self._at < s.through
        problems = [*s.problems, *self._problems, *(self._told(r, cut) for r in self._runs)]
        if cut:
            seal = s.bound[-1].seal
            words = f"the log ends at {self.seq}; it was sealed through {seal.last_seq} at {seal.time}"
            problems.append(Problem(self.seq + 1, "cut", words))
        if self._to_come and (first := self._to_come[0].seal.first_seq) <= self.seq:
            words = f"events {first} to {self.seq} can be compared with no seal"
            problems.append(Problem(first, "unverified", words))
        problems += self._openings()
        problems.sort(key=lambda p: p.seq)
        first = problems[0].seq if problems else s.through + 1
        through = max((x.seal.last_seq for x in s.bound if x.seal.last_seq < first), default=0)
        epoch = epoch_of(s.openings)
        return Report(
            not problems, self._events, through, problems[:MOST], s.count, len(s.superseded), epoch,
            max(0, len(problems) - MOST), s.notes,
        )  # fmt: skip

    def _told(self, run: _Run, cut: bool) -> Problem:
        many = f"events {run.first} to {run.last}" if run.last > run.first else f"event {run.first}"
        if run.kind == "changed":
            to_the_end = run.sealed_last == min(self.sealed.through, self._at)
            if to_the_end and (cut or run.last > run.first):
                again = f"from {run.first} on the log holds other events than were sealed"
                if run.first == 1:
                    return Problem(1, "replaced", f"{again}: it is another log")
                return Problem(run.first, "rewound", f"{again}: it was cut there and its sequences were used again")
            return Problem(run.first, "changed", f"{many}: not what was sealed")
        words = {
            "deleted": f"{many} of the log {'are' if run.last > run.first else 'is'} gone or cannot be read any more",
            "inserted": f"{many}: not in the sealed log, put between its events",
            "reordered": f"{many} stand in another order than was sealed",
        }
        return Problem(run.first, run.kind, words[run.kind])

    def _openings(self) -> list[Problem]:
        """An epoch that names another chain than the log has was not opened over this log."""
        out = []
        for o in self.sealed.openings:
            chain = self.sealed.chains.get(o.last_seq)
            if chain is not None and chain.hex() != o.chain:
                words = f"epoch {o.epoch} was opened after event {o.last_seq} of another log than this one"
                out.append(Problem(o.seq, "epoch", words))
        return out
