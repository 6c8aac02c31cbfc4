"""`make bench-peers`: the same strategies by vectorbt and backtesting.py, each in its own way, beside our plain loop and kernel.

The peers run in an environment of their own (`bench/peers_run.py`). They get the entry signals of our reference, so that only
the simulation of trades is compared, and their usual terms: enter at the next open, stop and target as fractions of
it. Their rules of a fill are not ours (ties, gaps, maker and taker), so that trades differ a little; the counts are shown.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.population import bundled_candles, classic_genomes
from domain.execution import ExecutionModel
from domain.metrics import T1
from domain.specs import Window
from kernels.evaluator import CompiledEvaluator, warm_up
from kernels.plain import PlainEvaluator
from kernels.reference_rules import Features, all_hold

SEED, STRATEGIES = 20_260_101, 2_000
#: Those that the peers get too.
SHARED = 20
SCRIPT = Path(__file__).with_name("peers_run.py")


def run(python: str) -> list[dict[str, Any]]:
    """A row for each tool; those that are not installed in the environment of `python` are left out with a word."""
    warm_up()
    candles, genomes = bundled_candles(), classic_genomes(STRATEGIES, SEED)
    whole, execution = [Window(0, len(candles))], ExecutionModel()
    rows = [
        _ours("our plain loop, one core", PlainEvaluator(candles, execution), genomes, whole),
        _ours("our kernel, tables warm, one core", CompiledEvaluator(candles, execution, worth=0.0), genomes, whole),
    ]
    features, shared = Features(candles), genomes[:SHARED]
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.npz"
        np.savez(
            asked, time_ms=candles.time_ms, open=candles.open, high=candles.high, low=candles.low, close=candles.close,
            volume=candles.volume, entries=np.array([all_hold(g.long.entry, features, len(candles)) for g in shared]),
            stop=np.array([g.risk.stop_bps / 10_000 for g in shared]),
            target=np.array([g.risk.target_bps / 10_000 for g in shared]),
        )  # fmt: skip
        done = subprocess.run(
            [python, str(SCRIPT), str(asked)], capture_output=True, text=True, check=False, timeout=900
        )
    sys.stderr.write(done.stderr if done.returncode else "")
    return rows + (json.loads(done.stdout) if done.returncode == 0 else [])


def _ours(case: str, evaluator: PlainEvaluator, genomes: list[Any], windows: list[Window]) -> dict[str, Any]:
    encoded = evaluator.encode(genomes)
    evaluator.tier1_of(encoded, windows)
    started = time.thread_time()
    found = evaluator.tier1_of(encoded, windows)
    spent = time.thread_time() - started
    trades = found[:, 0, T1["trades"]].astype(int).tolist()
    return {
        "case": case,
        "us_per_backtest": round(spent * 1e6 / len(genomes), 1),
        "strategies": len(genomes),
        "trades": trades,
    }


def main() -> None:
    rows = run(sys.argv[1])
    slowest = rows[0]["us_per_backtest"]
    for row in rows:
        count = min(SHARED, row["strategies"])
        share = sum(row["trades"][:count]) / max(1, sum(rows[0]["trades"][:count]))
        times = f"{slowest / row['us_per_backtest']:>8.3f} x plain loop"
        same = f"{share:.2f} x its trades in the first {count}"
        print(
            f"{row['case']:<36} {row['us_per_backtest']:>12,.1f} us a backtest   {times}   {row['strategies']} strategies, {same}"
        )
    if len(rows) == 2:
        print("neither vectorbt nor backtesting.py is installed there: nothing to compare with")


if __name__ == "__main__":
    main()
