"""What an exhaustive search walks on: the rules' bitmaps over a fitness window, and the trips of one stop and target."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome
from domain.grammar import Space
from domain.specs import Window
from domain.sweep import swept_genome
from kernels.evaluator import CompiledEvaluator
from kernels.exhaustive_walk import LANES, cut_rows, fill_trips, walk_children, walk_triples

#: Entry candles a compiled call prices: even where nothing is ever touched a call stays below a second.
TRIPS_PER_CALL = 20_000
#: Visits of words (eight at a time) and of trades a compiled call makes before it ends at the next pair of rules.
VISITS_PER_CALL = 20_000_000
_FULL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


class Ground(NamedTuple):
    """`rows` uint64[R, words + 1]: where each rule of a space lets one enter within the window; `base` its first candle."""

    window: Window
    base: int
    rows: NDArray[np.uint64]


#: Units of one campaign follow each other on one evaluator: the last grounds of each are kept.
_KEPT: "WeakKeyDictionary[CompiledEvaluator, tuple[Space, tuple[Window, ...], list[Ground]]]" = WeakKeyDictionary()


def grounds(space: Space, windows: Sequence[Window], evaluator: CompiledEvaluator) -> list[Ground]:
    """One a window. 8 bytes a rule and 64 candles."""
    kept = _KEPT.get(evaluator)
    if kept is None or kept[0] is not space or kept[1] != tuple(windows):
        kept = (space, tuple(windows), _new_grounds(space, windows, evaluator))
        _KEPT[evaluator] = kept
    return kept[2]


def _new_grounds(space: Space, windows: Sequence[Window], evaluator: CompiledEvaluator) -> list[Ground]:
    singles = evaluator.encode([_single(space, r) for r in range(len(space.rules))])
    out = []
    for window in windows:
        words = ((window.stop - 2) >> 6) + 1 - (window.start >> 6)
        out.append(Ground(window, window.start >> 6 << 6, np.zeros((len(space.rules), max(0, words) + 1), np.uint64)))
    evaluator.reach_to(max(w.stop for w in windows))
    for part, row_of in evaluator._with_bitmaps(singles, np.arange(len(singles))):
        for ground in out:
            cut = np.zeros((len(part), ground.rows.shape[1]), np.uint64)
            window = ground.window
            cut_rows(evaluator._bits.bits, row_of[part], evaluator._enterable, window.start, window.stop, cut)
            ground.rows[part] = cut
    return out


def _single(space: Space, rule: int) -> Genome:
    return swept_genome(space, space.stop_bps[0], space.target_bps[0], (rule,))


class Results(NamedTuple):
    """Sums of PnL, trades and flags of sets, one array each."""

    net: NDArray[np.float64]
    trades: NDArray[np.int64]
    flags: NDArray[np.int64]

    @classmethod
    def of(cls, count: int) -> "Results":
        return cls(np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64))

    def part(self, first: int, last: int) -> "Results":
        return Results(self.net[first:last], self.trades[first:last], self.flags[first:last])


class Walk:
    """One stop and target on one ground: results of sets of one, two and three rules."""

    def __init__(
        self, ground: Ground, space: Space, stop_bps: int, target_bps: int, evaluator: CompiledEvaluator
    ) -> None:
        window, base, self._rows = ground
        record = evaluator.encode([swept_genome(space, stop_bps, target_bps, (0,))]).records
        costs = evaluator._market[0][0]
        trips, resume = np.zeros((window.stop - base, 4)), np.zeros(window.stop - base, np.int32)
        evaluator.reach_to(window.stop)
        c, touch, factors = evaluator._head, evaluator._touch, evaluator._factors(record)
        for first in range(window.start + 1, window.stop, TRIPS_PER_CALL):
            last = min(first + TRIPS_PER_CALL, window.stop)
            fill_trips(
                record[0], factors, costs, c.time_ms, c.open, c.close, touch.edges, touch.later, touch.small, touch.large,
                touch.shifts, first, last, base, window.stop, trips, resume,
            )  # fmt: skip
        self._terms = (trips, resume, window.stop - 1 - base, record[0], costs)
        words = self._rows.shape[1]
        self._parent = np.full(words, _FULL)
        self._scratch: tuple[NDArray[Any], ...] = (
            np.full((LANES, words), _FULL), np.zeros((LANES, 4), np.int64), np.zeros((LANES, 2)),
        )  # fmt: skip
        rules = len(self._rows)
        self.singles = self._children(np.full(words, _FULL), 0, np.zeros(3))
        self._before = np.zeros((rules, rules, 3))
        for i in range(rules - 1):
            # Contiguous rows, as `walk_triples` reads them.
            self._before[i, i + 1 :] = np.column_stack(self._children(self._rows[i], i + 1, self._of_single(i)))

    def _of_single(self, i: int) -> NDArray[np.float64]:
        return np.array([column[i] for column in self.singles], dtype=np.float64)

    def _children(self, parent: NDArray[np.uint64], first: int, before: NDArray[np.float64]) -> Results:
        """The parent's rules with each of the rules from `first` on."""
        out = Results.of(len(self._rows) - first)
        walk_children(parent, self._rows, first, len(self._rows), before, *self._terms, *self._scratch, *out)
        return out

    def pairs(self, i: int) -> Results:
        """{i, k} for every k > i."""
        net, trades, flags = self._before[i, i + 1 :].T
        return Results(net, trades.astype(np.int64), flags.astype(np.int64))

    def triples(self, i: int, first: int, last: int, budget: int, out: Results) -> int:
        """{i, a, b} for first <= a < last, until the budget is spent; writes the head of `out`, returns the next a."""
        return int(
            walk_triples(
                i, first, last, budget, self._rows, self._before[i], *self._terms, self._parent, *self._scratch, *out
            )
        )
