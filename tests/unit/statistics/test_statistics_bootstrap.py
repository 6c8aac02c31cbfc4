"""Resampling: the stream is that of `Rng`, blocks have the lengths they should, intervals cover what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInput
from kernels.evolution.rng import Rng
from kernels.statistics.bootstrap import bootstrap_intervals, monte_carlo, path_figures, rule_of_thumb
from kernels.statistics.draws import Draws, permutations, stationary_indices

SEEDS = st.integers(0, 2**64 - 1)


@given(SEEDS, st.lists(st.integers(0, 50), max_size=4))
def test_numbers_are_those_of_the_one_generator(seed, counts):
    draws, rng = Draws(seed), Rng(seed)
    for count in counts:
        assert draws.raw(count).tolist() == [rng.raw() for _ in range(count)]


@given(SEEDS, st.integers(1, 2**32))
def test_bounded_numbers_are_the_upper_half_of_the_product(seed, n):
    rng = Rng(seed)
    assert Draws(seed).below(n, 20).tolist() == [rng.raw() * n >> 64 for _ in range(20)]


@given(SEEDS, st.integers(1, 40), st.integers(1, 60))
def test_places_run_on_within_a_block_and_around_the_end(seed, n, block):
    places = stationary_indices(n, block, 200, Draws(seed), 3)
    one_by_one = Draws(seed)
    assert places.tolist() == [stationary_indices(n, block, 200, one_by_one)[0].tolist() for _ in range(3)]
    assert places.min() >= 0
    assert places.max() < n
    if block == 1:
        assert places[0].tolist() == _independent(seed, n, 200)


def _independent(seed, n, length):
    draws = Draws(seed)
    draws.raw(length)
    return draws.below(n, length).tolist()


def test_blocks_have_the_mean_length_and_every_place_comes_equally_often():
    n, block, length = 1_000, 20, 400_000
    places = stationary_indices(n, block, length, Draws(9))[0]
    begins = 1 + np.count_nonzero((np.diff(places) % n) != 1)
    assert length / begins == pytest.approx(block, rel=0.03)
    counts = np.bincount(places, minlength=n)
    assert counts.min() > 0.6 * length / n
    assert counts.max() < 1.5 * length / n


def test_a_permutation_holds_every_place_once():
    assert np.sort(permutations(500, Draws(3), 4)).tolist() == [list(range(500))] * 4
    assert len({tuple(row) for row in permutations(500, Draws(3), 4).tolist()}) == 4


def test_path_figures_follow_their_definitions():
    returns = np.array([[0.1, -0.5, 0.2, -0.1], [0.0, 0.0, 0.0, 0.0], [0.5, -1.5, 3.0, 1.0]])
    total, sharpe, drawdown = path_figures(returns)
    assert total == pytest.approx([1.1 * 0.5 * 1.2 * 0.9 - 1, 0.0, -1.0])
    assert sharpe[0] == pytest.approx(returns[0].mean() / returns[0].std(ddof=1))
    assert np.isnan(sharpe[1])
    assert drawdown == pytest.approx([0.5, 0.0, 1.0])  # ruined is ruined: what comes after a loss of all adds nothing
    assert path_figures(np.array([[-0.2, 0.1]]))[2] == pytest.approx([0.2])  # the start is the first peak


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    truth, covered = 0.1, 0
    for seed in range(150):
        r = np.random.default_rng(seed).normal(0.001, 0.01, 200)
        found = bootstrap_intervals(r, seed, replicates=400, level=0.9)
        covered += found.sharpe.low <= truth <= found.sharpe.high
    assert 0.82 * 150 <= covered <= 0.97 * 150


def test_blocks_widen_the_interval_of_dependent_returns():
    noise = np.random.default_rng(8).normal(0, 0.01, 2_000)
    smooth = np.convolve(noise, np.ones(20), "valid")
    by_trade = bootstrap_intervals(smooth, 1, 1).sharpe
    by_block = bootstrap_intervals(smooth, 1, 40).sharpe
    assert by_block.high - by_block.low > 2 * (by_trade.high - by_trade.low)


def test_the_same_seed_gives_the_same_intervals_and_another_others():
    r = np.random.default_rng(1).normal(0.001, 0.02, 300)
    assert bootstrap_intervals(r, 5, 7) == bootstrap_intervals(r, 5, 7)
    assert bootstrap_intervals(r, 5, 7) != bootstrap_intervals(r, 6, 7)


def test_shuffling_moves_the_drawdown_alone():
    r = np.random.default_rng(2).normal(0.004, 0.03, 120)
    found = monte_carlo(r, 11)
    total, _, drawdown = path_figures(r[None])
    assert found.shuffled_drawdown.low < drawdown[0] < found.shuffled_drawdown.high
    assert found.resampled.total_return.low < total[0] < found.resampled.total_return.high
    assert 0.0 < found.resampled.loss < 0.5
    ordered = np.sort(r)[None]
    assert found.shuffled_drawdown.high < path_figures(ordered)[2][0]


def test_the_rule_of_thumb_is_the_cube_root():
    assert [rule_of_thumb(n) for n in (1, 8, 1_000, 0)] == [1, 2, 10, 1]


@pytest.mark.parametrize("returns", [[], [np.nan, 0.1], [[0.1, 0.2]]])
def test_nothing_to_draw_from_is_refused(returns):
    with pytest.raises(BadInput):
        bootstrap_intervals(np.array(returns), 1)
