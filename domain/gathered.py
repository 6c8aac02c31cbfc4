"""What the units of a campaign found, put together: the same whatever the order in which they came."""

import math
from collections.abc import Iterable
from itertools import zip_longest

from domain.results import Distribution, FrontPoint, Histogram


def _aims(p: FrontPoint) -> tuple[float, float, float, float]:
    """Larger is better; a Sharpe ratio that is not defined is the worst, as in the search itself."""
    return p.objective, -math.inf if p.sharpe is None else p.sharpe, -p.max_drawdown, float(p.trades)


def dominates(a: FrontPoint, b: FrontPoint) -> bool:
    """Is `a` at least as good as `b` in every aim and better in one?"""
    x, y = _aims(a), _aims(b)
    return x != y and all(i >= k for i, k in zip(x, y, strict=True))


def merged_front(points: Iterable[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Those that no other dominates, each genome once; highest return first, ties by genome hash."""
    front: dict[str, FrontPoint] = {}
    for p in points:
        if p.genome_id in front or any(dominates(q, p) for q in front.values()):
            continue
        front = {k: q for k, q in front.items() if not dominates(p, q)}
        front[p.genome_id] = p
    return tuple(sorted(front.values(), key=lambda p: (-p.objective, p.genome_id)))


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
