"""All figures of one retained genome: what a miner reports and a validator recomputes bit for bit."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome, canonical_genome, validate_genome
from domain.hashing import content_hash
from domain.metrics import TIER1, TIER2, Figures, figures
from domain.results import Find, WindowFigures
from domain.specs import SearchSpec, Window
from kernels.evolution.ranking import measure
from kernels.protocol import Evaluator


def find_for(genome: Genome, spec: SearchSpec, evaluator: Evaluator) -> Find:
    """Tier 1 over every fitness and walk-forward window, tier 2 and buy & hold over both whole ranges.

    The hold-out is not looked at. Raises BadInput for an invalid genome. Without walk-forward windows (a backtest of
    one range) their figures are empty.
    """
    validate_genome(genome)
    genome = canonical_genome(genome)
    fitness, walk = spec.windows.fitness, spec.windows.walk_forward
    rows = evaluator.tier1([genome], (*fitness, *walk))
    measured = measure(rows[:, : len(fitness)])[0]
    daily_fitness, hold_fitness = _daily(genome, fitness, evaluator)
    daily_walk, hold_walk = _daily(genome, walk, evaluator)
    return Find(
        genome=genome,
        genome_id=content_hash(genome),
        objective=measured.objective if math.isfinite(measured.objective) else None,
        enough_trades=measured.trades >= spec.trades_wanted,
        fitness=_by_window(fitness, rows[0, : len(fitness)]),
        walk_forward=_by_window(walk, rows[0, len(fitness) :]),
        daily_fitness=daily_fitness,
        daily_walk=daily_walk,
        hold_fitness=hold_fitness,
        hold_walk=hold_walk,
    )


def _by_window(windows: Sequence[Window], rows: NDArray[np.float64]) -> tuple[WindowFigures, ...]:
    return tuple(
        WindowFigures(w.start, w.stop, figures(TIER1, row.tolist())) for w, row in zip(windows, rows, strict=True)
    )


def _daily(genome: Genome, windows: Sequence[Window], evaluator: Evaluator) -> tuple[Figures, Figures]:
    """Tier 2 of the genome and of buy & hold from the first window's start to the last one's stop."""
    if not windows:
        return {}, {}
    whole = Window(windows[0].start, windows[-1].stop)
    return (
        figures(TIER2, evaluator.tier2(genome, whole).tolist()),
        figures(TIER2, evaluator.buy_and_hold(whole).tolist()),
    )
