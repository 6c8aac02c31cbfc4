"""Pure decisions of a miner about a delivery: take it, give it back, drop it, or declare it poison."""

from typing import NamedTuple

import msgspec

from bus.messages import POISON_ATTEMPTS, Claim
from domain.specs import Distinct
from domain.tasks import WorkItem, most_generations


def owner_of(distinct: Distinct, host: str, slot: str) -> str:
    """Who counts as one: the whole machine, or one slot of it."""
    return host if distinct == "host" else f"{host}.{slot}"


class UnitView(NamedTuple):
    """What the bus says of a unit now.

    `newest`: replica -> (sequence, newest claim); `last_seq`: last sequence over all claims of the unit (0 = none);
    `answered`: replicas that have a result by anybody; `answered_by_me`: those with one by my owner;
    `highest_generation`: of any checkpoint of the delivered replica; `claims`: how many claims of it are stored, less those that
    were given back (counted only when the newest one says that there were many).
    """

    newest: dict[int, tuple[int, Claim]]
    last_seq: int
    answered: frozenset[int]
    answered_by_me: frozenset[int]
    highest_generation: int
    claims: int = 0


class Take(NamedTuple):
    claim: Claim


class Poison(NamedTuple):
    claim: Claim


class GoBack(NamedTuple):
    reason: str


class Drop(NamedTuple):
    """The message has done its service: acknowledge it."""

    reason: str


Decision = Take | Poison | GoBack | Drop


def decide(item: WorkItem, host: str, slot: str, view: UnitView, claim_id: str) -> Decision:
    """The rules of "A unit of mining". Holding the delivery permits a takeover; distinct owners are kept apart."""
    if item.replica in view.answered:
        return Drop("answered already")
    me = owner_of(item.distinct, host, slot)
    if view.answered_by_me:
        return GoBack("my owner has answered another replica of this unit")
    for replica, (_, claim) in view.newest.items():
        holds = not claim.released and not claim.poisoned and replica not in view.answered
        if replica != item.replica and holds and owner_of(item.distinct, claim.host, claim.slot) == me:
            return GoBack("my owner holds another replica of this unit")
    previous = view.newest.get(item.replica)
    # No checkpoint can be further than the search goes, whatever somebody wrote.
    highest = min(view.highest_generation, most_generations(item.task, item.search))
    claim = _next_claim(item, host, slot, previous[1] if previous else None, highest, claim_id)
    if claim.attempts > POISON_ATTEMPTS or (previous and previous[1].poisoned):
        # What one claimant says of earlier attempts is believed only as far as their claims are there.
        if view.claims >= POISON_ATTEMPTS:
            return Poison(msgspec.structs.replace(claim, poisoned=True))
        claim = msgspec.structs.replace(claim, attempts=min(claim.attempts, view.claims + 1))
    return Take(claim)


def _next_claim(item: WorkItem, host: str, slot: str, previous: Claim | None, highest: int, claim_id: str) -> Claim:
    attempts, taken_from = 1, ""
    if previous is not None:
        rose = highest > previous.highest_generation
        highest = max(highest, previous.highest_generation)
        attempts = 1 if rose else previous.attempts + 1
        if not previous.released and (previous.host, previous.slot) != (host, slot):
            taken_from = f"{previous.host}.{previous.slot}"
    return Claim(
        id=claim_id,
        campaign=item.campaign,
        unit=item.unit,
        replica=item.replica,
        host=host,
        slot=slot,
        highest_generation=highest,
        attempts=attempts,
        taken_from=taken_from,
    )


def release(claim: Claim, claim_id: str) -> Claim:
    """The record that gives a replica back in good order; such a stop is no failed attempt."""
    return msgspec.structs.replace(claim, id=claim_id, released=True, attempts=max(0, claim.attempts - 1))
