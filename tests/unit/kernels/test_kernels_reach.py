"""What the fast path prepares for a part of the candles alone, and numbers once for all: the bits are those of the plain loop."""

import numpy as np
import pytest

import kernels.evaluator as evaluator_module
from domain.specs import Window
from kernels import indicators
from kernels.combinations import Combinations
from kernels.evaluator import CompiledEvaluator
from kernels.golden_cases import EXECUTION, golden_candles
from kernels.plain import FeatureMatrix, PlainEvaluator
from tests.unit.kernels.test_kernels_fast import GENOMES, bits, in_lanes

GROUPS = [*GENOMES, *in_lanes(30)]


@pytest.mark.parametrize("options", [{}, {"worth": 0.0}], ids=["blocks", "tables"])
@pytest.mark.parametrize("beyond", [0, 10_000], ids=["grown", "plain"])
def test_windows_behind_those_asked_first_have_the_same_bits(monkeypatch, options, beyond):
    monkeypatch.setattr(evaluator_module, "BEYOND", beyond)
    candles = golden_candles()
    n = len(candles)
    fast, plain = CompiledEvaluator(candles, EXECUTION, **options), PlainEvaluator(candles, EXECUTION)
    for windows in (
        [Window(0, n // 2 + 5)],
        [Window(n // 3, n // 2)],
        [Window(n // 4, n - 7), Window(0, 90)],
        [Window(0, n)],
    ):
        for _ in range(2):
            np.testing.assert_array_equal(bits(fast.tier1(GROUPS, windows)), bits(plain.tier1(GROUPS, windows)))


def test_a_head_shares_memory_and_has_a_header_of_its_own():
    candles = golden_candles()
    head = candles.head(100)
    assert len(head) == 100 == len(head.close)
    assert head.info.last_ms == int(candles.time_ms[99])
    assert np.shares_memory(head.close, candles.close)
    assert np.shares_memory(head.ints["volume"], candles.ints["volume"])
    assert candles.head(len(candles)) is candles


def test_averages_side_by_side_have_the_bits_of_each_alone():
    close = golden_candles().close
    periods = np.array([2, 3, 10, 50, 200, 7, 14])
    rows = np.array([6, 0, 5, 1, 4, 2, 3])
    for count in range(1, len(periods) + 1):
        matrix = np.zeros((7, len(close)))
        indicators.exponential_means(close, periods[:count], rows[:count], matrix)
        for period, row in zip(periods[:count].tolist(), rows.tolist(), strict=False):
            alone = np.empty(len(close))
            indicators.exponential_mean(close, period, alone)
            np.testing.assert_array_equal(bits(matrix[row]), bits(alone))


def test_a_row_of_features_is_filled_as_far_as_anybody_asked():
    candles = golden_candles()
    operands = list(
        dict.fromkeys(o for g in GENOMES for r in g.long.entry for o in (r.left, r.right) if o.kind != "const")
    )
    matrix, whole = FeatureMatrix(candles), FeatureMatrix(candles)
    whole.ensure(operands, len(candles))
    for stop in (50, 300, 200, len(candles)):
        matrix.ensure(operands, stop)
        for operand in operands:
            found, expected = matrix.matrix[matrix.rows[operand]], whole.matrix[whole.rows[operand]]
            np.testing.assert_array_equal(bits(found[:stop]), bits(expected[:stop]))


def test_combinations_are_numbered_once_and_afresh_when_there_are_too_many():
    records = PlainEvaluator(golden_candles(), EXECUTION).encode(GROUPS).records
    fields = ("stop_frac", "target_frac", "trailing_frac", "leverage", "amount")
    keys = [
        (
            *(float(r[f]) for f in fields),
            bool(r["long_exit"] > r["long_entry"]),
            bool(r["short_exit"] > r["short_entry"]),
        )
        for r in records
    ]
    known = Combinations(kept=len(set(keys)) - 1)
    afresh, (numbers, example, place), uses = known.number(records)
    assert not afresh
    assert known.count == len(numbers) == len(set(keys))
    assert [keys[example[p]] for p in place] == keys
    assert uses.tolist() == np.bincount(place).tolist()
    afresh, (numbers, _, _), _ = known.number(records[::-1][:5].copy())
    assert afresh
    assert numbers.tolist() == list(range(known.count))
