"""What is stored for ever can be read for ever: the bytes of an example of every event type and version.

A changed struct fails here until its version is raised; the files of older versions stay, and `golden_lifted/` holds what
each of them says in today's version.
`python -m tests.contract.test_golden_events` writes the files that are missing, and never changes one.
"""

from pathlib import Path

import msgspec
import pytest

from bus.envelope import decode_event, encode_event
from bus.events import REGISTRY
from tests.support.made import example, golden_bytes

FOLDER = Path(__file__).parent / "golden_events"
LIFTED = Path(__file__).parent / "golden_lifted"
FILES = sorted(FOLDER.glob("*.json"))
OLDER = [p for p in FILES if int(p.stem.rpartition(".v")[2]) < REGISTRY[p.stem.rpartition(".v")[0]].version]


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.v{REGISTRY[name].version}.json"


@pytest.mark.parametrize("name", REGISTRY)
def test_the_bytes_of_a_version_never_change(name: str) -> None:
    assert path_of(name).read_bytes() == golden_bytes(name), f"{name} changed: raise its version, keep the old file"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_version_ever_written_can_be_read(path: Path) -> None:
    name, _, version = path.stem.rpartition(".v")
    event = decode_event(path.read_bytes())
    assert (event.type, event.schemaver) == (name, int(version))
    assert isinstance(event.payload(), REGISTRY[name].struct)


def lifted_path(path: Path) -> Path:
    return LIFTED / f"{path.stem}.as.v{REGISTRY[path.stem.rpartition('.v')[0]].version}.json"


def lifted_bytes(path: Path) -> bytes:
    payload = decode_event(path.read_bytes()).payload()
    return msgspec.json.format(msgspec.json.encode(payload), indent=1) + b"\n"


@pytest.mark.parametrize("path", OLDER, ids=lambda p: p.stem)
def test_what_an_older_version_says_today_never_changes(path: Path) -> None:
    assert lifted_path(path).read_bytes() == lifted_bytes(path)


def test_every_version_ever_has_its_file_and_every_older_one_its_lifted_one() -> None:
    ever = {f"{name}.v{v}" for name, entry in REGISTRY.items() for v in range(1, entry.version + 1)}
    assert {p.stem for p in FILES} == ever
    assert {p.name for p in LIFTED.glob("*.json")} == {lifted_path(p).name for p in OLDER}


@pytest.mark.parametrize("name", REGISTRY)
def test_the_file_of_today_decodes_to_the_example_and_back(name: str) -> None:
    event = decode_event(path_of(name).read_bytes())
    assert event.payload() == example(REGISTRY[name].struct)
    # The file is indented for people; without that it is what lies in the log.
    assert decode_event(encode_event(event)).payload() == event.payload()


def test_there_is_no_file_of_an_unknown_type() -> None:
    assert {p.stem.rpartition(".v")[0] for p in FILES} == set(REGISTRY)


def test_a_removed_or_renamed_field_is_noticed() -> None:
    """The check itself: an old event whose field is gone today does not decode to the same example."""
    raw = path_of("mining.campaign.refused").read_bytes()
    event = decode_event(raw.replace(b'"reason"', b'"motive"'))
    with pytest.raises(Exception, match="reason"):
        event.payload()
    assert msgspec.json.decode(raw)["data"] == {"reason": "reason"}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for missing in [n for n in REGISTRY if not path_of(n).exists()]:
        path_of(missing).write_bytes(golden_bytes(missing))
    LIFTED.mkdir(exist_ok=True)
    for old in OLDER:
        if not lifted_path(old).exists():
            lifted_path(old).write_bytes(lifted_bytes(old))
