"""Walk-forward schemes: successive folds, each fitted on what lies before it and walked on what lies behind.

A fold is a campaign of its own: its search sees its fitness candles only, and its finds are judged on its walk-forward
candles. The hold-out is the same last fifth for all of them. An anchored fold is fitted from the first candle on; a rolling
one on as many candles as the first. A later fold is fitted on what an earlier one walked, never the other way round.
"""

import itertools
from typing import Literal

from domain.errors import BadInput
from domain.specs import MIN_CANDLES, Window, Windows, gap_after, walk_windows

Scheme = Literal["split", "anchored", "rolling"]
SCHEMES: tuple[Scheme, ...] = ("split", "anchored", "rolling")
MOST_FOLDS = 20


def fold_windows(
    candles: int, scheme: Scheme, folds: int, last: int = 0, purge: int | None = None, embargo: int = 0
) -> tuple[Windows, ...]:
    """Windows of each fold, in order of time, over the last `last` candles (0 = all).

    Two fifths are the first fold's fitness, the next two are walked in `folds` equal parts. Between fitness and walk-forward
    `purge` candles are left out (null: see `gap_after`), behind a walk `embargo` candles. BadInput when too little is left.
    """
    n = last or candles
    if not MIN_CANDLES <= n <= candles:
        raise BadInput(f"{n} candles asked for; at least {MIN_CANDLES} are needed, the dataset has {candles}")
    if not 1 <= folds <= MOST_FOLDS:
        raise BadInput(f"there can be 1 to {MOST_FOLDS} folds, not {folds}")
    if (purge or 0) < 0 or embargo < 0:
        raise BadInput("purge and embargo are numbers of candles, not negative")
    start = candles - n
    first, end = start + n * 4 // 10, start + n * 8 // 10
    edges = [first + (end - first) * i // folds for i in range(folds + 1)]
    out = []
    for at, stop in itertools.pairwise(edges):
        begin = start if scheme == "anchored" else at - (first - start)
        walk = walk_windows(at + gap_after(stop - at, purge), stop - embargo, 1)
        out.append(Windows((Window(begin, at),), walk, Window(end, candles)))
    return tuple(out)
