"""The verdict on a unit as a pure function of its answers: distinct owners, equal digests, one vote an owner."""

from collections.abc import Sequence
from typing import NamedTuple

from agents.validator.model import Answer


class Quorum(NamedTuple):
    """`owners` agree on `digest`; the `outvoted` gave another one. The reference still has to agree."""

    digest: str
    owners: tuple[str, ...]
    outvoted: tuple[str, ...]
    result_seq: int


class AskMore(NamedTuple):
    replica: int
    reason: str


class GiveUp(NamedTuple):
    reason: str


class Wait(NamedTuple):
    """Answers are still to come."""


Verdict = Quorum | AskMore | GiveUp | Wait


def counts(answers: Sequence[Answer], owner: str) -> bool:
    """Whether a further answer of `owner` has a vote: only the first one has, a late one never counts twice."""
    return all(a.owner != owner for a in answers)


def judge(answers: Sequence[Answer], quorum: int, wanted: int, limit: int) -> Verdict:
    """`quorum` distinct owners must agree; of `wanted` replicas those without an answer are still open.

    When all are answered without a quorum one more is asked for, up to `limit` replicas in all. The one asked for may
    have an answer already (somebody wrote ahead of being asked): look again after asking.
    """
    votes: dict[str, list[Answer]] = {}
    voted: set[str] = set()
    for a in sorted((a for a in answers if a.counts), key=lambda a: a.result_seq):
        if a.owner not in voted:
            voted.add(a.owner)
            votes.setdefault(a.digest, []).append(a)
    for digest, group in votes.items():
        if len(group) >= quorum:
            outvoted = sorted(a.owner for d, other in votes.items() if d != digest for a in other)
            return Quorum(digest, tuple(sorted(a.owner for a in group)), tuple(outvoted), group[0].result_seq)
    if set(range(wanted)) - {a.replica for a in answers}:
        return Wait()
    shares = sorted((len(g) for g in votes.values()), reverse=True)
    found = (
        f"{len(shares)} different outcomes from {sum(shares)} owners"
        if len(shares) > 1
        else f"{sum(shares)} of {quorum} votes"
    )
    if wanted < limit:
        return AskMore(wanted, found)
    return GiveUp(f"{found} after {wanted} replicas, the limit")
