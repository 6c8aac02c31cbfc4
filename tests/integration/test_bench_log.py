"""The benchmarks of the log do what they say, on short logs: what is timed there is compared here, and nothing is timed."""

import pytest

from bench import bus, replay

pytestmark = pytest.mark.slow


def test_the_bus_and_the_bare_client_did_the_same() -> None:
    rows = bus.run(rounds=1, consumed=2_000)
    assert len(rows) == 4
    assert all(row["identical"] and row["figure"] > 0 and row["baseline"] > 0 for row in rows), rows


def test_rebuilt_incremental_and_jumped_to_are_equal() -> None:
    rows = replay.run(events=1_500, searches=2)
    assert [row["events"] for row in rows] == [1_500] * 6
    assert all(row["identical"] and row["figure"] > 0 for row in rows), rows
