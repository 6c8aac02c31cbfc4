"""What makes one genome better than another: figures of the fitness windows, and nothing else."""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.metrics import T1


class Fitness(msgspec.Struct, frozen=True, array_like=True):
    """`objective` = mean `return_frac` over the fitness windows, NaN when one of them saw no trade; `trades` their
    sum; `flags` the union of the safety limits that were broken in any of them."""

    objective: float
    trades: int
    flags: int

    @property
    def eligible(self) -> bool:
        """Whether it may become a find: no safety limit broken, trades made, an objective to show."""
        return self.flags == 0 and self.trades > 0 and math.isfinite(self.objective)


def measure(table: NDArray[np.float64]) -> list[Fitness]:
    """Fitness of each genome from its tier 1 rows, shape (genomes, fitness windows, len(TIER1)).

    Sums run in window order in plain float64 additions, so that every machine gets the same bits.
    """
    out = []
    columns = [table[:, :, T1[name]].tolist() for name in ("return_frac", "trades", "flags")]
    for returns, trades, flags in zip(*columns, strict=True):
        total = 0.0
        for value in returns:
            total += value
        union = 0
        for flag in flags:
            union |= int(flag)
        out.append(Fitness(total / len(returns), int(sum(trades)), union))
    return out


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
