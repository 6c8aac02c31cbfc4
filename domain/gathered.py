"""What the units of a campaign found, put together: the same whatever the order in which they came."""

import itertools
import math
from collections.abc import Iterable
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from domain.hashing import canonical
from domain.results import Distribution, FrontPoint, Histogram

Aims = tuple[float, float, float, float]
Matrix = NDArray[np.float64]


def _aims(p: FrontPoint) -> Aims:
    """Larger is better; a Sharpe ratio that is not defined is the worst, as in the search itself."""
    return p.objective, -math.inf if p.sharpe is None else p.sharpe, -p.max_drawdown, float(p.trades)


def _beats(x: Aims, y: Aims) -> bool:
    return x[0] >= y[0] and x[1] >= y[1] and x[2] >= y[2] and x[3] >= y[3] and x != y


def dominates(a: FrontPoint, b: FrontPoint) -> bool:
    """Is `a` at least as good as `b` in every aim and better in one?"""
    return _beats(_aims(a), _aims(b))


class Front:
    """Points of which none dominates another, each genome once.

    Never changed: `joined` gives another one. A campaign's front has hundreds of points and grows with every unit, so that
    their aims lie side by side in an array, float64[n, 4], and nothing is sorted or written out before somebody asks.
    """

    def __init__(self, members: dict[str, tuple[FrontPoint, bytes]] | None = None, aims: Matrix | None = None) -> None:
        self._members = members or {}
        self._aims = np.empty((0, 4)) if aims is None else aims

    @property
    def points(self) -> tuple[FrontPoint, ...]:
        """Highest return first, ties by genome hash."""
        return tuple(p for p, _ in self._sorted())

    def _sorted(self) -> list[tuple[FrontPoint, bytes]]:
        return sorted(self._members.values(), key=lambda m: (-m[0].objective, m[0].genome_id))

    def joined(self, points: Iterable[FrontPoint]) -> "Front":
        """With those newcomers that nobody dominates, without those that they dominate; itself when nobody came in."""
        fresh = [(p, _aims(p)) for p in {p.genome_id: p for p in points if p.genome_id not in self._members}.values()]
        if not fresh:
            return self
        fresh = [f for f in fresh if not any(_beats(other, f[1]) for _, other in fresh)]
        theirs = np.array([aims for _, aims in fresh])
        keep = ~_beaten(theirs, self._aims)
        if not keep.any():
            return self
        fresh = [f for f, kept in zip(fresh, keep.tolist(), strict=True) if kept]
        staying = ~_beaten(self._aims, theirs[keep])
        members = self._members.copy()
        if not staying.all():
            members = dict(itertools.compress(members.items(), staying.tolist()))
        members |= {p.genome_id: (p, canonical(p)) for p, _ in fresh}
        return Front(members, np.concatenate((self._aims[staying], theirs[keep])))

    def text(self) -> str:
        """The canonical JSON of `points`."""
        return (b"[" + b",".join([encoded for _, encoded in self._sorted()]) + b"]").decode()


def _beaten(those: Matrix, by: Matrix) -> NDArray[np.bool_]:
    """Which of `those` (rows of aims) some row of `by` dominates."""
    at_least = by[None, :, 0] >= those[:, None, 0]
    for aim in range(1, 4):
        at_least &= by[None, :, aim] >= those[:, None, aim]
    beaten = np.zeros(len(those), dtype=np.bool_)
    one, other = np.nonzero(at_least)
    beaten[one[(by[other] != those[one]).any(axis=1)]] = True
    return beaten


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
