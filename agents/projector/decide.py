"""Whether read models still belong to the log that we follow, and whether that log is whole: pure."""

from bus.chain import ID_HEADER
from bus.client import Stored
from domain.errors import SluiceError
from projections.store import Position, follow_chain

DO = (
    "`sluice audit verify` lists all that differs; put the server's files back as they were, or restore a copy with "
    "`sluice restore`"
)


class Broken(SluiceError):
    """The log is damaged, or another one than the read models are of: nothing new is served from it."""


def gone(first: int, count: int = 1) -> str:
    """Words for a log that lacks events."""
    what = f"event {first} is" if count == 1 else f"{count} events, the first of them {first}, are"
    return f"halted: {what} gone from the log or cannot be read; the read models stay as they are; {DO}"


def other(why: str) -> str:
    """Words for a log that is not the one that the read models are of."""
    return (
        f"halted: {why}; the read models stay as they are; {DO}; if this log is the right one, stop, delete "
        "views.sqlite and start again"
    )


def doubt(position: Position, created: str, last_seq: int, there: Stored | None) -> str:
    """Why the read models at `position` are not of this log; "" when they are.

    `there`: what the log holds at the position. Sequences can be reused after a damaged last block, so a sequence
    alone proves nothing.
    """
    if position.seq == 0:
        return ""
    if position.created != created:
        return f"the log was made at {created}, the read models are of one made at {position.created}"
    if position.seq > last_seq:
        return f"the log ends at {last_seq}, the read models stand at {position.seq}"
    if there is None:
        return f"the log has no event {position.seq}, at which the read models stand"
    if there.headers.get(ID_HEADER, "") != position.event_id:
        return f"event {position.seq} is another one than the read models have seen"
    if follow_chain(position.previous, there) != position.chain:
        return f"the content of event {position.seq} is not what the read models have seen"
    return ""
