"""The figures of the papers, to half a unit of their last digit, and what must hold whatever the numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInput
from kernels.statistics.sharpe import (
    dsr,
    effective_trials,
    expected_max,
    min_btl,
    min_trl,
    min_trl_2025,
    moments,
    normal_cdf,
    normal_quantile,
    psr,
    psr_2025,
    sr0,
)


def digits(value: float, published: str) -> None:
    assert value == pytest.approx(float(published), abs=0.5 * 10.0 ** -len(published.partition(".")[2]))


FAT = {"skewness": -2.448, "kurtosis": 10.164}


def test_psr_of_the_paper():
    digits(psr(0.458, 24), ".982")
    digits(psr(0.458, 24, **FAT), ".913")


def test_minimum_track_record_of_the_paper_in_years():
    for periods, years in ((250, "2.73"), (52, "2.83"), (12, "3.24")):
        digits(min_trl(2 / math.sqrt(periods), 1 / math.sqrt(periods)) / periods, years)
    digits(min_trl(2 / math.sqrt(12), 1 / math.sqrt(12), -0.72, 5.78) / 12, "4.99")


def test_deflated_sharpe_ratio_of_the_paper():
    daily, variance = 2.5 / math.sqrt(250), 0.5 / 250
    digits(sr0(variance, 100), ".1132")
    digits(dsr(daily, 1250, 100, variance, -3, 10), ".9004")
    digits(dsr(daily, 1250, 46, variance, -3, 10), ".9505")
    digits(dsr(daily, 1250, 88, variance), ".9505")


def test_the_revision_of_2025():
    monthly = 0.036 / 0.079
    digits(psr_2025(monthly, 24, **FAT), ".987")
    digits(psr_2025(monthly, 24, 0.1, **FAT), ".939")
    digits(min_trl_2025(monthly, **FAT), "13.029")


def test_minimum_backtest_length_and_the_expected_maximum():
    digits(expected_max(10), "1.57")
    digits(min_btl(45), "5")
    assert expected_max(1) == 0.0


@pytest.mark.parametrize("trials", [10, 100, 1_000])
def test_the_expected_maximum_is_near_that_of_a_simulation(trials):
    best = np.random.default_rng(1).normal(size=(4_000, trials)).max(axis=1)
    assert expected_max(trials) == pytest.approx(best.mean(), rel=0.03)


def test_the_tails_of_the_normal_distribution_are_exact():
    # Abramowitz, Stegun, tables 26.1, 26.2 and 26.6
    assert normal_cdf(1.0) == pytest.approx(0.841344746068543, rel=1e-14)
    assert normal_cdf(-5.0) == pytest.approx(2.866515718791940e-7, rel=1e-13)
    assert normal_cdf(-10.0) == pytest.approx(7.619853024160527e-24, rel=1e-12)
    assert normal_quantile(0.975) == pytest.approx(1.959963984540054, rel=1e-14)
    assert normal_quantile(1e-10) == pytest.approx(-6.361340902404056, rel=1e-12)


@given(st.floats(1e-300, 1 - 1e-12))
def test_the_quantile_inverts_the_distribution(p):
    assert normal_cdf(normal_quantile(p)) == pytest.approx(p, rel=1e-9)


def test_many_trials_keep_their_digits():
    """1 - 1/N would be 1 from 10**16 trials on."""
    assert expected_max(1e6) < expected_max(136_063_476) < expected_max(1e20) < expected_max(1e25)


@given(st.floats(0.01, 1.0), st.floats(-2, 1), st.floats(0.51, 0.99))
def test_after_the_minimum_track_record_psr_is_the_confidence(sharpe, skewness, confidence):
    kurtosis = 3.0 + 2.0 * skewness * skewness
    needed = min_trl(sharpe, 0.0, skewness, kurtosis, confidence)
    if needed >= 2:
        assert psr(sharpe, needed, 0.0, skewness, kurtosis) == pytest.approx(confidence)
    needed = min_trl_2025(sharpe, 0.0, skewness, kurtosis, confidence)
    if needed >= 2:
        assert psr_2025(sharpe, needed, 0.0, skewness, kurtosis) == pytest.approx(confidence)


def test_more_trials_deflate_more():
    values = [dsr(0.1, 1_000, n, 0.001) for n in (1, 2, 10, 1_000, 10**6)]
    assert values == sorted(values, reverse=True)
    assert values[0] == psr(0.1, 1_000)


def test_what_is_undefined_is_nan_and_what_cannot_be_is_refused():
    assert math.isnan(psr(0.5, 1))
    assert math.isnan(psr(3.0, 100, 0.0, 5.0, 3.0))  # no distribution has this skewness with this kurtosis
    assert math.isnan(min_trl(math.nan))
    assert min_trl(0.1, 0.2) == math.inf
    for bad in (
        lambda: expected_max(0),
        lambda: sr0(-1.0, 2),
        lambda: min_btl(10, 0.0),
        lambda: min_trl(1, 0, 0, 3, 1.0),
    ):
        with pytest.raises(BadInput):
            bad()


def test_moments_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    r = np.random.default_rng(3).gamma(2.0, 0.01, 400) - 0.018
    m = moments(r)
    assert (m.n, m.mean) == (400, pytest.approx(r.mean()))
    assert m.sharpe == pytest.approx(r.mean() / r.std(ddof=1))
    assert m.skewness == pytest.approx(stats.skew(r))
    assert m.kurtosis == pytest.approx(stats.kurtosis(r, fisher=False))


@pytest.mark.parametrize("returns", [[], [0.1], [0.1, 0.1, 0.1]])
def test_moments_without_deviation_are_nan(returns):
    m = moments(np.array(returns))
    assert math.isnan(m.sharpe)
    assert math.isnan(m.skewness)


def test_equal_trials_count_once_and_independent_ones_each():
    rng = np.random.default_rng(5)
    one = rng.normal(size=(2_000, 1))
    assert effective_trials(np.repeat(one, 50, axis=1)) == pytest.approx(1.0)
    assert effective_trials(rng.normal(size=(2_000, 50))) == pytest.approx(50, rel=0.02)
    half = one * np.sqrt(0.5) + rng.normal(size=(2_000, 50)) * np.sqrt(0.5)
    assert effective_trials(half) == pytest.approx(0.5 + 25, rel=0.05)
