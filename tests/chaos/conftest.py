"""An instance for each test: server, dispatcher and validator run, miners are the test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.campaign import Mine
from tests.support.instance import Instance


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    """Three hosts on one machine, no agent yet."""
    instance = Instance(tmp_path / "state", hosts=("alpha", "beta", "gamma"))
    try:
        yield await instance.start()
    finally:
        await instance.close()


@pytest.fixture
async def mine(instance: Instance) -> Mine:
    instance.judges()
    return await Mine.on(instance)
