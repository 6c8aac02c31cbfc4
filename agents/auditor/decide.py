"""When to seal, and what to say about a log that is not what was sealed: pure."""

from collections.abc import Sequence

from bus.messages import DAMAGED_DO, Finding
from bus.seals.seal import SignedSeal
from bus.seals.sealed import Problem
from domain.errors import SluiceError


class Doubt(SluiceError):
    """The log, or a seal, is not what was sealed. Trying again changes nothing."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def due(pending: int, since_s: float, seal_events: int, seal_s: float) -> bool:
    """Seal `pending` events, the first of which came `since_s` seconds ago?"""
    return pending >= seal_events or (pending > 0 and since_s >= seal_s)


def lacking(have: Sequence[SignedSeal], wanted: Sequence[SignedSeal]) -> list[SignedSeal]:
    """Those of `wanted` that are not among `have`."""
    known = {(s.seal.epoch, s.seal.last_seq) for s in have}
    return [s for s in wanted if (s.seal.epoch, s.seal.last_seq) not in known]


def cut_short(last: int, bound: Sequence[SignedSeal]) -> Problem | None:
    """The log, which ends at `last`, was sealed beyond that."""
    if not bound or last >= (seal := bound[-1].seal).last_seq:
        return None
    return Problem(last + 1, "cut", f"the log ends at {last}; it was sealed through {seal.last_seq} at {seal.time}")


def finding(problem: Problem, time: str) -> Finding:
    return Finding(False, time, problem.seq, problem.kind, words(problem))


def words(problem: Problem) -> str:
    return f"halted: the log is damaged or was altered at event {problem.seq} ({problem.kind}): {problem.detail}; {DAMAGED_DO}"
