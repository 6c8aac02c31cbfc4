"""Fronts and distributions of units put together: the same in whatever order and grouping they come."""

import math

from hypothesis import given
from hypothesis import strategies as st

from domain.gathered import dominates, merged_distribution, merged_front
from domain.results import HIGHEST_BIN, LOWEST_BIN, Distribution, FrontPoint, Histogram
from tests.unit.projections.event_log import genome, point

#: Few values, so that equals and domination are common.
POINTS = st.builds(
    lambda threshold, figures: point(threshold, *figures),
    st.integers(1, 40),
    st.tuples(
        st.sampled_from([-0.1, 0.0, 0.1]),
        st.sampled_from([None, -0.2, 0.2]),
        st.sampled_from([0.1, 0.3]),
        st.sampled_from([40, 80]),
    ),
)
SETS = st.lists(POINTS, max_size=20, unique_by=lambda p: p.genome_id)


def beaten(p: FrontPoint, by: FrontPoint) -> bool:
    """As the search defines it, written out."""
    ours = (p.objective, p.sharpe if p.sharpe is not None else -math.inf, -p.max_drawdown, p.trades)
    theirs = (by.objective, by.sharpe if by.sharpe is not None else -math.inf, -by.max_drawdown, by.trades)
    at_least = all(t >= o for o, t in zip(ours, theirs, strict=True))
    return at_least and any(t > o for o, t in zip(ours, theirs, strict=True))


@given(SETS)
def test_the_front_is_what_nobody_dominates_highest_return_first(points: list[FrontPoint]) -> None:
    wanted = [p for p in points if not any(beaten(p, q) for q in points)]
    assert list(merged_front(points)) == sorted(wanted, key=lambda p: (-p.objective, p.genome_id))


@given(SETS, st.randoms(use_true_random=False), st.integers(0, 20))
def test_order_and_grouping_make_no_difference(points: list[FrontPoint], r: object, cut: int) -> None:
    shuffled = [*points, *points[:3]]
    r.shuffle(shuffled)  # type: ignore[attr-defined]
    parts = (merged_front(shuffled[:cut]), merged_front(shuffled[cut:]))
    assert merged_front((*parts[1], *parts[0])) == merged_front(points)


def test_an_undefined_sharpe_ratio_is_the_worst_and_equals_do_not_dominate() -> None:
    known, unknown = point(1, 0.1, 0.0), point(2, 0.1, None)
    assert dominates(known, unknown)
    assert not dominates(unknown, known)
    assert not dominates(known, point(3, 0.1, 0.0))
    assert genome(1) != genome(2)


HISTOGRAMS = st.one_of(
    st.just(Histogram(0, ())),
    st.builds(Histogram, st.integers(LOWEST_BIN, 0), st.lists(st.integers(0, 9), min_size=1, max_size=9).map(tuple)),
)


def total(few: Histogram, enough: Histogram, flagged: int) -> Distribution:
    return Distribution(flagged + 2 + sum(few.counts) + sum(enough.counts), 2, flagged, few, enough)


DISTRIBUTIONS = st.builds(total, HISTOGRAMS, HISTOGRAMS, st.integers(0, 5))


def by_bin(h: Histogram) -> dict[int, int]:
    return {at: n for at, n in enumerate(h.counts, h.first) if n}


@given(DISTRIBUTIONS, DISTRIBUTIONS, DISTRIBUTIONS)
def test_distributions_add_bin_by_bin_in_any_order(a: Distribution, b: Distribution, c: Distribution) -> None:
    both = merged_distribution(a, b)
    assert both == merged_distribution(b, a)
    assert both.adds_up()
    assert merged_distribution(both, c) == merged_distribution(a, merged_distribution(b, c))
    for name in ("few", "enough"):
        one, other, sums = (by_bin(getattr(d, name)) for d in (a, b, both))
        assert sums == {at: one.get(at, 0) + other.get(at, 0) for at in one.keys() | other.keys()}


def test_a_histogram_outside_its_bins_is_no_distribution() -> None:
    for first, counts in ((LOWEST_BIN - 1, (1,)), (HIGHEST_BIN, (0, 1)), (-(2**60), (1,)), (2**60, (1,))):
        assert not total(Histogram(first, counts), Histogram(0, ()), 0).adds_up()
        assert not total(Histogram(0, ()), Histogram(first, counts), 0).adds_up()
    assert total(Histogram(LOWEST_BIN, (1,)), Histogram(HIGHEST_BIN, (1,)), 0).adds_up()
