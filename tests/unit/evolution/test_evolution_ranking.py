"""Fitness and the order of genomes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.metrics import FLAG_PNL, FLAG_POSITION, T1, TIER1
from kernels.evolution.ranking import Fitness, fitness_of, measure, rank_key, standing


def fit(objective: float, trades: int, flags: int = 0) -> Fitness:
    return Fitness(objective, math.nan, 0.0, trades, flags)


fitnesses = st.builds(
    lambda objective, trades, flags: fit(objective if trades else math.nan, trades, flags),
    st.floats(-10, 10) | st.just(math.nan) | st.just(math.inf),
    st.integers(0, 100),
    st.sampled_from([0, 0, 0, 1, 4, 8]),
)


def row(
    return_frac: float, trades: int, flags: int = 0, sharpe: float = math.nan, fall: float = math.nan
) -> list[float]:
    out = [math.nan] * len(TIER1)
    out[T1["sharpe"]], out[T1["max_drawdown"]] = sharpe, fall
    out[T1["return_frac"]], out[T1["trades"]], out[T1["flags"]] = return_frac, trades, flags
    return out


def test_fitness_is_the_mean_return_the_sum_of_trades_and_all_flags() -> None:
    first = [row(0.1, 3, 0, 0.5, 0.2), row(0.4, 5, 0, 0.1, 0.1)]
    one, two = map(fitness_of, measure(np.array([first, [row(0.2, 1, FLAG_PNL), row(0.1, 1, FLAG_POSITION)]])))
    assert one == Fitness((0.1 + 0.4) / 2, (0.5 + 0.1) / 2, 0.2, 8, 0)
    assert math.isnan(two.sharpe)
    assert (two.trades, two.flags, two.eligible) == (2, FLAG_PNL | FLAG_POSITION, False)


def test_a_window_without_trades_leaves_no_objective() -> None:
    table = np.array([[row(math.nan, 0)] * 2, [row(0.3, 9), row(math.nan, 0)]])
    never, seldom = map(fitness_of, measure(table))
    assert math.isnan(never.objective)
    assert math.isnan(seldom.objective)
    assert not never.eligible
    assert not seldom.eligible


def test_every_dataset_has_the_same_weight_whatever_its_number_of_windows() -> None:
    """Means of the datasets' means; trades of all, the deepest fall, every flag."""
    rows = [row(0.4, 3, 0, 0.4, 0.1), row(0.1, 5, FLAG_PNL, 0.1, 0.3), row(0.3, 7, 0, 0.6, 0.2)]
    (found,) = map(fitness_of, measure(np.array([rows]), (1, 2)))
    assert found == Fitness((0.4 + (0.1 + 0.3) / 2) / 2, (0.4 + (0.1 + 0.6) / 2) / 2, 0.3, 15, FLAG_PNL)
    assert found.objective != fitness_of(measure(np.array([rows]))[0]).objective


def test_a_dataset_without_trades_leaves_no_objective() -> None:
    table = np.array([[row(0.3, 9), row(math.nan, 0), row(0.2, 4)]])
    for counts in ((1, 2), (2, 1), (1, 1, 1)):
        (found,) = map(fitness_of, measure(table, counts))
        assert math.isnan(found.objective)
        assert found.trades == 13
        assert not found.eligible


@given(st.lists(st.floats(-1, 5), min_size=1, max_size=6))
def test_one_dataset_has_the_bits_of_the_plain_mean(returns: list[float]) -> None:
    table = np.array([[row(r, 1) for r in returns]])
    total = 0.0
    for r in returns:
        total += r
    assert measure(table, (len(returns),)).tobytes() == measure(table).tobytes()
    assert measure(table)[0, 0] == total / len(returns)


def test_windows_that_belong_to_no_dataset_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="windows"):
        measure(np.array([[row(0.3, 9), row(0.2, 4)]]), (1,))


def test_the_order_is_limits_then_trades_then_return_then_hash() -> None:
    ranked = [
        (fit(0.2, 60, 0), b"b"),
        (fit(0.2, 99, 0), b"c"),
        (fit(-0.9, 60, 0), b"a"),
        (fit(5.0, 59, 0), b"a"),
        (fit(0.1, 1, 0), b"a"),
        (fit(math.nan, 0, 0), b"a"),
        (fit(math.nan, 0, 0), b"b"),
        (fit(1e99, 100, FLAG_PNL), b"a"),
        (fit(2e99, 100, FLAG_PNL), b"b"),
    ]
    assert sorted(reversed(ranked), key=lambda x: rank_key(*x, 60)) == ranked


def test_without_a_wanted_number_of_trades_none_at_all_still_ranks_behind() -> None:
    assert standing(fit(-0.5, 1, 0), 0) < standing(fit(math.nan, 0, 0), 0)


@given(st.lists(st.tuples(fitnesses, st.binary(min_size=2, max_size=2)), unique_by=lambda x: x[1]), st.randoms())
def test_ranking_is_a_total_order_whatever_the_figures(items: list[tuple[Fitness, bytes]], random) -> None:
    def order(some: list[tuple[Fitness, bytes]]) -> list[bytes]:
        return [key for _, key in sorted(some, key=lambda x: rank_key(*x, 50))]

    mixed = list(items)
    random.shuffle(mixed)
    assert order(mixed) == order(items)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_never_wins(bad: float) -> None:
    assert not fit(bad, 100, 0).eligible
    assert standing(fit(bad, 100, 0), 50) > standing(fit(-1.0, 1, 0), 50)
