"""What the units of a campaign found, put together: the same whatever the order in which they came."""

import math
from collections.abc import Iterable
from itertools import zip_longest

import numpy as np

from domain.hashing import canonical
from domain.results import Distribution, FrontPoint, Histogram

Aims = tuple[float, float, float, float]


def _aims(p: FrontPoint) -> Aims:
    """Larger is better; a Sharpe ratio that is not defined is the worst, as in the search itself."""
    return p.objective, -math.inf if p.sharpe is None else p.sharpe, -p.max_drawdown, float(p.trades)


def _beats(x: Aims, y: Aims) -> bool:
    return x[0] >= y[0] and x[1] >= y[1] and x[2] >= y[2] and x[3] >= y[3] and x != y


def dominates(a: FrontPoint, b: FrontPoint) -> bool:
    """Is `a` at least as good as `b` in every aim and better in one?"""
    return _beats(_aims(a), _aims(b))


class Front:
    """Points of which none dominates another, each genome once; highest return first, ties by genome hash.

    Never changed: `joined` gives another one, at a cost that grows with how many of the newcomers stay, not with all pairs.
    """

    def __init__(self, members: tuple[tuple[FrontPoint, Aims, bytes], ...] = ()) -> None:
        self._members = members
        self._ids = frozenset(p.genome_id for p, _, _ in members)
        self._aims = np.array([aims for _, aims, _ in members]).reshape(-1, 4)

    @property
    def points(self) -> tuple[FrontPoint, ...]:
        return tuple(p for p, _, _ in self._members)

    def joined(self, points: Iterable[FrontPoint]) -> "Front":
        """With those newcomers that nobody dominates, without those that they dominate; itself when nobody came in."""
        fresh = self._not_beaten([p for p in points if p.genome_id not in self._ids])
        if not fresh:
            return self
        members, ids = list(self._members), set(self._ids)
        for p, aims in fresh:
            if p.genome_id in ids or any(_beats(other, aims) for _, other, _ in members):
                continue
            members = [m for m in members if not _beats(aims, m[1])]
            members.append((p, aims, canonical(p)))
            ids.add(p.genome_id)
        members.sort(key=lambda m: (-m[0].objective, m[0].genome_id))
        return Front(tuple(members))

    def _not_beaten(self, points: list[FrontPoint]) -> list[tuple[FrontPoint, Aims]]:
        fresh = [(p, _aims(p)) for p in points]
        if not fresh or not self._members:
            return fresh
        theirs, ours = np.array([aims for _, aims in fresh])[:, None], self._aims[None]
        beaten = ((ours >= theirs).all(axis=2) & (ours != theirs).any(axis=2)).any(axis=1)
        return [f for f, is_beaten in zip(fresh, beaten.tolist(), strict=True) if not is_beaten]

    def encoded(self) -> bytes:
        """The canonical JSON of `points`."""
        return b"[" + b",".join(encoded for _, _, encoded in self._members) + b"]"


def merged_front(points: Iterable[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Those that no other dominates, each genome once; highest return first, ties by genome hash."""
    return Front().joined(points).points


def merged_distribution(a: Distribution, b: Distribution) -> Distribution:
    """Of both together; each has to be one that `adds_up`."""
    return Distribution(
        a.evaluated + b.evaluated,
        a.without_objective + b.without_objective,
        a.flagged + b.flagged,
        _merged(a.few, b.few),
        _merged(a.enough, b.enough),
    )


def _merged(a: Histogram, b: Histogram) -> Histogram:
    if not a.counts or not b.counts:
        return a if a.counts else b
    first = min(a.first, b.first)
    padded = ([0] * (h.first - first) + list(h.counts) for h in (a, b))
    return Histogram(first, tuple(x + y for x, y in zip_longest(*padded, fillvalue=0)))
