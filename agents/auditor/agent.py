"""Follow EVENTS, seal it every so many events or seconds, and halt when the log is not what was sealed."""

import asyncio
import logging
import time
from contextlib import suppress

import msgspec

from agents.auditor.check import Check, whole
from agents.auditor.decide import Doubt, cut_short, due, finding, lacking, words
from agents.auditor.outside import Outside, Webhook
from bus import subjects
from bus.chain import GENESIS, chain_hash, leaf_hash
from bus.client import Expect
from bus.envelope import TooNew
from bus.lease import Lease
from bus.messages import Finding
from bus.runtime import Context
from bus.seals.reading import STREAM, nothing_left, read_audit, read_openings, read_records
from bus.seals.seal import Opening, SignedSeal, epoch_of, is_opening, make_seal
from bus.seals.sealed import Problem, Sealed, agrees, merge
from bus.seals.tree import HASH_BYTES, CompactRange
from bus.seals.verify import Record, record_of
from bus.tail import Tail
from domain.errors import Conflict, SluiceError, Unreachable

log = logging.getLogger("sluice.auditor")
TAKE_S = 0.5
#: Seal no later than so long after being asked to stop.
LAST_SEAL_S = 1.5
LOOK_S = 2.0


class Auditor:
    """`_tree` and `_chain` cover the log up to the event read last, `_leaves` those of them that are not sealed yet."""

    def __init__(self, context: Context) -> None:
        self.context, self.bus, self.settings = context, context.bus, context.settings
        self.outside = Outside(context.state_dir, context.settings)
        self.webhook = Webhook(context.settings.seal_webhook)
        self.lease = Lease(
            self.bus, "auditor", f"{context.host}.{context.name}.{context.started}", self.settings.lease_ttl_s
        )
        self.check: Check | None = None
        self.tail: Tail | None = None
        self._openings: list[Opening] = []
        self._before: SignedSeal | None = None
        self._created = self._identity = ""
        self._tree, self._chain, self._leaves = CompactRange(), GENESIS, bytearray()
        self._since = self._look_at = 0.0
        self._reconnects = 0

    async def run(self) -> None:
        stop = self.context.stop
        try:
            while not stop.is_set():
                self.context.step()
                try:
                    if not self.bus.nc.is_connected or not await self.lease.hold():
                        await self._stand_by()
                        continue
                    await self._begin()
                    await self._follow()
                except Doubt as e:
                    await self._halt(e.problem)
                except TooNew as e:
                    await self.context.halt(f"halted: {e}; update this host, nothing is lost")
                except Unreachable as e:
                    log.warning("%s; trying again", e)
                    self.context.state, self.context.detail = "stalled", str(e)
                    await self.context.idle(1.0)
        finally:
            await self._stop_reading()
            await self.webhook.close()
            await self.lease.release()

    async def _stand_by(self) -> None:
        """The server is away, or another auditor is the active one: ready, and writing nothing."""
        await self._stop_reading()
        self.context.positions.clear()
        if self.bus.nc.is_connected:
            self.context.state, self.context.detail = "alive", "waits: another auditor is the active one"
        await self.context.idle(TAKE_S)

    async def _halt(self, problem: Problem) -> None:
        await self._stop_reading()
        self.context.state, self.context.detail = "stalled", words(problem)
        problem = await self._first(problem)
        try:
            await self._say(finding(problem, self.context.now()))
        except SluiceError as e:
            log.warning("the finding is not in AUDIT: %s", e)
        await self.context.halt(words(problem))

    async def _first(self, problem: Problem) -> Problem:
        """What was noticed first may not be where it begins: the whole log says."""
        try:
            seals, _ = await read_audit(self.bus)
            seals, _ = merge(seals, await asyncio.to_thread(self.outside.seals), self.outside.public)
            last, _, self._created = await self.bus.stream_state(STREAM)
            self._openings = await read_openings(self.bus)
            report = await whole(self.bus, last, lambda: self._sealed(seals))
        except SluiceError as e:
            log.warning("the whole log cannot be looked through now: %s", e)
            return problem
        return report.problems[0] if report.problems and report.problems[0].seq <= problem.seq else problem

    async def _say(self, found: Finding) -> None:
        """The newest finding stands in AUDIT for all who serve what the log says."""
        there = await self.bus.last("AUDIT", subjects.FINDING)
        before = msgspec.json.decode(there.data, type=Finding) if there is not None else None
        if before is None or (before.ok, before.words) != (found.ok, found.words):
            await self.bus.publish(subjects.FINDING, msgspec.json.encode(found))

    async def _stop_reading(self) -> None:
        tail, self.tail = self.tail, None
        check, self.check = self.check, None
        if tail is not None:
            await tail.close()
        if check is not None:
            await check.stop()

    # -- beginning ------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Stand ready after the last seal of this log; Doubt where log and seals do not go together."""
        await self._stop_reading()
        self._reconnects = self.bus.nc.stats["reconnects"]
        await asyncio.to_thread(self.outside.open)
        seals = await self._reconcile()
        last, _, self._created = await self.bus.stream_state(STREAM)
        self._openings = await read_openings(self.bus)
        sealed = Sealed(seals, self._openings, self.outside.public, None, self._created)
        problem = sealed.problems[0] if sealed.problems else cut_short(last, sealed.bound)
        if problem is not None:
            raise Doubt(problem)
        self._before = seals[-1] if seals else None
        await self._resume(sealed)
        self._leaves.clear()
        self.tail = Tail(self.bus, STREAM, self._tree.size)
        self.check = Check(self.bus, last, lambda: self._sealed(seals))
        self.context.state, self.context.detail = "alive", ""
        log.info("sealed through %d by %d seals, the log ends at %d", self._tree.size, len(seals), last)

    def _sealed(self, seals: list[SignedSeal]) -> Sealed:
        return Sealed(seals, self._openings, self.outside.public, self.outside.leaves, self._created)

    async def _reconcile(self) -> list[SignedSeal]:
        """All seals; what a crash, or a store that was restored, left out of AUDIT or of the file is added there."""
        audit, problems = await read_audit(self.bus)
        file = await asyncio.to_thread(self.outside.seals)
        seals, differ = merge(audit, file, self.outside.public)
        problems += [p for p in differ if p.kind != "seal_missing"]
        if problems:
            raise Doubt(problems[0])
        for seal in lacking(audit, seals):
            if not seal.flaw(self.outside.public):
                await self._publish(seal)
        await asyncio.to_thread(self.outside.add, lacking(file, seals))
        return seals

    async def _resume(self, sealed: Sealed) -> None:
        """Tree, chain and identity at the last seal in force, without reading what it covers where the tree was kept."""
        if not sealed.bound:
            self._tree, self._chain, self._identity = CompactRange(), GENESIS, ""
            await asyncio.to_thread(self.outside.cut, 0, sealed.superseded)
            return
        signed = sealed.bound[-1]
        seal = signed.seal
        tree = await asyncio.to_thread(self.outside.tree_at, signed)
        if tree is None:
            log.info("the leaf hashes through %d are made anew from the log", seal.last_seq)
            tree = await self._read_again(sealed)
        self._tree, self._chain, self._identity = tree, bytes.fromhex(seal.chain), seal.identity
        await asyncio.to_thread(self.outside.cut, seal.last_seq, sealed.superseded)
        there = await self.bus.get(STREAM, seal.last_seq)
        if there is None:
            raise Doubt(
                Problem(seal.last_seq, "deleted", f"event {seal.last_seq} was sealed and cannot be read any more")
            )
        if leaf_hash(*record_of(there)) != self.outside.leaves.read(seal.last_seq, seal.last_seq):
            raise Doubt(Problem(seal.last_seq, "changed", f"event {seal.last_seq}: not what was sealed"))

    async def _read_again(self, sealed: Sealed) -> CompactRange:
        """The leaf file from the log, which has to agree with every seal on the way."""
        tree, chain, leaves, to_come = CompactRange(), GENESIS, bytearray(), list(sealed.bound)
        await asyncio.to_thread(self.outside.cut, 0, sealed.superseded)
        async for batch in read_records(self.bus, sealed.through):
            for record in batch:
                leaf = _next_leaf(record, tree.size)
                tree.append(leaf)
                chain = chain_hash(chain, leaf)
                leaves += leaf
                if to_come[0].seal.last_seq == tree.size and not agrees(to_come.pop(0), tree, chain):
                    first = next(s.seal.first_seq for s in sealed.bound if s.seal.last_seq >= tree.size)
                    words = f"between {first} and {tree.size} the log is not what was sealed"
                    raise Doubt(Problem(first, "changed", words))
            await asyncio.to_thread(self.outside.leaves.append, bytes(leaves))
            leaves.clear()
            self.context.step()
        if to_come:
            raise Doubt(
                Problem(tree.size + 1, "deleted", f"event {tree.size + 1} was sealed and cannot be read any more")
            )
        return tree

    # -- following ------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Until asked to stop, until the log may be another one, or until another auditor is the active one."""
        assert self.tail is not None
        while not self.context.stop.is_set():
            batch = await self.tail.next(TAKE_S)
            self.context.step(EVENTS=self.tail.position)
            if self.bus.nc.stats["reconnects"] != self._reconnects or not await self.lease.hold():
                return
            for stored in batch:
                if not await self._take(record_of(stored)):
                    return
            if due(self._pending(), time.monotonic() - self._since, self.settings.seal_events, self.settings.seal_s):
                await self._seal()
            await self._look(idle=not batch)
        if self._pending():
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SEAL_S):
                    await self._seal()

    def _pending(self) -> int:
        return len(self._leaves) // HASH_BYTES

    async def _take(self, record: Record) -> bool:
        """False when the event opens an epoch that we did not know of: begin anew."""
        if is_opening(record.subject) and all(o.seq != record.seq for o in self._openings):
            return False
        leaf = _next_leaf(record, self._tree.size)
        if not self._pending():
            self._since = time.monotonic()
        self._identity = self._identity or leaf.hex()
        self._tree.append(leaf)
        self._chain = chain_hash(self._chain, leaf)
        self._leaves += leaf
        if self._pending() >= self.settings.seal_events:
            await self._seal()
        return True

    async def _look(self, *, idle: bool) -> None:
        """What the check of the whole log found; and whether the log ends where the server says."""
        assert self.tail is not None
        if self.check is not None and self.check.done():
            report = self.check.result()
            self.check = None
            if not report.ok:
                raise Doubt(report.problems[0])
            if report.notes:
                await asyncio.to_thread(self.outside.forget)
                raise Unreachable("the leaf hashes do not match the seals and are made anew from the log")
            log.info("the whole log, %d events, agrees with %d seals", report.events, report.seals)
            await self._say(Finding(True, self.context.now()))
        if not idle or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        last, _, created = await self.bus.stream_state(STREAM)
        at = self.tail.position
        if created != self._created or last < at:
            raise Unreachable("the log is another one than a moment ago")
        if last > at and await nothing_left(self.bus, at) and await self.bus.last_seq(STREAM) == last:
            raise Doubt(Problem(at + 1, "deleted", f"event {at + 1} cannot be read, though the log ends at {last}"))

    # -- sealing --------------------------------------------------------------------------------------------------

    async def _seal(self) -> None:
        """Leaf hashes first, then AUDIT, then the file outside: whatever a crash leaves out, the next start adds."""
        first = self._tree.size - self._pending() + 1
        await asyncio.to_thread(self.outside.keep, bytes(self._leaves))
        seal = make_seal(
            self._tree, self._chain, self._before, self.outside.key, created=self._created, identity=self._identity,
            epoch=epoch_of(self._openings), first_seq=first, time=self.context.now(),
        )  # fmt: skip
        self._leaves.clear()
        await self._publish(seal)
        self._before = seal
        await asyncio.to_thread(self.outside.add, [seal])
        await asyncio.to_thread(self.outside.keep_tree, self._tree.copy())
        self.webhook.tell(seal)
        self.context.done += 1
        log.info("sealed events %d to %d", first, self._tree.size)

    async def _publish(self, seal: SignedSeal) -> None:
        subject = subjects.seal(seal.seal.epoch, seal.seal.last_seq)
        try:
            await self.bus.publish(subject, msgspec.json.encode(seal), id=seal.digest(), expect=Expect(subject, 0))
        except Conflict:
            there = await self.bus.last("AUDIT", subject)
            if there is None or there.data != msgspec.json.encode(seal):
                at = seal.seal.last_seq
                raise Doubt(Problem(at, "seals_differ", f"AUDIT holds another seal through {at} than ours")) from None


def _next_leaf(record: Record, size: int) -> bytes:
    """The leaf of an event that must be the next one after `size`."""
    if record.seq != size + 1:
        words = f"event {size + 1} is gone or cannot be read; the next one is {record.seq}"
        raise Doubt(Problem(size + 1, "deleted", words))
    return leaf_hash(*record)


async def run(context: Context) -> None:
    await Auditor(context).run()
