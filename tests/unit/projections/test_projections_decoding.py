"""The fast way from a message to a fact says what the plain one says, of good events and of bad ones."""

import random
from pathlib import Path

import msgspec
import pytest

from bus.client import Stored
from bus.envelope import TooNew, decode_event
from bus.subjects import event_subject
from domain.errors import BadInput
from domain.hashing import canonical
from projections import decoding
from projections.decoding import Misplaced, canonical_text, fact_of
from tests.unit.projections.event_log import story

GOLDEN = sorted((Path(__file__).parents[2] / "contract" / "golden_events").glob("*.json"))


def plainly(stored: Stored) -> object:
    event = decode_event(stored.data)
    data = event.payload()
    if event.nats_subject() != stored.subject:
        raise BadInput("elsewhere")
    return (event.id, event.type, event.source, event.subject, event.correlationid, event.time, data)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_every_version_of_every_event_is_read_as_the_envelope_reads_it(path):
    event = decode_event(path.read_bytes())
    stored = Stored(event.nats_subject(), 1, path.read_bytes(), {}, "")
    for _ in range(2):  # the second time from memory
        assert tuple(fact_of(stored)) == plainly(stored)
    assert fact_of(stored).data == event.payload()


def test_stories_with_junk_are_read_and_refused_alike():
    refused = 0
    for stored in story(random.Random(1), 1500).made:
        try:
            wanted = plainly(stored)
        except BadInput:
            refused += 1
            with pytest.raises(BadInput):
                fact_of(stored)
        else:
            assert tuple(fact_of(stored)) == wanted
    assert refused > 20


def changed(path: Path, **fields: object) -> Stored:
    event = msgspec.json.decode(path.read_bytes()) | fields
    return Stored(event_subject(event["type"], event["subject"]), 1, msgspec.json.encode(event), {}, "")


def test_what_was_remembered_does_not_cover_for_what_is_wrong():
    path = next(p for p in GOLDEN if p.stem == "strategy.strategy.validated.v2")
    good = changed(path)
    fact_of(good)
    data = msgspec.json.decode(path.read_bytes())["data"]
    for name, bad in (("find", {**data["find"], "objective": "high"}), ("search", {}), ("genome", None)):
        with pytest.raises(BadInput, match=r"cannot be read"):
            fact_of(changed(path, data={**data, name: bad}))
    with pytest.raises(TooNew):
        fact_of(changed(path, schemaver=99))
    elsewhere = good._replace(subject=good.subject.replace(".strategy.strategy.", ".strategy.other."))
    with pytest.raises(Misplaced) as caught:
        fact_of(elsewhere)
    assert caught.value.event_id == decode_event(good.data).id


def test_memories_are_bounded():
    for find in decoding._MEMORIES.values():
        assert len(find._known) <= find._most
    texts = decoding._Texts(4)
    values = [[n] for n in range(20)]
    assert [texts.of(v) for v in values] == [canonical(v).decode() for v in values]
    assert len(texts._known) <= 4
    assert canonical_text(values) == canonical(values).decode()
