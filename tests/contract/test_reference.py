"""docs/reference.md says every command, event and setting, and says it as it is."""

from pathlib import Path

from bus.events import REGISTRY
from bus.settings import Settings
from cli.reference import page

ROOT = Path(__file__).parents[2]


def test_the_reference_is_fresh() -> None:
    assert (ROOT / "docs" / "reference.md").read_text() == page(), "run: python -m cli.reference docs/reference.md"


def test_it_names_everything() -> None:
    text = page()
    for command in ("up", "join", "down", "mine", "data import", "strategy show", "replay", "logs", "bench web"):
        assert f"### `sluice {command}`" in text
    assert all(f"### `{name}`" in text for name in REGISTRY)
    assert all(f"| `{name}` |" in text for name in Settings.__struct_fields__ if name != "agents")


def test_every_event_says_what_it_means() -> None:
    for name, entry in REGISTRY.items():
        doc = entry.struct.__doc__ or ""
        assert doc, name
        assert not doc.startswith(f"{entry.struct.__name__}("), f"{name} has no docstring of its own"


def test_links_of_the_pages_lead_somewhere() -> None:
    import re

    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
