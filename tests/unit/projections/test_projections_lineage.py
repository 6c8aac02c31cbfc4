"""Chains of causes in logs made up for it: what is followed, what is missing, what is found under which id."""

import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import events
from bus.causes import CAUSES, SOMETIMES
from bus.client import Stored
from bus.envelope import Event, decode_event, encode_event, make_event
from bus.events import REGISTRY, CampaignFinished, EventData, StrategyValidated, UnitOpened
from cli.commands.why import dot, printable
from domain.errors import BadInput
from projections import files
from projections.lineage.resolve import Unknown, resolve
from projections.lineage.rules import KINDS, RULES, tell
from projections.lineage.walk import Lineage, Why
from projections.models import TABLES
from projections.store import ViewStore
from tests.support.made import example
from tests.unit.projections.event_log import TIME, EventLog, claim, dataset, find, open_campaign, spec, story, validate


class Log:
    """A log in memory, as the bus reads it."""

    def __init__(self, made: list[Stored]) -> None:
        self.made = made

    async def read(self, stream: str, start: int, subject_filter: str = ">", batch: int = 500) -> AsyncIterator[Stored]:
        for stored in self._under(subject_filter):
            if stored.seq >= start:
                yield stored

    async def skim(self) -> AsyncIterator[Stored]:
        for stored in self.made:
            yield stored._replace(data=b"")

    async def next(self, stream: str, start: int, subject_filter: str) -> Stored | None:
        return next((s for s in self._under(subject_filter) if s.seq >= start), None)

    async def get(self, stream: str, seq: int) -> Stored | None:
        return self.made[seq - 1] if seq <= len(self.made) else None

    async def last_seq(self, stream: str) -> int:
        return len(self.made)

    def _under(self, subject_filter: str) -> list[Stored]:
        pattern = re.escape(subject_filter).replace(r"\*", r"[^.]+").replace(">", ".+")
        return [s for s in self.made if re.fullmatch(pattern, s.subject)]


async def why(log: list[Stored], wanted: str, most: int = 12, con: Any = None) -> Why:
    on = Log(log)
    lineage = Lineage(on, on.skim, most)
    return await lineage.why(*await resolve(lineage, on, con, wanted))


def caused(log: EventLog, data: EventData, entity: str, cause: str = "", campaign: str = "c") -> str:
    """Add an event that names a cause; returns its id."""
    id = f"{len(log.made) + 1:08}-id"
    event = make_event(data, id=id, source="t", subject=entity, time=TIME, correlation=campaign, causation=cause)
    stored = log.raw(event.nats_subject(), encode_event(event))
    log.made[-1] = stored._replace(headers={"Nats-Msg-Id": id})
    return id


@pytest.mark.parametrize("name", REGISTRY)
def test_every_type_is_told_in_words(name: str) -> None:
    data = example(REGISTRY[name].struct)
    event = make_event(data, id="i", source="s", subject="entity", time=TIME, correlation="corr")
    told = tell(event, data)
    assert told.words
    assert told.near[-1] == "corr"
    if name in RULES:
        assert "entity" in told.words or told.words != tell(msgspec.structs.replace(event, type="x.y.z"), data).words


def test_causes_and_kinds_name_what_there_is() -> None:
    for effect, causes in (CAUSES | SOMETIMES).items():
        assert effect in REGISTRY
        assert set(causes) <= set(REGISTRY)
    assert set(RULES) <= set(REGISTRY)
    groups = {name.rpartition(".")[0] for name in REGISTRY}
    for kind in KINDS:
        assert kind.group in groups
        assert kind.table in TABLES
        assert {f"{kind.group}.{v}" for v in kind.verbs} <= set(REGISTRY)


async def test_an_entity_without_an_entry_or_a_rule_is_explained_by_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What orders and fills will be before anybody has written a rule for them."""

    class OrderFilled(EventData, frozen=True):
        price: int

    monkeypatch.setitem(REGISTRY, "trade.order.filled", REGISTRY["mining.unit.opened"]._replace(struct=OrderFilled))
    monkeypatch.setitem(CAUSES, "trade.order.filled", ("mining.unit.opened",))
    monkeypatch.setitem(events._NAMES, OrderFilled, "trade.order.filled")
    log = EventLog()
    s = spec()
    opened = caused(log, example(UnitOpened), "unit-1")
    caused(log, OrderFilled(7), "order-0001", opened, campaign="unit-1")
    found = await why(log.made, "order-0001")
    assert (found.kind, found.start) == ("order", 2)
    assert found.nodes[0].words == "order order-0001: filled"
    assert found.nodes[0].causes == (1,)
    assert s.units == 2


async def test_what_should_be_there_and_is_not_is_named() -> None:
    log = EventLog()
    caused(log, example(UnitOpened), "unit-0001", "nobody")
    caused(log, example(UnitOpened), "unit-0002")
    later = caused(log, example(StrategyValidated), "strategy-1", f"{4:08}-id")
    caused(log, example(CampaignFinished), "campaign-1", later)
    for wanted, word in (("1", "nobody, which is not in the log before it"), ("2", "names no cause")):
        found = await why(log.made, wanted)
        assert [word in m for m in found.missing] == [True]
        assert not found.complete
    # A cause that lies behind its effect is none, so that nothing turns in circles.
    assert [f"{4:08}-id" in m for m in (await why(log.made, "3")).missing] == [True]
    # One that lies where no such cause is filed is found all the same.
    assert (await why(log.made, "4")).nodes[0].causes == (3,)


async def test_events_of_a_newer_version_and_junk_break_no_chain_silently() -> None:
    log = EventLog()
    first = caused(log, example(UnitOpened), "unit-0001", "x")
    newer = decode_event(log.made[0].data)
    log.made[0] = log.made[0]._replace(data=encode_event(msgspec.structs.replace(newer, schemaver=9)))
    log.raw("ev.mining.unit.unit-0001.validated", b"{not json")
    caused(log, example(StrategyValidated), "strategy-1", first)
    found = await why(log.made, "3")
    assert any("version 9" in m for m in found.missing)
    with pytest.raises(Unknown, match="event 2 cannot be read"):
        await why(log.made, "2")


async def test_a_campaign_of_many_units_is_cut_and_says_so() -> None:
    log = EventLog()
    dataset(log)
    s = spec(units=20)
    units = open_campaign(log, "campaign-1", s)
    for i in range(len(units)):
        validate(log, "campaign-1", s, i, ())
    log.add(CampaignFinished("d" * 64, 20, 0, 0, 9), "campaign-1")
    cut, whole = await why(log.made, "campaign-1", 12), await why(log.made, "campaign-1", 0)
    assert (cut.nodes[0].left_out, len(cut.nodes[0].causes)) == (8, 12)
    assert (whole.nodes[0].left_out, len(whole.nodes[0].causes)) == (0, 20)


async def test_ids_are_found_whole_and_by_a_beginning_with_and_without_read_models(tmp_path: Path) -> None:
    log = EventLog()
    dataset(log)
    s = spec()
    units = open_campaign(log, "campaign-1", s)
    open_campaign(log, "campaign-2", s)
    claim(log, "campaign-1", units[0], 0, "1", 5)
    validate(log, "campaign-1", s, 0, (find(30, 0.5),))
    (strategy,) = {m.subject.split(".")[3] for m in log.made if m.subject.startswith("ev.strategy.")}
    store = ViewStore(tmp_path / "views.sqlite")
    store.apply_batch(log.made)
    store.close()
    con = files.open_reader(tmp_path / "views.sqlite")
    verdict = len(log.made) - 1
    for views in (con, None):
        assert (await why(log.made, strategy, con=views)).start == verdict + 1
        assert (await why(log.made, strategy[:8], con=views)).entity == strategy
        assert (await why(log.made, units[0][:10], con=views)).start == verdict
        assert (await why(log.made, "d" * 9, con=views)).kind == "dataset"
        assert (await why(log.made, "campaign-1", con=views)).kind == "campaign"
        assert (await why(log.made, str(verdict), con=views)).kind == "event"
        with pytest.raises(
            BadInput, match=r"several ids begin with campaign: campaign campaign-1, campaign campaign-2"
        ):
            await why(log.made, "campaign", con=views)
        with pytest.raises(Unknown, match="nothing in the log has the id 'unknown-id'"):
            await why(log.made, "unknown-id", con=views)
        for wanted in ("short", "", "with space", "a.b.c.d.e", "x" * 200):
            with pytest.raises(BadInput):
                await why(log.made, wanted, con=views)
        with pytest.raises(Unknown, match="the log ends at"):
            await why(log.made, "999999", con=views)
    with pytest.raises(Unknown, match=f"it begins like strategy {strategy}"):
        await why(log.made, strategy[:5] + "x" * 5, con=con)
    con.close()


async def test_an_id_of_an_event_is_found_by_walking_and_several_are_named() -> None:
    log = EventLog()
    for n in range(3):
        caused(log, example(UnitOpened), f"unit-{n:04}", "")
    assert (await why(log.made, f"{2:08}-id")).start == 2
    assert (await why(log.made, f"{2:08}")).start == 2
    log.made[2] = log.made[2]._replace(headers={"Nats-Msg-Id": f"{2:08}-jd"})
    with pytest.raises(BadInput, match="several ids begin with 00000002: event 2"):
        await why(log.made, f"{2:08}")


async def test_any_event_of_any_log_has_an_answer() -> None:
    log = story(random.Random(3), 300)
    readable = [s for s in log.made if _readable(s)]
    for stored in readable:
        found = await why(log.made, str(stored.seq))
        assert found.nodes[0].seq == stored.seq
        assert all(cause < n.seq for n in found.nodes for cause in n.causes)


def _readable(stored: Stored) -> Event | None:
    try:
        return decode_event(stored.data)
    except BadInput:
        return None


async def test_labels_of_a_graph_are_escaped() -> None:
    log = EventLog()
    odd = 'a "quoted" \\ name\n];}'
    data = msgspec.structs.replace(example(REGISTRY["mining.campaign.refused"].struct), reason=odd)
    log.add(data, "campaign-1")
    text = dot(await why(log.made, "1"))
    assert 'a \\"quoted\\" \\\\ name�];}' in text
    assert text.count("\n") == 4
    assert printable("\x1b[2J") == "�[2J"
