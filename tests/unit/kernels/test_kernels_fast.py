"""The fast path's own promises: stores that overflow, levels that pay for a table, entries refused on the way, threads."""

import numpy as np
import pytest
from msgspec.structs import replace

from domain.execution import MarketRules
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing
from domain.metrics import T1
from domain.specs import Window
from kernels.bitmaps import LEAST_ROWS, RuleBits
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.search import Search
from kernels.golden_cases import CANDLES, EXECUTION, WINDOWS, golden_candles, golden_genomes
from kernels.jit import jit
from kernels.ladder import build_ladder, first_met
from kernels.plain import PlainEvaluator
from kernels.population import Numbering
from kernels.sizes import SizeTables
from kernels.tables import TouchTables
from tests.support.market import small_market, spec_for
from tests.unit.kernels.kernel_cases import constant

GENOMES = golden_genomes()
CLOSE = Operand("close")


def bits(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).view(np.int64)


@jit
def ladder_search(values, rungs, c, guard_row, guard, aim):
    return first_met(values, rungs, c, guard_row, guard, aim)


def in_lanes(count: int, seed: int = 1, **risk: object) -> list[Genome]:
    """Genomes with one side, a stop and a target, which walk in lanes."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        rules = tuple(
            Rule(Operand("sma", int(rng.integers(2, 40))), ("<", ">")[int(rng.integers(2))], CLOSE)
            for _ in range(int(rng.integers(1, 5)))
        )
        stop, target = int(rng.integers(10, 400)), int(rng.integers(10, 400))
        given = {"sizing": Sizing("fixed", amount=1_000.0), **risk}
        found.append(Genome("long", Risk(stop, target, **given), RuleSet(rules)))  # type: ignore[arg-type]
    return found


def agree(genomes: list[Genome], execution=EXECUTION, windows=WINDOWS, **options: object) -> np.ndarray:
    candles = golden_candles()
    found = CompiledEvaluator(candles, execution, **options).tier1(genomes, windows)
    np.testing.assert_array_equal(bits(found), bits(PlainEvaluator(candles, execution).tier1(genomes, windows)))
    return found


def test_lanes_agree_with_the_plain_loop_in_every_window():
    windows = [*WINDOWS, *(Window(s, s + n) for s, n in ((0, 1), (1, 1), (63, 2), (64, 64), (65, 63), (127, 700)))]
    rows = agree(in_lanes(300), windows=windows, worth=0.0)
    assert np.median(rows[:, 0, T1["trades"]]) > 5
    agree(in_lanes(60, sizing=Sizing(fraction_bps=10_000)), windows=windows, worth=0.0)


@pytest.mark.parametrize(
    "sizing", [Sizing("fixed", amount=1_000.0), Sizing(fraction_bps=5_000)], ids=["fixed", "fraction"]
)
@pytest.mark.parametrize("leverage", [1, 3])
def test_shorts_and_leverage_walk_in_lanes_where_the_stop_is_nearer_than_liquidation(sizing, leverage, monkeypatch):
    genomes = in_lanes(150, sizing=sizing, leverage=leverage)
    genomes[::2] = [replace(g, direction="short", long=RuleSet(), short=g.long) for g in genomes[::2]]
    dear = replace(EXECUTION, rollover_bps=7.0, opening_fee_bps=3.0, maintenance_margin_bps=500.0)
    rows = agree(genomes, dear, worth=0.0)
    assert np.median(rows[:, 0, T1["trades"]]) > 5
    monkeypatch.setattr("kernels.evaluator.hop_batch", None)  # would be called for any genome that is in no lane
    found = CompiledEvaluator(golden_candles(), dear, worth=0.0).tier1(genomes, WINDOWS)
    np.testing.assert_array_equal(bits(found), bits(rows))


@pytest.mark.parametrize(
    "sizing", [Sizing("fixed", amount=1_000.0), Sizing(fraction_bps=5_000)], ids=["fixed", "fraction"]
)
def test_the_ladder_serves_levels_without_a_table_shorts_and_what_is_off(sizing, monkeypatch):
    genomes = in_lanes(150, sizing=sizing)
    genomes[::3] = [replace(g, direction="short", long=RuleSet(), short=g.long) for g in genomes[::3]]
    genomes[::5] = [replace(g, risk=replace(g.risk, target_bps=0)) for g in genomes[::5]]
    genomes[1::15] = [replace(g, risk=replace(g.risk, stop_bps=0)) for g in genomes[1::15]]  # no short among them
    monkeypatch.setattr("kernels.evaluator.hop_batch", None)  # none of them walks by blocks
    windows = [*WINDOWS, *(Window(s, s + n) for s, n in ((0, 1), (1, 1), (63, 2), (64, 64), (127, 700)))]
    rows = agree(genomes, windows=windows, worth=float("inf"), tile=4_096)
    assert np.median(rows[:, 0, T1["trades"]]) > 5


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 600])
def test_the_ladder_finds_what_a_look_at_every_candle_finds(n):
    rng = np.random.default_rng(n)
    low = rng.integers(50, 100, n).astype(np.float64)
    rows = np.stack((low, -(low + rng.integers(0, 9, n))))
    values, rungs = build_ladder(*rows)
    for _ in range(200):
        side, c = int(rng.integers(2)), int(rng.integers(n + 1))
        guard, aim = (float(v) for v in rng.integers((45, -115), (60, -95)))
        if side == 1:
            guard, aim = aim, guard
        met = np.flatnonzero((rows[side, c:] <= guard) | (rows[1 - side, c:] < aim))
        assert ladder_search(values, rungs, c, 8 * side, guard, aim) == (c + met[0] if len(met) else n)


@pytest.mark.parametrize("worth", [0.0, float("inf")], ids=["tables", "ladder"])
def test_ruin_in_an_early_tile_ends_a_genome_and_no_other(worth):
    market = small_market(13_000, 5)
    genomes = in_lanes(40, sizing=Sizing("fixed", amount=9_000.0)) + in_lanes(40, seed=2)
    dear = replace(EXECUTION, taker_bps=90.0)
    windows = [Window(0, 13_000), Window(100, 9_000)]
    expected = PlainEvaluator(market, dear).tier1(genomes, windows)
    assert np.any(expected[:, 0, T1["final_equity"]] < 9_000.0)
    found = CompiledEvaluator(market, dear, worth=worth, tile=4_096).tier1(genomes, windows)
    np.testing.assert_array_equal(bits(found), bits(expected))


def test_a_liquidation_nearer_than_the_stop_counts():
    genomes = [replace(g, risk=replace(g.risk, stop_bps=9_000)) for g in in_lanes(40, leverage=3)]
    genomes[::2] = [replace(g, direction="short", long=RuleSet(), short=g.long) for g in genomes[::2]]
    agree(genomes, replace(EXECUTION, maintenance_margin_bps=3_100.0), worth=0.0)


def test_neither_tiles_nor_the_room_for_hops_change_a_bit():
    market = small_market(13_000, 5)
    genomes = in_lanes(80) + in_lanes(40, seed=2, sizing=Sizing(fraction_bps=2_000))
    # One that is hardly ever out of the market, and one that stays in a position over many tiles.
    always = RuleSet((Rule(CLOSE, ">", constant(0.0)),))
    small = Sizing("fixed", amount=10.0)
    genomes += [Genome("long", Risk(bps, bps, sizing=small), always) for bps in (1, 9_000)]
    windows = [
        Window(0, 13_000),
        Window(4_095, 4_097),
        Window(4_096, 8_192),
        Window(4_000, 12_289),
        Window(12_999, 13_000),
    ]
    expected = PlainEvaluator(market, EXECUTION).tier1(genomes, windows)
    assert expected[-2, 0, T1["trades"]] > 4_000
    for tile in (4_096, 8_192, 1 << 20):
        found = CompiledEvaluator(market, EXECUTION, worth=0.0, tile=tile).tier1(genomes, windows)
        np.testing.assert_array_equal(bits(found), bits(expected))
    for hops in (1, 300, 20_000):  # too few for two genomes, for all, for the whole of a list
        found = CompiledEvaluator(market, EXECUTION, worth=0.0, tile=4_096, threads=2, hops=hops).tier1(
            genomes, windows
        )
        np.testing.assert_array_equal(bits(found), bits(expected))


def test_tables_of_sizes_have_a_budget_and_hold_clean_ones_alone():
    candles = golden_candles()
    costs = PlainEvaluator(candles, EXECUTION)._market[0]
    sizes = SizeTables(candles.open, costs, worth=10.0, limit=2 * 16 * CANDLES)
    small, large, third = (True, 100.0, 1.0), (False, 200.0, 2.0), (True, 300.0, 1.0)
    assert sizes.rows_for([small, (True, 0.0, 1.0)], [9.0, 99.0]).tolist() == [-1, -1]
    assert sizes.rows_for([small, large], [1.0, 10.0]).tolist() in ([0, 1], [1, 0])
    assert sizes.rows_for([third], [10.0]).tolist() == [0], "full: afresh"
    assert len(sizes.tables) == 2
    assert sizes.rows_for([(True, 1e-9, 1.0)], [10.0]).tolist() == [-1], "buys no lot"
    assert sizes.rows_for([(True, EXECUTION.max_position, 3.0)], [10.0]).tolist() == [-1], "beyond the safety limit"


@pytest.mark.parametrize("limits", [{"max_balance": 10_100.0}, {"max_position": 900.0}, {"max_pnl": 5.0}])
def test_flags_are_those_of_the_plain_loop(limits):
    rows = agree(in_lanes(80), replace(EXECUTION, taker_bps=0.0, maker_bps=0.0, **limits), worth=0.0)
    assert np.any(rows[:, :, T1["flags"]] > 0)


def test_an_entry_refused_on_the_way_is_passed_over_as_the_plain_loop_does():
    # One lot costs what a coin costs: the amount buys one below its price, and none above.
    price = float(np.median(golden_candles().close))
    genomes = in_lanes(60, sizing=Sizing("fixed", amount=price))
    whole_coins = replace(EXECUTION, market=MarketRules(2, 0), start_equity=100 * price)
    rows = agree(genomes, whole_coins, worth=0.0)
    free = agree(genomes, replace(whole_coins, market=MarketRules(2, 8)), worth=0.0)
    trades, unhindered = rows[:, 0, T1["trades"]], free[:, 0, T1["trades"]]
    assert np.any((trades > 0) & (trades < unhindered))


def test_after_ruin_a_lane_stops_as_the_plain_loop_does():
    dear = replace(EXECUTION, taker_bps=900.0)
    rows = agree(in_lanes(60, sizing=Sizing("fixed", amount=9_000.0)), dear, worth=0.0)
    assert np.nanmin(rows[:, 0, T1["final_equity"]]) < 9_000.0


@pytest.mark.parametrize("options", [{}, {"worth": 0.0}], ids=["blocks", "tables"])
def test_threads_and_the_size_of_calls_change_no_bit(options, monkeypatch):
    genomes = [*GENOMES, *in_lanes(40)] * 3
    expected = agree(genomes, **options)
    monkeypatch.setattr("kernels.evaluator.VISITS_PER_CALL", 7 * CANDLES)
    np.testing.assert_array_equal(bits(agree(genomes, threads=3, **options)), bits(expected))


def slots_for(touch, factors, weights):
    return touch.slots_of(touch.levels_of(factors), weights)


def test_tables_are_built_once_a_level_pays_and_dropped_when_there_is_no_room():
    candles = golden_candles()
    touch = TouchTables(candles, 100.0, 0.0005, limit=3 * 12 * CANDLES, worth=10.0)
    factors = np.zeros((4, 8))
    factors[:, 0] = (0.99, 0.98, 0.97, 0.96)
    assert np.all(slots_for(touch, factors[:1], np.array([9.0])) == -1)
    assert slots_for(touch, factors[:1], np.array([1.0]))[0, 0] >= 0  # ten by now
    kept = slots_for(touch, factors, np.array([20.0, 30.0, 40.0, 50.0]))[:, 0]
    assert (kept >= 0).tolist() == [False, True, True, True]  # the least used has no room
    assert len(touch.tables) <= 3
    np.testing.assert_array_equal(slots_for(touch, factors, np.array([1.0, 1.0, 1.0, 1.0]))[:, 0], kept)


def test_a_table_names_the_first_candle_that_meets_its_level():
    candles = golden_candles()
    touch = TouchTables(candles, 100.0, 0.0005, worth=0.0)
    factors = np.zeros((1, 8))
    factors[0, :4] = (0.99, 0.0, 0.985, 1.01)
    stop, _, trailing, target = slots_for(touch, factors, np.ones(1))[0, :4]
    low, high, open_, close = candles.low, candles.high, candles.open, candles.close
    for e in range(0, CANDLES, 37):
        for slot, met in (
            (stop, np.minimum(low, open_)[e:] <= np.floor(open_[e] * 99 + 1e-6) / 100),
            (target, np.maximum(high, open_)[e:] > np.ceil(open_[e] * 101 - 1e-6) / 100),
        ):
            assert touch.tables[slot, e] >> 2 == (e + int(np.argmax(met)) if met.any() else CANDLES)
        best = np.maximum.accumulate(np.concatenate(([open_[e]], close[e:-1])))
        met = np.minimum(low, open_)[e:] <= np.floor(best * 98.5 + 1e-6) / 100
        assert touch.tables[trailing, e] >> 2 == (e + int(np.argmax(met)) if met.any() else CANDLES)


def test_the_store_of_bitmaps_starts_afresh_for_another_numbering_and_when_full():
    store = RuleBits(CANDLES, limit=0)
    rules = [Rule(CLOSE, ">", constant(float(v))) for v in range(LEAST_ROWS + 1)]
    features = golden_candles().close[None, :].copy()
    from kernels.layout import rule_records

    def add(numbers):
        missing = store.missing(rules, np.array(numbers))
        store.add(missing, rule_records([rules[i] for i in missing], {CLOSE: 0}), features)
        return missing.tolist()

    assert add([0, 1]) == [0, 1]
    assert add([1, 2]) == [2]
    assert add(list(range(1, LEAST_ROWS + 1))) == list(range(1, LEAST_ROWS + 1))  # no room: all anew
    assert store.row_of[0] == -1
    assert store.missing(list(rules), np.array([5])).tolist() == [5]


def test_equal_rules_have_one_number_and_the_numbering_may_start_afresh():
    numbering = Numbering(kept=2)
    first, second = in_lanes(2)
    copy = Genome("long", first.risk, RuleSet(tuple(Rule(r.left, r.op, r.right) for r in first.long.entry)))
    population = numbering.encode([first, copy])
    spans = [population.index[r["long_entry"] : r["long_exit"]].tolist() for r in population.records]
    assert spans[0] == spans[1]
    for _ in range(3):
        again = numbering.encode([second, first])
    assert again.rules is not population.rules
    many = [replace(g, long=RuleSet(g.long.entry[:1])) for g in in_lanes(50)]
    candles = golden_candles()
    evaluator = CompiledEvaluator(candles, EXECUTION)
    evaluator._numbering = numbering
    for part in (many[:25], many[25:], many):
        expected = PlainEvaluator(candles, EXECUTION).tier1(part, WINDOWS)
        np.testing.assert_array_equal(bits(evaluator.tier1(part, WINDOWS)), bits(expected))


@pytest.mark.parametrize("guards", [{"trailing_bps": 90}, {"leverage": 3}, {"trailing_bps": 90, "leverage": 2}])
def test_a_guard_without_a_table_holds_beside_a_stop_and_a_target_that_have_theirs(guards):
    """Tables come one by one: those of the common stops and targets first, a rare trailing distance or leverage last."""
    candles = golden_candles()
    common = in_lanes(200)
    common = [replace(g, risk=replace(g.risk, stop_bps=150, target_bps=200)) for g in common]
    rare = [replace(g, risk=replace(g.risk, **guards)) for g in common[:7]]
    rare += [replace(g, direction="short", long=RuleSet(), short=g.long) for g in rare]
    fast, plain = CompiledEvaluator(candles, EXECUTION, worth=100.0), PlainEvaluator(candles, EXECUTION)
    whole = [Window(0, len(candles))]
    fast.tier1(common, whole)
    assert len(fast._touch._slots) == 2, "the stop and the target have their tables"
    np.testing.assert_array_equal(bits(fast.tier1(rare, whole)), bits(plain.tier1(rare, whole)))
    assert len(fast._touch._slots) == 2, "and nothing else has"


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_search_gives_the_same_bits_as_the_plain_loop(seed):
    """Populations grow together over generations: tables appear on the way, some for a part of a genome's levels only."""
    market = small_market(3_000, seed + 1)
    spec = spec_for(market, 1, population=100, generations=25)
    fast, plain = CompiledEvaluator(market, spec.search.execution), PlainEvaluator(market, spec.search.execution)

    class Both:
        def tier1(self, genomes, windows):
            found = fast.tier1(genomes, windows)
            np.testing.assert_array_equal(bits(found), bits(plain.tier1(genomes, windows)))
            return found

    search = Search(spec.search, seed, Both())
    while not search.done:
        search.step()
    assert search.evaluated > 1_500
