"""The validator: follows claims and results, writes what happened to each unit, judges, and names what was found."""

import asyncio
import logging

import msgspec

from agents.datasets import load_dataset
from agents.validator.decide import AskMore, GiveUp, Quorum, counts, judge
from agents.validator.model import Campaign, Model, Unit
from agents.validator.reference import Reference
from bus import events as ev
from bus.client import Expect, Stored
from bus.envelope import Event, decode_event, make_event
from bus.lease import Lease
from bus.messages import Claim
from bus.parking import park
from bus.runtime import Context
from bus.subjects import entity_filter
from bus.tail import Tail
from domain.candles import Candles
from domain.errors import BadInput, Conflict, SluiceError, Unreachable
from domain.genome import genome_id, validate_genome
from domain.hashing import derived_id
from domain.results import Find, ReplicaResult
from domain.specs import strategy_id
from market.store import DatasetStore

log = logging.getLogger("sluice.validator")


class Validator:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.bus = context.bus
        self.model = Model()
        self.events = Tail(self.bus, "EVENTS")
        self.store = DatasetStore(context.state_dir.cache)
        self.reference = Reference(self._load)
        self.lease = Lease(
            self.bus, "validator", f"{context.host}.{context.name}.{context.started}", context.settings.lease_ttl_s
        )
        self.loop = asyncio.get_running_loop()

    def _load(self, sha256: str) -> Candles:
        """Called from the reference's thread."""
        return asyncio.run_coroutine_threadsafe(load_dataset(self.bus, self.store, sha256), self.loop).result(60.0)

    async def run(self) -> None:
        c = self.context
        await self._catch_up(await self.bus.last_seq("EVENTS"))
        claims = Tail(self.bus, "CLAIM", self.model.claim_seq)
        results = Tail(self.bus, "RESULT", self.model.result_seq)
        c.state = "alive"
        await self._judge_all()
        while not c.stop.is_set():
            if not await self.lease.hold():
                await self._follow(0.5)
                continue
            await self._follow(0.001)
            for stored in await claims.next(0.02):
                await self._persistently(self._on_claim, stored, "CLAIM")
            for stored in await results.next(0.1):
                await self._persistently(self._on_result, stored, "RESULT")
        await self.lease.release()
        for tail in (self.events, claims, results):
            await tail.close()

    # -- reading --------------------------------------------------------------------------------------------------

    async def _catch_up(self, end: int) -> None:
        while self.events.position < end and not self.context.stop.is_set():
            await self._follow(1.0)

    async def _follow(self, timeout_s: float) -> None:
        for stored in await self.events.next(timeout_s):
            try:
                self.model.apply(stored, decode_event(stored.data))
            except BadInput as e:
                await park(self.bus, "EVENTS", stored, str(e), "validator")

    async def _persistently(self, handle, stored: Stored, stream: str) -> None:  # type: ignore[no-untyped-def]
        """Until done or parked: a lost server or a lost race is no reason to skip a message."""
        while not self.context.stop.is_set():
            try:
                await handle(stored)
                return
            except BadInput as e:
                await park(self.bus, stream, stored, str(e), "validator")
                return
            except Conflict as e:
                log.info("another writer was first, reading on: %s", e)
                await self._catch_up(await self.bus.last_seq("EVENTS"))
            except Unreachable as e:
                log.warning("%s", e)
                await self.context.idle(0.5)

    async def _unit(self, unit: str) -> Unit | None:
        """The unit, read up to now if it is not known yet; None when the log does not know it."""
        if unit not in self.model.units:
            await self._catch_up(await self.bus.last_seq("EVENTS"))
        found = self.model.units.get(unit)
        if found is not None and not found.opened_id:
            await self._catch_up(await self.bus.last_seq("EVENTS"))
        return found

    # -- writing --------------------------------------------------------------------------------------------------

    def _event(self, data: ev.EventData, subject: str, *key: str | int, campaign: str, cause: str) -> Event:
        id_ = derived_id(type(data).__name__, subject, *key)
        return make_event(
            data,
            id=id_,
            source="validator",
            subject=subject,
            time=self.context.now(),
            correlation=campaign,
            causation=cause,
        )

    async def _append(self, unit: Unit, event: Event, *more: Event) -> None:
        """Append over the unit's entity, with `more` in the same atomic batch, and fold all in at once."""
        expect = Expect(entity_filter(event.type, unit.id), unit.entity_seq)
        entries: list[tuple[Event, Expect | None]] = [(event, expect)]
        entries += [(e, Expect(e.nats_subject(), 0)) for e in more]
        last = await self.bus.append_batch(entries)
        for i, (e, _) in enumerate(entries):
            self.model.apply(Stored("", last - len(entries) + 1 + i, b"", {}, ""), e)

    # -- claims ---------------------------------------------------------------------------------------------------

    async def _on_claim(self, stored: Stored) -> None:
        if stored.seq <= self.model.claim_seq:
            return
        claim = self._claim(stored)
        unit = await self._unit(claim.unit)
        if unit is None or unit.campaign != claim.campaign:
            raise BadInput(f"a claim on unit {claim.unit}, which the log does not know")
        if unit.decided:
            self.model.claim_seq = stored.seq
            return
        if claim.poisoned:
            await self._park_unit(unit, claim, stored)
            return
        data: ev.EventData
        if claim.released:
            data = ev.ReplicaReleased(claim.campaign, claim.replica, claim.host, claim.slot, stored.seq)
        else:
            data = ev.ReplicaClaimed(
                claim.campaign,
                claim.replica,
                claim.host,
                claim.slot,
                stored.seq,
                claim.taken_from,
                claim.start_generation,
            )
        await self._append(unit, self._event(data, unit.id, stored.seq, campaign=unit.campaign, cause=unit.opened_id))
        self.model.claim_seq = stored.seq

    def _claim(self, stored: Stored) -> Claim:
        """The claim with host and slot as the subject says, which the server guards."""
        tokens = stored.subject.split(".")
        try:
            claim = msgspec.json.decode(stored.data, type=Claim)
        except msgspec.MsgspecError as e:
            raise BadInput(f"not a claim: {e}") from e
        if len(tokens) != 5 or tokens[1:] != [claim.unit, str(claim.replica), claim.host, claim.slot]:
            raise BadInput(f"the claim says another unit, replica or owner than its subject {stored.subject}")
        return claim

    async def _park_unit(self, unit: Unit, claim: Claim, stored: Stored) -> None:
        tries, generation = claim.attempts - 1, claim.highest_generation
        reason = f"replica {claim.replica}: {tries} claims without progress beyond generation {generation}"
        data = ev.UnitParked(unit.campaign, unit.index, claim.replica, reason)
        await self._append(unit, self._event(data, unit.id, campaign=unit.campaign, cause=unit.opened_id))
        self.model.claim_seq = stored.seq
        await park(self.bus, "CLAIM", stored, reason, "validator")

    # -- results --------------------------------------------------------------------------------------------------

    async def _on_result(self, stored: Stored) -> None:
        if stored.seq <= self.model.result_seq:
            return
        result = self._result(stored)
        unit = await self._unit(result.unit)
        if unit is None or unit.campaign != result.campaign or unit.index != result.index:
            raise BadInput(f"a result for unit {result.unit}, which the log does not know")
        if unit.decided:
            self.model.result_seq = stored.seq
            return
        campaign = self.model.campaigns[unit.campaign]
        owner = result.host if campaign.distinct == "host" else f"{result.host}.{result.slot}"
        best = result.outcome.finds[0] if result.outcome.finds else None
        data = ev.ReplicaAnswered(
            campaign=unit.campaign, replica=result.replica, host=result.host, slot=result.slot, owner=owner,
            result_seq=stored.seq, digest=result.digest, counts=counts(unit.answers, owner),
            evaluated=result.outcome.evaluated, generations=result.outcome.generations, seconds=result.seconds, best=best,
        )  # fmt: skip
        answered = self._event(data, unit.id, stored.seq, campaign=unit.campaign, cause=unit.opened_id)
        more = []
        if best is not None and best.enough_trades:
            more = await self._strategies((best,), campaign, unit, answered.id, validated=False)
        await self._append(unit, answered, *more)
        self.model.result_seq = stored.seq
        await self._judge(unit, answered.id)

    def _result(self, stored: Stored) -> ReplicaResult:
        """A result whose digest is that of its outcome and whose sender is the one that the subject names."""
        tokens = stored.subject.split(".")
        try:
            result = msgspec.json.decode(stored.data, type=ReplicaResult)
            for find in result.outcome.finds:
                validate_genome(find.genome)
        except msgspec.MsgspecError as e:
            raise BadInput(f"not a result: {e}") from e
        named = [result.campaign, result.unit, str(result.replica), result.host, result.slot]
        if tokens[1:] != named:
            raise BadInput(f"the result says another unit, replica or owner than its subject {stored.subject}")
        if result.outcome.digest() != result.digest:
            raise BadInput("the digest of the result is not that of its outcome")
        if any(genome_id(f.genome) != f.genome_id for f in result.outcome.finds):
            raise BadInput("a find carries another genome's id")
        return result

    async def _judge_all(self) -> None:
        """After a start: answers whose verdict we did not get to give."""
        for unit in list(self.model.units.values()):
            if not unit.decided and unit.answers and await self.lease.hold():
                await self._judge(unit, unit.opened_id)

    async def _judge(self, unit: Unit, cause: str) -> None:
        campaign = self.model.campaigns[unit.campaign]
        limit = max(self.context.settings.replica_limit, campaign.spec.replicas)
        verdict = judge(unit.answers, campaign.spec.replicas, unit.wanted, limit)
        if isinstance(verdict, Quorum):
            await self._confirm(unit, campaign, verdict, cause)
        elif isinstance(verdict, AskMore):
            data = ev.ReplicaRequested(unit.campaign, verdict.replica, verdict.reason)
            await self._append(unit, self._event(data, unit.id, verdict.replica, campaign=unit.campaign, cause=cause))
        elif isinstance(verdict, GiveUp):
            await self._inconclusive(unit, verdict.reason, cause, flagged=False)

    async def _confirm(self, unit: Unit, campaign: Campaign, quorum: Quorum, cause: str) -> None:
        """The owners agree: now the reference has to."""
        stored = await self.bus.get("RESULT", quorum.result_seq)
        if stored is None:
            raise Unreachable(f"result {quorum.result_seq} cannot be read back")
        outcome = self._result(stored).outcome
        search = campaign.spec.search
        differs = await asyncio.to_thread(self.reference.disagreement, outcome.finds, search)
        if differs:
            flagged = self._event(
                ev.KernelFlagged(campaign.lane, unit.id, differs),
                campaign.lane,
                unit.id,
                campaign=campaign.id,
                cause=cause,
            )
            await self._inconclusive(unit, f"owners agree, but {differs}", cause, flagged=True, more=(flagged,))
            return
        data = ev.UnitValidated(
            campaign=campaign.id, index=unit.index, digest=quorum.digest, distinct=campaign.distinct, owners=quorum.owners,
            outvoted=quorum.outvoted, evaluated=outcome.evaluated, tried_sha256=outcome.tried_sha256, finds=outcome.finds,
        )  # fmt: skip
        event = self._event(data, unit.id, campaign=campaign.id, cause=cause)
        more = await self._strategies(outcome.finds, campaign, unit, event.id, validated=True)
        await self._append(unit, event, *more)
        self.context.done += 1

    async def _inconclusive(
        self, unit: Unit, reason: str, cause: str, *, flagged: bool, more: tuple[Event, ...] = ()
    ) -> None:
        data = ev.UnitInconclusive(unit.campaign, unit.index, reason, flagged)
        fresh = [e for e in more if await self.bus.last("EVENTS", e.nats_subject()) is None]
        await self._append(unit, self._event(data, unit.id, campaign=unit.campaign, cause=cause), *fresh)

    async def _strategies(
        self, finds: tuple[Find, ...], campaign: Campaign, unit: Unit, cause: str, *, validated: bool
    ) -> list[Event]:
        """Events for strategies that the log does not have at this stage yet: the same find twice is one strategy."""
        out: list[Event] = []
        search = campaign.spec.search
        for find in finds:
            strategy = strategy_id(find.genome_id, search)
            fields = (find.genome, find.genome_id, search, find, campaign.id, unit.id)
            stages: list[tuple[ev.EventData, set[str]]] = [(ev.StrategyDiscovered(*fields), self.model.discovered)]
            if validated:
                stages.append((ev.StrategyValidated(*fields), self.model.validated))
            for data, known in stages:
                event = self._event(data, strategy, campaign=campaign.id, cause=cause)
                if strategy not in known and await self.bus.last("EVENTS", event.nats_subject()) is None:
                    out.append(event)
        return out


async def run(context: Context) -> None:
    try:
        await Validator(context).run()
    except SluiceError:
        log.exception("the validator stops")
        raise
