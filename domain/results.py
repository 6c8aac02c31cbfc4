"""What a unit of mining yields. The digest holds outcomes only: no id, no time, no machine."""

import msgspec

from domain.genome import Genome
from domain.hashing import content_hash
from domain.metrics import Figures


class WindowFigures(msgspec.Struct, frozen=True):
    """Tier 1 figures of one genome over one window (`start`, `stop` candle indices)."""

    start: int
    stop: int
    tier1: Figures


class Find(msgspec.Struct, frozen=True):
    """One retained genome with its figures; `objective` is its mean net return over the fitness windows, null
    when there is a window in which it never traded.

    `daily_*` are tier 2 figures of the genome and `hold_*` of buy & hold, over the whole fitness range and over the
    whole walk-forward range (each from its first window's start to its last window's stop, starting flat).
    """

    genome: Genome
    genome_id: str
    objective: float | None
    enough_trades: bool
    fitness: tuple[WindowFigures, ...]
    walk_forward: tuple[WindowFigures, ...]
    daily_fitness: Figures
    daily_walk: Figures
    hold_fitness: Figures
    hold_walk: Figures


class NullOutcome(msgspec.Struct, frozen=True):
    """What the campaign's searches found on a series without a message: luck alone.

    `series` is the digest of the bootstrapped candles; `genome` the best of all searches by standing, null when none of
    them traded within the safety limits. It is a trial of nothing: it was never tried on the dataset itself.
    """

    series: str
    genome: Genome | None
    objective: float | None
    trades: int
    enough_trades: bool


class UnitOutcome(msgspec.Struct, frozen=True):
    """The pure function of (dataset, spec, seed, kernel version) that two owners must agree on bit by bit.

    `sample`: the tried genomes with the smallest hashes, ascending; as hashes know nothing of figures, a random sample of
    what was tried, and the smallest of several units' samples are one of all of them. `null`: of null repetitions only,
    which have neither finds, nor a sample, nor trials.
    """

    dataset: str
    seed: int
    generations: int
    evaluated: int
    tried_sha256: str
    finds: tuple[Find, ...]
    sample: tuple[Genome, ...] = ()
    null: NullOutcome | None = None

    def digest(self) -> str:
        return content_hash(self)


class ReplicaResult(msgspec.Struct, frozen=True):
    """What a miner answers: the outcome, its digest, and the trace of who and how long."""

    campaign: str
    unit: str
    index: int
    replica: int
    host: str
    slot: str
    lane: str
    claim_seq: int
    digest: str
    outcome: UnitOutcome
    seconds: float
    resumed_from: int = 0
