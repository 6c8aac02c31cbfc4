"""Read a stream from one sequence to another and stop: the fast way to go through a whole log once.

Through an ordered consumer; batched direct gets (`Bus.read`) repeat stream, subject, sequence and time as headers of every
message, which costs a client several times what the message does.
"""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from bus.client import Bus, Stored
from bus.tail import Tail
from domain.errors import Unreachable

PATIENCE_S = 30.0
#: Messages under way at once, where they are large: artifacts are chunks of half a megabyte, a result holds all its finds.
_BATCH = {"ARTIFACTS": 16, "RESULT": 100}


async def read_until(
    bus: Bus, stream: str, start: int, end: int, subject_filter: str = ""
) -> AsyncIterator[list[Stored]]:
    """All messages under the filter from sequence `start` to `end` that the stream holds, in order, in batches.

    `time` is the server's, RFC 3339. Raises Unreachable when the server stops answering before the end.
    """
    tail = Tail(bus, stream, start - 1, subject_filter, _BATCH.get(stream, 1000))
    heard = time.monotonic()
    try:
        while tail.position < end:
            batch = await tail.next(1.0)
            if batch:
                heard = time.monotonic()
                wanted = [s._replace(time=_rfc3339(s.time)) for s in batch if s.seq <= end]
                if wanted:
                    yield wanted
            elif await _nothing_left(bus, stream, tail.position + 1, end, subject_filter):
                return
            elif time.monotonic() - heard > PATIENCE_S:
                raise Unreachable(f"{stream} stopped answering at {tail.position} of {end}")
    finally:
        await tail.close()


async def _nothing_left(bus: Bus, stream: str, start: int, end: int, subject_filter: str) -> bool:
    """Whether the stream holds no more up to `end`, as its leader sees it."""
    there = await bus.next(stream, start, subject_filter or ">")
    return there is None or there.seq > end


def _rfc3339(ns: str) -> str:
    """Nanoseconds since 1970 as text, with nothing lost."""
    seconds, rest = divmod(int(ns), 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
