"""White's and Hansen's tests against the package `arch`, on resamples drawn by `arch` itself, and on known truths."""

import math

import numpy as np
import pytest

from domain.errors import BadInput
from kernels.statistics.reality_check import (
    bootstrap_means,
    excess_returns,
    long_run_variance,
    superiority,
    superiority_of,
)

T, N, BLOCK, REPS = 250, 12, 8, 400


@pytest.fixture(scope="module")
def arch():
    return pytest.importorskip("arch.bootstrap")


def market(seed: int, edge: float = 0.0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 1, (T, 1))
    returns = rng.normal(0, 1, (T, N)) * rng.uniform(0.5, 2, N) + shared
    returns += np.linspace(-0.6, 0.1, N)  # some clearly worse than the benchmark, so that the three versions differ
    returns[:, 7] += edge
    return returns, shared[:, 0]


def peer_and_means(arch, excess, scale):
    """arch's SPA of `excess` / `scale` (it does not divide by ω itself), and the means of its very resamples."""
    peer = arch.SPA(np.zeros(T), -excess / scale, block_size=BLOCK, reps=REPS, bootstrap="stationary", seed=5)
    peer.compute()
    again = arch.SPA(np.zeros(T), -excess / scale, block_size=BLOCK, reps=REPS, bootstrap="stationary", seed=5)
    means = np.array([args[0].mean(axis=0) for args, _ in again.bootstrap.bootstrap(REPS)])
    return peer, means * scale


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("edge", [0.0, 0.25])
def test_p_values_are_those_of_arch(arch, seed, edge):
    excess = excess_returns(*market(seed, edge))
    omega = np.sqrt(long_run_variance(excess, BLOCK))
    peer, means = peer_and_means(arch, excess, omega)
    ours = superiority_of(excess, means, BLOCK)
    assert [ours.lower, ours.consistent, ours.upper] == pytest.approx(list(peer.pvalues), abs=1e-12)
    assert ours.lower <= ours.consistent <= ours.upper
    # White's test is the upper one, not studentised.
    plain, means = peer_and_means(arch, excess, np.ones(N))
    assert superiority_of(excess, means, BLOCK).white == pytest.approx(plain.pvalues["upper"], abs=1e-12)


def test_the_variance_is_that_of_arch_and_of_the_bootstrap_itself(arch):
    excess = excess_returns(*market(1))
    peer = arch.SPA(np.zeros(T), -excess, block_size=BLOCK, reps=10, bootstrap="stationary", seed=5)
    peer.compute()
    assert long_run_variance(excess, BLOCK) == pytest.approx(peer._loss_diff_var, rel=1e-9)
    simulated = T * bootstrap_means(excess, BLOCK, 3, 4_000).var(axis=0)
    assert long_run_variance(excess, BLOCK) == pytest.approx(simulated, rel=0.1)


def test_our_own_resamples_give_nearly_the_same(arch):
    returns, benchmark = market(2, 0.2)
    ours = superiority(returns, benchmark, seed=1, block=BLOCK, replicates=3_000)
    peer = arch.SPA(
        -benchmark, -returns, block_size=BLOCK, reps=3_000, bootstrap="stationary", seed=5, studentize=False
    )
    peer.compute()
    assert ours.white == pytest.approx(peer.pvalues["upper"], abs=0.03)


def test_an_edge_is_seen_and_its_column_named():
    returns, benchmark = market(3, 0.6)
    found = superiority(returns, benchmark, seed=1, block=BLOCK)
    assert found.best == 7
    assert found.consistent < 0.01
    assert found.white < 0.05


def test_without_an_edge_the_tests_are_honest():
    """At 10 % at most about a tenth of markets may be called superior (here all columns equal the benchmark in mean)."""
    called = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        found = superiority(rng.normal(0, 1, (T, N)), np.zeros(T), seed=seed, block=4, replicates=300)
        called += found.upper < 0.1
    assert called <= 17  # the binomial 99.9 % bound of 80 at 10 %


def test_a_copy_of_the_benchmark_has_no_say_and_alone_no_p_value():
    returns, benchmark = market(4, 0.3)
    with_copy = np.column_stack((benchmark, returns))
    a = superiority(returns, benchmark, 1, BLOCK, 300)
    b = superiority(with_copy, benchmark, 1, BLOCK, 300)
    assert (a.white, a.consistent, a.best + 1) == (b.white, b.consistent, b.best)
    assert math.isnan(superiority(benchmark[:, None], benchmark, 1, BLOCK, 300).consistent)


def test_series_of_other_lengths_are_refused():
    with pytest.raises(BadInput):
        superiority(np.ones((10, 2)), np.ones(9), 1, 2)
    with pytest.raises(BadInput):
        superiority(np.full((10, 2), np.nan), np.ones(10), 1, 2)
