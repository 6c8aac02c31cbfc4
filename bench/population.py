"""Candles and genomes for the benchmarks of the kernels, the same in every run."""

import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles, DatasetInfo
from domain.genome import Genome, Risk, Rule, RuleSet, Sizing
from domain.grammar import load_grammar
from market.bundled import bundled
from market.importer import import_file

#: One day of five-minute candles: long enough to keep what stops and targets meet, short enough to mix.
BLOCK = 288


def bundled_candles() -> Candles:
    """The dataset that ships with us: 59,205 candles of five minutes."""
    return import_file(bundled()[0].path)


def bootstrapped(candles: Candles, n: int, seed: int) -> Candles:
    """`n` candles made of random blocks of the bundled ones, joined by their relative moves, rounded to increments."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(1, len(candles) - BLOCK, (n + BLOCK - 1) // BLOCK)
    source = (starts[:, None] + np.arange(BLOCK)).reshape(-1)[:n]
    before = candles.ints["close"][source - 1].astype(np.float64)
    moves = candles.ints["close"][source] / before
    close = float(candles.ints["close"][0]) * np.cumprod(moves)
    base = np.concatenate(([float(candles.ints["close"][0])], close[:-1]))

    def column(name: str) -> NDArray[np.int64]:
        moved: NDArray[np.float64] = np.rint(base * (candles.ints[name][source] / before))
        return np.maximum(1.0, moved).astype(np.int64)

    columns = {name: column(name) for name in ("open", "high", "low", "close")}
    columns["volume"] = candles.ints["volume"][source]
    first, step = int(candles.time_ms[0]), candles.info.granularity_s * 1_000
    columns["time_ms"] = first + step * np.arange(n, dtype=np.int64)
    i = candles.info
    info = DatasetInfo(
        i.venue, i.symbol, i.granularity_s, i.price_decimals, i.volume_decimals, n, first, first + step * (n - 1)
    )
    return Candles(info, columns)


def classic_genomes(count: int, seed: int, on_grid: bool = True) -> list[Genome]:
    """`count` genomes of the classic grammar: 1 to 3 of its 216 entry rules, a stop and a target, 1,000 a trade.

    Off the grid, stops and targets lie anywhere within the grammar's bounds.
    """
    grammar = load_grammar("classic")
    rules = grammar.rules()
    stops, targets = grammar.stop_bps or (), grammar.target_bps or ()
    sizing = Sizing("fixed", amount=1_000.0)
    rng = np.random.default_rng(seed)
    low, high = grammar.entry_rules
    risks: dict[tuple[int, int], Risk] = {}
    genomes = []
    for size in rng.integers(low, high + 1, count).tolist():
        picks: set[int] = set()
        while len(picks) < size:
            picks.add(int(rng.integers(len(rules))))
        chosen: tuple[Rule, ...] = tuple(rules[i] for i in sorted(picks))
        if on_grid:
            bps = (stops[int(rng.integers(len(stops)))], targets[int(rng.integers(len(targets)))])
        else:
            bps = (int(rng.integers(min(stops), max(stops))), int(rng.integers(min(targets), max(targets))))
        risk = risks.setdefault(bps, Risk(*bps, sizing=sizing))
        genomes.append(Genome("long", risk, RuleSet(chosen)))
    return genomes
