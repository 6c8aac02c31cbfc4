"""Read a log and its seals from a running instance."""

from collections.abc import AsyncIterator

import msgspec

from bus.bounded import read_until
from bus.client import Bus
from bus.seals.seal import OPENED_FILTER, Opening, SignedSeal, decode_seal, opening_at
from bus.seals.sealed import Problem, order
from bus.seals.verify import Record, record_of
from bus.subjects import FINDING
from domain.errors import BadInput

STREAM = "EVENTS"


async def read_records(bus: Bus, last: int, start: int = 1) -> AsyncIterator[list[Record]]:
    """Events `start` to `last`, in order and in batches; ends early as `read_until` does."""
    async for batch in read_until(bus, STREAM, start, last):
        yield [record_of(s) for s in batch]


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
    async for batch in read_until(bus, "AUDIT", 1, await bus.last_seq("AUDIT")):
        for stored in batch:
            if stored.subject == FINDING:
                continue
            try:
                seals.append(decode_seal(stored.data))
            except BadInput as e:
                problems.append(Problem(0, "forged", f"AUDIT {stored.seq} ({stored.subject}): {e}"))
    return order(seals), problems
