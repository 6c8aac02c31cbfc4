"""CSCV against a slow version written from the paper, and on data of which the answer is known."""

import itertools
import math

import numpy as np
import pytest

from domain.errors import BadInput
from kernels.statistics.pbo import pbo


def slow_pbo(table: np.ndarray, blocks: int) -> float:
    """Split by split, as the paper has it; for data without ties."""
    parts = np.split(table, blocks)
    below = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        best = np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1))
        out = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        omega = (np.argsort(np.argsort(out))[best] + 1) / (table.shape[1] + 1)
        below.append(math.log(omega / (1 - omega)) <= 0)
    return float(np.mean(below))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_slow_version_at_once(seed):
    table = np.random.default_rng(seed).normal(0.01, 1, size=(60, 7 + seed))
    assert pbo(table, 6).pbo == slow_pbo(table, 6)


def test_sixteen_blocks_are_12870_splits_and_demeaned_columns_are_all_overfitted():
    table = np.random.default_rng(1).normal(size=(320, 40))
    found = pbo(table - table.mean(axis=0))
    assert (found.splits, found.columns, found.rows) == (12_870, 40, 320)
    assert found.pbo == 1.0
    assert found.median_logit < 0


def test_noise_is_a_coin_toss_on_the_mean_over_seeds():
    values = [pbo(np.random.default_rng(seed).normal(size=(160, 30)), 8).pbo for seed in range(60)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.08)
    assert max(values) > 0.6  # a single seed says nothing
    assert min(values) < 0.4


def test_a_planted_edge_is_not_overfitting():
    table = np.random.default_rng(2).normal(size=(640, 50))
    table[:, 17] += 0.3
    found = pbo(table)
    assert found.pbo < 0.01
    assert found.loss < 0.01
    assert found.median_logit > 2


def test_rows_that_fill_no_block_are_the_oldest():
    table = np.random.default_rng(4).normal(size=(67, 5))
    assert pbo(table, 8) == pbo(table[3:], 8)


def test_a_strategy_that_does_not_trade_has_no_edge_and_breaks_nothing():
    table = np.random.default_rng(6).normal(0.5, 1, size=(64, 4))
    table[:, 1] = 0.0
    table[:40, 2] = 0.25  # constant in most blocks: its deviation there is rounding, not a Sharpe ratio of millions
    found = pbo(table, 8)
    assert 0.0 <= found.pbo <= 1.0
    assert pbo(np.zeros((64, 4)), 8).pbo == 1.0  # the first of equals stands at the mean rank: not above the median


@pytest.mark.parametrize(("shape", "blocks"), [((64, 1), 8), ((64, 3), 7), ((15, 3), 8), ((64,), 8)])
def test_too_little_is_refused(shape, blocks):
    with pytest.raises(BadInput):
        pbo(np.ones(shape), blocks)


@pytest.mark.slow
def test_two_thousand_strategies_stay_affordable():
    table = np.random.default_rng(7).normal(size=(800, 2_001))
    found = pbo(table)
    assert found.splits == 12_870
    assert 0.0 < found.pbo < 1.0
