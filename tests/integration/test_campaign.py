"""Campaigns from the request to the digest, with all agents as real processes on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus import events as ev
from tests.support.campaign import Mine, undisturbed
from tests.support.instance import Instance


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path / "state")
    try:
        yield await instance.start()
    finally:
        await instance.close()


async def test_eight_of_eight_units_validate_with_equal_digests_of_distinct_owners(instance: Instance) -> None:
    instance.judges()
    instance.miners(2)
    mine = await Mine.on(instance)
    campaign, end = await mine.mine(8, population=40, generations=10)
    assert (end.validated, end.inconclusive, end.parked) == (8, 0, 0)
    assert end.digest == await undisturbed(mine.candles, mine.spec(8, population=40, generations=10))
    await mine.check_log(campaign)
    instance.assert_all_alive()
