"""The validator: follows claims and results, writes what happened to each unit, judges, and names what was found."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agents.datasets import load_dataset
from agents.following import Follower
from agents.validator.answers import place_of, read_claim, read_result
from agents.validator.decide import AskMore, GiveUp, Quorum, counts, judge
from agents.validator.judging import Judging
from agents.validator.model import Campaign, Model, Unit
from agents.validator.reference import Reference
from bus import events as ev
from bus.client import Expect, Stored
from bus.envelope import Event, make_event
from bus.lease import Lease
from bus.messages import POISON_ATTEMPTS, Claim
from bus.parking import park
from bus.runtime import Context
from bus.subjects import entity_filter
from bus.tail import Tail
from domain.candles import Candles
from domain.errors import BadInput, Conflict, SluiceError, Unreachable
from domain.hashing import derived_id
from domain.results import Find, ReplicaResult
from domain.specs import strategy_id
from domain.tasks import unit_seed, unit_task
from market.store import DatasetStore

log = logging.getLogger("sluice.validator")
#: The reference is slow on purpose: re-evaluating the finds of a unit may take so long without any progress to show.
REFERENCE_S = 900.0


class Validator:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.bus = context.bus
        self.model = Model()
        self.log = Follower(context, self.model)
        self.due: dict[str, str] = {}
        self.store = DatasetStore(context.state_dir.cache)
        self.reference = Reference(self._load)
        self.lease = Lease(
            self.bus, "validator", f"{context.host}.{context.name}.{context.started}", context.settings.lease_ttl_s
        )
        self.loop = asyncio.get_running_loop()
        self.judging = Judging(context, self.store, self.model)

    def _load(self, sha256: str) -> Candles:
        """Called from the reference's thread."""
        try:
            loading = load_dataset(self.bus, self.store, sha256)
            return asyncio.run_coroutine_threadsafe(loading, self.loop).result(60.0)
        except TimeoutError as e:
            raise Unreachable(f"dataset {sha256[:12]} did not arrive within a minute") from e

    async def run(self) -> None:
        c = self.context
        await self.log.catch_up()
        c.state = "alive"
        while not c.stop.is_set():
            if await self.lease.hold():
                await self._active()
            else:
                await self.log.follow(0.5)
        await self.lease.release()
        await self.log.close()

    async def _active(self) -> None:
        """As long as the lease is ours: go on where the log says that the one before us stopped."""
        try:
            await self.log.catch_up()
        except Unreachable as e:
            log.warning("%s", e)
            return await self.context.idle(0.5)
        claims = Tail(self.bus, "CLAIM", self.model.claim_seq)
        results = Tail(self.bus, "RESULT", self.model.result_seq)
        # Answers whose verdict nobody got to give.
        self.due = {u.id: u.answered_id for u in self.model.units.values() if u.answers and not u.decided}
        self.context.step(RESULT=self.model.result_seq)
        try:
            while not self.context.stop.is_set() and await self.lease.hold():
                await self._judge_due()
                self.judging.go_on()
                await self.log.follow(0.001)
                for stored in await claims.next(0.02):
                    await self._persistently(self._on_claim, stored, "CLAIM")
                for stored in await results.next(0.1):
                    await self._persistently(self._on_result, stored, "RESULT")
                    await self._judge_due()
                    self.context.step(RESULT=stored.seq)
        finally:
            self.context.positions.pop("RESULT", None)
            await self.judging.stop()
            await claims.close()
            await results.close()

    # -- reading --------------------------------------------------------------------------------------------------

    async def _persistently(self, handle: Callable[[Stored], Awaitable[None]], stored: Stored, stream: str) -> None:
        """Until done or parked: a lost server or a lost race is no reason to skip a message."""
        while not self.context.stop.is_set():
            try:
                try:
                    return await handle(stored)
                except Conflict as e:
                    await self._read_on(e)
                except Unreachable:
                    raise
                except SluiceError as e:
                    return await park(self.bus, stream, stored, str(e), "validator")
            except Unreachable as e:
                log.warning("%s", e)
                await self.context.idle(0.5)

    async def _judge_due(self) -> None:
        """Every unit with a new answer gets its verdict, whatever comes in between."""
        while self.due and not self.context.stop.is_set():
            unit_id, cause = next(iter(self.due.items()))
            unit = self.model.units[unit_id]
            try:
                try:
                    while not unit.decided and await self._judge(unit, cause):
                        log.debug("unit %s: looking again", unit_id)
                    del self.due[unit_id]
                except Conflict as e:
                    await self._read_on(e)
            except Unreachable as e:
                log.warning("%s", e)
                await self.context.idle(0.5)

    async def _read_on(self, conflict: Conflict) -> None:
        """After a lost race: what the other one wrote; a moment's rest if there is nothing to be read."""
        log.info("another writer was first, reading on: %s", conflict)
        before = self.log.position
        await self.log.catch_up()
        if self.log.position == before:
            await self.context.idle(0.2)

    async def _unit(self, unit: str) -> Unit | None:
        """The unit, read up to now if it is not known yet; None when the log does not know it."""
        found = self.model.units.get(unit)
        if found is None or not found.opened_id:
            await self.log.catch_up()
        return self.model.units.get(unit)

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
        """Append over the unit's entity, with `more` in the same atomic batch, and read them back into the model."""
        expect = Expect(entity_filter(event.type, unit.id), unit.entity_seq)
        entries: list[tuple[Event, Expect | None]] = [(event, expect)]
        entries += [(e, Expect(e.nats_subject(), 0)) for e in more]
        await self.log.catch_up(await self.bus.append_batch(entries))

    # -- claims ---------------------------------------------------------------------------------------------------

    async def _on_claim(self, stored: Stored) -> None:
        if stored.seq <= self.model.claim_seq:
            return
        claim = read_claim(stored)
        unit = await self._unit(claim.unit)
        if unit is None or unit.campaign != claim.campaign:
            raise BadInput(f"a claim on unit {claim.unit}, which the log does not know")
        if claim.replica not in range(self._limit(unit)):
            raise BadInput(f"a claim on replica {claim.replica} of unit {claim.unit}, which cannot be asked for")
        if unit.decided:
            self.model.claim_seq = stored.seq
            return
        if claim.poisoned:
            if unit.claims[claim.replica] < POISON_ATTEMPTS:
                raise BadInput(
                    f"poison is said of replica {claim.replica} of unit {unit.id}, which was not claimed that often"
                )
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
        held = unit.claim_ids.get((claim.replica, claim.host, claim.slot)) if claim.released else None
        cause = held or unit.asked_ids.get(claim.replica, unit.opened_id)
        await self._append(unit, self._event(data, unit.id, stored.seq, campaign=unit.campaign, cause=cause))
        self.model.claim_seq = stored.seq

    async def _park_unit(self, unit: Unit, claim: Claim, stored: Stored) -> None:
        tries, generation = claim.attempts - 1, claim.highest_generation
        reason = f"replica {claim.replica}: {tries} claims without progress beyond generation {generation}"
        data = ev.UnitParked(unit.campaign, unit.index, claim.replica, reason)
        await park(self.bus, "CLAIM", stored, reason, "validator")
        cause = unit.claimed_ids.get(claim.replica, unit.opened_id)
        await self._append(unit, self._event(data, unit.id, campaign=unit.campaign, cause=cause))
        self.model.claim_seq = stored.seq

    # -- results --------------------------------------------------------------------------------------------------

    async def _on_result(self, stored: Stored) -> None:
        if stored.seq <= self.model.result_seq:
            return
        place = place_of(stored.subject)
        unit = await self._unit(place.unit)
        if unit is None or unit.campaign != place.campaign:
            raise BadInput(f"a result for unit {place.unit}, which the log does not know")
        if place.replica not in range(self._limit(unit)):
            raise BadInput(f"a result for replica {place.replica} of unit {unit.id}, which cannot be asked for")
        if unit.decided:
            self.model.result_seq = stored.seq
            return
        result = await self._readable(stored, unit)
        answered = self._answered(stored, unit, result)
        more = []
        best = result.outcome.finds[0] if result is not None and result.outcome.finds else None
        if best is not None and best.enough_trades:
            campaign = self.model.campaigns[unit.campaign]
            more = await self._strategies((best,), campaign, unit, answered.id, validated=False)
        await self._append(unit, answered, *more)
        self.model.result_seq = max(self.model.result_seq, stored.seq)
        self.due[unit.id] = answered.id

    async def _readable(self, stored: Stored, unit: Unit) -> ReplicaResult | None:
        """The result; None when it had to be parked. Its place is taken all the same, so that another answer is asked for."""
        try:
            result = read_result(stored)
            if result.index != unit.index:
                raise BadInput(f"the result says unit {result.index} of the campaign, it is unit {unit.index}")
            also = [m.dataset for m in self.model.campaigns[unit.campaign].spec.search.also]
            if any([m.dataset for m in find.also] != also for find in result.outcome.finds):
                raise BadInput("a find shows figures of other datasets than the campaign has")
            return result
        except BadInput as e:
            await park(self.bus, "RESULT", stored, str(e), "validator")
            return None

    def _answered(self, stored: Stored, unit: Unit, result: ReplicaResult | None) -> Event:
        place = place_of(stored.subject)
        owner = place.host if self.model.campaigns[unit.campaign].distinct == "host" else f"{place.host}.{place.slot}"
        asked = place.replica < unit.wanted
        outcome = result.outcome if result is not None else None
        data = ev.ReplicaAnswered(
            campaign=unit.campaign,
            replica=place.replica,
            host=place.host,
            slot=place.slot,
            owner=owner,
            result_seq=stored.seq,
            digest=result.digest if result is not None else "",
            counts=result is not None and asked and counts(unit.answers, owner),
            evaluated=outcome.evaluated if outcome is not None else 0,
            generations=outcome.generations if outcome is not None else 0,
            seconds=result.seconds if result is not None else 0.0,
            best_objective=outcome.finds[0].objective if outcome is not None and outcome.finds else None,
        )
        cause = unit.claim_ids.get((place.replica, place.host, place.slot), unit.opened_id)
        return self._event(data, unit.id, stored.seq, campaign=unit.campaign, cause=cause)

    # -- verdicts -------------------------------------------------------------------------------------------------

    def _limit(self, unit: Unit) -> int:
        """How many replicas a unit may have in all."""
        return max(self.context.settings.replica_limit, self.model.campaigns[unit.campaign].spec.replicas)

    async def _judge(self, unit: Unit, cause: str) -> bool:
        """Write what follows from the answers so far; True when it has to be looked at again."""
        campaign = self.model.campaigns[unit.campaign]
        verdict = judge(unit.answers, campaign.spec.replicas, unit.wanted, self._limit(unit))
        if isinstance(verdict, Quorum):
            await self._confirm(unit, campaign, verdict, cause)
        elif isinstance(verdict, AskMore):
            data = ev.ReplicaRequested(unit.campaign, verdict.replica, verdict.reason)
            await self._append(unit, self._event(data, unit.id, verdict.replica, campaign=unit.campaign, cause=cause))
            return True
        elif isinstance(verdict, GiveUp):
            await self._inconclusive(unit, verdict.reason, cause, flagged=False)
        return False

    async def _confirm(self, unit: Unit, campaign: Campaign, quorum: Quorum, cause: str) -> None:
        """The owners agree: now the reference has to."""
        stored = await self.bus.get("RESULT", quorum.result_seq)
        if stored is None:
            raise Unreachable(f"result {quorum.result_seq} cannot be read back")
        outcome = read_result(stored).outcome
        task = unit_task(campaign.spec, unit.index)
        try:
            if (outcome.dataset, outcome.seed) != (campaign.spec.search.dataset, unit_seed(campaign.spec, unit.index)):
                raise BadInput("the answers are of another dataset or another seed")
            self.context.quiet_s = REFERENCE_S
            differs = await asyncio.to_thread(self.reference.disagreement, outcome, campaign.spec.search, task)
        except BadInput as e:
            await self._inconclusive(unit, f"owners agree, but it cannot be checked: {e}", cause, flagged=False)
            return
        finally:
            self.context.quiet_s = 0.0
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
            distribution=outcome.distribution, front=outcome.front,
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
            # A find is long: it is written once, here or in the verdict that these events follow.
            fields = (find.genome, find.genome_id, search, None if validated else find, campaign.id, unit.id)
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
