"""The proven optimum of a small space: every strategy of it is evaluated. `python -m bench.prove` does so for the classic grammar
over the bundled candles, 136,063,476 strategies, in some minutes, and records what it found in `bench/proof.json`.

Spaces without exit rules, long only, in which size, leverage, trailing stop and holding limit are fixed. The order of
strategies is that of the search: enough trades first, then the objective, then the hash.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.population import bundled_candles
from bus.campaigns import execution_for
from domain.candles import Candles
from domain.genome import Genome
from domain.grammar import Space, search_space
from domain.hashing import content_hash
from domain.risk import RISK_LEVELS
from domain.specs import SearchSpec, split_windows
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.ranking import FLAGS, OBJECTIVE, TRADES, measure
from kernels.integers import FIRST_RULE, Coding, coding_of
from kernels.version import lane

RECORD = Path(__file__).resolve().parent / "proof.json"
COMMAND = "python -m bench.prove"
AT_ONCE = 50_000
SMALL_CANDLES, SMALL_TRADES = 20_000, 25


class Proof(msgspec.Struct, frozen=True):
    """What the evaluation of a whole space says. `question` is the hash of everything that it depends on; `median` and
    `optimum` are objectives of strategies that trade enough, `naked` the best objective of any and its trades."""

    question: str
    strategies: int
    trading_enough: int
    optimum: float
    optimum_trades: int
    genome_id: str
    genome: Genome
    median: float
    naked: float
    naked_trades: int
    lane: str
    command: str
    seconds: float

    def reached(self, objective: float | None) -> float:
        """How far a search came: 0 the median of all that trade enough, 1 the optimum. Objectives may be negative, so that
        a share of the optimum itself would mean nothing."""
        return -1.0 if objective is None else (objective - self.median) / (self.optimum - self.median)


def classic_spec(candles: Candles, **changes: Any) -> SearchSpec:
    """The search of the benchmark: what a campaign at medium risk on that dataset asks for, with the classic grammar."""
    info = candles.info
    spec = SearchSpec(
        candles.hash(), info.venue, info.symbol, info.granularity_s, split_windows(len(candles)), execution_for(info),
        grammar="classic", trades_wanted=RISK_LEVELS["MEDIUM"].trades_wanted,
    )  # fmt: skip
    return msgspec.structs.replace(spec, **changes)


def small_question(candles: Candles) -> tuple[SearchSpec, Space]:
    """What is proven in seconds: the last `SMALL_CANDLES`, the three tightest stops and targets, all sets of rules."""
    spec = classic_spec(candles, windows=split_windows(len(candles), SMALL_CANDLES), trades_wanted=SMALL_TRADES)
    space = space_of(spec)
    return spec, msgspec.structs.replace(space, stop_bps=space.stop_bps[:3], target_bps=space.target_bps[:3])


def space_of(spec: SearchSpec) -> Space:
    return search_space(spec.grammar, spec.risk, spec.venue)


def question_of(spec: SearchSpec, space: Space) -> str:
    """Candles, fitness windows, costs, trades wanted, and the space."""
    parts = [getattr(space, name) for name in space.__struct_fields__ if name not in ("position", "alike")]
    return content_hash([spec.dataset, spec.windows.fitness, spec.execution, spec.trades_wanted, parts])


def prove(spec: SearchSpec, space: Space, candles: Candles, told: bool = False) -> Proof:
    """Evaluate everything; `told` writes a line now and then."""
    coding, began = coding_of(space), time.perf_counter()
    evaluator = CompiledEvaluator(candles, spec.execution, worth=0.0)
    best: tuple[float, bytes] = (np.inf, b"")
    row_of_best, trades_of_best = np.empty(0, dtype=np.int16), 0
    naked, naked_trades, count = -np.inf, 0, 0
    enough: list[NDArray[np.float64]] = []
    for rows in _rows(coding):
        fits = measure(evaluator.tier1_of(coding.population(rows), spec.windows.fitness))
        count += len(rows)
        shown = np.isfinite(fits[:, OBJECTIVE]) & (fits[:, FLAGS] == 0.0) & (fits[:, TRADES] > 0.0)
        fair = shown & (fits[:, TRADES] >= spec.trades_wanted)
        top = int(np.argmax(np.where(shown, fits[:, OBJECTIVE], -np.inf)))
        if shown[top] and fits[top, OBJECTIVE] > naked:
            naked, naked_trades = float(fits[top, OBJECTIVE]), int(fits[top, TRADES])
        objectives = fits[fair, OBJECTIVE]
        if len(objectives):
            enough.append(objectives)
            places = np.flatnonzero(fair & (fits[:, OBJECTIVE] == objectives.max()))
            keys = coding.keys(rows[places])
            for place, key in zip(places, keys, strict=True):
                if (-fits[place, OBJECTIVE], key.tobytes()) < best:
                    best = (-float(fits[place, OBJECTIVE]), key.tobytes())
                    row_of_best, trades_of_best = rows[place].copy(), int(fits[place, TRADES])
        if told and count % (40 * AT_ONCE) < len(rows):
            print(
                f"{count:,} of {space.size():,}, best {-best[0]:.6f}, {time.perf_counter() - began:.0f} s",
                file=sys.stderr,
            )
    if count != space.size():
        raise ValueError(f"{count} strategies were evaluated, the space has {space.size()}")
    everything = np.concatenate(enough)
    return Proof(
        question=question_of(spec, space),
        strategies=count,
        trading_enough=len(everything),
        optimum=-best[0],
        optimum_trades=trades_of_best,
        genome_id=best[1].hex(),
        genome=coding.genome(row_of_best),
        median=float(np.median(everything)),
        naked=naked,
        naked_trades=naked_trades,
        lane=lane(),
        command=COMMAND,
        seconds=round(time.perf_counter() - began, 1),
    )


def _rows(coding: Coding) -> Iterator[NDArray[np.int16]]:
    """All rows of the space, by stop and target, `AT_ONCE` at a time."""
    low, high = (int(b) for b in coding.bounds[0])
    if coding.bounds[1, 1] or coding.space.directions != ("long",) or coding.sizes[2:].max() > 1:
        raise ValueError("a space with exit rules, shorts or more genes than stop and target is not listed here")
    parts = []
    for size in range(low, high + 1):
        sets = np.array(list(itertools.combinations(range(len(coding.rules)), size)), dtype=np.int16)
        rows = np.full((len(sets), coding.width), -1, dtype=np.int16)
        rows[:, :FIRST_RULE] = 0
        rows[:, FIRST_RULE : FIRST_RULE + size] = sets
        parts.append(rows)
    everything = np.concatenate(parts)
    for stop, target in itertools.product(range(int(coding.sizes[0])), range(int(coding.sizes[1]))):
        for first in range(0, len(everything), AT_ONCE):
            rows = everything[first : first + AT_ONCE].copy()
            rows[:, 1], rows[:, 2] = stop, target
            yield rows


def recorded() -> Proof:
    return msgspec.json.decode(RECORD.read_bytes(), type=Proof)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="evaluate every strategy of the classic grammar over the bundled candles"
    )
    parser.add_argument("--to", type=Path, default=RECORD, help="where to record what was found")
    args = parser.parse_args()
    candles = bundled_candles()
    spec = classic_spec(candles)
    proof = prove(spec, space_of(spec), candles, told=True)
    args.to.write_bytes(msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n")
    print(f"optimum {proof.optimum} of {proof.strategies:,} strategies in {proof.seconds} s")


if __name__ == "__main__":
    main()
