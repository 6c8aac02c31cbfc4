"""The whole log compared with its seals, beside the auditor's other work: damage may lie anywhere, also long ago."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from bus.client import Bus
from bus.seals.reading import read_records
from bus.seals.sealed import Sealed
from bus.seals.verify import Report, Verifier
from domain.errors import SluiceError

#: Rest as long as was worked, so that the others in the process are served.
REST = 1.0


class Check:
    """Begins at once. `sealed` hashes the leaf file, so that it is called in a thread."""

    def __init__(self, bus: Bus, last: int, sealed: Callable[[], Sealed]) -> None:
        self._task = asyncio.create_task(whole(bus, last, sealed))

    def done(self) -> bool:
        return self._task.done()

    def result(self) -> Report:
        return self._task.result()

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, SluiceError):
            await self._task


async def whole(bus: Bus, last: int, sealed: Callable[[], Sealed]) -> Report:
    """Verify everything up to `last`."""
    verifier = Verifier(await asyncio.to_thread(sealed))
    async for batch in read_records(bus, last):
        at = time.monotonic()
        verifier.feed(batch)
        await asyncio.sleep((time.monotonic() - at) * REST)
    return verifier.finish(last)
