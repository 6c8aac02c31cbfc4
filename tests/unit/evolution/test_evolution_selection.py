"""Niches, fronts and crowding: against plain definitions, whatever the order of what goes in."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.evolution.ranking import COLUMNS
from kernels.evolution.selection import (
    alike,
    crowd_fronts,
    dominates,
    first_few,
    first_front,
    list_rules,
    number_fronts,
    rank,
    score,
    thin_out,
)
from kernels.integers import FIRST_RULE

WANTED = 3
figures = st.tuples(
    st.integers(-3, 3).map(float),  # few values, so that ties are common
    st.integers(-2, 2).map(float) | st.just(math.nan),
    st.integers(0, 3).map(float),
    st.integers(1, 6).map(float),
    st.sampled_from([0.0, 0.0, 0.0, 1.0]),
)
tables = st.lists(figures, min_size=1, max_size=30).map(np.array)


def keys_for(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32)).astype(np.uint8)


def beats(a: np.ndarray, b: np.ndarray) -> bool:
    def aims(f: np.ndarray) -> list[float]:
        return [-math.inf if math.isnan(v) else v for v in (f[0], f[1], -f[2], f[3])]

    pairs = list(zip(aims(a), aims(b), strict=True))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def scored(fits: np.ndarray) -> np.ndarray:
    scores = np.empty((len(fits), 3))
    score(fits, WANTED, scores)
    return scores


@settings(deadline=None)  # the first call compiles
@given(tables)
def test_domination_is_at_least_as_good_in_all_and_better_in_one(fits: np.ndarray) -> None:
    assert fits.shape[1] == COLUMNS
    for a, b in itertools.product(fits, fits):
        assert dominates(a, b) == beats(a, b)


@settings(deadline=None)  # the first call compiles
@given(tables, st.integers(0, 9))
def test_the_front_is_what_nothing_dominates(fits: np.ndarray, split: int) -> None:
    scores, front = scored(fits), np.empty(len(fits), dtype=np.int64)
    fair = [i for i in range(len(fits)) if scores[i, 0] == 0.0]
    expected = [i for i in fair if not any(beats(fits[j], fits[i]) for j in fair)]
    assert sorted(front[: first_front(fits, scores, 0, front)]) == expected
    # A front that meets newcomers in two steps is the front of all.
    split = min(split, len(fits))
    early = front[: first_front(fits[:split], scores[:split], 0, front)].copy()
    order = np.concatenate((early, np.arange(split, len(fits)))).astype(np.int64)
    count = first_front(fits[order], scores[order], len(early), front)
    assert sorted(order[front[:count]] if count else early) == expected


@settings(deadline=None)  # the first call compiles
@given(tables)
def test_fronts_are_peeled_one_after_the_other(fits: np.ndarray) -> None:
    scores = scored(fits)
    left = {i for i in range(len(fits)) if scores[i, 0] == 0.0}
    members = np.array(sorted(left), dtype=np.int64)
    fronts = number_fronts(fits, scores, members, np.empty_like(members))
    for front in range(fronts):
        expected = {i for i in left if not any(beats(fits[j], fits[i]) for j in left)}
        assert {i for i in left if scores[i, 1] == front} == expected
        left -= expected
    assert not left


def test_the_ends_of_a_front_stand_alone_and_the_middle_by_its_gaps() -> None:
    fits = np.array([[x, 1.0, 1.0, t, 0.0] for x, t in ((0.0, 9.0), (1.0, 8.0), (2.0, 6.0), (10.0, 3.0))])
    scores, members = np.zeros((4, 3)), np.arange(4)
    crowd_fronts(fits, scores, keys_for(4, 1), members, 1, np.empty(4, dtype=np.int64), np.empty((4, 3)))
    assert scores[0, 2] == scores[3, 2] == -math.inf
    # The other two aims are equal for all: they say nothing, their ends go to the smallest and the largest key.
    inner = [-(2.0 / 10.0 + 3.0 / 6.0), -(9.0 / 10.0 + 5.0 / 6.0)]
    assert all(scores[i, 2] in (inner[i - 1], -math.inf) for i in (1, 2))


@settings(max_examples=60, deadline=None)
@given(tables, st.integers(0, 99), st.randoms())
def test_the_order_is_total_and_the_same_from_any_order(fits: np.ndarray, seed: int, random) -> None:
    scores, keys = scored(fits), keys_for(len(fits), seed)
    order = list(range(len(fits)))
    random.shuffle(order)
    sorted_ = np.array(order)
    rank(scores, keys, sorted_)
    assert sorted_.tolist() == sorted(order, key=lambda i: (*scores[i], keys[i].tobytes()))


rule_sets = st.lists(st.sets(st.integers(0, 7), min_size=1, max_size=3), min_size=1, max_size=25)


@settings(deadline=None)  # the first call compiles
@given(rule_sets, st.integers(1, 3), st.integers(1, 25))
def test_kin_are_held_back_until_places_are_left_over(sets: list[set[int]], crowd: int, most: int) -> None:
    rows = np.full((len(sets), FIRST_RULE + 3), -1, dtype=np.int16)
    for row, rules in zip(rows, sets, strict=True):
        row[FIRST_RULE : FIRST_RULE + len(rules)] = sorted(rules)
    lists, kept = np.empty((len(sets), 4), dtype=np.int16), np.empty(min(most, len(sets)), dtype=np.int64)
    count = thin_out(rows, np.arange(len(sets)), crowd, len(kept), lists, kept)
    chosen: list[int] = []
    passed = []
    for i, rules in enumerate(sets):
        kin = sum(2 * len(rules & sets[j]) > max(len(rules), len(sets[j])) for j in chosen)
        (chosen if kin < crowd else passed).append(i)
        if len(chosen) == len(kept):
            break
    assert kept[:count].tolist() == (chosen + passed)[: len(kept)]
    list_rules(rows, np.arange(len(sets)), lists)
    assert all(alike(a, a) for a in lists)


@pytest.mark.parametrize("most", [1, 3, 20])
def test_the_first_few_are_those_that_ranking_all_puts_first(most: int) -> None:
    rng = np.random.default_rng(most)
    for size in (0, 1, 2, 19, 60):
        scores = np.zeros((size, 3))
        scores[:, 0] = rng.integers(0, 4, size)
        scores[:, 1] = rng.integers(0, 5, size)
        keys = rng.integers(0, 256, (size, 32), dtype=np.uint8)
        order = np.flatnonzero(scores[:, 0] <= 1.0)
        rank(scores, keys, order)
        chosen = np.empty(most, dtype=np.int64)
        count = first_few(scores, keys, 1.0, most, chosen)
        assert chosen[:count].tolist() == order[:most].tolist()
