"""Windows, limits of what may be asked for, and ids of units and strategies."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInput
from domain.execution import ExecutionModel, MarketRules, validate_execution
from domain.risk import RISK_LEVELS
from domain.schemes import Scheme, fold_windows
from domain.specs import (
    MIN_CANDLES,
    MOST_ALSO,
    CampaignSpec,
    Market,
    SearchSpec,
    Window,
    split_windows,
    strategy_id,
    unit_id,
    validate_campaign,
    validate_search,
)
from domain.tasks import unit_seed

SEARCH = SearchSpec("d" * 64, "kraken", "BTC/USD", 300, split_windows(10_000), ExecutionModel())
CAMPAIGN = CampaignSpec(SEARCH, units=4)


@given(st.integers(MIN_CANDLES, 2_000_000), st.data(), st.integers(1, 12))
def test_windows_split_the_last_candles_with_a_purge_and_no_overlap(
    candles: int, data: st.DataObject, walks: int
) -> None:
    last = data.draw(st.one_of(st.just(0), st.integers(MIN_CANDLES, candles)))
    windows = split_windows(candles, last, walks)
    chain = [*windows.fitness, *windows.walk_forward, windows.hold_out]
    n = last or candles
    assert len(windows.walk_forward) == walks
    assert chain[0].start == candles - n
    assert chain[-1].stop == candles
    purge = min(200, (windows.hold_out.start - windows.fitness[0].stop) // 10)
    assert chain[1].start - chain[0].stop == purge
    assert all(a.stop == b.start for a, b in itertools.pairwise(chain[1:]))
    assert all(w.start < w.stop for w in chain)
    fitness = sum(w.stop - w.start for w in windows.fitness)
    hold_out = windows.hold_out.stop - windows.hold_out.start
    assert abs(fitness - 0.6 * n) < 1
    assert abs(hold_out - 0.2 * n) < 1


def test_windows_of_ten_thousand_candles() -> None:
    w = split_windows(10_000)
    assert w.fitness == (Window(0, 6000),)
    assert w.walk_forward == (Window(6200, 6650), Window(6650, 7100), Window(7100, 7550), Window(7550, 8000))
    assert w.hold_out == Window(8000, 10_000)


def test_purge_and_embargo_are_left_out_of_walk_forward() -> None:
    w = split_windows(10_000, walks=1, purge=500, embargo=100)
    assert (w.fitness, w.walk_forward, w.hold_out) == ((Window(0, 6000),), (Window(6500, 7900),), Window(8000, 10_000))
    assert split_windows(10_000, walks=1, purge=0).walk_forward == (Window(6000, 8000),)
    for wrong in ({"purge": -1}, {"embargo": -1}, {"purge": 1_995}, {"embargo": 2_000}):
        with pytest.raises(BadInput, match="purge and embargo"):
            split_windows(10_000, **wrong)


@pytest.mark.parametrize("scheme", ["anchored", "rolling"])
def test_folds_are_fitted_on_what_lies_before_them(scheme: Scheme) -> None:
    folds = fold_windows(10_000, scheme, 4, purge=150, embargo=50)
    assert [f.walk_forward for f in folds] == [(Window(a + 150, a + 950),) for a in (4000, 5000, 6000, 7000)]
    begins = [0, 0, 0, 0] if scheme == "anchored" else [0, 1000, 2000, 3000]
    assert [f.fitness for f in folds] == [
        (Window(b, a),) for b, a in zip(begins, (4000, 5000, 6000, 7000), strict=True)
    ]
    assert {f.hold_out for f in folds} == {Window(8000, 10_000)}
    last = fold_windows(10_000, scheme, 2, last=5_000)
    assert last[0].fitness == (Window(5000, 7000),)
    assert last[0].walk_forward == (Window(7100, 8000),)
    for wrong in ({"folds": 0}, {"folds": 21}, {"last": 100}, {"last": 10_001}, {"purge": 995}, {"embargo": -1}):
        with pytest.raises(BadInput):
            fold_windows(10_000, scheme, **({"folds": 4} | wrong))


@pytest.mark.parametrize(("candles", "last"), [(1999, 0), (10_000, 1999), (10_000, 10_001)])
def test_too_few_or_too_many_candles_are_refused(candles: int, last: int) -> None:
    with pytest.raises(BadInput, match="candles"):
        split_windows(candles, last)


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("population", 20, 500),
        ("generations", 1, 10_000),
        ("patience", 1, 10_000),
        ("top", 1, 20),
        ("trades_wanted", 0, 1_000_000),
        ("restart_after", 0, 10_000),
    ],
)
def test_search_limits_hold_at_both_ends(field: str, low: int, high: int) -> None:
    for good in (low, high):
        validate_search(msgspec.structs.replace(SEARCH, **{field: good}))
    for bad in (low - 1, high + 1):
        with pytest.raises(BadInput, match=field):
            validate_search(msgspec.structs.replace(SEARCH, **{field: bad}))


def test_an_unknown_risk_level_or_grammar_is_refused() -> None:
    with pytest.raises(BadInput, match="LOW, MEDIUM, HIGH"):
        validate_search(msgspec.structs.replace(SEARCH, risk="WILD"))
    with pytest.raises(BadInput, match="return, pareto"):
        validate_search(msgspec.structs.replace(SEARCH, select="luck"))
    with pytest.raises(BadInput, match="classic, full"):
        validate_search(msgspec.structs.replace(SEARCH, grammar="../../etc/passwd"))


@pytest.mark.parametrize(
    ("field", "low", "high"), [("units", 1, 100_000), ("replicas", 1, 9), ("seed", 0, 2**63 - 1), ("nulls", 0, 10_000)]
)
def test_campaign_limits_hold_at_both_ends(field: str, low: int, high: int) -> None:
    for good in (low, high):
        validate_campaign(msgspec.structs.replace(CAMPAIGN, **{field: good}))
    for bad in (low - 1, high + 1):
        with pytest.raises(BadInput, match=field):
            validate_campaign(msgspec.structs.replace(CAMPAIGN, **{field: bad}))


BAD_EXECUTION = [
    ({"taker_bps": -1.0}, "taker_bps"),
    ({"maker_bps": float("nan")}, "maker_bps"),
    ({"slippage_bps": 5000.0}, "slippage_bps"),
    ({"start_equity": 0.0}, "start_equity"),
    ({"max_pnl": float("inf")}, "max_pnl"),
    ({"version": 2}, "version, which knows 1"),
    ({"market": MarketRules(13, 8)}, "decimals"),
    ({"market": MarketRules(8, 8, -1.0)}, "min_notional"),
    ({"max_missing_candles": -1}, "max_missing_candles"),
]


@pytest.mark.parametrize(("change", "words"), BAD_EXECUTION)
def test_costs_out_of_range_are_refused(change: dict[str, object], words: str) -> None:
    validate_execution(ExecutionModel())
    bad = msgspec.structs.replace(ExecutionModel(), **change)
    with pytest.raises(BadInput, match=words):
        validate_execution(bad)
    with pytest.raises(BadInput, match=words):
        validate_campaign(CampaignSpec(msgspec.structs.replace(SEARCH, execution=bad), units=1))


def test_seeds_of_units_follow_from_the_spec_and_never_from_the_campaign() -> None:
    seeds = [unit_seed(CAMPAIGN, i) for i in range(100)]
    assert len(set(seeds)) == 100
    assert seeds == [unit_seed(msgspec.structs.replace(CAMPAIGN, name="x", units=9), i) for i in range(100)]
    assert unit_seed(msgspec.structs.replace(CAMPAIGN, seed=2), 0) != seeds[0]
    other = msgspec.structs.replace(CAMPAIGN, search=msgspec.structs.replace(SEARCH, top=4))
    assert unit_seed(other, 0) != seeds[0]
    assert unit_id("a", 0) != unit_id("b", 0) != unit_id("b", 1)


CHANGES = [
    {"venue": "coinbase"},
    {"symbol": "ETH/USD"},
    {"granularity_s": 60},
    {"execution": ExecutionModel(taker_bps=1.0)},
]


@pytest.mark.parametrize("change", CHANGES)
def test_evidence_for_one_market_is_no_evidence_for_another(change: dict[str, object]) -> None:
    assert strategy_id("g", msgspec.structs.replace(SEARCH, **change)) != strategy_id("g", SEARCH)


def test_costs_given_as_they_are_by_default_make_no_other_strategy() -> None:
    given = ExecutionModel(1, 10_000, 60, 40.0, 5, market=MarketRules(8, 8, 0))
    assert given == ExecutionModel()
    assert strategy_id("g", msgspec.structs.replace(SEARCH, execution=given)) == strategy_id("g", SEARCH)


def test_a_strategy_is_the_same_one_whatever_search_found_it() -> None:
    found_elsewhere = msgspec.structs.replace(SEARCH, dataset="e" * 64, population=100, windows=split_windows(5000))
    assert strategy_id("g", found_elsewhere) == strategy_id("g", SEARCH)
    assert strategy_id("h", SEARCH) != strategy_id("g", SEARCH)


def test_specs_survive_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(CAMPAIGN), type=CampaignSpec) == CAMPAIGN


def test_bolder_levels_never_demand_more_trades_nor_allow_less() -> None:
    low, medium, high = (RISK_LEVELS[name] for name in ("LOW", "MEDIUM", "HIGH"))
    for field in ("trailing_max_bps", "size_max_bps", "leverage_max"):
        assert getattr(low, field) < getattr(medium, field) < getattr(high, field)
    assert low.trades_wanted > medium.trades_wanted > high.trades_wanted


# -- several datasets -------------------------------------------------------------------------------------------------

OTHER = Market("e" * 64, "kraken", "ETH/USD", 300, split_windows(9_000), ExecutionModel())


def with_also(*also: Market, **changes: object) -> SearchSpec:
    return msgspec.structs.replace(SEARCH, also=also, **changes)


def test_a_search_over_several_datasets_is_another_search_for_strategies_of_the_first() -> None:
    both = with_also(OTHER)
    validate_campaign(msgspec.structs.replace(CAMPAIGN, search=both))
    assert [m.dataset for m in both.markets] == [SEARCH.dataset, OTHER.dataset]
    assert both.markets[0].windows == SEARCH.windows
    assert strategy_id("g", both) == strategy_id("g", SEARCH) == strategy_id("g", both.markets[0])
    assert strategy_id("g", OTHER) != strategy_id("g", both)
    assert unit_seed(msgspec.structs.replace(CAMPAIGN, search=both), 0) != unit_seed(CAMPAIGN, 0)


@pytest.mark.parametrize(
    ("search", "why"),
    [
        (with_also(OTHER, OTHER), "searched once"),
        (with_also(msgspec.structs.replace(OTHER, dataset=SEARCH.dataset)), "searched once"),
        (with_also(*(msgspec.structs.replace(OTHER, dataset=f"{i:064}") for i in range(MOST_ALSO + 1))), "at most"),
        (with_also(msgspec.structs.replace(OTHER, venue="coinbase")), "search with coinbase first"),
        (with_also(msgspec.structs.replace(OTHER, execution=ExecutionModel(taker_bps=-1.0))), "taker_bps"),
        (with_also(OTHER, method="sweep", grammar="primer"), "exhaustive"),
    ],
)
def test_what_cannot_be_searched_together(search: SearchSpec, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        validate_search(search)


def test_what_is_allowed_on_the_first_venue_must_be_allowed_on_the_others_and_not_the_other_way_round() -> None:
    on_kraken = msgspec.structs.replace(OTHER, symbol="BTC/USD")
    validate_search(with_also(on_kraken, venue="coinbase", symbol="BTC-USD"))


def test_several_datasets_have_no_null_repetitions() -> None:
    with pytest.raises(BadInput, match="no null repetitions"):
        validate_campaign(CampaignSpec(with_also(OTHER), units=4, nulls=19))
