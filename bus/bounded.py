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

#: With nothing new for so long, the leader is asked whether there is anything.
ASK_S = 1.0
PATIENCE_S = 30.0
BATCH = 1000
#: Messages under way at once, where they are large: artifacts are chunks of half a megabyte, a result holds all its finds.
_SMALLER = {"ARTIFACTS": 16, "RESULT": 100}


async def read_until(
    bus: Bus, stream: str, start: int, end: int, subject_filter: str = "", *, headers_only: bool = False
) -> AsyncIterator[list[Stored]]:
    """All messages under the filter from sequence `start` to `end` that the stream holds, in order, in batches.

    `time` is the server's, nanoseconds since 1970. Ends early where the server can read no further one: a message whose
    checksum is wrong it leaves out without a word. Raises Unreachable when it stops answering before the end.
    """
    if start > end:
        return
    tail = Tail(bus, stream, start - 1, subject_filter, _SMALLER.get(stream, BATCH), headers_only=headers_only)
    heard = time.monotonic()
    try:
        while tail.position < end:
            batch = await tail.next(ASK_S)
            if batch:
                heard = time.monotonic()
                wanted = batch if batch[-1].seq <= end else [s for s in batch if s.seq <= end]
                if wanted:
                    yield wanted
            elif await _nothing_left(bus, stream, tail.position + 1, end, subject_filter):
                return
            elif time.monotonic() - heard > PATIENCE_S:
                raise Unreachable(f"{stream} stopped answering at {tail.position} of {end}")
    finally:
        await tail.close()


async def _nothing_left(bus: Bus, stream: str, start: int, end: int, subject_filter: str) -> bool:
    """Whether the stream holds no more up to `end`, as its leader sees it; False while nobody says."""
    try:
        there = await bus.next(stream, start, subject_filter or ">")
    except Unreachable:
        return False
    return there is None or there.seq > end


async def read_whole(
    bus: Bus, stream: str, start: int, end: int, *, headers_only: bool = False
) -> AsyncIterator[list[Stored]]:
    """As `read_until`, of a stream from which nothing is ever deleted; Unreachable where it cannot be read to `end`."""
    at = start - 1
    async for batch in read_until(bus, stream, start, end, headers_only=headers_only):
        yield batch
        at = batch[-1].seq
    if at < end:
        raise Unreachable(f"{stream} cannot be read beyond {at}, though it ends at {end}")


async def skim(bus: Bus, stream: str) -> AsyncIterator[Stored]:
    """Every message up to the stream's end now, one by one, its data empty: many times as fast where messages are large."""
    async for batch in read_whole(bus, stream, 1, await bus.last_seq(stream), headers_only=True):
        for stored in batch:
            yield stored


def rfc3339(ns: str) -> str:
    """Nanoseconds since 1970 as text, with nothing lost."""
    seconds, rest = divmod(int(ns), 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
