"""What a unit of mining yields. The digest holds outcomes only: no id, no time, no machine."""

from collections.abc import Sequence

import msgspec

from domain.genome import Genome
from domain.hashing import content_hash
from domain.metrics import Figures


class WindowFigures(msgspec.Struct, frozen=True, gc=False):
    """Tier 1 figures of one genome over one window (`start`, `stop` candle indices)."""

    start: int
    stop: int
    tier1: Figures


def mean_return(windows: Sequence[WindowFigures]) -> float | None:
    """Mean net return over the fitness windows of one dataset, bit for bit its part of the objective; null when there is a
    window in which nothing was traded."""
    total = 0.0
    for window in windows:
        value = window.tier1.get("return_frac")
        if value is None:
            return None
        total += float(value)
    return total / len(windows) if windows else None


class MarketFigures(msgspec.Struct, frozen=True, gc=False):
    """The figures of a find on a further dataset of its search; each as the one of the same name in `Find`."""

    dataset: str
    fitness: tuple[WindowFigures, ...]
    walk_forward: tuple[WindowFigures, ...]
    daily_fitness: Figures
    daily_walk: Figures
    hold_fitness: Figures
    hold_walk: Figures


class Find(msgspec.Struct, frozen=True, gc=False):
    """One retained genome with its figures; `objective` is its mean net return over the fitness windows, null
    when there is a window in which it never traded. Of a search over several datasets it is the mean of their objectives,
    `enough_trades` counts the trades of all, and the other figures are those of the first; `also` holds the others', in
    the search's order.

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
    also: tuple[MarketFigures, ...] = ()


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


LOWEST_BIN, HIGHEST_BIN = -1001, 5000


class Histogram(msgspec.Struct, frozen=True):
    """Exact counts of the objective in bins of 0.1 %: `counts[n]` genomes have
    (first + n) / 1000 <= objective < (first + n + 1) / 1000. Bin -1001 counts all below -100 %, bin 5000 all from +500 %."""

    first: int
    counts: tuple[int, ...]


class Distribution(msgspec.Struct, frozen=True):
    """Where all genomes of an exhaustive unit came out; the figures add up to `evaluated`.

    `without_objective`: a fitness window without a trade; `flagged`: a safety limit broken; `few` and `enough`: the
    objective of those with fewer trades than wanted, and of the others.
    """

    evaluated: int
    without_objective: int
    flagged: int
    few: Histogram
    enough: Histogram

    def adds_up(self) -> bool:
        """Whether the figures can be those of one count of `evaluated` genomes, in bins that there are."""
        for bins in (self.few, self.enough):
            if bins.counts and not LOWEST_BIN <= bins.first <= HIGHEST_BIN + 1 - len(bins.counts):
                return False
        counts = (self.without_objective, self.flagged, *self.few.counts, *self.enough.counts)
        return all(n >= 0 for n in counts) and sum(counts) == self.evaluated


#: Members of a unit's front that are kept: the ends of every aim, then those with most room around them.
FRONT_MOST = 16


class FrontPoint(msgspec.Struct, frozen=True, gc=False):
    """A genome with enough trades that no other one of its unit dominates: none is at least as good in all four figures of
    the fitness windows, mean net return, mean Sharpe ratio a trade (null when undefined), deepest drawdown, number of
    trades, and better in one."""

    genome: Genome
    genome_id: str
    objective: float
    sharpe: float | None
    max_drawdown: float
    trades: int


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
    distribution: Distribution | None = None
    front: tuple[FrontPoint, ...] = ()

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
