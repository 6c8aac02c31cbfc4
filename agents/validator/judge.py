"""`python -m agents.validator.judge CACHE`: one judgement, asked for on standard input, answered on standard output.

Exit status 1: it cannot be judged, the reason is the last line on standard error.
"""

import os
import sys
from pathlib import Path

import msgspec

from domain.errors import SluiceError
from kernels.evaluation.question import Question
from market.store import DatasetStore


def main(cache: str) -> int:
    from kernels.evaluation.judge import judge
    from kernels.evaluator import CompiledEvaluator

    if hasattr(os, "nice"):
        os.nice(5)  # units that wait for a core come first
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    try:
        candles = DatasetStore(Path(cache)).get(question.search.dataset)
        judgement = judge(question, candles, CompiledEvaluator)
    except SluiceError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(judgement))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
