"""The choices between two generations: who goes on, who enters the hall, who stands on the Pareto front."""

import numpy as np
from numpy.typing import NDArray

from domain.results import FRONT_MOST
from domain.specs import SearchSpec
from kernels.evolution.selection import (
    best_of,
    crowd_fronts,
    first_few,
    first_front,
    number_fronts,
    rank,
    score,
    thin_out,
)
from kernels.evolution.state import Group
from kernels.evolution.tried import Tried
from kernels.integers import FIRST_RULE

#: How many genomes that share most of their rules a population holds before others go first.
CROWD = 8
#: Classes that have an objective to show: with enough trades, or with some.
_HAS_OBJECTIVE = 1.0


class Chooser:
    """One search's rules of choice; every result is a function of its arguments alone."""

    def __init__(self, spec: SearchSpec, tried: Tried) -> None:
        self._spec, self._tried = spec, tried

    def scores(self, group: Group) -> NDArray[np.float64]:
        """(k, 3) as in `selection`: by objective within each class."""
        out = np.empty((len(group), 3))
        score(group.fits, self._spec.trades_wanted, out)
        return out

    def best_score(self, group: Group) -> tuple[float, float]:
        """Class and objective (negated) of the best of a group that has one, whatever its order."""
        first, second = best_of(group.fits, self._spec.trades_wanted, np.empty((len(group), 3)))
        return float(first), float(second)

    def population(self, group: Group, most: int) -> Group:
        """The best `most` in order, kin held back where they crowd."""
        scores, keys = self.scores(group), self._tried.keys[group.index]
        if self._spec.select == "pareto":
            self._by_fronts(group, scores, keys)
        order = np.arange(len(group))
        rank(scores, keys, order)
        kept = np.empty(min(most, len(group)), dtype=np.int64)
        rows = self._tried.rows[group.index]
        rules = np.empty((len(rows), rows.shape[1] - FIRST_RULE + 1), dtype=np.int16)
        thin_out(rows, order, CROWD, len(kept), rules, kept)
        rank(scores, keys, kept)
        return group.take(kept)

    def hall(self, group: Group) -> Group:
        """The best `spec.top` of those that have an objective to show."""
        scores = self.scores(group)
        chosen = np.empty(self._spec.top, dtype=np.int64)
        many = first_few(scores, self._tried.keys[group.index], _HAS_OBJECTIVE, self._spec.top, chosen)
        return group.take(chosen[:many])

    def front(self, known: Group, new: Group) -> Group:
        """Those of a front and of newcomers with enough trades that no other dominates, best objective first; `FRONT_MOST`
        of them at most."""
        group = known.with_(new)
        scores, members = self.scores(group), np.empty(len(group), dtype=np.int64)
        members = members[: first_front(group.fits, scores, len(known), members)]
        if not len(members):
            return known
        keys = self._tried.keys[group.index]
        if len(members) > FRONT_MOST:
            crowding = np.zeros_like(scores)
            crowd_fronts(group.fits, crowding, keys, members, 1, np.empty_like(members), np.empty_like(scores))
            rank(crowding, keys, members)
            members = members[:FRONT_MOST].copy()
        rank(scores, keys, members)
        return group.take(members)

    def _by_fronts(self, group: Group, scores: NDArray[np.float64], keys: NDArray[np.uint8]) -> None:
        """Within the class of enough trades: by front, then by crowding distance (Deb et al. 2002)."""
        members = np.flatnonzero(scores[:, 0] == 0.0)
        scratch = np.empty_like(members)
        fronts = number_fronts(group.fits, scores, members, scratch)
        crowd_fronts(group.fits, scores, keys, members, fronts, scratch, np.empty_like(scores))
