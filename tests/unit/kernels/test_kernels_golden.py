"""Golden vectors pass here and fail on a kernel that computes something else; the lane follows the sources."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from domain.errors import SluiceError
from domain.genome import OPS
from kernels import golden
from kernels.evaluator import CompiledEvaluator
from kernels.golden_cases import WINDOWS, golden_candles, golden_genomes
from kernels.reference import ReferenceEvaluator
from kernels.trade import REASONS
from kernels.version import lane, lane_sources

ROOT = Path(golden.__file__).resolve().parent.parent


@pytest.mark.parametrize("kind", [CompiledEvaluator, ReferenceEvaluator])
def test_this_machine_matches_the_golden_vectors(kind):
    golden.check_golden(kind)


class OtherCosts(CompiledEvaluator):
    """A kernel that went wrong in the smallest way: the taker fee differs by one part in 10**15."""

    def __init__(self, candles, execution):
        super().__init__(candles, replace(execution, taker_bps=execution.taker_bps * (1 + 1e-15)))


def test_a_kernel_with_another_constant_is_found_in_one_clear_line():
    with pytest.raises(golden.KernelMismatch) as found:
        golden.check_golden(OtherCosts)
    assert isinstance(found.value, SluiceError)
    assert not found.value.retryable
    assert re.fullmatch(
        r"the kernels of this machine differ .* takes no work until that is explained", str(found.value)
    )


def test_a_missing_or_altered_vector_is_found(monkeypatch, tmp_path):
    vectors = json.loads(golden.GOLDEN_FILE.read_text())
    del vectors["genome 5"]
    (tmp_path / "golden.json").write_text(json.dumps(vectors))
    monkeypatch.setattr(golden, "GOLDEN_FILE", tmp_path / "golden.json")
    with pytest.raises(golden.KernelMismatch, match=r"in 1 of 61 cases \(genome 5\)"):
        golden.check_golden(ReferenceEvaluator)


def test_golden_genomes_visit_every_operator_direction_leverage_and_reason():
    genomes = golden_genomes()
    rules = [r for g in genomes for s in (g.long, g.short) for r in (*s.entry, *s.exit)]
    assert {r.op for r in rules} == set(OPS)
    assert {g.direction for g in genomes} == {"long", "short", "both"}
    assert {g.risk.leverage for g in genomes} == {1, 2, 3}
    assert {g.risk.sizing.mode for g in genomes} == {"fixed", "fraction", "kelly", "volatility"}
    evaluator = CompiledEvaluator(golden_candles(), golden.EXECUTION)
    reasons = Counter(t.reason for g in genomes for t in evaluator.trades(g, WINDOWS[0]))
    assert set(reasons) == set(REASONS)


def lane_of(root: Path) -> str:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from kernels import version; print(version.__file__, version.lane())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(root)], capture_output=True, text=True, check=True, cwd=root
    )
    path, found = done.stdout.split()
    assert path.startswith(str(root))
    return found


def test_the_lane_is_the_same_elsewhere_and_changes_with_a_source(tmp_path):
    assert re.fullmatch("[0-9a-f]{16}", lane())
    for path in lane_sources():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    assert lane_of(tmp_path) == lane()
    loop = tmp_path / "kernels" / "loop.py"
    loop.write_bytes(loop.read_bytes().replace(b"\n", b"\r\n"))
    assert lane_of(tmp_path) == lane()
    loop.write_text(loop.read_text() + "\n# another byte\n")
    assert lane_of(tmp_path) != lane()


def test_the_lane_covers_the_search_and_what_defines_outcomes():
    names = {p.relative_to(ROOT).as_posix() for p in lane_sources()}
    assert {"kernels/loop.py", "kernels/sizing.py", "domain/genome.py", "domain/results.py"} <= names
    assert {p.relative_to(ROOT).as_posix() for p in (ROOT / "kernels").rglob("*.py")} <= names
