"""The dispatcher: opens campaigns, feeds WORK within its bounds, sweeps, closes campaigns."""

import asyncio
import logging
import time
from datetime import UTC, datetime

import msgspec
import numpy as np
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import APIError

from agents.dispatcher.decide import campaign_digest, plan
from agents.dispatcher.model import Campaign, Model, Request, Unit
from bus import events as ev
from bus import subjects
from bus.artifacts import get_artifact
from bus.client import Expect, SubjectTaken
from bus.envelope import Event, decode_event, make_event
from bus.lease import Lease
from bus.messages import Presence
from bus.parking import park
from bus.presence import read_presence
from bus.runtime import Context
from bus.subjects import entity_filter
from bus.tail import Tail
from domain.errors import BadInput, Conflict, SluiceError, Unreachable
from domain.hashing import derived_id
from domain.specs import WorkItem, unit_seed, validate_campaign
from kernels.version import lane as kernel_lane

log = logging.getLogger("sluice.dispatcher")
BATCH = 200


class Dispatcher:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.bus = context.bus
        self.settings = context.settings
        self.model = Model()
        self.tail = Tail(self.bus, "EVENTS")
        self.lease = Lease(
            self.bus, "dispatcher", f"{context.host}.{context.name}.{context.started}", self.settings.lease_ttl_s
        )
        self.presences: list[Presence] = []
        self.consumers: set[str] = set()
        self.swept = float("-inf")
        self.swept_work: set[str] = set()
        self.since = time.monotonic()

    async def run(self) -> None:
        c = self.context
        end = await self.bus.last_seq("EVENTS")
        c.state = "alive"
        while not c.stop.is_set():
            changed = await self._follow()
            if self.tail.position < end:
                continue  # history first: decide nothing on half of it
            due = time.monotonic() - self.swept >= self.settings.sweep_s
            if (changed or due) and await self.lease.hold():
                try:
                    await self._work(sweep=due)
                except Conflict as e:
                    log.info("another writer was first, reading on: %s", e)
                except Unreachable as e:
                    log.warning("%s", e)
                    await c.idle(0.5)
        await self.lease.release()
        await self.tail.close()

    async def _follow(self) -> bool:
        """Fold in what is new; True when there was something."""
        messages = await self.tail.next(min(0.5, self.settings.sweep_s))
        for stored in messages:
            try:
                self.model.apply(stored, decode_event(stored.data))
            except BadInput as e:
                await park(self.bus, "EVENTS", stored, str(e), "dispatcher")
        return bool(messages)

    async def _work(self, *, sweep: bool) -> None:
        if sweep:
            self.presences = await read_presence(self.bus)
            self.swept = time.monotonic()
        for request in list(self.model.requests.values()):
            await self._answer(request)
        for campaign in self.model.open_campaigns():
            await self._ensure_consumer(campaign.lane)
            await self._open_units(campaign)
        await self._feed()
        for campaign in self.model.open_campaigns():
            await self._clear_decided(campaign)
            if not campaign.undecided():
                await self._finish(campaign)

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
        reason = self._refusal(request.data)
        if reason:
            data = ev.CampaignRefused(reason)
        else:
            miners = [p for p in self.presences if p.kind == "miner" and p.lane == kernel_lane()]
            if not miners and time.monotonic() - self.since < self.settings.presence_ttl_s:
                return  # who counts as an owner is frozen now: give the miners a moment to show up
            hosts = {p.host for p in miners}
            data = ev.CampaignOpened(request.data.spec, kernel_lane(), "host" if len(hosts) > 1 else "slot")
        event = self._event(data, request.id, campaign=request.id, cause=request.event_id)
        await self._append(event, Expect(entity_filter(event.type, request.id), 0))

    def _refusal(self, data: ev.CampaignRequested) -> str:
        if datetime.fromisoformat(data.valid_until) < datetime.now(UTC):
            return f"the request was valid until {data.valid_until}"
        if data.spec.search.dataset not in self.model.datasets:
            return f"dataset {data.spec.search.dataset[:12]} is not registered"
        try:
            validate_campaign(data.spec)
        except BadInput as e:
            return str(e)
        return ""

    async def _append(self, event: Event, expect: Expect) -> None:
        """Append and fold in at once; the tail brings it again, which changes nothing."""
        await self.bus.append(event, expect)
        await self._follow()

    async def _open_units(self, campaign: Campaign) -> None:
        todo = [u for u in campaign.units if not u.opened]
        for start in range(0, len(todo), BATCH):
            entries = [self._unit_opened(campaign, u) for u in todo[start : start + BATCH]]
            await self.bus.append_batch([(e, Expect(e.nats_subject(), 0)) for e in entries])
            for u in todo[start : start + BATCH]:
                u.opened = True

    def _unit_opened(self, campaign: Campaign, unit: Unit) -> Event:
        data = ev.UnitOpened(campaign.id, unit.index, unit_seed(campaign.spec, unit.index))
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
        except (APIError, TimeoutError) as e:
            raise Unreachable(f"the work consumer of lane {lane} cannot be made: {e}") from e
        self.consumers.add(lane)

    # -- feeding --------------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Bring WORK in line with the plan: put, withhold, and once after a start put again what should lie there."""
        campaigns = self.model.open_campaigns()
        grace = time.monotonic() - self.since >= self.settings.presence_ttl_s
        now = plan(campaigns, self.presences, self.settings.max_ack_pending // 2, may_withhold=grace)
        for campaign in campaigns:
            if campaign.id not in self.swept_work:
                await self._put(
                    [(u, r) for u in campaign.undecided() for r in u.open_replicas() if u.queue.get(r) == "queued"]
                )
                self.swept_work.add(campaign.id)
        await self._put(now.queue)
        await self._log(now.queue, "queued")
        for unit, replica in now.withhold:
            campaign = self.model.campaigns[unit.campaign]
            await self._purge(subjects.work(campaign.lane, campaign.id, unit.id, replica))
        await self._log(now.withhold, "withheld")

    async def _put(self, replicas: list[tuple[Unit, int]]) -> None:
        for start in range(0, len(replicas), 50):
            await asyncio.gather(*(self._put_one(u, r) for u, r in replicas[start : start + 50]))

    async def _put_one(self, unit: Unit, replica: int) -> None:
        campaign = self.model.campaigns[unit.campaign]
        limit = max(self.settings.replica_limit, campaign.spec.replicas)
        item = WorkItem(
            campaign.id, unit.id, unit.index, replica, limit, campaign.distinct,
            unit_seed(campaign.spec, unit.index), campaign.spec.search,
        )  # fmt: skip
        try:
            await self.bus.publish(
                subjects.work(campaign.lane, campaign.id, unit.id, replica), msgspec.json.encode(item)
            )
        except SubjectTaken:
            log.debug("replica %d of unit %s lies in WORK already", replica, unit.id)

    async def _log(self, replicas: list[tuple[Unit, int]], what: str) -> None:
        """Append the queue events, grouped so that each batch holds a unit's entity once."""
        for start in range(0, len(replicas), BATCH):
            seen: set[str] = set()
            entries: list[tuple[Event, Expect | None]] = []
            for unit, replica in replicas[start : start + BATCH]:
                event = self._queue_event(unit, replica, what)
                first = unit.id not in seen
                seen.add(unit.id)
                entries.append((event, Expect(entity_filter(event.type, unit.id), unit.queue_seq) if first else None))
                unit.queue[replica] = "queued" if what == "queued" else "withheld"
            await self.bus.append_batch(entries)
        if replicas:
            await self._follow()

    def _queue_event(self, unit: Unit, replica: int, what: str) -> Event:
        data: ev.EventData
        if what == "queued":
            data = ev.ReplicaQueued(unit.campaign, replica)
        else:
            data = ev.ReplicaWithheld(unit.campaign, replica, "no live owner is eligible")
        cause = self.model.campaigns[unit.campaign].cause
        return self._event(data, unit.id, replica, unit.queue_seq, campaign=unit.campaign, cause=cause)

    async def _purge(self, subject: str) -> None:
        reply = await self.bus.request(
            f"{self.bus.wire.api}.STREAM.PURGE.WORK", msgspec.json.encode({"filter": subject}), timeout_s=5.0
        )
        answer = msgspec.json.decode(reply.data)
        if "error" in answer:
            raise Unreachable(f"WORK cannot be cleared of {subject}: {answer['error'].get('description')}")

    # -- closing --------------------------------------------------------------------------------------------------

    async def _clear_decided(self, campaign: Campaign) -> None:
        """What is decided needs no more work: take leftovers out of WORK."""
        for unit in campaign.units:
            if unit.verdict is not None and any(q == "queued" for q in unit.queue.values()):
                if unit.open_replicas() or unit.verdict == "parked":
                    await self._purge(subjects.work_of_unit(campaign.id, unit.id))
                unit.queue = {r: "withheld" for r in unit.queue}

    async def _finish(self, campaign: Campaign) -> None:
        counts = {v: sum(u.verdict == v for u in campaign.units) for v in ("validated", "inconclusive", "parked")}
        trials = await self._distinct_trials(campaign)
        data = ev.CampaignFinished(campaign_digest(campaign), **counts, trials=trials)
        event = self._event(data, campaign.id, campaign=campaign.id, cause=campaign.cause)
        last = await self.bus.last("EVENTS", entity_filter(event.type, campaign.id))
        await self._append(event, Expect(entity_filter(event.type, campaign.id), last.seq if last else 0))

    async def _distinct_trials(self, campaign: Campaign) -> int:
        """Exact size of the union of all tried genomes: replicas and redeliveries leave it unchanged."""
        union = np.empty(0, dtype="S32")
        for unit in campaign.units:
            if unit.tried_sha256:
                tried = np.frombuffer(await get_artifact(self.bus, unit.tried_sha256), dtype="S32")
                union = await asyncio.to_thread(np.union1d, union, tried)
        return len(union)


async def run(context: Context) -> None:
    try:
        await Dispatcher(context).run()
    except SluiceError:
        log.exception("the dispatcher stops")
        raise
