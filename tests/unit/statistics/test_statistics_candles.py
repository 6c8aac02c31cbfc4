"""Null series: valid candles, the same bits everywhere, the dataset's distribution and none of its order."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from domain.candles import Candles, DatasetInfo
from domain.errors import BadInput
from kernels.reference_rules import Features, rule_mask
from kernels.statistics.candles import bootstrap_candles, rebuilt
from kernels.statistics.made import plant_rule, random_walk_candles
from kernels.terms import check_candles


def check_shape(candles: Candles) -> None:
    check_candles(candles)
    i = candles.ints
    assert (i["high"] >= np.maximum(i["open"], i["close"])).all()
    assert (i["low"] <= np.minimum(i["open"], i["close"])).all()
    assert (i["low"] >= 1).all()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.integers(1, 10**12)] * 4, st.integers(0, 10**9)).map(
            lambda r: (r[0], max(r[:4]), min(r[:4]), r[1], r[4])
        ),
        min_size=2,
        max_size=60,
    ),
    seed=st.integers(0, 2**64 - 1),
    block=st.integers(1, 100),
)
def test_any_candles_yield_valid_ones_at_the_same_times(rows, seed, block):
    table = np.array(rows, dtype=np.int64)
    info = DatasetInfo("none", "NONE", 60, 2, 0, len(rows), 0, (len(rows) - 1) * 60_000)
    columns = dict(zip(("open", "high", "low", "close", "volume"), table.T, strict=True))
    candles = Candles(info, {"time_ms": np.arange(len(rows)) * 60_000, **columns})
    try:
        made = bootstrap_candles(candles, seed, block)
    except BadInput:  # candles that jump a billionfold may leave the range of prices
        event("out of range")
        return
    assert made.info == candles.info
    np.testing.assert_array_equal(made.time_ms, candles.time_ms)
    check_shape(made)


def test_the_bytes_are_fixed_for_ever():
    """Two machines must build the very same candles: these are those of the first."""
    walk = random_walk_candles(2026, 3_000)
    assert walk.hash() == "60ad60706cf5d22dbec768289051cfc28f4d052894ca459ca6e16799afff220f"
    assert bootstrap_candles(walk, 7, 50).hash() == "f9c654c4e6d8f6ee78d819526a228ab933af16e66e05e89fa0b90b0d750b68ba"
    assert plant_rule(walk)[0].hash() == "6948e42bd40b3416a93fa3a9feb48f4985da1fcfdbe9e73db2b507366d185ccb"


def test_the_dataset_in_its_own_order_is_itself():
    walk = random_walk_candles(4, 500)
    assert rebuilt(walk, np.arange(1, 500)).hash() == walk.hash()


def test_seed_and_block_decide():
    walk = random_walk_candles(1, 400)
    assert bootstrap_candles(walk, 1, 20).hash() == bootstrap_candles(walk, 1, 20).hash()
    hashes = {bootstrap_candles(walk, *how).hash() for how in ((1, 20), (2, 20), (1, 21))}
    assert len(hashes) == 3


def test_returns_are_the_datasets_own():
    walk = random_walk_candles(3, 20_000, volatility_bps=50.0)
    made = bootstrap_candles(walk, 5, 100)
    a, b = (np.diff(c.close) / c.close[:-1] for c in (walk, made))
    assert b.std() == pytest.approx(a.std(), rel=0.05)
    assert np.quantile(b, [0.05, 0.95]) == pytest.approx(np.quantile(a, [0.05, 0.95]), rel=0.1)
    assert set(made.ints["volume"]) <= set(walk.ints["volume"])


def test_blocks_keep_short_dependence_and_lose_long():
    """Volatility comes in stretches of 64 candles: blocks of one scatter it, blocks of a thousand keep it."""
    walk = random_walk_candles(6, 30_000, volatility_bps=50.0)

    def memory(candles, lag):
        size = np.abs(np.diff(candles.close) / candles.close[:-1])
        return np.corrcoef(size[:-lag], size[lag:])[0, 1]

    assert memory(walk, 5) > 0.2
    assert memory(bootstrap_candles(walk, 1, 1_000), 5) > 0.2
    assert abs(memory(bootstrap_candles(walk, 1, 1), 5)) < 0.05


def test_a_random_walk_is_valid_and_says_nothing_about_its_next_candle():
    walk = random_walk_candles(8, 40_000)
    check_shape(walk)
    np.testing.assert_array_equal(walk.ints["open"][1:], walk.ints["close"][:-1])
    change = np.diff(walk.close) / walk.close[:-1]
    assert abs(np.corrcoef(change[:-1], change[1:])[0, 1]) < 0.02
    assert abs(change.mean()) < 3 * change.std() / np.sqrt(len(change))
    assert 10e-4 < change.std() < 40e-4


def test_a_planted_rule_pays_where_it_holds_and_only_there():
    walk = random_walk_candles(9, 30_000)
    planted, rule = plant_rule(walk, 14, 30, drift_bps=10, hold=6)
    check_shape(planted)
    holds = rule_mask(rule, Features(planted))[:-1]
    change = np.diff(planted.close) / planted.close[:-1]
    assert holds.sum() > 300
    assert change[holds].mean() == pytest.approx(10e-4, abs=2e-4)
    before = int(np.flatnonzero(holds)[0])
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(planted.ints[name][: before + 1], walk.ints[name][: before + 1])
    recently = np.convolve(holds, np.ones(7))[: len(holds)] > 0
    assert -5e-4 < change[~recently].mean() < 0.0  # what was given is taken back
    assert 0.2 < planted.close[-1] / planted.close[0] < 5.0


def test_one_candle_is_refused():
    with pytest.raises(BadInput):
        bootstrap_candles(random_walk_candles(1, 1), 1, 1)
