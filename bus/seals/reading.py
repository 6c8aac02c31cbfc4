"""Read a log and its seals from a running instance."""

import time
from collections.abc import AsyncIterator

import msgspec

from bus.client import Bus, Stored
from bus.seals.seal import OPENED_FILTER, Opening, SignedSeal, decode_seal, opening_at
from bus.seals.sealed import Problem, order
from bus.seals.verify import Record, record_of
from bus.subjects import FINDING
from bus.tail import Tail
from domain.errors import BadInput, Unreachable

STREAM = "EVENTS"
BATCH = 2000
#: With nothing new for so long, ask whether there is anything.
ASK_S = 1.0
PATIENCE_S = 30.0


async def read_records(bus: Bus, last: int, start: int = 1) -> AsyncIterator[list[Record]]:
    """Events `start` to `last`, in order and in batches, as `_read` does."""
    async for batch in _read(bus, STREAM, last, start):
        yield [record_of(s) for s in batch]


async def _read(bus: Bus, stream: str, last: int, start: int = 1) -> AsyncIterator[list[Stored]]:
    """Messages `start` to `last`. Ends early where the server can read no further one.

    A message whose checksum is wrong the server leaves out without a word: a gap in the sequences is all that shows.
    Unreachable when it stops answering.
    """
    if start > last:
        return
    tail = Tail(bus, stream, start - 1, batch=BATCH)
    heard = time.monotonic()
    try:
        while tail.position < last:
            batch = await tail.next(ASK_S)
            if batch:
                heard = time.monotonic()
                yield [s for s in batch if s.seq <= last]
            elif await nothing_left(bus, tail.position, stream):
                return
            elif time.monotonic() - heard > PATIENCE_S:
                raise Unreachable(f"{stream} stopped answering at {tail.position} of {last}")
    finally:
        await tail.close()


async def nothing_left(bus: Bus, position: int, stream: str = STREAM) -> bool:
    """The server knows no message after this one, whatever it says of the stream's last sequence."""
    return await bus.next(stream, position + 1, ">") is None


async def first_gone(bus: Bus, stream: str) -> int:
    """The first sequence that the stream lacks by its own account; 1 when it does not say."""
    query = msgspec.json.encode({"deleted_details": True})
    reply = await bus.request(f"{bus.wire.api}.STREAM.INFO.{stream}", query, timeout_s=5.0)
    state = msgspec.json.decode(reply.data).get("state", {})
    return 1 if state.get("first_seq", 1) > 1 else int(min(state.get("deleted") or [1]))


async def read_openings(bus: Bus) -> list[Opening]:
    """The events that opened epochs, oldest first: one for each restore."""
    out, at = [], 1
    while (stored := await bus.next(STREAM, at, OPENED_FILTER)) is not None:
        if (opening := opening_at(stored.seq, stored.data)) is not None:
            out.append(opening)
        at = stored.seq + 1
    return out


async def read_audit(bus: Bus) -> tuple[list[SignedSeal], list[Problem]]:
    """The seals in AUDIT in the order of their making, and what lies there and is none."""
    seals, problems = [], []
    async for batch in _read(bus, "AUDIT", await bus.last_seq("AUDIT")):
        for stored in batch:
            if stored.subject == FINDING:
                continue
            try:
                seals.append(decode_seal(stored.data))
            except BadInput as e:
                problems.append(Problem(0, "forged", f"AUDIT {stored.seq} ({stored.subject}): {e}"))
    return order(seals), problems
