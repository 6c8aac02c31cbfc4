"""A struct of the log changes only together with its version and an upcaster.

`golden_schemas/TYPE.vN.json` holds what each version looks like, with everything inside it: names, order, types, defaults.
`python -m tests.contract.test_event_schemas` writes the files of versions that have none yet, and never changes one.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.envelope import Event, TooNew, decode_event, encode_event, make_event
from bus.events import REGISTRY, EventData, EventType
from bus.upcast import UPCASTERS, added, renamed, split
from domain.errors import BadInput

FOLDER = Path(__file__).parent / "golden_schemas"


def schema_of(struct: type) -> bytes:
    """The JSON schema without its words: what a docstring says changes nothing in the log."""
    return msgspec.json.format(msgspec.json.encode(_wordless(msgspec.json.schema(struct))), indent=1) + b"\n"


def _wordless(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_wordless(v) for v in schema]
    if not isinstance(schema, dict):
        return schema
    # The names below `properties` are ours, also where a field is called `description`.
    return {
        k: {name: _wordless(field) for name, field in v.items()} if k == "properties" else _wordless(v)
        for k, v in schema.items()
        if k not in ("description", "title")
    }


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.v{REGISTRY[name].version}.json"


@pytest.mark.parametrize("name", REGISTRY)
def test_a_struct_looks_as_its_version_always_did(name: str) -> None:
    how = (
        "raise its version in bus/events.py, write an upcaster in bus/upcast.py, keep the old files, make the new ones"
    )
    assert path_of(name).exists(), f"{name} version {REGISTRY[name].version} has no schema file yet"
    assert path_of(name).read_bytes() == schema_of(REGISTRY[name].struct), f"{name} changed: {how}"


def test_every_version_before_todays_has_its_upcaster_and_its_schema_and_no_other_has() -> None:
    older = {(name, v) for name, entry in REGISTRY.items() for v in range(1, entry.version)}
    assert set(UPCASTERS) == older
    kept = {(p.stem.rpartition(".v")[0], int(p.stem.rpartition(".v")[2])) for p in FOLDER.glob("*.json")}
    assert kept == older | {(name, entry.version) for name, entry in REGISTRY.items()}


# -- the check itself -------------------------------------------------------------------------------------------------


def _struct(name_: str = "Thing", **fields: Any) -> type:
    return msgspec.defstruct(name_, [(n, *(v if isinstance(v, tuple) else (v,))) for n, v in fields.items()])


INNER = _struct("Inner", price=int)
BEFORE = _struct(name=str, inner=INNER, count=(int, 1))


@pytest.mark.parametrize(
    "after",
    [
        _struct(name=str, inner=INNER, count=(int, 1), more=(str, "")),
        _struct(name=str, inner=INNER),
        _struct(title=str, inner=INNER, count=(int, 1)),
        _struct(name=str, inner=INNER, count=(float, 1)),
        _struct(name=str, inner=INNER, count=(int, 2)),
        _struct(name=str, inner=INNER, count=int),
        _struct(inner=INNER, name=str, count=(int, 1)),
        _struct(name=str, inner=_struct("Inner", price=float), count=(int, 1)),
        _struct(name=str, inner=_struct("Inner", price=(int, 0)), count=(int, 1)),
        _struct(name=str, inner=_struct("Inner", price=int, description=(str, "")), count=(int, 1)),
    ],
    ids=["added", "removed", "renamed", "type", "default", "no default", "order", "inner type", "inner default", "inner added"],
)  # fmt: skip
def test_any_change_is_seen(after: type) -> None:
    assert schema_of(after) != schema_of(BEFORE)


def test_words_are_no_change() -> None:
    class Thing(msgspec.Struct):
        """Says something."""

        name: str
        inner: INNER  # type: ignore[valid-type]
        count: int = 1

    assert schema_of(Thing) == schema_of(BEFORE)


# -- the mechanism, with types of this test ---------------------------------------------------------------------------


class Weighed(EventData, frozen=True):
    """Version 4: `weight` of version 1 was called `mass_kg` in 2, became `grams` and `scale` in 3, and 4 knows `by`."""

    name: str
    grams: int
    scale: str
    by: str


def _in_grams(mass: str) -> dict[str, Any]:
    number, scale = mass.split(" on ")
    return {"grams": int(float(number) * 1000), "scale": scale}


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> str:
    name = "test.nugget.weighed"
    monkeypatch.setitem(REGISTRY, name, EventType(Weighed, 4))
    monkeypatch.setitem(UPCASTERS, (name, 1), renamed(weight="mass_kg"))
    monkeypatch.setitem(UPCASTERS, (name, 2), split("mass_kg", _in_grams))
    monkeypatch.setitem(UPCASTERS, (name, 3), added(by="nobody knows"))
    return name


def _as_written(name: str, version: int, data: bytes) -> Event:
    """Through the bytes of the log."""
    fields = {"id": "i", "source": "s", "type": name, "time": "t", "subject": "e", "schemaver": version}
    return decode_event(encode_event(Event(**fields, data=msgspec.Raw(data))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "data", "by"),
    [
        (1, b'{"name":"a","weight":"1.5 on the brass one"}', "nobody knows"),
        (2, b'{"name":"a","mass_kg":"1.5 on the brass one"}', "nobody knows"),
        (3, b'{"name":"a","grams":1500,"scale":"the brass one"}', "nobody knows"),
        (4, b'{"name":"a","grams":1500,"scale":"the brass one","by":"Ana"}', "Ana"),
    ],
)
def test_fields_are_renamed_split_and_added_on_the_way_from_any_version(
    weighed: str, version: int, data: bytes, by: str
) -> None:
    assert _as_written(weighed, version, data).payload() == Weighed("a", 1500, "the brass one", by)


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, b'{"name":"a"}'),
        (1, b'{"name":"a","weight":"heavy"}'),
        (1, b'{"name":"a","weight":7}'),
        (2, b'["a"]'),
        (3, b'{"name":"a","grams":"many","scale":"x"}'),
        (3, b"7"),
        (0, b'{"name":"a"}'),
        (-1, b'{"name":"a"}'),
    ],
)
def test_what_an_older_version_never_was_is_bad_input_and_stops_nobody(weighed: str, version: int, data: bytes) -> None:
    with pytest.raises(BadInput):
        _as_written(weighed, version, data).payload()


def test_what_is_newer_is_no_bad_input_but_halts(weighed: str) -> None:
    with pytest.raises(TooNew, match="version 5, this program knows 4"):
        _as_written(weighed, 5, b"{}").payload()


def test_an_event_of_today_never_meets_an_upcaster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.envelope.lift", lambda *_: pytest.fail("lifted"))
    data = REGISTRY["ops.agent.stopped"].struct("miner", "box", 1, None, True)  # type: ignore[call-arg]
    event = make_event(data, id="i", source="s", subject="e", time="t")
    assert decode_event(encode_event(event)).payload() == data


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for missing in [n for n in REGISTRY if not path_of(n).exists()]:
        path_of(missing).write_bytes(schema_of(REGISTRY[missing].struct))
