"""A log that goes on elsewhere (restored from a copy, moved onto other servers) says so by an event that opens an epoch."""

from bus.client import Bus, Expect
from bus.envelope import make_event, now_rfc3339
from bus.events import EpochOpened
from bus.seals.common import Common
from bus.seals.reading import read_openings
from bus.seals.seal import epoch_of
from domain.hashing import derived_id


async def open_epoch(bus: Bus, common: Common, source: str, by: str, sealed: int = 1) -> EpochOpened:
    """Append `audit.epoch.opened` after what the log shares with what was sealed before: `common`.

    `sealed`: the highest epoch that seals from elsewhere name, which the log itself may know nothing of.

    Without it the auditor and the projector would halt: a log that was made at another time is another log.
    """
    number = max(sealed, epoch_of(await read_openings(bus))) + 1
    opened = EpochOpened(number, common.seq, common.chain, source, by)
    event = make_event(
        opened,
        id=derived_id("EpochOpened", number, common.seq, common.chain),
        source="cli",
        subject=str(number),
        time=now_rfc3339(),
    )
    await bus.append(event, Expect(event.nats_subject(), 0))
    return opened
