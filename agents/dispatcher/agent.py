"""The dispatcher: opens campaigns, feeds WORK within its bounds, sweeps, closes campaigns."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from datetime import UTC, datetime

import numpy as np
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig

from agents.datasets import load_dataset
from agents.dispatcher.decide import Look, campaign_digest, looks, refusal
from agents.dispatcher.feed import Feeder
from agents.dispatcher.model import Campaign, Model, Request, Unit
from agents.following import Follower
from bus import events as ev
from bus.artifacts import get_artifact
from bus.client import Expect
from bus.envelope import Event, make_event
from bus.lease import Lease
from bus.runtime import Context
from bus.subjects import entity_filter
from domain.errors import BadInput, Conflict, SluiceError, Unreachable
from domain.hashing import derived_id
from domain.markets import fitted_on_the_future, timed
from domain.specs import SearchSpec
from domain.tasks import unit_seed, unit_task
from domain.tried import HASH_BYTES, SweptSets, read_tried
from kernels.version import lane as kernel_lane
from market.store import DatasetStore

log = logging.getLogger("sluice.dispatcher")
BATCH = 200


class Dispatcher:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.bus = context.bus
        self.settings = context.settings
        self.model = Model()
        self.store = DatasetStore(context.state_dir.cache)
        self.log = Follower(context, self.model)
        self.feeder = Feeder(context, self.model, self.log)
        self.lease = Lease(
            self.bus, "dispatcher", f"{context.host}.{context.name}.{context.started}", self.settings.lease_ttl_s
        )
        self.consumers: set[str] = set()
        self.swept = float("-inf")

    async def run(self) -> None:
        c = self.context
        # History first: decide nothing on half of it.
        await self.log.catch_up()
        c.state = "alive"
        while not c.stop.is_set():
            changed = await self.log.follow(min(0.5, self.settings.sweep_s))
            due = time.monotonic() - self.swept >= self.settings.sweep_s
            if (changed or due) and await self.lease.hold():
                await self._work_safely(sweep=due)
        await self.lease.release()
        await self.log.close()

    async def _work_safely(self, *, sweep: bool) -> None:
        try:
            await self._work(sweep=sweep)
        except Unreachable as e:
            log.warning("%s", e)
            await self.context.idle(0.5)

    async def _work(self, *, sweep: bool) -> None:
        if sweep:
            await self.feeder.look()
            self.swept = time.monotonic()
        for request in list(self.model.requests.values()):
            await self._or_conflict(self._answer(request))
        for campaign in self.model.open_campaigns():
            await self._ensure_consumer(campaign.lane)
            await self._or_conflict(self._open_units(campaign))
        await self._or_conflict(self.feeder.feed(sweep=sweep))
        for campaign in self.model.open_campaigns():
            await self.feeder.clear_decided(campaign)
            if not campaign.undecided():
                await self._or_conflict(self._finish(campaign))

    async def _or_conflict(self, work: Coroutine[None, None, None]) -> None:
        """Another writer may be first: what it wrote is read next, and one such race holds up nothing else."""
        try:
            await work
        except Conflict as e:
            log.info("another writer was first, reading on: %s", e)

    # -- opening --------------------------------------------------------------------------------------------------

    def _event(self, data: ev.EventData, subject: str, *key: str | int, campaign: str, cause: str) -> Event:
        return make_event(
            data,
            id=derived_id(type(data).__name__, subject, *key),
            source="dispatcher",
            subject=subject,
            time=self.context.now(),
            correlation=campaign,
            causation=cause,
        )

    async def _answer(self, request: Request) -> None:
        """Open or refuse; either may happen once."""
        data: ev.EventData
        seen: list[Look] = []
        reason = refusal(request.data, self.model.datasets, datetime.now(UTC))
        if not reason and request.data.spec.search.also:
            try:
                reason = await self._times_refusal(request.data.spec.search)
            except Unreachable as e:
                log.warning("campaign %s is neither opened nor refused yet: %s", request.id, e)
                return
        if reason:
            data = ev.CampaignRefused(reason)
        else:
            miners = [p for p in self.feeder.presences if p.kind == "miner" and p.lane == kernel_lane()]
            if not miners and not self.feeder.settled():
                return  # who counts as an owner is frozen now: give the miners a moment to show up
            hosts = {p.host for p in miners}
            data = ev.CampaignOpened(request.data.spec, kernel_lane(), "host" if len(hosts) > 1 else "slot")
            others = (c.spec for c in self.model.campaigns.values())
            seen = looks(request.data.spec, self.model.datasets, others)
        event = self._event(data, request.id, campaign=request.id, cause=request.event_id)
        expect = Expect(entity_filter(event.type, request.id), self.model.answers.get(request.id, 0))
        # In one batch: what is opened has said what it will look at.
        entries: list[tuple[Event, Expect | None]] = [(event, expect)]
        entries += [(self._looked(look, request.id, event.id), None) for look in seen]
        await self.log.catch_up(await self.bus.append_batch(entries))

    async def _times_refusal(self, search: SearchSpec) -> str:
        """Why the windows of several datasets do not go together, or nothing: no header says where the gaps are."""
        try:
            candles = [await load_dataset(self.bus, self.store, m.dataset) for m in search.markets]
        except BadInput as e:
            return str(e)
        return fitted_on_the_future(search, [timed(c) for c in candles])

    def _looked(self, look: Look, campaign: str, cause: str) -> Event:
        data = ev.HoldOutLooked(*look, "", f"mined by campaign {campaign}")
        key = (campaign, look.first_ms, look.last_ms)
        return self._event(data, look.dataset, *key, campaign=campaign, cause=cause)

    async def _append(self, event: Event, expect: Expect) -> None:
        """Append, and read it back into the model."""
        await self.log.catch_up(await self.bus.append(event, expect))

    async def _open_units(self, campaign: Campaign) -> None:
        todo = [u for u in campaign.units if not u.opened]
        for start in range(0, len(todo), BATCH):
            entries = [self._unit_opened(campaign, u) for u in todo[start : start + BATCH]]
            last = await self.bus.append_batch([(e, Expect(e.nats_subject(), 0)) for e in entries])
            await self.log.catch_up(last)

    def _unit_opened(self, campaign: Campaign, unit: Unit) -> Event:
        spec, index = campaign.spec, unit.index
        data = ev.UnitOpened(campaign.id, index, unit_seed(spec, index), unit_task(spec, index))
        return self._event(data, unit.id, campaign=campaign.id, cause=campaign.cause)

    async def _ensure_consumer(self, lane: str) -> None:
        if lane in self.consumers:
            return
        config = ConsumerConfig(
            durable_name=f"miners-{lane}",
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self.settings.ack_wait_s,
            max_deliver=-1,
            max_ack_pending=self.settings.max_ack_pending,
            filter_subject=f"work.{lane}.>",
        )
        try:
            await self.bus.js.add_consumer("WORK", config)
        except (NatsError, TimeoutError) as e:
            raise Unreachable(f"the work consumer of lane {lane} cannot be made: {e}") from e
        self.consumers.add(lane)

    # -- closing --------------------------------------------------------------------------------------------------

    async def _finish(self, campaign: Campaign) -> None:
        counts = {v: sum(u.verdict == v for u in campaign.units) for v in ("validated", "inconclusive", "parked")}
        trials = await self._distinct_trials(campaign)
        data = ev.CampaignFinished(campaign_digest(campaign), **counts, trials=trials)
        cause = campaign.verdict_id or campaign.cause
        event = self._event(data, campaign.id, campaign=campaign.id, cause=cause)
        expect = Expect(entity_filter(event.type, campaign.id), self.model.answers[campaign.id])
        await self._append(event, expect)

    async def _distinct_trials(self, campaign: Campaign) -> int:
        """Exact size of the union of all tried genomes: replicas and redeliveries leave it unchanged.

        A campaign's units search one space by one method, so that what is swept and what is hashed never overlap; two parts
        of a sweep differ in stop or target, which are part of every genome.
        """
        union = np.empty(0, dtype=f"S{HASH_BYTES}")
        swept: set[SweptSets] = set()
        for unit in campaign.units:
            if unit.tried_sha256:
                data = await get_artifact(self.bus, unit.tried_sha256)
                try:
                    whole = read_tried(data)
                except BadInput as e:
                    log.error("unit %s: %s; they are not counted", unit.id, e)
                    continue
                if whole is not None:
                    swept.add(whole)
                else:
                    union = await asyncio.to_thread(np.union1d, union, np.frombuffer(data, dtype=union.dtype))
        return len(union) + sum(s.count for s in swept)


async def run(context: Context) -> None:
    try:
        await Dispatcher(context).run()
    except SluiceError:
        log.exception("the dispatcher stops")
        raise
