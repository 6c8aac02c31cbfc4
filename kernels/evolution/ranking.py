"""What makes one genome better than another: figures of the fitness windows, and nothing else."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.metrics import T1

#: Columns of a fitness table, float64[G, 5].
OBJECTIVE, SHARPE, DRAWDOWN, TRADES, FLAGS = range(5)
COLUMNS = 5


class Fitness(msgspec.Struct, frozen=True, array_like=True):
    """`objective` = mean `return_frac` over the fitness windows, NaN when one of them saw no trade; `sharpe` the mean of
    the windows' (NaN when one has none), `drawdown` the deepest of them, `trades` their sum; `flags` the union of the
    safety limits that were broken in any of them. Over several datasets the two means are those of the datasets' means."""

    objective: float
    sharpe: float
    drawdown: float
    trades: int
    flags: int

    @property
    def eligible(self) -> bool:
        """Whether it may become a find: no safety limit broken, trades made, an objective to show."""
        return self.flags == 0 and self.trades > 0 and math.isfinite(self.objective)


def measure(table: NDArray[np.float64], counts: Sequence[int] = ()) -> NDArray[np.float64]:
    """Fitness table (G, 5) of genomes from their tier 1 rows, shape (genomes, fitness windows, len(TIER1)).

    `counts`: how many of the windows each dataset has, in order (none given: all are of one). Sums run in window order,
    then over the datasets, in plain float64 additions, so that every machine gets the same bits.
    """
    counts = tuple(counts) or (table.shape[1],)
    if sum(counts) != table.shape[1]:
        raise ValueError(f"{table.shape[1]} windows are not those of datasets with {counts}")
    out = np.zeros((len(table), COLUMNS))
    union = np.zeros(len(table), dtype=np.int64)
    first = 0
    for count in counts:
        means = np.zeros((2, len(table)))
        for w in range(first, first + count):
            means[0] += table[:, w, T1["return_frac"]]
            means[1] += table[:, w, T1["sharpe"]]
            out[:, TRADES] += table[:, w, T1["trades"]]
            out[:, DRAWDOWN] = np.fmax(out[:, DRAWDOWN], table[:, w, T1["max_drawdown"]])
            union |= table[:, w, T1["flags"]].astype(np.int64)
        first += count
        means /= count
        out[:, OBJECTIVE] += means[0]
        out[:, SHARPE] += means[1]
    out[:, OBJECTIVE] /= len(counts)
    out[:, SHARPE] /= len(counts)
    out[:, FLAGS] = union
    return out


def fitness_of(row: NDArray[np.float64]) -> Fitness:
    """One row of a fitness table."""
    objective, sharpe, drawdown, trades, flags = row.tolist()
    return Fitness(objective, sharpe, drawdown, int(trades), int(flags))


def standing(fitness: Fitness, trades_wanted: int) -> tuple[int, float]:
    """Smaller is better. Classes: enough trades, too few, no objective, a safety limit broken; by objective within."""
    if fitness.flags:
        return 3, 0.0
    if not fitness.eligible:
        return 2, 0.0
    return int(fitness.trades < trades_wanted), -fitness.objective


def rank_key(fitness: Fitness, key: bytes, trades_wanted: int) -> tuple[int, float, bytes]:
    """A total order, best first: `standing`, then the genome's hash ascending."""
    return *standing(fitness, trades_wanted), key
