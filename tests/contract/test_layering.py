"""Who may import whom (the table of the design), read from the sources without importing them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agents", "bench", "bus", "cli", "domain", "kernels", "market", "projections", "web")
ALLOWED: dict[str, set[str]] = {
    "domain": set(),
    "kernels": {"domain"},
    "bus": {"domain"},
    "market": {"domain"},
    "projections": {"bus", "domain"},
    "agents": {"domain", "bus", "kernels", "market", "projections"},
    "web": {"domain", "bus", "projections", "market", "kernels"},
    "cli": set(PACKAGES),
    "bench": set(PACKAGES),
}
#: Agents that compute nothing: numba must not even be loaded with them.
LIGHT_AGENTS = ("watchdog", "dispatcher", "projector", "auditor", "feed", "deployer", "notifier")


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path) -> dict[str, Path]:
    return {module_name(root, p): p for name in PACKAGES for p in sorted((root / name).rglob("*.py"))}


def imported(root: Path, path: Path, inside_functions: bool = True) -> Iterator[str]:
    """Absolute names of all that a module imports; of `from a import b` both `a` and `a.b`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.parent.relative_to(root).parts
    nodes = ast.walk(tree) if inside_functions else _at_import(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: not the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _at_import(child)


def layering_violations(root: Path) -> list[str]:
    found = []
    for name, path in modules(root).items():
        top = name.partition(".")[0]
        for target in imported(root, path):
            other = target.partition(".")[0]
            if other in PACKAGES and other != top and other not in ALLOWED[top]:
                found.append(f"{name} imports {target}")
    return sorted(set(found))


def agent_violations(root: Path) -> list[str]:
    """An agent package may import itself and what lies directly in agents/; that may import no agent package."""
    agent_packages = {p.parent.name for p in (root / "agents").glob("*/__init__.py")}
    found = []
    for name, path in modules(root).items():
        parts = name.split(".")
        if parts[0] != "agents":
            continue
        own = parts[1] if len(parts) > 1 else ""
        for target in imported(root, path):
            there = target.split(".")
            if there[0] == "agents" and len(there) > 1 and there[1] in agent_packages - {own}:
                found.append(f"{name} imports {target}")
    return sorted(set(found))


def users_of(root: Path, library: str) -> set[str]:
    return {
        name for name, path in modules(root).items() if any(t.split(".")[0] == library for t in imported(root, path))
    }


def loaded_with(root: Path, start: str) -> set[str]:
    """Every module of ours that is loaded when `start` is, by imports outside functions."""
    known = modules(root)
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in known or name in seen:
            continue
        seen.add(name)
        parents = [name.rpartition(".")[0]] if "." in name else []
        waiting += [*parents, *imported(root, known[name], inside_functions=False)]
    return seen


def test_imports_follow_the_table() -> None:
    assert len(modules(ROOT)) > 20
    assert layering_violations(ROOT) == []


def test_agents_do_not_import_each_other() -> None:
    assert agent_violations(ROOT) == []


def test_numba_is_imported_in_kernels_only() -> None:
    users = users_of(ROOT, "numba")
    assert users, "the kernels are compiled, so somebody must import numba"
    assert {u.partition(".")[0] for u in users} == {"kernels"}


def test_no_resident_process_imports_pandas() -> None:
    assert {u for u in users_of(ROOT, "pandas") if not u.startswith("bench")} == set()


@pytest.mark.parametrize("agent", LIGHT_AGENTS)
def test_numba_is_not_loaded_where_nothing_is_computed(agent: str) -> None:
    package = ROOT / "agents" / agent
    starts = [module_name(ROOT, p) for p in package.rglob("*.py")] if package.exists() else []
    with_numba = users_of(ROOT, "numba")
    loaded = set().union(*(loaded_with(ROOT, start) for start in starts))
    assert loaded & with_numba == set()


def test_the_pages_compute_with_the_reference_and_never_load_numba() -> None:
    starts = [name for name in modules(ROOT) if name.partition(".")[0] == "web"]
    loaded = set().union(*(loaded_with(ROOT, start) for start in starts))
    assert "kernels.reference" in loaded
    assert loaded & users_of(ROOT, "numba") == set()


@pytest.fixture
def wrong_tree(tmp_path: Path) -> Path:
    """A small tree that breaks every rule once."""
    sources = {
        "domain/__init__.py": "",
        "domain/money.py": "def f():\n    from bus.client import Client\n    return Client\n",
        "bus/__init__.py": "import kernels.loop\n",
        "kernels/__init__.py": "",
        "kernels/loop.py": "import numba\n",
        "market/__init__.py": "import pandas as pd\n",
        "market/fast.py": "from numba import njit\n",
        "agents/__init__.py": "",
        "agents/shared.py": "from agents.miner import work\n",
        "agents/miner/__init__.py": "",
        "agents/miner/work.py": "from ..trader import orders\n",
        "agents/trader/__init__.py": "",
        "agents/trader/orders.py": "from agents import shared\nfrom . import orders\n",
        "agents/watchdog/__init__.py": "from market import fast\n",
    }
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_each_broken_rule_is_found(wrong_tree: Path) -> None:
    assert layering_violations(wrong_tree) == [
        "bus imports kernels.loop",
        "domain.money imports bus.client",
        "domain.money imports bus.client.Client",
    ]
    assert agent_violations(wrong_tree) == [
        "agents.miner.work imports agents.trader",
        "agents.miner.work imports agents.trader.orders",
        "agents.shared imports agents.miner",
        "agents.shared imports agents.miner.work",
    ]
    assert users_of(wrong_tree, "numba") == {"kernels.loop", "market.fast"}
    assert users_of(wrong_tree, "pandas") == {"market"}
    assert "market.fast" in loaded_with(wrong_tree, "agents.watchdog")
