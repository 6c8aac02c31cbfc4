"""Which replicas belong in WORK, which requests are refused, and how the model follows the log."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dispatcher.decide import campaign_digest, owners_alive, plan, refusal
from agents.dispatcher.model import Campaign, Model, Unit
from bus import events as ev
from bus.client import Stored
from bus.envelope import make_event
from bus.messages import Presence
from domain.execution import ExecutionModel
from domain.specs import CampaignSpec, Distinct, Market, Window, Windows, split_windows, unit_id
from tests.support.campaign import digest_of
from tests.support.made import example
from tests.support.market import small_market, spec_for

MARKET = small_market(2_500)
FURTHER = small_market(2_200, 7)
SPEC = spec_for(MARKET, 2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = "2026-01-01T00:10:00Z"


def miner(slot: str, host: str = "h", state: Any = "alive", lane: str = "lane") -> Presence:
    return Presence(f"miner-{slot}", "miner", host, 1, state, "t", "t", 1.0, slot=slot, lane=lane)


def unit(index: int = 0, wanted: int = 2) -> Unit:
    return Unit(f"u{index}", "c", index, wanted)


def campaign(*units: Unit, distinct: Distinct = "slot") -> Campaign:
    return Campaign("c", SPEC, "lane", distinct, "cause", list(units))


def planned(c: Campaign, *miners: Presence, room: int = 100, may_withhold: bool = True) -> tuple[list[Any], list[Any]]:
    got = plan([c], list(miners), room, may_withhold)
    return [(u.id, r) for u, r in got.queue], [(u.id, r) for u, r in got.withhold]


def test_as_many_replicas_as_owners_are_eligible() -> None:
    assert planned(campaign(unit()), miner("1"), miner("2")) == ([("u0", 0), ("u0", 1)], [])
    assert planned(campaign(unit()), miner("1")) == ([("u0", 0)], [("u0", 1)])
    assert planned(campaign(unit())) == ([], [("u0", 0), ("u0", 1)])


def test_null_repetitions_lie_behind_the_searches_of_every_campaign_and_few_at_a_time() -> None:
    """What luck finds can wait for what is found, and a search asked for later waits behind a handful only."""
    first = campaign(*(unit(i) for i in range(12)))  # two searches, ten null repetitions
    second = campaign(Unit("later", "d", 0, 2))
    queued = [(u.id, r) for u, r in plan([first, second], [miner("1"), miner("2")], 100, True).queue]
    searches, nulls = queued[:6], queued[6:]
    assert searches == [("u0", 0), ("u0", 1), ("u1", 0), ("u1", 1), ("later", 0), ("later", 1)]
    assert nulls == [("u2", 0), ("u2", 1), ("u3", 0), ("u3", 1)], "twice as many as there are owners"


def test_nothing_is_withheld_while_miners_may_still_show_up() -> None:
    assert planned(campaign(unit()), may_withhold=False) == ([], [])


def test_who_has_answered_is_not_eligible() -> None:
    u = unit()
    u.answered, u.owners, u.queue = {0}, {"h.1"}, {0: "queued", 1: "queued"}
    assert planned(campaign(u), miner("1")) == ([], [("u0", 1)])
    assert planned(campaign(u), miner("1"), miner("2")) == ([], [])
    u.queue[1] = "withheld"
    assert planned(campaign(u), miner("1")) == ([], [])
    assert planned(campaign(u), miner("1"), miner("2")) == ([("u0", 1)], [])


def test_what_a_live_owner_works_on_is_never_taken_away() -> None:
    """Its other replica waits instead: the dead owner's."""
    u = unit()
    u.queue = {0: "queued", 1: "queued"}
    u.holders = {0: ("h", "dead"), 1: ("h", "1")}
    assert planned(campaign(u), miner("1")) == ([], [("u0", 0)])
    u.holders = {0: ("h", "1"), 1: ("h", "dead")}
    assert planned(campaign(u), miner("1")) == ([], [("u0", 1)])


def test_slots_of_one_host_are_one_owner_where_hosts_are_distinct() -> None:
    two_slots = (miner("1"), miner("2"))
    assert planned(campaign(unit(), distinct="host"), *two_slots) == ([("u0", 0)], [("u0", 1)])
    assert planned(campaign(unit(), distinct="host"), *two_slots, miner("1", "other"))[1] == []


def test_only_live_miners_of_the_lane_are_owners() -> None:
    present = [
        miner("1"), miner("2", state="starting"), miner("3", state="stopped"), miner("4", state="dead"),
        miner("5", lane="old"), msgspec.structs.replace(miner("6"), kind="validator"),
    ]  # fmt: skip
    assert owners_alive(present, "lane", "slot") == {"h.1", "h.2"}
    assert owners_alive(present, "lane", "host") == {"h"}


def test_the_queue_is_bounded_and_units_go_in_order() -> None:
    units = [unit(n) for n in range(10)]
    queue, _ = planned(campaign(*units), miner("1"), miner("2"), room=6)
    assert queue == [(f"u{n}", r) for n in range(3) for r in range(2)]
    for u in units[:3]:
        u.queue = {0: "queued", 1: "queued"}
    assert planned(campaign(*units), miner("1"), miner("2"), room=6)[0] == []


def test_decided_units_get_nothing() -> None:
    u = unit()
    u.verdict = "validated"
    assert planned(campaign(u), miner("1"), miner("2")) == ([], [])


@given(
    answered=st.sets(st.integers(0, 4)),
    owners=st.sets(st.sampled_from(["h.1", "h.2", "h.3"])),
    alive=st.sets(st.sampled_from("123")),
    queue=st.dictionaries(st.integers(0, 4), st.sampled_from(["queued", "withheld"])),
    held=st.dictionaries(st.integers(0, 4), st.tuples(st.just("h"), st.sampled_from("123"))),
    wanted=st.integers(1, 5),
)
def test_a_plan_once_carried_out_has_nothing_more_to_do(
    answered: set[int], owners: set[str], alive: set[str], queue: Any, held: Any, wanted: int
) -> None:
    u = Unit("u", "c", 0, wanted, answered=answered, owners=owners, queue=dict(queue), holders=held)
    miners = [miner(s) for s in sorted(alive)]
    got = plan([campaign(u)], miners, 100, True)
    u.queue |= {r: "queued" for _, r in got.queue} | {r: "withheld" for _, r in got.withhold}
    again = plan([campaign(u)], miners, 100, True)
    assert (again.queue, again.withhold) == ([], [])
    queued = [r for r in u.open_replicas() if u.queue[r] == "queued"]
    assert len(queued) == min(len(u.open_replicas()), len({f"h.{s}" for s in alive} - owners))


# -- requests ---------------------------------------------------------------------------------------------------------


def asked(spec: CampaignSpec = SPEC, until: str = LATER) -> str:
    return refusal(
        ev.CampaignRequested(spec, until, "me"), {MARKET.hash(): MARKET.info, FURTHER.hash(): FURTHER.info}, NOW
    )


def with_search(**changes: Any) -> CampaignSpec:
    return msgspec.structs.replace(SPEC, search=msgspec.structs.replace(SPEC.search, **changes))


def further(**changes: Any) -> Market:
    info = FURTHER.info
    windows = split_windows(info.candles)
    market = Market(FURTHER.hash(), info.venue, info.symbol, info.granularity_s, windows, ExecutionModel())
    return msgspec.structs.replace(market, **changes)


def test_a_good_request_is_not_refused() -> None:
    assert asked() == ""
    assert asked(with_search(also=(further(),))) == ""


@pytest.mark.parametrize(
    ("spec", "until", "why"),
    [
        (SPEC, "2025-12-31T23:59:59Z", "valid until"),
        (SPEC, "soon", "no time"),
        (SPEC, "2027-01-01T00:00:00", "valid until"),
        (with_search(dataset="0" * 64), LATER, "not registered"),
        (with_search(symbol="ETH/USD"), LATER, "not what is asked for"),
        (with_search(venue="coinbase"), LATER, "not what is asked for"),
        (with_search(also=(further(dataset="0" * 64),)), LATER, "dataset 000000000000 is not registered"),
        (with_search(also=(further(symbol="SOL/USD"),)), LATER, "not what is asked for"),
        (with_search(also=(further(windows=split_windows(9_999)),)), LATER, "not lie within the 2200 candles"),
        (with_search(also=(further(windows=Windows((), (), Window(0, 1))),)), LATER, "not lie within"),
        (with_search(also=(further(), further())), LATER, "searched once"),
        (msgspec.structs.replace(with_search(also=(further(),)), nulls=3), LATER, "null repetitions"),
        (with_search(granularity_s=60), LATER, "not what is asked for"),
        (with_search(windows=Windows((Window(0, 2_501),), (), Window(0, 1))), LATER, "do not lie within"),
        (with_search(windows=Windows((Window(-1, 5),), (), Window(0, 1))), LATER, "do not lie within"),
        (with_search(windows=Windows((Window(5, 5),), (), Window(0, 1))), LATER, "do not lie within"),
        (with_search(windows=Windows((), (), Window(0, 1))), LATER, "do not lie within"),
        (with_search(grammar="../secret"), LATER, "grammar"),
        (with_search(population=10**6), LATER, "population"),
        (with_search(execution=ExecutionModel(taker_bps=-1.0)), LATER, "taker_bps"),
        (msgspec.structs.replace(SPEC, units=0), LATER, "units"),
        (msgspec.structs.replace(SPEC, replicas=10), LATER, "replicas"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(spec: CampaignSpec, until: str, why: str) -> None:
    assert why in asked(spec, until)


# -- the model --------------------------------------------------------------------------------------------------------


class Log:
    """Feeds events to a model as the log would."""

    def __init__(self) -> None:
        self.model = Model()
        self.seq = 0

    def add(self, data: ev.EventData, subject: str) -> None:
        self.seq += 1
        event = make_event(data, id=str(self.seq), source="t", subject=subject, time=LATER)
        stored = Stored(event.nats_subject(), self.seq, b"", {}, "")
        self.model.saw(stored)
        self.model.apply(stored, event)


def opened() -> tuple[Log, Unit]:
    log = Log()
    log.add(ev.CampaignRequested(SPEC, LATER, "me"), "c")
    assert set(log.model.requests) == {"c"}
    log.add(ev.CampaignOpened(SPEC, "lane", "slot"), "c")
    assert not log.model.requests
    return log, log.model.units[unit_id("c", 0)]


def replaced(kind: type, **changes: Any) -> Any:
    return msgspec.structs.replace(example(kind), campaign="c", **changes)


def test_a_request_is_answered_once() -> None:
    log = Log()
    log.add(ev.CampaignRequested(SPEC, LATER, "me"), "c")
    log.add(ev.CampaignRefused("no"), "c")
    log.add(ev.CampaignRequested(SPEC, LATER, "me"), "c")
    assert not log.model.requests
    assert log.model.answers == {"c": 2}


def test_a_campaign_opened_twice_keeps_what_is_known_of_it() -> None:
    log, u = opened()
    log.add(replaced(ev.ReplicaAnswered, replica=0), u.id)
    log.add(ev.CampaignOpened(SPEC, "lane", "slot"), "c")
    assert log.model.units[u.id].answered == {0}


def test_the_log_of_a_unit() -> None:
    log, u = opened()
    log.add(replaced(ev.ReplicaQueued, replica=0), u.id)
    log.add(replaced(ev.ReplicaWithheld, replica=1), u.id)
    assert (u.queue, u.queue_seq) == ({0: "queued", 1: "withheld"}, log.seq)
    log.add(replaced(ev.ReplicaClaimed, replica=0, host="h", slot="1"), u.id)
    assert u.holders == {0: ("h", "1")}
    log.add(replaced(ev.ReplicaReleased, replica=0, host="h", slot="1"), u.id)
    assert u.holders == {}
    log.add(replaced(ev.ReplicaAnswered, replica=0, owner="h.1", counts=False), u.id)
    assert (u.answered, u.owners, u.open_replicas()) == ({0}, {"h.1"}, [1])
    log.add(replaced(ev.ReplicaRequested, replica=2), u.id)
    assert u.open_replicas() == [1, 2]
    log.add(replaced(ev.UnitValidated, digest="d", tried_sha256="t"), u.id)
    assert (u.verdict, u.digest, u.tried_sha256) == ("validated", "d", "t")


def test_what_cannot_be_read_moves_the_expected_sequence_on() -> None:
    log, u = opened()
    log.model.saw(Stored(f"ev.mining.queue.{u.id}.replica_queued", 77, b"junk", {}, ""))
    log.model.saw(Stored("ev.mining.campaign.c.finished", 78, b"junk", {}, ""))
    log.model.saw(Stored("ev.x", 79, b"junk", {}, ""))
    assert (u.queue_seq, log.model.answers["c"]) == (77, 78)


def test_the_digest_covers_verdicts_in_order_of_index() -> None:
    a, b, c = unit(0), unit(1), unit(2)
    a.verdict, a.digest = "validated", "x"
    b.verdict, c.verdict = "inconclusive", "parked"
    same = campaign_digest(campaign(c, b, a))
    assert same == campaign_digest(campaign(a, b, c))
    assert same == digest_of(
        [
            msgspec.structs.replace(example(ev.UnitValidated), index=0, digest="x"),
            msgspec.structs.replace(example(ev.UnitInconclusive), index=1),
            msgspec.structs.replace(example(ev.UnitParked), index=2),
        ]
    )
    a.digest = "y"
    assert campaign_digest(campaign(a, b, c)) != same
