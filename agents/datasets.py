"""Get a dataset by its hash: from the local cache, else over the bus into it."""

import asyncio
import logging

from bus.artifacts import get_artifact
from bus.client import Bus
from domain.candles import Candles
from domain.errors import BadInput
from market.store import DatasetStore

log = logging.getLogger("sluice.datasets")


async def load_dataset(bus: Bus, store: DatasetStore, sha256: str) -> Candles:
    """Candles whose bytes hash to `sha256`; a copy in the cache that was altered is set aside and fetched anew.

    Raises Unreachable when no right copy is on the bus, BadInput when these bytes are no dataset.
    """
    if await asyncio.to_thread(store.has, sha256):
        try:
            return await asyncio.to_thread(store.get, sha256)
        except BadInput as e:
            log.warning("%s", e)
    data = await get_artifact(bus, sha256)
    await asyncio.to_thread(store.put_bytes, data)
    return await asyncio.to_thread(store.get, sha256)
