"""Read the heartbeats: who is there now, judged by age and never by silence alone."""

import logging
from datetime import UTC, datetime

import msgspec

from bus.client import Bus
from bus.messages import AgentState, Presence

log = logging.getLogger("sluice.presence")
STALL_BEATS = 4


async def read_presence(bus: Bus) -> list[Presence]:
    """All heartbeats that have not expired; a malformed one, or one in another's name, is skipped and logged."""
    out = []
    async for stored in bus.read("KV_PRESENCE", 1):
        if not stored.data:
            continue
        try:
            presence = msgspec.json.decode(stored.data, type=Presence)
            datetime.fromisoformat(presence.time)
        except (msgspec.MsgspecError, ValueError) as e:
            log.warning("a heartbeat on %s cannot be read: %s", stored.subject, e)
            continue
        # The server guards the subject: nobody may speak for another host.
        if stored.subject.split(".")[2:] == [presence.host, presence.agent]:
            out.append(presence)
        else:
            log.warning("a heartbeat on %s speaks for %s.%s", stored.subject, presence.host, presence.agent)
    return out


def age_s(presence: Presence, now: datetime | None = None) -> float:
    """Seconds since the heartbeat was sent (its sender's clock)."""
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(presence.time)).total_seconds()


def judged_state(presence: Presence, now: datetime | None = None) -> AgentState:
    """What the agent says of itself, or `stalled` when several heartbeats are missing."""
    late = age_s(presence, now) > max(1.0, STALL_BEATS * presence.interval_s)
    return "stalled" if late and presence.state != "stopped" else presence.state
