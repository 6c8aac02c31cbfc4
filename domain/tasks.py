"""What the units of a campaign are: searches, the parts of a sweep, repetitions on series without anything to find."""

import msgspec

from domain.grammar import Space, search_space
from domain.hashing import content_hash, derived_seed
from domain.specs import CampaignSpec, Distinct, SearchSpec


class Evolve(msgspec.Struct, frozen=True, tag="evolve"):
    """One seeded genetic search."""


class Sweep(msgspec.Struct, frozen=True, tag="sweep"):
    """Every rule set of the grammar with one stop and one target: nothing is left to chance."""

    stop_bps: int
    target_bps: int


class Null(msgspec.Struct, frozen=True, tag="null"):
    """The campaign's searches once more, on a series bootstrapped from the dataset in blocks of `block` candles by the
    unit's seed: what luck alone finds. `searches` of them; their seeds follow from the campaign's `seed` (`search_seed`)."""

    searches: int
    seed: int
    block: int


Task = Evolve | Sweep | Null


class WorkItem(msgspec.Struct, frozen=True):
    """One replica of one unit, as a miner pulls it; complete, so that a miner needs nothing but this and the dataset."""

    campaign: str
    unit: str
    index: int
    replica: int
    replica_limit: int
    distinct: Distinct
    seed: int
    search: SearchSpec
    task: Task


def pairs(space: Space) -> tuple[tuple[int, int], ...]:
    """(stop, target) in bps of every part of a sweep, in order."""
    return tuple((stop, target) for stop in space.stop_bps for target in space.target_bps)


def unit_count(spec: CampaignSpec) -> int:
    """All units: those that search come first, the null repetitions behind them."""
    return spec.units + spec.nulls


def search_seed(search: SearchSpec, seed: int, index: int) -> int:
    """Of the campaign's unit `index`; `seed` is the campaign's."""
    return derived_seed("unit", content_hash(search), seed, index)


def unit_seed(spec: CampaignSpec, index: int) -> int:
    """Depends on the spec, never on the campaign's id: the same campaign again has the same units."""
    return search_seed(spec.search, spec.seed, index)


def unit_task(spec: CampaignSpec, index: int) -> Task:
    if index >= spec.units:
        return Null(spec.units, spec.seed, spec.null_block)
    if spec.search.method == "sweep":
        return Sweep(*pairs(space_of(spec.search))[index])
    return Evolve()


def most_generations(task: Task, search: SearchSpec) -> int:
    """No checkpoint of the unit can be further than this."""
    return search.generations * (task.searches if isinstance(task, Null) else 1)


def space_of(search: SearchSpec) -> Space:
    return search_space(search.grammar, search.risk, search.venue)
