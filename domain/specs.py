"""What is asked for: windows, the search of one unit, and a campaign."""

import itertools
from typing import Literal

import msgspec

from domain.errors import BadInput
from domain.execution import ExecutionModel, validate_execution
from domain.grammar import load_grammar, search_space
from domain.hashing import content_hash, derived_id
from domain.risk import RISK_LEVELS, Level
from domain.sweep import check_sweep

Distinct = Literal["host", "slot"]
Method = Literal["evolve", "sweep"]
#: What survives: the highest net return, or whatever nothing else beats in return, Sharpe ratio, drawdown and trades at once.
Select = Literal["return", "pareto"]
SELECTS: tuple[Select, ...] = ("return", "pareto")
MIN_CANDLES = 2_000


class Window(msgspec.Struct, frozen=True, array_like=True):
    """Candles `start` (inclusive) to `stop` (exclusive) of a dataset. A window starts flat."""

    start: int
    stop: int


class Windows(msgspec.Struct, frozen=True):
    """Where fitness is measured, where a fixed genome is walked forward, and what nobody looks at unmetered."""

    fitness: tuple[Window, ...]
    walk_forward: tuple[Window, ...]
    hold_out: Window


#: Candles that no indicator of the bundled grammars looks back beyond: left out between fitness and walk-forward.
PURGE = 200
#: A window with fewer candles says nothing.
MIN_WALK = 10


def gap_after(part: int, purge: int | None) -> int:
    """Candles left out at the beginning of a walk-forward part of `part` candles, so that no value there rests on fitness
    candles: `purge`, or when null as many as indicators look back, but at most a tenth of the part."""
    return min(PURGE, part // 10) if purge is None else purge


def walk_windows(start: int, stop: int, walks: int) -> tuple[Window, ...]:
    """`walks` successive windows; BadInput when purge and embargo leave too little."""
    if stop - start < MIN_WALK * walks:
        raise BadInput(f"{max(0, stop - start)} candles are left to walk forward; purge and embargo must leave more")
    edges = [start + (stop - start) * i // walks for i in range(walks + 1)]
    return tuple(Window(x, y) for x, y in itertools.pairwise(edges))


def split_windows(candles: int, last: int = 0, walks: int = 4, purge: int | None = None, embargo: int = 0) -> Windows:
    """60 % fitness, 20 % walk-forward in `walks` successive windows, 20 % hold-out, of the last `last` candles (0 = all).

    Of walk-forward `purge` candles at its beginning (null: see `gap_after`) and `embargo` at its end are left out.
    """
    n = last or candles
    if n > candles:
        raise BadInput(f"{n} candles asked for, the dataset has {candles}")
    if n < MIN_CANDLES:
        raise BadInput(f"{n} candles are too few to search and to walk forward; at least {MIN_CANDLES} are needed")
    if (purge or 0) < 0 or embargo < 0:
        raise BadInput("purge and embargo are numbers of candles, not negative")
    start = candles - n
    a, b = start + n * 6 // 10, start + n * 8 // 10
    walk = walk_windows(a + gap_after(b - a, purge), b - embargo, walks)
    return Windows((Window(start, a),), walk, Window(b, candles))


class Market(msgspec.Struct, frozen=True):
    """A further dataset of a search: whose candles, which of them, and what a trade costs there."""

    dataset: str
    venue: str
    symbol: str
    granularity_s: int
    windows: Windows
    execution: ExecutionModel


#: Datasets that one search may have beside its first.
MOST_ALSO = 7


class SearchSpec(msgspec.Struct, frozen=True):
    """All that the outcome of a unit depends on, beside its seed and the kernel version.

    A strategy that it finds is one of the first market (`venue`, `symbol`, `granularity_s`); the datasets of `also` take part in
    the objective, each with the same weight, and are evidence.

    The search ends after `generations`, or after `patience` of them without a better best. A population whose own best has
    not become better for `restart_after` generations (0: never) gives way to a new one.
    """

    dataset: str
    venue: str
    symbol: str
    granularity_s: int
    windows: Windows
    execution: ExecutionModel
    risk: Level = "MEDIUM"
    grammar: str = "full"
    population: int = 60
    generations: int = 20
    patience: int = 8
    trades_wanted: int = 60
    top: int = 3
    method: Method = "evolve"
    select: Select = "return"
    restart_after: int = 0
    also: tuple[Market, ...] = ()

    @property
    def markets(self) -> tuple[Market, ...]:
        """All datasets in the order in which they are added up, the first one included."""
        first = Market(self.dataset, self.venue, self.symbol, self.granularity_s, self.windows, self.execution)
        return (first, *self.also)


class CampaignSpec(msgspec.Struct, frozen=True):
    """A search, how many units of it, how many distinct owners must agree on each, and the seed of all of it.

    `nulls` more units repeat the whole search on series bootstrapped in blocks of `null_block` candles.
    """

    search: SearchSpec
    units: int
    replicas: int = 2
    seed: int = 1
    name: str = ""
    nulls: int = 0
    null_block: int = 12


def unit_id(campaign: str, index: int) -> str:
    return derived_id("unit", campaign, index)


def strategy_id(genome: str, search: SearchSpec | Market) -> str:
    """hash(genome, venue, symbol, granularity, execution model): evidence for one market promotes nothing on another."""
    return content_hash([genome, search.venue, search.symbol, search.granularity_s, search.execution])


def validate_search(s: SearchSpec) -> None:
    if s.risk not in RISK_LEVELS:
        raise BadInput(f"risk must be one of {', '.join(RISK_LEVELS)}, not {s.risk}")
    for name, low, high in (
        ("population", 20, 500),
        ("generations", 1, 10_000),
        ("patience", 1, 10_000),
        ("top", 1, 20),
        ("trades_wanted", 0, 1_000_000),
        ("restart_after", 0, 10_000),
    ):
        if not low <= getattr(s, name) <= high:
            raise BadInput(f"{name} must be {low} to {high}, not {getattr(s, name)}")
    if s.select not in SELECTS:
        raise BadInput(f"select must be one of {', '.join(SELECTS)}, not {s.select}")
    load_grammar(s.grammar)
    for market in s.markets:
        validate_execution(market.execution)
    if s.also:
        _validate_also(s)
    if s.method == "sweep":
        space = search_space(s.grammar, s.risk, s.venue)
        check_sweep(s.grammar, space)
        if s.generations != len(space.rules):
            raise BadInput(
                f"an exhaustive unit goes from first rule to first rule: generations must be {len(space.rules)}"
            )


def _validate_also(s: SearchSpec) -> None:
    if len(s.also) > MOST_ALSO:
        raise BadInput(f"a search has at most {MOST_ALSO} datasets beside its first, not {len(s.also)}")
    datasets = [m.dataset for m in s.markets]
    if len(set(datasets)) < len(datasets):
        raise BadInput("a dataset can be searched once: name each of them once, in --dataset or in --also")
    if s.method == "sweep":
        raise BadInput("an exhaustive search has one dataset: it cannot be had with further ones")
    own = search_space(s.grammar, s.risk, s.venue)
    for venue in dict.fromkeys(m.venue for m in s.also):
        there = search_space(s.grammar, s.risk, venue)
        if not (set(own.directions) <= set(there.directions) and set(own.leverage) <= set(there.leverage)):
            raise BadInput(
                f"{venue} does not allow all directions and leverage that are searched on {s.venue}: search with {venue} first"
            )


def validate_campaign(c: CampaignSpec) -> None:
    """Raise BadInput with one clear line unless every figure is in range."""
    validate_search(c.search)
    for name, low, high in (
        ("units", 1, 100_000),
        ("replicas", 1, 9),
        ("seed", 0, 2**63 - 1),
        ("nulls", 0, 10_000),
        ("null_block", 1, 100_000),
    ):
        if not low <= getattr(c, name) <= high:
            raise BadInput(f"{name} must be {low} to {high}, not {getattr(c, name)}")
    if c.search.also and c.nulls:
        raise BadInput(
            "a search over several datasets has no null repetitions: series bootstrapped one by one lose what the datasets have "
            "in common, and luck on all of them at once would look rarer than it is"
        )
    if c.search.method == "sweep":
        space = search_space(c.search.grammar, c.search.risk, c.search.venue)
        pairs = len(space.stop_bps) * len(space.target_bps)
        if c.units != pairs:
            raise BadInput(
                f"an exhaustive search has a unit for each stop and target: units must be {pairs}, not {c.units}"
            )
        if c.nulls:
            raise BadInput(
                "an exhaustive search leaves nothing to chance and has no null repetitions: each of them would have to try the "
                "whole grammar again, and a smaller search on series without a message would flatter the real find"
            )
