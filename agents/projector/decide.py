"""Whether read models still belong to the log that we follow: pure, from the position and what the log holds there."""

from bus.chain import ID_HEADER
from bus.client import Stored
from projections.store import Position, follow_chain


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
