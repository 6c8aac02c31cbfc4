"""All figures of one retained genome: what a miner reports and a validator recomputes bit for bit."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome, canonical_genome, validate_genome
from domain.hashing import content_hash
from domain.metrics import TIER1, TIER2, Figures, figures
from domain.results import Find, FrontPoint, MarketFigures, WindowFigures
from domain.specs import SearchSpec, Window
from kernels.evolution.ranking import Fitness, fitness_of, measure
from kernels.joint import fitness_counts, windows_of
from kernels.protocol import Evaluator


def find_for(genome: Genome, spec: SearchSpec, evaluator: Evaluator) -> Find:
    """Tier 1 over every fitness and walk-forward window, tier 2 and buy & hold over both whole ranges, of every market.

    The hold-out is not looked at. Raises BadInput for an invalid genome. Without walk-forward windows (a backtest of
    one range) their figures are empty.
    """
    return finds_for([genome], spec, evaluator)[0]


def finds_for(genomes: Sequence[Genome], spec: SearchSpec, evaluator: Evaluator) -> tuple[Find, ...]:
    """The same of several, in order; what all of them have beside them, buy & hold, is computed once."""
    if not genomes:
        return ()
    for genome in genomes:
        validate_genome(genome)
    genomes = [canonical_genome(genome) for genome in genomes]
    rows: list[NDArray[np.float64]] = []
    found: list[list[MarketFigures]] = []
    for k in range(len(spec.markets)):
        of_market, figures_of = _market(genomes, spec, k, evaluator)
        rows.append(of_market)
        found.append(figures_of)
    measured = measure(np.concatenate(rows, axis=1), fitness_counts(spec))
    finds = []
    for genome, fit, (first, *also) in zip(genomes, measured, zip(*found, strict=True), strict=True):
        fitness = fitness_of(fit)
        finds.append(
            Find(
                genome=genome,
                genome_id=content_hash(genome),
                objective=fitness.objective if math.isfinite(fitness.objective) else None,
                enough_trades=fitness.trades >= spec.trades_wanted,
                fitness=first.fitness,
                walk_forward=first.walk_forward,
                daily_fitness=first.daily_fitness,
                daily_walk=first.daily_walk,
                hold_fitness=first.hold_fitness,
                hold_walk=first.hold_walk,
                also=tuple(also),
            )
        )
    return tuple(finds)


def front_point(genome: Genome, fitness: Fitness) -> FrontPoint:
    """A canonical genome on a front, with the figures that put it there."""
    sharpe = fitness.sharpe if math.isfinite(fitness.sharpe) else None
    return FrontPoint(genome, content_hash(genome), fitness.objective, sharpe, fitness.drawdown, fitness.trades)


def _market(
    genomes: Sequence[Genome], spec: SearchSpec, k: int, evaluator: Evaluator
) -> tuple[NDArray[np.float64], list[MarketFigures]]:
    """Of the market with place `k`: tier 1 rows over its fitness windows, and the figures of each genome."""
    market = spec.markets[k]
    fitness = windows_of(spec, k, market.windows.fitness)
    walk = windows_of(spec, k, market.windows.walk_forward)
    rows = evaluator.tier1(genomes, (*fitness, *walk))
    hold_fitness, hold_walk = _hold(fitness, evaluator), _hold(walk, evaluator)
    return rows[:, : len(fitness)], [
        MarketFigures(
            dataset=market.dataset,
            fitness=_by_window(fitness, of_genome[: len(fitness)]),
            walk_forward=_by_window(walk, of_genome[len(fitness) :]),
            daily_fitness=_daily(genome, fitness, evaluator),
            daily_walk=_daily(genome, walk, evaluator),
            hold_fitness=hold_fitness,
            hold_walk=hold_walk,
        )
        for genome, of_genome in zip(genomes, rows, strict=True)
    ]


def _by_window(windows: Sequence[Window], rows: NDArray[np.float64]) -> tuple[WindowFigures, ...]:
    return tuple(
        WindowFigures(w.start, w.stop, figures(TIER1, row.tolist())) for w, row in zip(windows, rows, strict=True)
    )


def _daily(genome: Genome, windows: Sequence[Window], evaluator: Evaluator) -> Figures:
    """Tier 2 of the genome from the first window's start to the last one's stop."""
    return figures(TIER2, evaluator.tier2(genome, _whole(windows)).tolist()) if windows else {}


def _hold(windows: Sequence[Window], evaluator: Evaluator) -> Figures:
    """The same of buy & hold."""
    return figures(TIER2, evaluator.buy_and_hold(_whole(windows)).tolist()) if windows else {}


def _whole(windows: Sequence[Window]) -> Window:
    return msgspec.structs.replace(windows[0], stop=windows[-1].stop)
