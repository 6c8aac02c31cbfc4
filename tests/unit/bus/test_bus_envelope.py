"""Envelope, registry, subjects and settings without a server."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus import subjects
from bus.envelope import Event, TooNew, decode_event, encode_event, make_event, read_event
from bus.events import REGISTRY, type_of
from bus.messages import Checkpoint, Claim, Parked, Presence, Progress
from bus.settings import Settings, StateDir
from domain.errors import BadInput, Unreachable
from domain.results import ReplicaResult
from domain.tasks import WorkItem
from tests.support.made import example, instances

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def made(data: Any, **fields: str) -> Event:
    given_ = {"id": "i", "source": "s", "subject": "entity", "time": "2026-01-01T00:00:00Z"} | fields
    return make_event(data, **given_)


@pytest.mark.parametrize("name", REGISTRY)
@FEW
@given(data=st.data())
def test_every_event_survives_the_log(name: str, data: st.DataObject) -> None:
    payload = data.draw(instances(REGISTRY[name].struct))
    event = made(payload, correlation="c", causation="d")
    raw = encode_event(event)
    back = decode_event(raw)
    assert back.payload() == payload
    assert encode_event(back) == raw
    assert (back.type, back.schemaver, back.correlationid, back.causationid) == (name, REGISTRY[name].version, "c", "d")
    assert read_event(back.nats_subject(), raw).id == "i"


@pytest.mark.parametrize("kind", [Claim, Presence, Progress, Parked, WorkItem, ReplicaResult])
@FEW
@given(data=st.data())
def test_every_message_survives_the_bus(kind: type, data: st.DataObject) -> None:
    if kind is Parked:
        message = Parked("CLAIM", 1, "s", "why", "me", "now", data.draw(st.binary(max_size=64)))
    else:
        message = data.draw(instances(kind))
    assert msgspec.json.decode(msgspec.json.encode(message), type=kind) == message


@given(state=st.binary(max_size=64))
def test_a_checkpoint_survives_in_msgpack(state: bytes) -> None:
    checkpoint = Checkpoint("c", "u", 0, 1, 2, "lane", state)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(checkpoint), type=Checkpoint) == checkpoint


def test_the_registry_names_each_struct_once() -> None:
    assert len({e.struct for e in REGISTRY.values()}) == len(REGISTRY)
    assert all(type_of(example(e.struct)) == name for name, e in REGISTRY.items())
    assert all(name.count(".") == 2 for name in REGISTRY)


@given(raw=st.binary(max_size=200))
def test_arbitrary_bytes_are_bad_input_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(BadInput):
        decode_event(raw)


def test_unknown_types_newer_versions_and_wrong_data_are_told_apart() -> None:
    event = made(example(REGISTRY["mining.campaign.refused"].struct))
    newer = msgspec.structs.replace(event, schemaver=2)
    with pytest.raises(TooNew, match="version 2"):
        decode_event(encode_event(newer)).payload()
    with pytest.raises(BadInput, match="unknown event type"):
        msgspec.structs.replace(event, type="mining.campaign.vanished").payload()
    with pytest.raises(BadInput, match="cannot be read"):
        msgspec.structs.replace(event, data=msgspec.Raw(b"{}")).payload()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"subject": "another"}, "belongs under"),
        ({"type": "mining.campaign.opened"}, "belongs under"),
        ({"type": "nonsense"}, "no event type"),
        ({"type": "a.b.c.d"}, "no event type"),
        ({"subject": "a.b"}, "cannot stand in a subject"),
        ({"subject": "*"}, "cannot stand in a subject"),
    ],
)
def test_an_event_under_another_subject_than_its_own_is_bad_input(change: dict[str, str], why: str) -> None:
    event = made(example(REGISTRY["mining.campaign.refused"].struct))
    wrong = msgspec.structs.replace(event, **change)
    with pytest.raises(BadInput, match=why):
        read_event(event.nats_subject(), encode_event(wrong))


@given(text=st.text(max_size=200))
def test_a_token_holds_nothing_that_means_something_in_a_subject(text: str) -> None:
    try:
        token = subjects.token(text)
    except BadInput:
        assert not text or len(text) > 128 or not all(c.isascii() and (c.isalnum() or c in "_-") for c in text)
    else:
        assert token == text
        assert not set(token) & set(".*> \t\r\n")


@given(name=st.text(max_size=300))
def test_any_host_name_becomes_a_token(name: str) -> None:
    assert subjects.token(subjects.host_token(name))


def test_a_token_with_a_line_end_is_refused() -> None:
    with pytest.raises(BadInput):
        subjects.token("abc\n")


def test_settings_name_the_key_that_is_wrong(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert state.settings() == Settings()
    state.config.write_text("heartbeat = 2\n")
    with pytest.raises(BadInput, match="heartbeat"):
        state.settings()
    state.config.write_text("heartbeat_s = 0.5\n")
    assert state.settings().heartbeat_s == 0.5
    state.config.write_text("heartbeat_s = \n")
    with pytest.raises(BadInput, match=r"sluice\.toml"):
        state.settings()


def test_a_state_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable, match="cannot be written"):
        StateDir(tmp_path / "file" / "state").create()
