"""The flow table is the truth about the dataflow: complete, matching the code, and printed in docs/flow.md."""

import ast
from pathlib import Path

import pytest

from bus.events import REGISTRY, type_of
from bus.flow import FLOW, STREAM_FLOW, page
from bus.streams import stream_specs

ROOT = Path(__file__).parents[2]
NAMES = {entry.struct.__name__: name for name, entry in REGISTRY.items()}
#: Commands that both may give are made in one place.
ASKING = [ROOT / "bus" / "campaigns.py"]
#: Whoever calls this function looks for what that file looks for.
THROUGH = {"read_openings": ROOT / "bus" / "seals" / "seal.py"}
PARTIES = {
    "cli": [*(ROOT / "cli").rglob("*.py"), *ASKING],
    "web": [*(ROOT / "web").rglob("*.py"), *ASKING],
    **{d.name: list(d.rglob("*.py")) for d in (ROOT / "agents").iterdir() if d.is_dir() and d.name != "__pycache__"},
}


def mentions(paths: list[Path]) -> tuple[set[str], set[str]]:
    """Event types that the files construct, and those that they look for (mention without constructing)."""
    made: set[str] = set()
    looked_for: set[str] = set()
    texts = "".join(path.read_text() for path in paths)
    for path in [*paths, *(file for function, file in THROUGH.items() if f"{function}(" in texts)]:
        tree = ast.parse(path.read_text())
        called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in NAMES:
                (made if id(node) in called else looked_for).add(NAMES[name])
    return made, looked_for


def test_every_event_has_its_row_and_no_row_is_left_over() -> None:
    assert set(FLOW) == set(REGISTRY)


def test_every_stream_has_its_row() -> None:
    assert set(STREAM_FLOW) == {spec.config.name for spec in stream_specs()}


@pytest.mark.parametrize("party", sorted(PARTIES))
def test_who_publishes_an_event_is_declared(party: str) -> None:
    made, _ = mentions(PARTIES[party])
    declared = {name for name, flow in FLOW.items() if party in flow.publishers}
    assert made == declared


@pytest.mark.parametrize("party", sorted(PARTIES))
def test_who_acts_on_an_event_is_declared(party: str) -> None:
    _, looked_for = mentions(PARTIES[party])
    declared = {name for name, flow in FLOW.items() if party in flow.consumers}
    assert looked_for == declared


def test_registry_and_structs_agree_both_ways() -> None:
    assert all(type_of.__globals__["_NAMES"][entry.struct] == name for name, entry in REGISTRY.items())


def test_the_page_is_fresh() -> None:
    assert (ROOT / "docs" / "flow.md").read_text() == page(), "run: python -m bus.flow docs/flow.md"
