"""`sluice bench kernel`: the fast path of the kernels against the plain compiled loop.

Baseline: the plain loop (visits every candle, evaluates rules from the indicator matrix, stops at the first rule that
fails), compiled as everything else, on one core, in the same run, interleaved with what it is compared to, on a sample of
the same genomes (a genome's time does not depend on the others). `ratio` is the median over pairs; `identical` says that
every bit of every figure of the sample is the same. Genomes are encoded (`encode`) beforehand except where a case says so.

One thread is timed by its time on a core. Two are timed by the wall, which counts what others do on these cores, and in a
second case by the cores: the time of what runs on one core, and half of what the two threads used together, which is the
wall's time on cores of one's own when their shares are equal.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from bench.population import bootstrapped, bundled_candles, classic_genomes
from domain.candles import Candles
from domain.execution import ExecutionModel
from domain.genome import Genome
from domain.specs import Window
from kernels.evaluator import CompiledEvaluator, warm_up
from kernels.plain import PlainEvaluator

TITLE = "Kernel: microseconds a backtest (tier 1 over all candles)"
COLUMNS = (
    "case", "candles", "genomes", "threads", "us_per_backtest", "baseline_us_per_backtest", "ratio", "identical", "rss_mb",
)  # fmt: skip
EXECUTION = ExecutionModel()
SEED = 20_260_101
LONG_CANDLES = 525_600
#: Levels that are worth a table to nobody.
NEVER = float("inf")


class Contest:
    """One dataset, its plain baseline, and the pairs of timings of one case after the other."""

    def __init__(self, candles: Candles, sample: int, pairs: int) -> None:
        self.candles, self._sample, self._pairs = candles, sample, pairs
        self.windows = [Window(0, len(candles))]
        self._plain = PlainEvaluator(candles, EXECUTION)

    def plain(self, genomes: list[Genome]) -> Callable[[], np.ndarray[Any, Any]]:
        encoded = self._plain.encode(genomes[: self._sample])
        self._plain.tier1_of(encoded, self.windows)
        return lambda: self._plain.tier1_of(encoded, self.windows)

    def row(
        self,
        case: str,
        genomes: list[Genome],
        run: Callable[[], np.ndarray[Any, Any]],
        threads: int = 1,
        baseline: Callable[[], np.ndarray[Any, Any]] | None = None,
        by_cores: bool = False,
    ) -> dict[str, Any]:
        """Time `run`, which evaluates all `genomes`, against `baseline`, which evaluates as many as it returns rows."""
        baseline = baseline or self.plain(genomes)
        ours, theirs, same = [], [], True
        for _ in range(self._pairs):
            their_us, expected = _timed(baseline, threads, by_cores)
            our_us, found = _timed(run, threads, by_cores)
            ours.append(our_us)
            theirs.append(their_us)
            rows = min(len(expected), len(found))
            same = same and np.array_equal(found[:rows].view(np.int64), expected[:rows].view(np.int64))
        return {
            "case": case,
            "candles": len(self.candles),
            "genomes": len(genomes),
            "threads": threads,
            "us_per_backtest": round(statistics.median(ours), 3),
            "baseline_us_per_backtest": round(statistics.median(theirs), 3),
            "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
            "identical": same,
            "rss_mb": psutil.Process().memory_info().rss >> 20,
        }


def _timed(
    run: Callable[[], np.ndarray[Any, Any]], threads: int, by_cores: bool = False
) -> tuple[float, np.ndarray[Any, Any]]:
    """(microseconds a genome, its rows). One thread is timed by the core's time that it got, which other processes do not
    stretch; several by the clock on the wall, or `by_cores`."""
    wall, here, all_threads = time.perf_counter(), time.thread_time(), time.process_time()
    rows = run()
    wall, here, all_threads = time.perf_counter() - wall, time.thread_time() - here, time.process_time() - all_threads
    spent = wall
    if threads == 1 or by_cores:
        spent = here + max(0.0, all_threads - here) / threads if by_cores else here
    return spent * 1e6 / len(rows), rows


def _warm(contest: Contest, genomes: list[Genome], **options: Any) -> Callable[[], np.ndarray[Any, Any]]:
    """Tables and bitmaps exist, as do the encoded genomes."""
    evaluator = CompiledEvaluator(contest.candles, EXECUTION, **{"worth": 0.0, **options})
    encoded = evaluator.encode(genomes)
    evaluator.tier1_of(encoded, contest.windows)
    return lambda: evaluator.tier1_of(encoded, contest.windows)


def _cold(contest: Contest, genomes: list[Genome], threads: int = 1) -> Callable[[], np.ndarray[Any, Any]]:
    """A new evaluator each time: indicators, bitmaps, tables, blocks, grouping and backtests."""
    encoded = CompiledEvaluator(contest.candles, EXECUTION).encode(genomes)
    return lambda: CompiledEvaluator(contest.candles, EXECUTION, threads).tier1_of(encoded, contest.windows)


def _from_objects(contest: Contest, genomes: list[Genome]) -> Callable[[], np.ndarray[Any, Any]]:
    """As the search calls it: Python objects in, encoding included, tables and bitmaps warm."""
    evaluator = CompiledEvaluator(contest.candles, EXECUTION)
    evaluator.tier1(genomes, contest.windows)
    return lambda: evaluator.tier1(genomes, contest.windows)


def run(quick: bool = False) -> list[dict[str, Any]]:
    """All cases; `quick` takes fewer genomes, pairs and candles."""
    warm_up()
    few = 2_000 if quick else 20_000
    many = 20_000 if quick else 100_000
    real = Contest(bundled_candles(), 100 if quick else 300, 3 if quick else 9)
    genomes = classic_genomes(few, SEED)
    rows = [
        real.row("grid, tables and bitmaps warm", genomes, _warm(real, genomes)),
        real.row("grid, everything timed", genomes, _cold(real, genomes)),
    ]
    crowd = classic_genomes(many, SEED + 1)
    rows.append(real.row("grid, everything timed, many genomes", crowd, _cold(real, crowd)))
    del crowd
    off = classic_genomes(few, SEED + 2, on_grid=False)
    rows.append(real.row("off the grid, no tables", off, _warm(real, off, worth=NEVER)))
    rows.append(real.row("grid, warm, from genome objects, encoding timed", genomes, _from_objects(real, genomes)))
    if (os.cpu_count() or 1) > 1:
        one, two = _warm(real, genomes), _warm(real, genomes, threads=2)
        rows.append(
            real.row("grid, warm, two cores against one (baseline: ours on one), by the wall", genomes, two, 2, one)
        )
        rows.append(real.row("grid, warm, two cores against one, by the cores", genomes, two, 2, one, by_cores=True))
    del real
    long = Contest(bootstrapped(bundled_candles(), LONG_CANDLES // (5 if quick else 1), SEED), 20 if quick else 40, 3)
    rows.append(long.row("grid, long series, warm", genomes, _warm(long, genomes)))
    rows.append(long.row("off the grid, long series, no tables", off, _warm(long, off, worth=NEVER)))
    return rows
