"""Datasets that are searched together are split at the same times: none is fitted on what another one keeps for later."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BadInput
from domain.execution import ExecutionModel
from domain.markets import Timed, fitted_on_the_future, granularity_label, market_name, windows_beside
from domain.specs import Market, SearchSpec, Window, Windows, split_windows

HOUR = 3_600_000


def grid(candles: int, step_ms: int = HOUR, first: int = 0, missing: tuple[int, ...] = ()) -> Timed:
    """Candles one after the other from number `first` on, without those numbers."""
    numbers = np.setdiff1d(np.arange(candles, dtype=np.int64), np.array(missing, dtype=np.int64))
    return Timed((numbers + first) * step_ms, step_ms)


def search(*of: tuple[Windows, Timed]) -> SearchSpec:
    first, *also = (
        Market(f"{i}" * 64, "kraken", f"A{i}/USD", t.step_ms // 1_000, w, ExecutionModel())
        for i, (w, t) in enumerate(of)
    )
    return SearchSpec(
        first.dataset, first.venue, first.symbol, first.granularity_s, first.windows, first.execution, also=tuple(also)
    )


def test_the_same_candles_are_split_alike() -> None:
    here = grid(10_000)
    windows = split_windows(10_000)
    assert windows_beside([(windows, here)], here) == windows


def test_windows_on_a_part_leave_the_rest_alone() -> None:
    here, windows = grid(10_000), split_windows(10_000, 6_000, walks=2, purge=50, embargo=30)
    assert windows_beside([(windows, here)], here, purge=50, embargo=30) == windows


def test_a_coarser_candle_belongs_where_it_has_closed() -> None:
    """Twelve fine candles make a coarse one; the fitness range ends in the middle of one."""
    fine, windows = grid(60_006, HOUR // 12), split_windows(60_006)
    coarse = grid(5_000)
    found = windows_beside([(windows, fine)], coarse)
    end = int(fine.time_ms[windows.fitness[-1].stop - 1]) + fine.step_ms
    assert end % HOUR
    assert found.fitness == (Window(0, end // HOUR),)
    walk = windows.walk_forward[-1].stop * fine.step_ms // HOUR - found.fitness[-1].stop
    assert found.walk_forward[0].start == found.fitness[-1].stop + walk // 10  # its own indicators look back further
    assert found.hold_out.start * HOUR >= int(fine.time_ms[windows.hold_out.start])
    assert found.hold_out.stop == 5_000
    assert not fitted_on_the_future(search((windows, fine), (found, coarse)), [fine, coarse])


def test_another_period_is_split_as_if_it_were_alone() -> None:
    first, later = grid(10_000), grid(4_000, first=10_000)
    assert windows_beside([(split_windows(10_000), first)], later, purge=7) == split_windows(4_000, purge=7)


def test_a_third_dataset_follows_the_first_one_that_it_shares_times_with() -> None:
    first, later = (split_windows(10_000), grid(10_000)), (split_windows(5_000), grid(5_000, first=10_000))
    assert windows_beside([first, later], later[1]) == later[0]


def test_too_few_candles_in_the_fitness_range_are_refused() -> None:
    first = (split_windows(10_000), grid(10_000))
    with pytest.raises(BadInput, match="only 1000 of its candles"):
        windows_beside([first], grid(5_000, first=5_000))
    with pytest.raises(BadInput, match="only 0 of its candles"):
        windows_beside([first], grid(5_000, first=6_000))


def test_too_little_left_to_walk_is_refused() -> None:
    with pytest.raises(BadInput, match="walk forward"):
        windows_beside([(split_windows(10_000), grid(10_000))], grid(6_010))


def test_splits_of_their_own_show_one_dataset_the_others_future() -> None:
    first, second = (split_windows(10_000), grid(10_000)), (split_windows(9_000), grid(9_000, first=3_000))
    reason = fitted_on_the_future(search(first, second), [first[1], second[1]])
    assert reason.startswith("kraken A1/USD 1h would be fitted on times that kraken A0/USD 1h keeps")
    other_way = fitted_on_the_future(search(second, first), [second[1], first[1]])
    assert other_way.startswith("kraken A1/USD 1h") is False
    assert "would be fitted" in other_way


def test_one_candle_too_many_is_noticed() -> None:
    windows, here = split_windows(10_000, purge=0), grid(10_000)
    assert not fitted_on_the_future(search((windows, here), (windows, here)), [here, here])
    one_more = msgspec.structs.replace(windows, fitness=(Window(0, windows.fitness[0].stop + 1),))
    assert fitted_on_the_future(search((windows, here), (one_more, here)), [here, here])
    assert fitted_on_the_future(search((one_more, here), (windows, here)), [here, here])


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.sampled_from([HOUR // 4, HOUR // 2, HOUR]), min_size=2, max_size=3),
    starts=st.lists(st.integers(0, 3_000), min_size=3, max_size=3),
    gaps=st.lists(st.tuples(st.integers(0, 7_000), st.integers(1, 900)), min_size=3, max_size=3),
    purge=st.none() | st.integers(0, 60),
)
def test_no_dataset_is_ever_fitted_where_another_one_is_kept(
    steps: list[int], starts: list[int], gaps: list[tuple[int, int]], purge: int | None
) -> None:
    """Whatever the granularities, beginnings and gaps are."""
    timed = [
        grid(8_000, step, start, tuple(range(gap, gap + length)))
        for step, start, (gap, length) in zip(steps, starts, gaps, strict=False)
    ]
    of = [(split_windows(len(timed[0].time_ms), purge=purge), timed[0])]
    for here in timed[1:]:
        try:
            of.append((windows_beside(of, here, purge), here))
        except BadInput:
            return
    for windows, here in of:
        every = (*windows.fitness, *windows.walk_forward)
        assert all(0 <= w.start < w.stop <= len(here.time_ms) for w in every)
        assert windows.fitness[-1].stop <= windows.walk_forward[0].start
        assert windows.walk_forward[-1].stop <= windows.hold_out.start <= len(here.time_ms)
    reason = fitted_on_the_future(search(*of), [t for _, t in of])
    # Two that follow the first one may share times that it has not: such a search is refused, never run.
    assert not reason or len(of) == 3


@pytest.mark.parametrize(("seconds", "label"), [(300, "5m"), (3_600, "1h"), (86_400, "1d"), (7, "7s")])
def test_granularities_have_names(seconds: int, label: str) -> None:
    assert granularity_label(seconds) == label


def test_a_market_has_a_name() -> None:
    assert market_name(search((split_windows(2_000), grid(2_000)))) == "kraken A0/USD 1h"
