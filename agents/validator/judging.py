"""A finished campaign, from what the log and the results say of it to its judgement: the bus side."""

import asyncio
import logging
import sys

import msgspec

from agents.datasets import load_dataset
from agents.validator.answers import read_result
from agents.validator.model import Campaign, Model, Unit
from bus import events as ev
from bus.client import Expect
from bus.envelope import make_event, read_event
from bus.parking import park
from bus.runtime import Context
from bus.subjects import event_subject
from domain.errors import BadInput, Conflict, Unreachable
from domain.genome import Genome
from domain.hashing import content_hash, derived_id
from domain.judgement import Judgement
from domain.results import Find, NullOutcome
from kernels.evaluation.gates import find_standing
from kernels.evaluation.question import MOST_FINDS, MOST_SAMPLED, Question
from market.store import DatasetStore

log = logging.getLogger("sluice.validator")
#: A judgement takes seconds; where kernels have to be compiled first, a minute or two.
PATIENCE_S = 900.0


class Judging:
    """Gathers what a judgement rests on and has it computed in a process of its own: numba stays out of the validator, and
    a judgement holds up no verdict on units."""

    def __init__(self, context: Context, store: DatasetStore, model: Model) -> None:
        self._context, self._bus, self._store, self._model = context, context.bus, store, model
        self._task: asyncio.Task[None] | None = None

    def go_on(self) -> None:
        """Take up the next finished campaign, one at a time, beside everything else that the validator does."""
        if self._task is None or self._task.done():
            waiting = self._model.to_judge()
            self._task = asyncio.create_task(self._judge(waiting[0])) if waiting else None

    async def stop(self) -> None:
        """The process that computes ends with the task."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _judge(self, campaign: Campaign) -> None:
        try:
            try:
                data = ev.CampaignJudged(await self.judgement(campaign))
            except BadInput as e:
                return await self._set_aside(campaign, str(e))
            event = make_event(
                data,
                id=derived_id("CampaignJudged", campaign.id),
                source="validator",
                subject=campaign.id,
                time=self._context.now(),
                correlation=campaign.id,
                causation=campaign.finished_id,
            )
            await self._bus.append(event, Expect(event.nats_subject(), 0))
            campaign.judged = True
            self._context.done += 1
        except Conflict:
            campaign.judged = True  # by another validator: its event is read next
        except Unreachable as e:
            log.warning("campaign %s cannot be judged now: %s", campaign.id, e)
            await self._context.idle(2.0)
        except Exception as e:
            log.exception("campaign %s cannot be judged", campaign.id)
            await self._set_aside(campaign, repr(e))

    async def _set_aside(self, campaign: Campaign, reason: str) -> None:
        """A campaign that cannot be judged stays without a judgement; its reason lies in PARKED."""
        log.error("campaign %s cannot be judged: %s", campaign.id, reason)
        stored = await self._bus.get("EVENTS", campaign.finished_seq)
        if stored is not None:
            await park(self._bus, "EVENTS", stored, f"no judgement: {reason}", "validator")
        campaign.judged = True

    async def judgement(self, campaign: Campaign) -> Judgement:
        """BadInput when the campaign cannot be judged, Unreachable when something is missing now."""
        if not campaign.spec.search.windows.walk_forward:
            raise BadInput("a campaign without walk-forward windows cannot be judged")
        question = await self._question(campaign)
        await load_dataset(self._bus, self._store, campaign.spec.search.dataset)
        return await self._compute(question)

    async def _question(self, campaign: Campaign) -> Question:
        spec, looks = campaign.spec, self._model.looks
        finds: dict[str, Find] = {}
        sample: dict[str, Genome] = {}
        nulls: list[NullOutcome] = []
        for unit in campaign.units:
            verdict = await self._verdict(unit)
            if verdict is None:
                continue
            finds |= {f.genome_id: f for f in verdict.finds}
            finds = {f.genome_id: f for f in _best(finds)}
            tried, null = await self._result_of(unit, verdict)
            sample |= {content_hash(g): g for g in tried}
            # The smallest hashes of all samples are a random sample of all that the campaign tried.
            sample = {k: sample[k] for k in sorted(sample)[: MOST_SAMPLED + MOST_FINDS]}
            nulls += [null] if null is not None else []
        return Question(
            search=spec.search,
            seed=spec.seed,
            finds=tuple(_best(finds)),
            sample=tuple(sample.values()),
            nulls=tuple(nulls),
            nulls_asked=spec.nulls,
            trials=looks.trials(spec.search),
            candidates=looks.candidates(spec.search),
            hold_out_looks=looks.hold_out_looks(spec.search),
        )

    async def _verdict(self, unit: Unit) -> ev.UnitValidated | None:
        stored = await self._bus.last("EVENTS", event_subject("mining.unit.validated", unit.id))
        if stored is None and unit.agreed_seq:
            raise Unreachable(f"the verdict on unit {unit.id} cannot be read back")
        if stored is None:
            return None
        data = read_event(stored.subject, stored.data).payload()
        assert isinstance(data, ev.UnitValidated)
        return data

    async def _result_of(self, unit: Unit, verdict: ev.UnitValidated) -> tuple[tuple[Genome, ...], NullOutcome | None]:
        """The sample and the null of the answer that was agreed on; nothing where it cannot be read any more."""
        stored = await self._bus.get("RESULT", unit.agreed_seq) if unit.agreed_seq else None
        try:
            result = read_result(stored) if stored is not None else None
        except BadInput as e:
            log.warning("unit %s: its result cannot be read for the judgement: %s", unit.id, e)
            return (), None
        if result is None or result.digest != verdict.digest:
            return (), None
        return result.outcome.sample, result.outcome.null

    async def _compute(self, question: Question) -> Judgement:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agents.validator.judge", str(self._store.folder.resolve()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            answering = process.communicate(msgspec.msgpack.encode(question))
            out, err = await asyncio.wait_for(answering, PATIENCE_S)
        except TimeoutError as e:
            raise BadInput(f"the judgement took longer than {PATIENCE_S:g} s") from e
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        words = err.decode(errors="replace").strip().splitlines()
        if process.returncode == 1:
            raise BadInput(words[-1] if words else "the campaign cannot be judged")
        if process.returncode:
            raise Unreachable(f"the judging process ended with {process.returncode}: {words[-1] if words else ''}")
        try:
            return msgspec.json.decode(out, type=Judgement)
        except msgspec.MsgspecError as e:
            raise BadInput(f"the judging process answered what is no judgement: {e}") from e


def _best(finds: dict[str, Find]) -> list[Find]:
    return sorted(finds.values(), key=lambda f: (find_standing(f), f.genome_id))[:MOST_FINDS]
