"""docs/failures.md names tests that exist: whoever renames or removes one has to say what takes its place."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| failure")]
#: As many as the page began with: a row may be added, none may be dropped.
FAILURES = 24


def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_failure_has_a_test_that_exists() -> None:
    assert len(ROWS) >= FAILURES
    for row in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, f"no test keeps this out: {row}"
        missing = [f"{path}::{name}" for path, name in named if name not in functions_of(path)]
        assert not missing, f"renamed or gone: {missing}"
