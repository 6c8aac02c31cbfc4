"""What must not be in any tracked file: paths of one machine, secrets, process control by name, swallowed errors."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
BINARY = {".parquet", ".zst", ".png", ".woff2", ".ico", ".db"}
# Written in two parts, so that this file does not break its own rules.
MACHINE_PATH = re.compile(r"(?<![\w.:/}])/(?:ho" + r"me|Us" + r"ers|ro" + r"ot|wo" + r"rk)/[\w.]")
BY_NAME = re.compile(r"\b(?:pk" + r"ill|kill" + r"all)\b")
REGISTRY = re.compile(r"\b(?:py" + r"pi\.org|python" + r"hosted\.org|registry\.npm" + r"js\.org)\b")
SECRETS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE " + r"KEY-----"),
    "cloud key": re.compile(r"\bAK" + r"IA[0-9A-Z]{16}\b"),
    "code host token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})"),
    "chat token": re.compile(r"\b(?:xox[abprs]-[A-Za-z0-9-]{10,}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33})"),
    "model key": re.compile(r"\bsk-[A-Za-z0-9_-]{32,}"),
    "nkey seed": re.compile(r"\bS[UAONC][A-Z2-7]{56}\b"),
    "password in clear": re.compile(
        r"""(?i)\b(?:pass(?:word|wd)?|secret|api_?key|auth_?token)["']?\s*[:=]\s*["'][A-Za-z0-9+/_=-]{16,}["']"""
    ),
    "web token": re.compile(r"\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\."),
}


def tracked() -> list[Path]:
    """Files that git tracks and that still exist; skips where this is no checkout (a source archive)."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    files = [p for p in tracked() if p.suffix not in BINARY]
    return [(p, p.read_text(encoding="utf-8", errors="replace")) for p in files]


def ours() -> list[tuple[Path, str]]:
    """Text that we wrote: the lock file and vendored libraries speak for others."""
    return [(p, t) for p, t in texts() if p.name != "uv.lock" and "vendor" not in p.parts]


def hits(pattern: re.Pattern[str], files: list[tuple[Path, str]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in files
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def bare_excepts(source: str) -> list[int]:
    return [
        node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler) and node.type is None
    ]


def test_no_path_of_one_machine() -> None:
    assert hits(MACHINE_PATH, ours()) == []


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_in_any_file(kind: str) -> None:
    assert hits(SECRETS[kind], texts()) == []


def test_no_process_is_controlled_by_its_name() -> None:
    assert hits(BY_NAME, [(p, t) for p, t in ours() if p.suffix != ".md"]) == []


def test_no_package_registry_is_named() -> None:
    assert hits(REGISTRY, ours()) == []


def test_no_bare_except() -> None:
    found = [(p.relative_to(ROOT), n) for p, t in ours() if p.suffix == ".py" for n in bare_excepts(t)]
    assert found == []


def test_no_module_is_too_long() -> None:
    long = {str(p.relative_to(ROOT)): n for p, t in ours() if p.suffix == ".py" and (n := t.count("\n")) > MAX_LINES}
    assert long == {}


def test_the_dotfiles_are_tracked_and_states_are_not() -> None:
    names = {str(p.relative_to(ROOT)) for p in tracked()}
    assert {"Makefile", "uv.lock", "pyproject.toml", ".ci/run"} <= names
    assert not [n for n in names if n.startswith((".venv", ".sluice")) or "__pycache__" in n]


@pytest.mark.parametrize(
    ("pattern", "wrong", "right"),
    [
        (MACHINE_PATH, "open('/ho" + "me/ana/x')", "https://host/ho" + "me/ana"),
        (MACHINE_PATH, "cd /wo" + "rk/main", "a wo" + "rk/life balance"),
        (BY_NAME, "os.system('pk" + "ill -f miner')", "os.kill(pid, SIGTERM)"),
        (REGISTRY, "index = 'https://py" + "pi.org/simple'", "install it from your index"),
        (SECRETS["private key"], "-----BEGIN EC PRIVATE " + "KEY-----", "a private key"),
        (SECRETS["cloud key"], "AK" + "IA" + "A" * 16, "AK" + "IA"),
        (SECRETS["code host token"], "gh" + "p_" + "a1" * 18, "gh" + "p_x"),
        (SECRETS["chat token"], "123456789:A" + "A" + "b" * 33, "12:34:56"),
        (SECRETS["model key"], "sk" + "-" + "a" * 40, "sk-short"),
        (SECRETS["nkey seed"], "S" + "UA" + "B" * 55, "SUMMARY"),
        (SECRETS["password in clear"], "pass" + "word = '" + "h" * 20 + "'", "password = os.environ['P']"),
        (SECRETS["web token"], "ey" + "J" + "a" * 20 + ".ey" + "J" + "b" * 20 + ".", "eyJ"),
    ],
)
def test_each_pattern_tells_wrong_from_right(pattern: re.Pattern[str], wrong: str, right: str) -> None:
    assert pattern.search(wrong)
    assert not pattern.search(right)


def test_a_bare_except_is_found() -> None:
    assert bare_excepts("try:\n    pass\nexcept:\n    pass\n") == [3]
    assert bare_excepts("try:\n    pass\nexcept ValueError:\n    pass\n") == []
