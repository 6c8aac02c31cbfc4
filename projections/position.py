"""Where read models stand in the log, and whether they still belong to it: pure, from what the log holds there."""

from typing import NamedTuple

from bus.chain import GENESIS, ID_HEADER, chain_hash, leaf_hash
from bus.client import Stored


class Position(NamedTuple):
    """The last event applied: its id (Nats-Msg-Id), the hash `chain` over the log up to it, `previous` the one before (hex)."""

    created: str = ""
    seq: int = 0
    event_id: str = ""
    chain: str = ""
    previous: str = ""


def chain_bytes(chain: str) -> bytes:
    return bytes.fromhex(chain) if chain else GENESIS


def link(previous: bytes, stored: Stored) -> bytes:
    """The chain after this message."""
    return chain_hash(previous, leaf_hash(stored.seq, stored.subject, stored.headers.get(ID_HEADER, ""), stored.data))


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
    if link(chain_bytes(position.previous), there).hex() != position.chain:
        return f"the content of event {position.seq} is not what the read models have seen"
    return ""
