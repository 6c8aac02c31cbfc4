"""Read what miners wrote, trusting only what the server guards: the subject."""

import re
from typing import NamedTuple

import msgspec

from bus.client import Stored
from bus.messages import Claim
from domain.errors import BadInput
from domain.gathered import merged_front
from domain.genome import canonical_genome, genome_id, validate_genome
from domain.metrics import TIER1, TIER2, Figures
from domain.results import FRONT_MOST, Find, FrontPoint, MarketFigures, ReplicaResult

_HASH = re.compile(r"[0-9a-f]{64}")
_COUNT = 2**53
MOST_SAMPLED = 1_000
_TIER1, _TIER2 = frozenset(TIER1), frozenset(TIER2)


class Place(NamedTuple):
    """What the subject of a result says: for which replica it is, and from whom."""

    campaign: str
    unit: str
    replica: int
    host: str
    slot: str


def place_of(subject: str) -> Place:
    """BadInput unless it is `result.<campaign>.<unit>.<replica>.<host>.<slot>`."""
    tokens = subject.split(".")
    if len(tokens) != 6 or not re.fullmatch(r"\d{1,4}", tokens[3]):
        raise BadInput(f"{subject} is no place of a result")
    return Place(tokens[1], tokens[2], int(tokens[3]), tokens[4], tokens[5])


def read_claim(stored: Stored) -> Claim:
    """A claim that says the unit, replica and owner of its subject, else BadInput."""
    tokens = stored.subject.split(".")
    try:
        claim = msgspec.json.decode(stored.data, type=Claim)
    except msgspec.MsgspecError as e:
        raise BadInput(f"not a claim: {e}") from e
    if len(tokens) != 5 or tokens[1:] != [claim.unit, str(claim.replica), claim.host, claim.slot]:
        raise BadInput(f"the claim says another unit, replica or owner than its subject {stored.subject}")
    counts = (claim.attempts, claim.start_generation, claim.highest_generation)
    if not all(0 <= n < _COUNT for n in counts):
        raise BadInput("the claim counts what cannot be counted")
    return claim


def read_result(stored: Stored) -> ReplicaResult:
    """A result whose digest is that of its outcome and whose sender is the one that the subject names, else BadInput."""
    try:
        result = msgspec.json.decode(stored.data, type=ReplicaResult)
    except msgspec.MsgspecError as e:
        raise BadInput(f"not a result: {e}") from e
    said = Place(result.campaign, result.unit, result.replica, result.host, result.slot)
    if said != place_of(stored.subject):
        raise BadInput(f"the result says another unit, replica or owner than its subject {stored.subject}")
    outcome = result.outcome
    if outcome.digest() != result.digest:
        raise BadInput("the digest of the result is not that of its outcome")
    if not _HASH.fullmatch(outcome.tried_sha256):
        raise BadInput("the result names no set of tried genomes")
    if not all(0 <= n < _COUNT for n in (outcome.evaluated, outcome.generations, result.seconds)):
        raise BadInput("the result counts what cannot be counted")
    if outcome.distribution is not None and not (
        outcome.distribution.adds_up() and outcome.distribution.evaluated == outcome.evaluated
    ):
        raise BadInput("the distribution of the result does not add up to what was evaluated")
    for find in outcome.finds:
        _check_find(find)
    _check_front(outcome.front)
    nulls = [outcome.null.genome] if outcome.null is not None and outcome.null.genome is not None else []
    for genome in (*outcome.sample, *nulls):
        validate_genome(genome)
        if canonical_genome(genome) != genome:
            raise BadInput("the result names a genome that is not in canonical form")
    if len(outcome.sample) > MOST_SAMPLED:
        raise BadInput(f"the result samples more than {MOST_SAMPLED} genomes")
    return result


def _check_find(find: Find) -> None:
    validate_genome(find.genome)
    if genome_id(find.genome) != find.genome_id:
        raise BadInput("a find carries another genome's id")
    parts: tuple[Find | MarketFigures, ...] = (find, *find.also)
    windows = [w for p in parts for w in (*p.fitness, *p.walk_forward)]
    daily = [d for p in parts for d in (p.daily_fitness, p.daily_walk, p.hold_fitness, p.hold_walk)]
    if not all(_named(w.tier1, _TIER1) for w in windows) or not all(_named(d, _TIER2) for d in daily):
        raise BadInput("a find carries figures that we do not know")


def _check_front(front: tuple[FrontPoint, ...]) -> None:
    """It has to be a front: what another one dominates, or what stands there twice, would be shown as a choice."""
    if len(front) > FRONT_MOST:
        raise BadInput(f"the front of the result has more than {FRONT_MOST} genomes")
    for point in front:
        validate_genome(point.genome)
        if canonical_genome(point.genome) != point.genome or genome_id(point.genome) != point.genome_id:
            raise BadInput("the front of the result carries another genome's id")
    if merged_front(front) != front:
        raise BadInput("the front of the result is none: one dominates another, or they are out of order")


def _named(figures: Figures, names: frozenset[str]) -> bool:
    return not figures or figures.keys() == names
