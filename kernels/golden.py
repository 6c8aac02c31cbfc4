"""Golden vectors: does this machine compute the bits that all others compute? One that does not gets no work.

`python -m kernels.golden` checks with the compiled kernels, `--write` takes the vectors anew (after an intended change).
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import SluiceError
from domain.specs import Window
from kernels.golden_cases import EXECUTION, WINDOWS, golden_candles, golden_genomes

GOLDEN_FILE = Path(__file__).with_name("golden.json")
_WHOLE = WINDOWS[0]


class KernelMismatch(SluiceError):
    """This machine's kernels give other bits than the golden vectors; it must take no work."""


def _digest(*arrays: NDArray[Any]) -> str:
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<")).tobytes())
    return h.hexdigest()[:32]


def golden_digests(evaluator_class: Any) -> dict[str, str]:
    """Case -> digest: the candles, each genome's tier 1 rows, daily equity and tier 2 row, and buy & hold."""
    candles = golden_candles()
    evaluator = evaluator_class(candles, EXECUTION)
    genomes = golden_genomes()
    rows = evaluator.tier1(genomes, WINDOWS)
    found = {"candles": candles.hash()[:32], "buy and hold": _digest(evaluator.buy_and_hold(Window(700, 1_600)))}
    for i, genome in enumerate(genomes):
        days, equity = evaluator.daily_equity(genome, _WHOLE)
        found[f"genome {i}"] = _digest(rows[i], days, equity, evaluator.tier2(genome, _WHOLE))
    return found


def check_golden(evaluator_class: Any = None) -> None:
    """Raise KernelMismatch unless `evaluator_class` (default: CompiledEvaluator) reproduces every golden vector."""
    if evaluator_class is None:
        from kernels.evaluator import CompiledEvaluator

        evaluator_class = CompiledEvaluator
    wanted: dict[str, str] = json.loads(GOLDEN_FILE.read_text())
    found = golden_digests(evaluator_class)
    other = [case for case in wanted.keys() | found.keys() if wanted.get(case) != found.get(case)]
    if other:
        raise KernelMismatch(
            f"the kernels of this machine differ from the golden vectors in {len(other)} of {len(wanted)} cases "
            f"({', '.join(sorted(other)[:3])}); it takes no work until that is explained"
        )


def main(arguments: list[str]) -> int:
    from kernels.evaluator import CompiledEvaluator
    from kernels.reference import ReferenceEvaluator

    parser = argparse.ArgumentParser(prog="python -m kernels.golden", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the vectors of this machine to golden.json")
    if parser.parse_args(arguments).write:
        found = golden_digests(CompiledEvaluator)
        if found != golden_digests(ReferenceEvaluator):
            sys.stderr.write("kernel and reference disagree: nothing was written\n")
            return 1
        GOLDEN_FILE.write_text(json.dumps(found, indent=1) + "\n")
        sys.stdout.write(f"{len(found)} golden vectors written\n")
        return 0
    try:
        check_golden(CompiledEvaluator)
    except KernelMismatch as e:
        sys.stderr.write(f"{e}\n")
        return 1
    sys.stdout.write("the kernels of this machine match the golden vectors\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
