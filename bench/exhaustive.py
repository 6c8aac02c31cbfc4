"""`sluice bench exhaustive`: every strategy of the classic grammar, a stop and target after the other, on one core.

Two ranges: the fitness windows, on which a campaign searches, and all candles, which are evaluated in this process only:
nothing of it is written anywhere, so that no strategy can be promoted for what it did on held-out candles. `figure` and
`baseline` are seconds of one core for all strategies; ours include bitmaps, pricing, top, distribution and the figures of
the top, all but the import of the candles. Baseline: the plain compiled loop (see `bench.kernel`) on a seeded sample,
interleaved, times the number of strategies. `identical` compares objective, trades and flags of that sample bit for bit.
With --quick a seeded sample of the pairs is timed and the time of all is reckoned from it; `strategies` says how many were
really evaluated.

`python -m bench.exhaustive FILE` evaluates all of them on the fitness windows and writes down the proven optimum.
"""

import itertools
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from bench.population import bundled_candles
from bus.campaigns import campaign_spec
from domain.candles import Candles
from domain.hashing import content_hash
from domain.results import Find, UnitOutcome
from domain.specs import SearchSpec, Window
from domain.sweep import set_count, swept_genome
from domain.tasks import Sweep, pairs, space_of
from domain.words import genome_words
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.ranking import measure
from kernels.exhaustive import ExhaustiveSearch, warm_up
from kernels.exhaustive_field import Results, Walk, grounds
from kernels.plain import PlainEvaluator
from kernels.version import lane

TITLE = "Exhaustive search: seconds of one core for all strategies of the classic grammar"
COLUMNS = ("case", "candles", "strategies", "figure", "baseline", "ratio", "us_per_backtest", "identical", "rss_mb")
SEED = 20_260_102
SAMPLE, QUICK_PAIRS = 300, 6


def classic_search(candles: Candles) -> SearchSpec:
    """As `sluice mine --exhaustive --grammar classic` asks for it."""
    return campaign_spec(
        candles.hash(), candles.info, units=1, replicas=2, seed=1, risk="MEDIUM", population=60, generations=20, candles=0,
        grammar="classic", name="", exhaustive=True,
    ).search  # fmt: skip


def run(quick: bool = False) -> list[dict[str, Any]]:
    warm_up()
    candles = bundled_candles()
    search = classic_search(candles)
    whole = (Window(0, len(candles)),)
    everywhere = msgspec.structs.replace(search, windows=msgspec.structs.replace(search.windows, fitness=whole))
    return [_row("fitness windows", candles, search, quick), _row("all candles", candles, everywhere, quick)]


def _row(case: str, candles: Candles, search: SearchSpec, quick: bool) -> dict[str, Any]:
    space = space_of(search)
    chosen = list(pairs(space))
    if quick:
        picks = np.random.default_rng(SEED).choice(len(chosen), QUICK_PAIRS, replace=False)
        chosen = [chosen[i] for i in sorted(picks.tolist())]
    evaluator = CompiledEvaluator(candles, search.execution)
    began = time.thread_time()
    grounds(space, search.windows.fitness, evaluator)
    once_s = time.thread_time() - began
    plain, units, same = [], [], True
    for number, pair in enumerate(chosen):
        began = time.thread_time()
        _finish(ExhaustiveSearch(search, 1, Sweep(*pair), evaluator))
        units.append(time.thread_time() - began)
        if number < QUICK_PAIRS:
            baseline_s, agrees = _against_plain(candles, search, pair, evaluator, number)
            plain.append(baseline_s)
            same = same and agrees
    total = space.size()
    seconds = once_s + sum(units) * len(pairs(space)) / len(chosen)
    baseline = sum(plain) / len(plain) * total
    return {
        "case": f"{case}, {f'reckoned from {len(chosen)} of {len(pairs(space))} pairs' if quick else 'all pairs'}",
        "candles": sum(w.stop - w.start for w in search.windows.fitness),
        "strategies": set_count(space) * len(chosen),
        "figure": round(seconds, 1),
        "baseline": round(baseline, 1),
        "ratio": round(baseline / seconds, 1),
        "us_per_backtest": round(seconds * 1e6 / total, 3),
        "identical": same,
        "rss_mb": psutil.Process().memory_info().rss >> 20,
    }


def _finish(search: ExhaustiveSearch) -> UnitOutcome:
    while not search.done:
        search.step()
    return search.outcome()


def _against_plain(
    candles: Candles, search: SearchSpec, pair: tuple[int, int], evaluator: CompiledEvaluator, number: int
) -> tuple[float, bool]:
    """Seconds a backtest of the plain loop on strategies of one first rule, and whether the results are the same."""
    space, windows = space_of(search), search.windows.fitness
    rng = np.random.default_rng([SEED, number])
    first = int(rng.integers(0, len(space.rules) // 2))
    (ground,) = grounds(space, windows, evaluator)
    rules = len(space.rules)
    found = Results.of((rules - 1 - first) * (rules - 2 - first) // 2)
    Walk(ground, space, *pair, evaluator).triples(first, first + 1, rules, 2**62, found)
    sets = list(itertools.combinations(range(first + 1, rules), 2))
    picks = rng.choice(len(sets), SAMPLE // QUICK_PAIRS, replace=False).tolist()
    genomes = [swept_genome(space, *pair, (first, *sets[n])) for n in picks]
    plain = PlainEvaluator(candles, search.execution)
    encoded = plain.encode(genomes)
    plain.tier1_of(encoded, windows)
    began = time.thread_time()
    table = plain.tier1_of(encoded, windows)
    took = time.thread_time() - began
    same = True
    for n, expected in zip(picks, measure(table), strict=True):
        net = float(found.net[n]) / search.execution.start_equity if found.trades[n] else float("nan")
        ours = np.array([net, found.trades[n], found.flags[n]])
        same = same and np.array_equal(ours, [expected.objective, expected.trades, expected.flags], equal_nan=True)
    return took / len(genomes), same


def prove(candles: Candles) -> dict[str, Any]:
    """The best strategies of the classic grammar on the fitness windows, and how many were evaluated to know it."""
    search = classic_search(candles)
    space = space_of(search)
    evaluator = CompiledEvaluator(candles, search.execution)
    began = time.thread_time()
    outcomes = []
    for pair in pairs(space):
        outcomes.append(_finish(ExhaustiveSearch(search, 1, Sweep(*pair), evaluator)))
        print(
            f"{len(outcomes)} of {len(pairs(space))} pairs, {time.thread_time() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    seconds = time.thread_time() - began
    finds = [f for o in outcomes for f in o.finds]
    evaluated = sum(o.evaluated for o in outcomes)
    if evaluated != space.size():
        raise RuntimeError(f"{evaluated} of {space.size()} strategies were evaluated")

    def order(find: Find) -> tuple[bool, float, str]:
        return (not find.enough_trades, -float(find.objective or 0.0), find.genome_id)

    distributions = [o.distribution for o in outcomes if o.distribution is not None]
    best = min(finds, key=order)
    return {
        "dataset": search.dataset,
        "grammar": search.grammar,
        "risk": search.risk,
        "spec": content_hash(search),
        "execution": content_hash(search.execution),
        "fitness": [[w.start, w.stop] for w in search.windows.fitness],
        "trades_wanted": search.trades_wanted,
        "evaluated": evaluated,
        "without_objective": sum(d.without_objective for d in distributions),
        "flagged": sum(d.flagged for d in distributions),
        "too_few_trades": sum(sum(d.few.counts) for d in distributions),
        "optimum": _found(best),
        "seconds_of_one_core": round(seconds, 1),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "lane": lane(),
        "command": "python -m bench.exhaustive bench/records/classic_optimum.json",
    }


def _found(find: Find) -> dict[str, Any]:
    risk = find.genome.risk
    return {
        "genome_id": find.genome_id,
        "objective": find.objective,
        "trades": sum(int(w.tier1["trades"] or 0) for w in find.fitness),
        "stop_bps": risk.stop_bps,
        "target_bps": risk.target_bps,
        "rules": list(genome_words(find.genome)),
        "genome": msgspec.to_builtins(find.genome),
    }


def main(target: str) -> None:
    warm_up()
    found = prove(bundled_candles())
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
