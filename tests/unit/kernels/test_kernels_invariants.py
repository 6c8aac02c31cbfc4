"""What must hold whatever is computed: no look-ahead, no dependence on the batch, one compilation, bounded calls."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.candles import Candles, candles_from_bytes
from domain.genome import Operand
from domain.specs import Window
from kernels import bitmaps, hop, lanes, loop, plain, plans, summary, tables, touch
from kernels import evaluator as evaluator_module
from kernels.evaluator import CompiledEvaluator, warm_up
from kernels.golden_cases import CANDLES, EXECUTION, WINDOWS, golden_candles, golden_genomes
from kernels.indicators import compute_feature
from kernels.plain import FeatureMatrix, PlainEvaluator
from kernels.reference import ReferenceEvaluator
from kernels.sizing import size_in_lots, whole_ticks
from tests.unit.kernels.kernel_cases import candles_of, flat

GENOMES = golden_genomes()


@pytest.fixture(scope="module")
def rows():
    return CompiledEvaluator(golden_candles(), EXECUTION).tier1(GENOMES, WINDOWS)


def bits(a):
    return np.ascontiguousarray(a).view(np.int64)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(60, CANDLES - 2), pick=st.integers(0, len(GENOMES) - 1), shake=st.integers(1, 9_000))
def test_candles_after_t_never_change_a_trade_that_ended_before(cut, pick, shake):
    candles, genome, whole = golden_candles(), GENOMES[pick], Window(0, CANDLES)
    columns = {k: v.copy() for k, v in candles.ints.items()}
    for name in ("open", "high", "low", "close", "volume"):
        columns[name][cut:] = columns[name][cut:] * shake // 3_000 + 1
    for kind in (CompiledEvaluator, ReferenceEvaluator):
        before = [t for t in kind(candles, EXECUTION).trades(genome, whole) if t.exit_index < cut]
        after = [t for t in kind(Candles(candles.info, columns), EXECUTION).trades(genome, whole) if t.exit_index < cut]
        assert before == after


def test_a_row_does_not_depend_on_batch_order_or_chunk(rows, monkeypatch):
    candles = golden_candles()
    monkeypatch.setattr(evaluator_module, "VISITS_PER_CALL", 3 * CANDLES)
    chunked = CompiledEvaluator(candles, EXECUTION)
    monkeypatch.setattr(plain, "VISITS_PER_CALL", 3 * CANDLES)
    order = np.random.default_rng(3).permutation(len(GENOMES))
    np.testing.assert_array_equal(bits(chunked.tier1([GENOMES[i] for i in order], WINDOWS)), bits(rows[order]))
    for i in (0, 17, 46):
        alone = CompiledEvaluator(candles, EXECUTION).tier1([GENOMES[i]], WINDOWS[1:])
        np.testing.assert_array_equal(bits(alone[0]), bits(rows[i, 1:]))
    assert chunked.tier1([], WINDOWS).shape == (0, 3, rows.shape[2])


def test_dropping_the_feature_matrix_changes_nothing(rows):
    candles = golden_candles()
    small = CompiledEvaluator(candles, EXECUTION)
    small._features = FeatureMatrix(small._candles, limit=5 * 8 * CANDLES)
    found = np.concatenate([small.tier1([g], WINDOWS) for g in GENOMES])
    np.testing.assert_array_equal(bits(found), bits(rows))
    assert small._features.matrix.nbytes < 20 * 8 * CANDLES


COMPILED_FROM_PYTHON = (
    *(summary.tier1_batch, summary.list_trades, summary.daily_marks, hop.hop_batch),
    *(lanes.hop_in_lanes, plans.mark_ways),
    *(bitmaps.fill_bitmaps, bitmaps.fill_enterable, touch.first_touch, touch.trailing_touch, touch.signed_extremes),
)


def test_every_kernel_is_compiled_for_one_signature_only():
    warm_up()
    read_only = candles_from_bytes(golden_candles().to_bytes())
    for evaluator in (
        PlainEvaluator(read_only, EXECUTION),
        CompiledEvaluator(read_only, EXECUTION),
        CompiledEvaluator(read_only, EXECUTION, threads=2, worth=0.0),
    ):
        evaluator.tier1(GENOMES, WINDOWS)
        evaluator.tier2(GENOMES[0], WINDOWS[1])
    for kernel in COMPILED_FROM_PYTHON:
        assert len(kernel.signatures) == 1, kernel
    for kernel in (loop.simulate, hop.hop, lanes.settle_hops):
        assert len(kernel.signatures) <= 1, kernel


@pytest.mark.parametrize(
    ("kind", "module", "name", "options"),
    [
        (PlainEvaluator, summary, "tier1_batch", {}),
        (CompiledEvaluator, evaluator_module, "hop_batch", {"worth": 1e9}),
        (CompiledEvaluator, evaluator_module, "hop_batch", {"worth": 0.0}),
        (CompiledEvaluator, bitmaps, "fill_bitmaps", {}),
        (CompiledEvaluator, tables, "first_touch", {"worth": 0.0}),
        (CompiledEvaluator, tables, "trailing_touch", {"worth": 0.0}),
    ],
)
def test_a_compiled_call_stays_below_one_second(monkeypatch, kind, module, name, options):
    candles = golden_candles()
    evaluator = kind(candles, EXECUTION, **options)
    PlainEvaluator(candles, EXECUTION).tier1(GENOMES, WINDOWS[:1])
    longest = [0.0]
    batch = getattr(module, name)

    def timed(*arguments):
        began = time.thread_time()
        batch(*arguments)
        longest[0] = max(longest[0], time.thread_time() - began)

    monkeypatch.setattr(module, name, timed)
    evaluator.tier1(GENOMES * 130, WINDOWS[:1])  # ten million visits: a full chunk
    assert 0.0 < longest[0] < 1.0


def test_the_reference_leaves_numba_out():
    code = (
        "import sys, kernels.reference, kernels.golden, kernels.version as v; v.lane(); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@given(
    ticks=st.integers(1, 2**45),
    decimals=st.integers(0, 12),
    up=st.booleans(),
    bps=st.sampled_from([0, 50, 200, 2_500]),
)
def test_a_price_on_the_tick_grid_stays_on_it(ticks, decimals, up, bps):
    scale = float(10**decimals)
    assert whole_ticks(ticks / scale, up, scale) == ticks
    level = ticks * 10_000 / scale  # a level of so many bps off it lies on the grid exactly
    if ticks < 2**30:
        assert whole_ticks(level * (1.0 - bps / 10_000.0), up, scale) == ticks * (10_000 - bps)
        assert whole_ticks(level * (1.0 + bps / 10_000.0), up, scale) == ticks * (10_000 + bps)


@given(price=st.floats(1e-9, 1e9), decimals=st.integers(0, 8))
def test_rounding_moves_less_than_one_tick_and_the_right_way(price, decimals):
    scale = float(10**decimals)
    below, above = whole_ticks(price, False, scale), whole_ticks(price, True, scale)
    noise = 1e-12 * (price * scale + 1)
    assert below <= price * scale + noise
    assert above >= price * scale - noise
    assert above - below in (0.0, 1.0)
    assert (below, above) == (loop.whole_ticks(price, False, scale), loop.whole_ticks(price, True, scale))


def test_what_is_no_number_never_becomes_a_price():
    assert math.isnan(whole_ticks(math.nan, True, 100.0))
    assert whole_ticks(math.inf, True, 100.0) == math.inf
    assert size_in_lots(1_000.0, math.nan, 1.0, 10.0, 0.0, 1.0, 0.0) == 0.0
    assert size_in_lots(1_000.0, 1_000.0, 1.0, math.nan, 0.0, 1.0, 0.0) == 0.0
    assert size_in_lots(1e300, 1e300, 3.0, 1e-12, 0.0, 1e12, 0.0) == 0.0


@given(
    budget=st.floats(1, 1e6),
    leverage=st.integers(1, 3),
    price=st.floats(1e-4, 1e6),
    fee=st.sampled_from([0.0, 0.006, 0.0062]),
    decimals=st.integers(0, 8),
)
def test_margin_and_entry_costs_together_never_exceed_the_budget(budget, leverage, price, fee, decimals):
    scale = float(10**decimals)
    lots = size_in_lots(1e6, budget, float(leverage), price, fee, scale, 0.0)
    notional = lots / scale * price
    assert lots == math.floor(lots)
    assert notional / leverage + notional * fee <= budget * (1 + 1e-12)
    one_more = (lots + 1) / scale * price
    assert one_more / leverage + one_more * fee >= budget * (1 - 1e-12)


def test_indicators_by_hand():
    candles = candles_of([flat(c) for c in (10, 11, 13, 12, 12, 16)], [1, 2, 3, 4, 5, 9])

    def series(kind, period):
        out = np.empty(6)
        compute_feature(candles, Operand(kind, period), out)
        return out.tolist()

    nan = pytest.approx(math.nan, nan_ok=True)
    assert series("sma", 3) == [nan, nan, pytest.approx(34 / 3), 12.0, pytest.approx(37 / 3), pytest.approx(40 / 3)]
    assert series("volume_sma", 2) == [nan, 1.5, 2.5, 3.5, 4.5, 7.0]
    assert series("ema", 3) == [nan, nan, 11.75, 11.875, 11.9375, 13.96875]
    # Changes +1 +2 -1 0 +4.
    assert series("rsi", 2) == [nan, nan, 100.0, pytest.approx(200 / 3), 0.0, 100.0]
    assert CompiledEvaluator(candles_of([flat(10)] * 6), EXECUTION)._candles.close[0] == 10.0
    still = candles_of([flat(10)] * 6)
    out = np.empty(6)
    compute_feature(still, Operand("rsi", 3), out)
    assert out.tolist() == [nan, nan, nan, 50.0, 50.0, 50.0]
