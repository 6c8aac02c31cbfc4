"""Claims on the bus: read what a unit looks like, claim by compare-and-set, look whether a claim still holds."""

import asyncio
import logging
import time

import msgspec

from agents.miner.decide import UnitView, owner_of
from bus import subjects
from bus.client import BEHIND_S, Bus, Expect
from bus.messages import POISON_ATTEMPTS, Checkpoint, Claim
from domain.errors import Conflict, Unreachable
from domain.tasks import WorkItem

log = logging.getLogger("sluice.miner")


async def read_unit(bus: Bus, item: WorkItem, host: str, slot: str) -> UnitView:
    """The unit's claims and results. The unit-wide sequence is read first: what changes after it fails our claim."""
    last = await bus.last("CLAIM", subjects.claims_of_unit(item.unit))
    newest: dict[int, tuple[int, Claim]] = {}
    answered, mine = set(), set()
    owner_slot = "*" if item.distinct == "host" else slot
    for replica in range(item.replica_limit):
        if last is not None:
            stored = await bus.last("CLAIM", subjects.claims_of_replica(item.unit, replica))
            if stored is not None:
                newest[replica] = (stored.seq, trusted_claim(stored.subject, stored.data))
        if await bus.last("RESULT", f"result.{item.campaign}.{item.unit}.{replica}.>") is not None:
            answered.add(replica)
            own = subjects.results_of_owner(item.campaign, item.unit, replica, host, owner_slot)
            if await bus.last("RESULT", own) is not None:
                mine.add(replica)
    checkpoint = await bus.last("CKPT", subjects.checkpoints_of_replica(item.unit, item.replica))
    highest = decode_checkpoint(checkpoint.data).generation if checkpoint is not None else 0
    held = newest.get(item.replica)
    many = held is not None and (held[1].attempts >= POISON_ATTEMPTS or held[1].poisoned)
    claimed = await _count_claims(bus, item) if many else 0
    return UnitView(newest, last.seq if last else 0, frozenset(answered), frozenset(mine), highest, claimed)


async def _count_claims(bus: Bus, item: WorkItem) -> int:
    """Stored claims of the replica less those given back: as the validator counts, so that both say poison of the same."""
    found, seq = 0, 1
    while True:
        stored = await bus.next("CLAIM", seq, subjects.claims_of_replica(item.unit, item.replica))
        if stored is None:
            return found
        claim = trusted_claim(stored.subject, stored.data)
        found += -1 if claim.released else not claim.poisoned
        seq = stored.seq + 1


def trusted_claim(subject: str, data: bytes) -> Claim:
    """Host and slot come from the subject, which the server guards; the rest from the payload."""
    _, unit, replica, host, slot = subject.split(".")
    try:
        claim = msgspec.json.decode(data, type=Claim)
    except msgspec.MsgspecError as e:
        log.warning("a claim on %s cannot be read (%s); it counts as a failed attempt", subject, e)
        claim = Claim("", "", unit, int(replica), host, slot, 0, 1)
    return msgspec.structs.replace(claim, unit=unit, replica=int(replica), host=host, slot=slot)


def decode_checkpoint(data: bytes) -> Checkpoint:
    """A checkpoint; one that cannot be read counts as generation 0."""
    try:
        return msgspec.msgpack.decode(data, type=Checkpoint)
    except msgspec.MsgspecError as e:
        log.warning("a checkpoint cannot be read (%s); starting over", e)
        return Checkpoint("", "", 0, 0, 0, "", b"")


async def publish_claim(bus: Bus, claim: Claim, last_seq: int) -> int:
    """Compare-and-set over all claims of the unit; returns the claim's sequence. Conflict when another was first."""
    subject = subjects.claim(claim.unit, claim.replica, claim.host, claim.slot)
    expect = Expect(subjects.claims_of_unit(claim.unit), last_seq)
    try:
        return await bus.publish(subject, msgspec.json.encode(claim), expect=expect, patience_s=10.0)
    except Conflict as e:
        there = await bus.winner("CLAIM", expect, e)
        if there is not None and there.subject == subject and trusted_claim(subject, there.data).id == claim.id:
            return there.seq
        raise


async def still_holds(bus: Bus, item: WorkItem, claim_seq: int) -> bool:
    """True while our claim is the newest one on the replica. Unreachable when it cannot be told: whoever does not even
    show our own claim is behind, and that is no evidence that another took over."""
    deadline = time.monotonic() + BEHIND_S
    while True:
        stored = await bus.last("CLAIM", subjects.claims_of_replica(item.unit, item.replica))
        if stored is not None and stored.seq >= claim_seq:
            return stored.seq == claim_seq
        if time.monotonic() > deadline:
            raise Unreachable(f"claim {claim_seq} on unit {item.unit} cannot be read back")
        await asyncio.sleep(0.1)


async def own_checkpoint(bus: Bus, item: WorkItem, host: str, slot: str, lane: str) -> Checkpoint | None:
    """The newest checkpoint of this owner on this replica: another owner's is never used, so that owners stay independent."""
    where = (
        subjects.checkpoints_of_host(item.unit, item.replica, host)
        if owner_of(item.distinct, host, slot) == host
        else subjects.checkpoint(item.unit, item.replica, host, slot)
    )
    stored = await bus.last("CKPT", where)
    if stored is None:
        return None
    found = decode_checkpoint(stored.data)
    return found if found.lane == lane and found.state else None
