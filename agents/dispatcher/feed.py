"""Keeps WORK in line with the plan: puts, withholds, and finds again what went missing from it."""

import asyncio
import logging
import time

import msgspec

from agents.dispatcher.decide import plan
from agents.dispatcher.model import Campaign, Model, Unit
from agents.following import Follower
from bus import events as ev
from bus import subjects
from bus.client import Expect, SubjectTaken
from bus.envelope import Event, make_event
from bus.messages import Presence
from bus.presence import read_presence
from bus.runtime import Context
from bus.subjects import entity_filter
from domain.errors import Unreachable
from domain.hashing import derived_id
from domain.tasks import WorkItem, unit_seed, unit_task

log = logging.getLogger("sluice.dispatcher")
BATCH = 200
PUTS_AT_ONCE = 50


class Feeder:
    """The hands of the dispatcher on the queue. `presences` is what was seen at the last look."""

    def __init__(self, context: Context, model: Model, log_: Follower) -> None:
        self.context, self.bus, self.settings, self.model = context, context.bus, context.settings, model
        self.log = log_
        self.presences: list[Presence] = []
        self._watching_since = time.monotonic()
        self._bucket = ""
        self._missing: set[str] = set()

    async def look(self) -> None:
        """Read who is there. A bucket of heartbeats made anew (the server was restarted) says nothing of who is gone."""
        created = (await self.bus.stream_state("KV_PRESENCE"))[2]
        if created != self._bucket:
            self._bucket, self._watching_since = created, time.monotonic()
        self.presences = await read_presence(self.bus)

    def settled(self) -> bool:
        """Whether everybody alive has had the time to show up."""
        return time.monotonic() - self._watching_since >= self.settings.presence_ttl_s

    async def feed(self, *, sweep: bool) -> None:
        """Put and withhold as planned; with `sweep`, put again what should lie in WORK and does not."""
        campaigns = self.model.open_campaigns()
        now = plan(campaigns, self.presences, self.settings.max_ack_pending // 2, may_withhold=self.settled())
        if sweep and campaigns:
            await self._put_missing(campaigns)
        await self._put(now.queue)
        await self._log(now.queue, "queued")
        for unit, replica in now.withhold:
            campaign = self.model.campaigns[unit.campaign]
            await self._purge(subjects.work(campaign.lane, campaign.id, unit.id, replica))
        await self._log(now.withhold, "withheld")

    async def _put_missing(self, campaigns: list[Campaign]) -> None:
        """A message can be gone without an answer (ended as malformed, acknowledged by a miner that lied).

        Missing twice in a row, because an answer stored a moment ago has not reached the log yet.
        """
        there = await self.bus.subjects_in("WORK")
        gone: dict[str, tuple[Unit, int]] = {}
        for c in campaigns:
            for u in c.undecided():
                for r in u.open_replicas():
                    subject = subjects.work(c.lane, c.id, u.id, r)
                    if u.queue.get(r) == "queued" and subject not in there:
                        gone[subject] = (u, r)
        again = [where for subject, where in gone.items() if subject in self._missing]
        if again:
            log.info("%d replicas were missing from WORK and are put again", len(again))
        await self._put(again)
        self._missing = set(gone)

    async def _put(self, replicas: list[tuple[Unit, int]]) -> None:
        for start in range(0, len(replicas), PUTS_AT_ONCE):
            await asyncio.gather(*(self._put_one(u, r) for u, r in replicas[start : start + PUTS_AT_ONCE]))

    async def _put_one(self, unit: Unit, replica: int) -> None:
        campaign = self.model.campaigns[unit.campaign]
        limit = max(self.settings.replica_limit, campaign.spec.replicas)
        item = WorkItem(
            campaign.id, unit.id, unit.index, replica, limit, campaign.distinct,
            unit_seed(campaign.spec, unit.index), campaign.spec.search, unit_task(campaign.spec, unit.index),
        )  # fmt: skip
        try:
            await self.bus.publish(
                subjects.work(campaign.lane, campaign.id, unit.id, replica), msgspec.json.encode(item)
            )
        except SubjectTaken:
            log.debug("replica %d of unit %s lies in WORK already", replica, unit.id)

    async def _log(self, replicas: list[tuple[Unit, int]], what: str) -> None:
        """Append the queue events; the first of a unit in a batch expects the unit's queue as we know it."""
        for start in range(0, len(replicas), BATCH):
            seen: set[str] = set()
            entries: list[tuple[Event, Expect | None]] = []
            for unit, replica in replicas[start : start + BATCH]:
                event = self._queue_event(unit, replica, what)
                expect = None if unit.id in seen else Expect(entity_filter(event.type, unit.id), unit.queue_seq)
                seen.add(unit.id)
                entries.append((event, expect))
            await self.log.catch_up(await self.bus.append_batch(entries))

    def _queue_event(self, unit: Unit, replica: int, what: str) -> Event:
        data: ev.EventData
        if what == "queued":
            data = ev.ReplicaQueued(unit.campaign, replica)
        else:
            data = ev.ReplicaWithheld(unit.campaign, replica, "no live owner is eligible")
        return make_event(
            data,
            id=derived_id(type(data).__name__, unit.id, replica, unit.queue_seq),
            source="dispatcher",
            subject=unit.id,
            time=self.context.now(),
            correlation=unit.campaign,
            causation=unit.asked_ids.get(replica) or unit.opened_id or self.model.campaigns[unit.campaign].cause,
        )

    async def clear_decided(self, campaign: Campaign) -> None:
        """What is decided needs no more work: take leftovers out of WORK."""
        for unit in campaign.units:
            if unit.verdict is not None and any(q == "queued" for q in unit.queue.values()):
                if unit.open_replicas() or unit.verdict == "parked":
                    await self._purge(subjects.work_of_unit(campaign.id, unit.id))
                unit.queue = {r: "withheld" for r in unit.queue}

    async def _purge(self, subject: str) -> None:
        reply = await self.bus.request(
            f"{self.bus.wire.api}.STREAM.PURGE.WORK", msgspec.json.encode({"filter": subject}), timeout_s=5.0
        )
        answer = msgspec.json.decode(reply.data)
        if "error" in answer:
            raise Unreachable(f"WORK cannot be cleared of {subject}: {answer['error'].get('description')}")
