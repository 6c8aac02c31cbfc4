"""Ask for campaigns and read what the log says of them."""

import asyncio
from collections import defaultdict
from typing import NamedTuple
from uuid import uuid4

import msgspec

from bus import events as ev
from bus.campaigns import request_campaign
from bus.causes import SOMETIMES, causes_of, may_be_root
from bus.client import Bus, Stored
from bus.envelope import Event, decode_event, encode_event, make_event, now_rfc3339
from bus.events import EventData
from bus.messages import Checkpoint, Parked
from cli.actions import register_dataset
from domain.candles import Candles
from domain.errors import BadInput
from domain.hashing import canonical, sha256_hex
from domain.specs import CampaignSpec, Window, Windows
from market.store import DatasetStore
from tests.support.instance import PATIENCE_S, Instance, until
from tests.support.market import small_market, spec_for

CLOSED = (ev.CampaignFinished, ev.CampaignRefused)
VERDICTS = (ev.UnitValidated, ev.UnitInconclusive, ev.UnitParked)


class Fact(NamedTuple):
    """One event of the log with its typed data; `event.subject` is the entity."""

    seq: int
    event: Event
    data: EventData


async def facts(bus: Bus, campaign: str = "") -> list[Fact]:
    """All readable events in order, of one campaign or of all."""
    out = []
    async for stored in bus.read("EVENTS", 1):
        try:
            event = decode_event(stored.data)
            if not campaign or event.correlationid == campaign:
                out.append(Fact(stored.seq, event, event.payload()))
        except BadInput:
            continue
    return out


async def parked(bus: Bus) -> list[Parked]:
    return [msgspec.json.decode(s.data, type=Parked) async for s in bus.read("PARKED", 1)]


async def stored_in(bus: Bus, stream: str, filter_: str = ">") -> list[Stored]:
    return [s async for s in bus.read(stream, 1, filter_)]


class Saved(NamedTuple):
    """A checkpoint on the bus."""

    unit: str
    replica: int
    host: str
    slot: str
    generation: int


class Mine:
    """A test's view of one instance: register the market once, mine on it, look."""

    def __init__(self, instance: Instance, bus: Bus, candles: Candles) -> None:
        self.instance, self.bus, self.candles = instance, bus, candles

    @classmethod
    async def on(cls, instance: Instance) -> "Mine":
        candles = small_market()
        bus = await instance.bus("admin")
        await register_dataset(bus, DatasetStore(instance.state.cache), candles, "test", instance.hosts[0])
        return cls(instance, bus, candles)

    def spec(self, units: int, **fields: int) -> CampaignSpec:
        return spec_for(self.candles, units, **fields)

    async def request(self, units: int, **fields: int) -> str:
        return await request_campaign(self.bus, self.spec(units, **fields), "test")

    async def finished(self, campaign: str, timeout_s: float = PATIENCE_S) -> ev.CampaignFinished:
        """The end of the campaign; the words of all agents when it does not come."""
        try:
            closed = await self.seen(campaign, CLOSED, timeout_s=timeout_s)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{await self.story(campaign)}\n{self.instance.words()}") from e
        assert isinstance(closed.data, ev.CampaignFinished), closed.data
        return closed.data

    async def mine(self, units: int, timeout_s: float = PATIENCE_S, **fields: int) -> tuple[str, ev.CampaignFinished]:
        campaign = await self.request(units, **fields)
        return campaign, await self.finished(campaign, timeout_s)

    async def seen(
        self,
        campaign: str,
        kind: type[EventData] | tuple[type[EventData], ...],
        timeout_s: float = PATIENCE_S,
        count: int = 1,
    ) -> Fact:
        """The `count`-th event of that kind, waited for."""

        async def look() -> Fact | None:
            found = [f for f in await facts(self.bus, campaign) if isinstance(f.data, kind)]
            return found[count - 1] if len(found) >= count else None

        names = kind.__name__ if isinstance(kind, type) else "/".join(k.__name__ for k in kind)
        found = await until(f"{count} x {names} of campaign {campaign}", look, timeout_s)
        assert found is not None
        return found

    async def of(self, campaign: str, kind: type[EventData]) -> list[Fact]:
        return [f for f in await facts(self.bus, campaign) if isinstance(f.data, kind)]

    async def killed_and_resumed(self, campaign: str, pace_ms: int) -> ev.CampaignFinished:
        """Kill the first miner that has checkpointed after generation 5 and start it again: it claims its replica anew and
        goes on from there. Returns how the campaign ends. Its units must be held, so that the miner is in the middle of one."""
        checkpoint = await self.checkpoint_beyond(5)
        victim = next(a for a in self.instance.agents if a.kind == "miner" and a.slot == checkpoint.slot)
        victim.kill()
        self.instance.go_on()
        self.instance.miner(int(victim.slot), pace_ms=pace_ms)
        end = await self.finished(campaign)
        claims = [f.data for f in await self.of(campaign, ev.ReplicaClaimed)]
        again = [c for c in claims if isinstance(c, ev.ReplicaClaimed) and c.slot == victim.slot]
        # Twice, or more often where the server once did not answer in time: then it gave the replica back, and went on.
        assert again[0].generation == 0
        assert again[-1].generation >= checkpoint.generation
        return end

    async def checkpoint_beyond(self, generation: int, host: str = "*", slot: str = "*") -> Saved:
        """The first checkpoint seen beyond that generation: its holder is in the middle of a unit now."""

        async def look() -> Saved | None:
            stored = await self.bus.last("CKPT", f"ckpt.*.*.{host}.{slot}")
            if stored is None:
                return None
            _, unit, replica, by, of = stored.subject.split(".")
            found = msgspec.msgpack.decode(stored.data, type=Checkpoint)
            return Saved(unit, int(replica), by, of, found.generation) if found.generation > generation else None

        found = await until(f"a checkpoint beyond generation {generation}", look, every_s=0.05)
        assert found is not None
        return found

    async def refused_requests(self) -> dict[str, str]:
        """Ask for what cannot be met, in several ways, twice each; the reasons."""
        good = self.spec(1)
        later = "2099-01-01T00:00:00.000Z"
        replace = msgspec.structs.replace
        far = Windows((Window(0, 10**9),), (), Window(0, 1))
        requests = {
            "expired": ev.CampaignRequested(good, "2020-01-01T00:00:00.000Z", "test"),
            "no time": ev.CampaignRequested(good, "tomorrow", "test"),
            "no zone": ev.CampaignRequested(good, "2099-01-01T00:00:00", "test"),
            "unknown dataset": ev.CampaignRequested(
                replace(good, search=replace(good.search, dataset="0" * 64)), later, "test"
            ),
            "windows beyond the end": ev.CampaignRequested(
                replace(good, search=replace(good.search, windows=far)), later, "test"
            ),
            "population of one": ev.CampaignRequested(
                replace(good, search=replace(good.search, population=1)), later, "test"
            ),
        }
        ids = {}
        for name, data in requests.items():
            campaign = ids[name] = str(uuid4())
            for n in range(2):
                event = make_event(
                    data,
                    id=f"{campaign}-{n}",
                    source="test",
                    subject=campaign,
                    time=now_rfc3339(),
                    correlation=campaign,
                )
                await self.bus.publish(event.nats_subject(), encode_event(event))
        out = {}
        for name, campaign in ids.items():
            data_ = (await self.seen(campaign, ev.CampaignRefused)).data
            assert isinstance(data_, ev.CampaignRefused)
            out[name] = data_.reason
        return out

    async def story(self, campaign: str) -> str:
        lines = [f"{f.seq} {f.event.subject[:8]} {f.event.type} {bytes(f.event.data)[:160]!r}"
                 for f in await facts(self.bus, campaign)]  # fmt: skip
        return "\n".join(lines[-60:])

    async def check_log(self, campaign: str) -> None:
        """What holds of every campaign: no event twice, one verdict a unit, one active vote an owner, a true digest."""
        log = await facts(self.bus)
        ids = [f.event.id for f in log]
        assert len(ids) == len(set(ids)), "an event was stored twice"
        check_causes(log)
        mine = [f for f in log if f.event.correlationid == campaign]
        verdicts: dict[str, list[EventData]] = defaultdict(list)
        votes: dict[str, list[str]] = defaultdict(list)
        for f in mine:
            if isinstance(f.data, VERDICTS):
                verdicts[f.event.subject].append(f.data)
            elif isinstance(f.data, ev.ReplicaAnswered) and f.data.counts:
                votes[f.event.subject].append(f.data.owner)
        assert all(len(v) == 1 for v in verdicts.values()), "a unit has two verdicts"
        assert all(len(v) == len(set(v)) for v in votes.values()), "an owner voted twice on a unit"
        for unit, (verdict,) in verdicts.items():
            if isinstance(verdict, ev.UnitValidated):
                assert len(set(verdict.owners)) == len(verdict.owners)
                assert set(verdict.owners) <= set(votes[unit])
        _check_holders(mine)
        (end,) = [f.data for f in mine if isinstance(f.data, ev.CampaignFinished)]
        assert end.digest == digest_of([v[0] for v in verdicts.values()])


def check_causes(log: list[Fact]) -> None:
    """Every event but a root names what caused it: an event that lies before it, of a type that is declared; and whatever
    is part of a campaign says of which."""
    before: dict[str, str] = {}
    for f in log:
        e = f.event
        if e.source == "test":
            continue  # nonsense, put there to see who falls over it
        where = f"event {f.seq} ({e.type} by {e.source})"
        if not may_be_root(e.type) or (e.causationid and e.type in SOMETIMES):
            assert e.causationid in before, f"{where} names the cause {e.causationid!r}, which does not lie before it"
            assert before[e.causationid] in causes_of(e.type), f"{where} is caused by {before[e.causationid]}"
        else:
            assert not e.causationid or e.causationid.startswith("TELEM."), f"{where} is a root and has a cause"
        if e.type.startswith(("cmd.", "mining.", "strategy.", "ops.kernel.")):
            assert e.correlationid, f"{where} says no campaign"
        before[e.id] = e.type


def _check_holders(log: list[Fact]) -> None:
    """Nobody holds what another holds unless it was taken over, and no owner two replicas of a unit."""
    opened = next(f.data for f in log if isinstance(f.data, ev.CampaignOpened))
    assert isinstance(opened, ev.CampaignOpened)
    holders: dict[tuple[str, int], str] = {}
    for f in log:
        unit = f.event.subject
        if isinstance(f.data, ev.ReplicaClaimed):
            at, by = (unit, f.data.replica), f"{f.data.host}.{f.data.slot}"
            if holders.get(at, by) != by:
                assert f.data.takeover_from == holders[at], f"{by} claimed what {holders[at]} held"
            owner = f.data.host if opened.distinct == "host" else by
            others = {h.split(".")[0] if opened.distinct == "host" else h
                      for (u, r), h in holders.items() if u == unit and r != f.data.replica}  # fmt: skip
            assert owner not in others, f"{owner} holds two replicas of unit {unit}"
            holders[at] = by
        elif isinstance(f.data, ev.ReplicaReleased | ev.ReplicaAnswered):
            holders.pop((unit, f.data.replica), None)


def digest_of(verdicts: list[EventData]) -> str:
    """The campaign's digest computed anew from its verdicts."""
    rows = []
    for v in verdicts:
        if isinstance(v, ev.UnitValidated):
            rows.append([v.index, "validated", v.digest])
        elif isinstance(v, ev.UnitInconclusive):
            rows.append([v.index, "inconclusive", ""])
        elif isinstance(v, ev.UnitParked):
            rows.append([v.index, "parked", ""])
    return sha256_hex(b"".join(canonical(r) + b"\n" for r in sorted(rows)))


async def undisturbed(candles: Candles, spec: CampaignSpec, *further: Candles) -> str:
    """The digest that a campaign must have, computed here and now in this process without a bus."""
    from domain.tasks import unit_seed
    from kernels.evaluator import CompiledEvaluator
    from kernels.evolution.search import Search
    from kernels.joint import joint

    def run() -> str:
        each = zip((candles, *further), spec.search.markets, strict=True)
        evaluator = joint([CompiledEvaluator(c, m.execution) for c, m in each])
        rows = []
        for index in range(spec.units):
            search = Search(spec.search, unit_seed(spec, index), evaluator)
            while not search.done:
                search.step()
            rows.append([index, "validated", search.outcome().digest()])
        return sha256_hex(b"".join(canonical(r) + b"\n" for r in rows))

    return await asyncio.to_thread(run)
