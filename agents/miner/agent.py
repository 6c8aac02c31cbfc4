"""The miner: pull one replica, claim it, evolve in a thread while the loop keeps the delivery alive, answer, acknowledge."""

import asyncio
import logging
import random
import time
import uuid

import msgspec
from nats.aio.msg import Msg

from agents.datasets import load_dataset
from agents.miner import claims
from agents.miner.decide import Drop, GoBack, Poison, Take, decide, release
from agents.miner.work import Evaluators, Job
from bus import subjects
from bus.artifacts import put_artifact
from bus.client import Bus, Expect, Stored, SubjectTaken
from bus.messages import Checkpoint, Claim, Progress
from bus.parking import park
from bus.pull import ConsumerGone, Pull
from bus.runtime import Context
from domain.errors import BadInput, Conflict, SluiceError, Unreachable
from domain.results import ReplicaResult, UnitOutcome
from domain.specs import validate_search
from domain.tasks import WorkItem, most_generations
from kernels.evaluator import warm_up
from kernels.exhaustive import warm_up as warm_up_exhaustive
from kernels.golden import check_golden
from market.store import DatasetStore

log = logging.getLogger("sluice.miner")
PULL_EXPIRES_S = 1.0
MOST_REPLICAS = 64
#: A dataset over a slow line brings no progress for so long, and is no reason to be taken for stalled.
LOADING_S = 900.0


def work_consumer(lane: str) -> str:
    """The durable consumer that all miners of one kernel version share; the dispatcher makes it."""
    return f"miners-{lane}"


class Malformed(SluiceError):
    """What lies in the queue is no work item; nobody can do anything with it."""


class Fenced(SluiceError):
    """Another miner holds the replica now; what we have computed is not needed."""


class Miner:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.bus: Bus = context.bus
        self.store = DatasetStore(context.state_dir.cache)
        self.evaluators = Evaluators()

    async def run(self) -> None:
        """Until told to stop. A kernel that fails its golden vectors on this machine gets no work."""
        context = self.context
        await asyncio.to_thread(warm_up)
        await asyncio.to_thread(warm_up_exhaustive)
        await asyncio.to_thread(check_golden)
        context.state = "alive"
        pull = Pull(self.bus, "WORK", work_consumer(context.lane), batch=1, expires_s=PULL_EXPIRES_S)
        await pull.start()
        while not context.stop.is_set():
            context.step()
            for msg in await self._next(pull):
                await self._handle_safely(msg)
        await self._give_back_leftovers(pull)

    async def _next(self, pull: Pull) -> list[Msg]:
        try:
            return await pull.next(1.0)
        except ConsumerGone as e:
            log.debug("no work queue for lane %s yet (%s)", self.context.lane, e)
            await self.context.idle(0.5)
        except Unreachable as e:
            log.warning("%s", e)
            await self.context.idle(0.5)
        return []

    async def _give_back_leftovers(self, pull: Pull) -> None:
        """An open pull may still bring a message while we stop: hand it back at once instead of after the ack wait."""
        for msg in await pull.finish():
            await self._reply(msg, b"-NAK")
        await pull.stop()

    async def _reply(self, msg: Msg, body: bytes) -> None:
        if self.bus.nc.is_connected:
            await self.bus.nc.publish(msg.reply, body)

    async def _nak(self, msg: Msg) -> None:
        """Back to the queue for somebody else: soon at first, later and later for one that nobody here may take.

        Never after the same time: two owners must not hand each other the wrong replica for ever.
        """
        delivered = int(msg.reply.split(".")[-5])
        delay_s = min(self.context.settings.nak_delay_s, 0.05 * 2 ** min(delivered - 1, 10)) * random.uniform(0.5, 1.5)
        await self._reply(msg, b'-NAK {"delay": %d}' % int(delay_s * 1e9))

    async def _handle_safely(self, msg: Msg) -> None:
        """Trouble sends the delivery back; only a work item that cannot be read never comes again."""
        try:
            await self._handle(msg)
        except Malformed as e:
            await self._park(msg, str(e))
        except Fenced as e:
            log.info("%s: %s", msg.subject, e)
        except SluiceError as e:
            log.warning("%s goes back: %s", msg.subject, e)
            await self._nak(msg)
        except Exception:
            log.exception("%s failed; the claim stands and counts as an attempt", msg.subject)
            await self._nak(msg)

    async def _park(self, msg: Msg, reason: str) -> None:
        stored = Stored(msg.subject, int(msg.reply.split(".")[-4]), msg.data, {}, "")
        try:
            await park(self.bus, "WORK", stored, reason, "miner")
            await self._reply(msg, b"+TERM malformed")
        except SluiceError as e:
            log.warning("%s is malformed and could not be parked: %s", msg.subject, e)
            await self._nak(msg)

    async def _handle(self, msg: Msg) -> None:
        item = decode_item(msg)
        alive = asyncio.create_task(self._keep_alive(msg))
        try:
            host, slot = self.context.host, self.context.slot
            view = await claims.read_unit(self.bus, item, host, slot)
            decision = decide(item, host, slot, view, uuid.uuid4().hex)
            if isinstance(decision, GoBack):
                log.debug("%s goes back: %s", msg.subject, decision.reason)
                alive.cancel()
                await self._nak(msg)
            elif isinstance(decision, Drop):
                await self._ack(msg)
            elif isinstance(decision, Poison):
                await claims.publish_claim(self.bus, decision.claim, view.last_seq)
                log.error("%s is poison: %d claims without progress", msg.subject, decision.claim.attempts - 1)
                await self._reply(msg, b"+TERM poison")
            else:
                await self._take(msg, item, decision, view.last_seq)
        finally:
            alive.cancel()
            self.context.work, self.context.quiet_s = "", 0.0

    async def _keep_alive(self, msg: Msg) -> None:
        """Tell the queue that the delivery is worked on, independent of the compute thread."""
        while True:
            await asyncio.sleep(self.context.settings.ack_wait_s / 3)
            await self._reply(msg, b"+WPI")

    async def _ack(self, msg: Msg) -> None:
        """Acknowledge and wait for the word; a lost one only means one more delivery, which is dropped."""
        try:
            await self.bus.request(msg.reply, b"+ACK", timeout_s=2.0)
        except Unreachable as e:
            log.debug("ack of %s not confirmed: %s", msg.subject, e)

    async def _take(self, msg: Msg, item: WorkItem, take: Take, last_seq: int) -> None:
        context = self.context
        checkpoint = await claims.own_checkpoint(self.bus, item, context.host, context.slot, context.lane)
        claim = msgspec.structs.replace(take.claim, start_generation=checkpoint.generation if checkpoint else 0)
        try:
            claim_seq = await claims.publish_claim(self.bus, claim, last_seq)
        except Conflict:
            log.info("%s was claimed by another first", msg.subject)
            await self._nak(msg)
            return
        context.work = f"{item.unit}.{item.replica}"
        await context.beat()
        try:
            job = await self._job(item, checkpoint.state if checkpoint else b"")
            answer = await self._compute(item, claim_seq, job)
            if answer is None:
                await self._save(item, claim_seq, job)
                await self._release(item, claim, claim_seq)
                await self._reply(msg, b"-NAK")
                return
            await self._answer(item, claim_seq, job, *answer)
        except Unreachable:
            # The unit is not to blame for a lost server or dataset: this claim must not count as a failed attempt.
            await self._release(item, claim, claim_seq)
            raise
        await self._ack(msg)
        context.done += 1

    async def _job(self, item: WorkItem, state: bytes) -> Job:
        search = item.search
        evaluators = self.evaluators.get(search)
        if evaluators is None:
            self.context.quiet_s = LOADING_S
            candles = [await load_dataset(self.bus, self.store, m.dataset) for m in search.markets]
            evaluators = self.evaluators.make(search, candles)
            self.context.quiet_s = 0.0
        return Job(item, evaluators, state, self.context.settings.checkpoint_s)

    async def _compute(self, item: WorkItem, claim_seq: int, job: Job) -> tuple[UnitOutcome, bytes] | None:
        """Outcome and tried hashes; None when we are told to stop. Raises Fenced when another took over."""
        work = asyncio.create_task(asyncio.to_thread(job.run))
        checkpoint_seq = await self._last_checkpoint_seq(item)
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=0.25 if self.context.stop.is_set() else min(1.0, job.checkpoint_s))
                if self.context.stop.is_set():
                    job.cancel.set()
                elif not work.done():
                    checkpoint_seq = await self._report(item, claim_seq, job, checkpoint_seq)
            return work.result()
        finally:
            job.cancel.set()
            if not work.done():
                await asyncio.wait({work}, timeout=5.0)

    async def _last_checkpoint_seq(self, item: WorkItem) -> int:
        stored = await self.bus.last("CKPT", subjects.checkpoints_of_host(item.unit, item.replica, self.context.host))
        return stored.seq if stored else 0

    async def _report(self, item: WorkItem, claim_seq: int, job: Job, checkpoint_seq: int) -> int:
        """Progress and, when due, a checkpoint fenced by the claim; trouble with the bus only delays them."""
        snapshot = job.take()
        if snapshot is None:
            return checkpoint_seq
        c = self.context
        c.step()
        try:
            if not await claims.still_holds(self.bus, item, claim_seq):
                raise Fenced("another miner holds this replica now")
            progress = Progress(
                item.campaign, item.unit, item.index, item.replica, c.host, c.slot, snapshot.generation,
                most_generations(item.task, item.search), snapshot.evaluated, snapshot.best, c.now(),
            )  # fmt: skip
            await self.bus.nc.publish(subjects.progress(c.host, c.name), msgspec.json.encode(progress))
            if snapshot.state:
                return await self._checkpoint(item, claim_seq, snapshot.generation, snapshot.state, checkpoint_seq)
        except Unreachable as e:
            log.warning("no checkpoint now: %s", e)
        return checkpoint_seq

    async def _checkpoint(self, item: WorkItem, claim_seq: int, generation: int, state: bytes, last_seq: int) -> int:
        """Compare-and-set over this host's checkpoints of the replica: a stopped and continued process cannot overwrite."""
        c = self.context
        subject = subjects.checkpoint(item.unit, item.replica, c.host, c.slot)
        record = Checkpoint(item.campaign, item.unit, item.replica, claim_seq, generation, c.lane, state)
        expect = Expect(subjects.checkpoints_of_host(item.unit, item.replica, c.host), last_seq)
        try:
            return await self.bus.publish(subject, msgspec.msgpack.encode(record), expect=expect, patience_s=5.0)
        except Conflict as e:
            there = await self.bus.winner("CKPT", expect, e)
            if there is not None and claims.decode_checkpoint(there.data).claim_seq == claim_seq:
                return there.seq  # our own write whose confirmation was lost
            raise Fenced("a newer holder has checkpointed this replica") from None

    async def _save(self, item: WorkItem, claim_seq: int, job: Job) -> None:
        """Stopping: keep what is done."""
        snapshot = job.take()
        if snapshot is not None and snapshot.state:
            last_seq = await self._last_checkpoint_seq(item)
            await self._checkpoint(item, claim_seq, snapshot.generation, snapshot.state, last_seq)

    async def _release(self, item: WorkItem, claim: Claim, claim_seq: int) -> None:
        """Say that nobody holds it now, unless somebody else does."""
        last = await self.bus.last("CLAIM", subjects.claims_of_unit(item.unit))
        if last is not None and await claims.still_holds(self.bus, item, claim_seq):
            await claims.publish_claim(self.bus, release(claim, uuid.uuid4().hex), last.seq)

    async def _answer(self, item: WorkItem, claim_seq: int, job: Job, outcome: UnitOutcome, tried: bytes) -> None:
        """The tried genomes, then the result: first write wins, the same digest there already is ours from before."""
        c = self.context
        if not await claims.still_holds(self.bus, item, claim_seq):
            raise Fenced("another miner took this replica over before the answer")
        await put_artifact(self.bus, c.host, tried, "tried-genomes")
        result = ReplicaResult(
            item.campaign, item.unit, item.index, item.replica, c.host, c.slot, c.lane, claim_seq, outcome.digest(),
            outcome, round(time.monotonic() - job.started, 3), job.resumed_from,
        )  # fmt: skip
        subject = subjects.result(item.campaign, item.unit, item.replica, c.host, c.slot)
        try:
            await self.bus.publish(
                subject, msgspec.json.encode(result), id=f"{item.unit}.{item.replica}.{c.host}.{c.slot}"
            )
        except SubjectTaken:
            log.info("%s was answered before; the first answer stands", subject)


def decode_item(msg: Msg) -> WorkItem:
    """Malformed for anything but a valid work item on its own subject."""
    try:
        item = msgspec.json.decode(msg.data, type=WorkItem)
        validate_search(item.search)
    except (msgspec.MsgspecError, BadInput) as e:
        raise Malformed(f"not a work item: {e}") from e
    tokens = msg.subject.split(".")
    if tokens[2:] != [item.campaign, item.unit, str(item.replica)]:
        raise Malformed(f"the work item is of another replica than its subject {msg.subject}")
    if not 0 <= item.replica < item.replica_limit <= MOST_REPLICAS:
        raise Malformed(f"replica {item.replica} of {item.replica_limit} is out of range")
    return item
