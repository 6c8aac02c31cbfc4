"""Bad input takes no agent down and never vanishes: it is parked with its reason, once."""

import logging

import msgspec

from bus import subjects
from bus.client import Bus, Expect, Stored
from bus.envelope import now_rfc3339
from bus.messages import Parked
from domain.errors import Conflict

log = logging.getLogger("sluice.parked")


async def park(bus: Bus, stream: str, stored: Stored, reason: str, by: str) -> None:
    """Store the message in PARKED under a subject of its own; already there means done."""
    log.error("parked %s %d (%s): %s", stream, stored.seq, stored.subject, reason)
    record = Parked(stream, stored.seq, stored.subject, reason, by, now_rfc3339(), stored.data[:512_000])
    subject = subjects.parked(by, stream, stored.seq)
    try:
        await bus.publish(subject, msgspec.json.encode(record), expect=Expect(subject, 0))
    except Conflict:
        log.debug("%s was parked before", subject)
