"""`sluice bench search`: the genetic search against the plain loop in time, and against a proven optimum in what it finds.

Time: a whole search, all included (indicators, bitmaps, tables, breeding, encoding, hashing, choice, the finds and their
figures, the sorted hashes for the ledger), against the plain loop over the same genomes: a sample of what was tried, every
so many, in the same run. `identical`: every figure of the sample has the same bits. Both are timed by their time on a core.

Finds: ten seeds on the classic grammar over the bundled candles with less than 1 % of its 136,063,476 strategies evaluated,
against the optimum that `python -m bench.prove` has recorded; `--quick` takes fewer candles, stops and targets, whose
optimum it proves itself in the same run. `figure` is how many seeds reach 95 % of the way from the median strategy that trades
enough to the optimum (`bench.prove.Proof.reached`), `identical` that no search found more than the proof allows.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from bench.population import bundled_candles
from bench.prove import Proof, classic_spec, prove, question_of, recorded, small_question, space_of
from domain.candles import Candles
from domain.grammar import Space
from domain.metrics import TIER1
from domain.specs import SearchSpec
from kernels.evaluator import CompiledEvaluator, warm_up
from kernels.evolution.search import Search
from kernels.plain import PlainEvaluator

TITLE = "Search: all included; milliseconds, or seeds that come within 5 % of the proven optimum"
COLUMNS = ("case", "figure", "baseline", "ratio", "evaluated", "identical", "note")
SEEDS = 10
SHARE = 0.01
REACHED = 0.95
#: A campaign of 20 x 20, after warm-up, in milliseconds.
SMALL_MS = 15.0
#: What the trial gives a search; fewer generations where that is more than its share of the space.
TRIAL = {"population": 200, "generations": 3_000, "patience": 3_000, "restart_after": 20}


def search_once(
    spec: SearchSpec,
    seed: int,
    candles: Candles,
    evaluator: CompiledEvaluator | None = None,
    space: Space | None = None,
) -> tuple[Search, float]:
    """(a finished search, its milliseconds on a core); a new evaluator, and with it indicators, tables and bitmaps, unless
    one is given."""
    began = time.thread_time()
    search = Search(spec, seed, evaluator or CompiledEvaluator(candles, spec.execution), space=space)
    while not search.done:
        search.step()
    search.outcome()
    search.tried_bytes()
    return search, (time.thread_time() - began) * 1e3


def _speed(case: str, spec: SearchSpec, candles: Candles, sample: int, pairs: int) -> dict[str, Any]:
    plain = PlainEvaluator(candles, spec.execution)
    windows = spec.windows.fitness
    ours, ratios, same, evaluated = [], [], True, 0
    search_once(spec, 0, candles)
    for seed in range(1, pairs + 1):
        search, our_ms = search_once(spec, seed, candles)
        rows = search.tried_rows()
        rows = rows[:: max(1, len(rows) // sample)]
        population = search.coding.population(rows)
        plain.tier1_of(search.coding.population(rows[:1]), windows)
        began = time.thread_time()
        expected = plain.tier1_of(population, windows)
        plain_ms = (time.thread_time() - began) * 1e3 / len(rows) * search.evaluated
        found = CompiledEvaluator(candles, spec.execution).tier1_of(population, windows)
        same = same and np.array_equal(found.view(np.int64), expected.view(np.int64)) and found.shape[2] == len(TIER1)
        ours.append(our_ms)
        ratios.append(plain_ms / our_ms)
        evaluated = search.evaluated
    figure, ratio = statistics.median(ours), statistics.median(ratios)
    note = f"{figure * 1e3 / evaluated:.1f} us a genome; baseline: the plain loop over the same"
    return _row(case, round(figure, 2), round(figure * ratio, 2), round(ratio, 2), evaluated, same, note)


def _small(case: str, spec: SearchSpec, candles: Candles, pairs: int) -> dict[str, Any]:
    runs = [search_once(spec, seed, candles) for seed in range(pairs + 1)][1:]
    figure = statistics.median(ms for _, ms in runs)
    again = search_once(spec, pairs, candles)[0].outcome() == runs[-1][0].outcome()
    note = f"baseline: what is asked; the best of {pairs} runs {min(ms for _, ms in runs):.1f}"
    return _row(case, round(figure, 2), SMALL_MS, round(SMALL_MS / figure, 2), runs[-1][0].evaluated, again, note)


def trial(
    spec: SearchSpec, space: Space, proof: Proof, candles: Candles, told: Callable[[str], None] = lambda _: None
) -> tuple[list[float], int]:
    """(what each of ten seeds reached, the most that one of them evaluated)."""
    if proof.question != question_of(spec, space):
        raise ValueError("the recorded proof answers another question: run `python -m bench.prove` again")
    evaluator = CompiledEvaluator(candles, spec.execution)
    reached, most = [], 0
    for seed in range(SEEDS):
        search, ms = search_once(spec, seed, candles, evaluator, space)
        reached.append(proof.reached(search.best if search.outcome().finds[0].enough_trades else None))
        most = max(most, search.evaluated)
        told(f"seed {seed}: {reached[-1]:.4f} after {search.evaluated:,} in {ms:.0f} ms, {search.restarts} restarts")
    return reached, most


def within(space: Space, spec: SearchSpec) -> SearchSpec:
    """The spec of a trial with as many generations as stay below `SHARE` of the space, at most those of `TRIAL`."""
    generations = min(TRIAL["generations"], int(SHARE * space.size() - 1) // TRIAL["population"])
    return msgspec.structs.replace(spec, **{**TRIAL, "generations": generations})


def _finds(case: str, spec: SearchSpec, space: Space, proof: Proof, candles: Candles) -> dict[str, Any]:
    reached, most = trial(within(space, spec), space, proof, candles)
    good = sum(r >= REACHED for r in reached)
    note = (
        f"{100 * most / proof.strategies:.2f} % of {proof.strategies:,} evaluated; reached at least {min(reached):.4f}, "
        f"median {statistics.median(reached):.4f}; optimum {proof.optimum:.6f} ({proof.command}, {proof.seconds:.0f} s)"
    )
    honest = max(reached) <= 1.0 and most < SHARE * proof.strategies
    return _row(case, good, SEEDS, round(good / SEEDS, 2), most, honest, note)


def _row(
    case: str, figure: float, baseline: float, ratio: float, evaluated: int, identical: bool, note: str
) -> dict[str, Any]:
    return dict(zip(COLUMNS, (case, figure, baseline, ratio, evaluated, identical, note), strict=True))


def run(quick: bool = False) -> list[dict[str, Any]]:
    """All cases; `quick` takes fewer pairs and proves a smaller space."""
    warm_up()
    candles = bundled_candles()
    spec = classic_spec(candles)
    pairs, sample = (3, 100) if quick else (9, 200)
    whole = {"population": 200, "generations": 100, "patience": 100}
    rows = [
        _speed("population 200, 100 generations, classic", classic_spec(candles, **whole), candles, sample, pairs),
        _speed(
            "population 200, 100 generations, full",
            classic_spec(candles, **whole, grammar="full"),
            candles,
            sample,
            pairs,
        ),
    ]
    for grammar in ("classic", "full"):
        small = classic_spec(candles, population=20, generations=20, patience=20, grammar=grammar)
        rows.append(_small(f"population 20, 20 generations, {grammar}", small, candles, 5 if quick else 15))
    spec, space = small_question(candles) if quick else (spec, space_of(spec))
    proof = prove(spec, space, candles) if quick else recorded()
    case = f"seeds that reach {100 * REACHED:.0f} %, {'a part of the grammar' if quick else 'classic'}"
    return [*rows, _finds(case, spec, space, proof, candles)]
