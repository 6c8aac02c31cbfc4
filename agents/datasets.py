"""Get a dataset by its hash: from the local cache, else over the bus into it."""

import asyncio

from bus.artifacts import get_artifact
from bus.client import Bus
from domain.candles import Candles
from market.store import DatasetStore


async def load_dataset(bus: Bus, store: DatasetStore, sha256: str) -> Candles:
    """Candles whose bytes hash to `sha256`. Unreachable when no copy is on the bus, BadInput when the cache was altered."""
    if not await asyncio.to_thread(store.has, sha256):
        data = await get_artifact(bus, sha256)
        await asyncio.to_thread(store.put_bytes, data)
    return await asyncio.to_thread(store.get, sha256)
