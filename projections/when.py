"""Which sequence a moment is: the last event that the server had stored by then."""

import re
from datetime import UTC, datetime

from bus.client import Bus, Stored
from domain.errors import BadInput, Unreachable

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")
_SEQ = re.compile(r"\d{1,18}")


def time_ns(text: str) -> int:
    """RFC 3339 as nanoseconds since 1970; BadInput for anything else, a time without its zone included."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"{text[:40]!r} is neither a sequence nor a time such as 2026-01-31T12:00:00Z")
    day, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(day.replace(" ", "T").upper() + ("+00:00" if zone in "Zz" else zone))
        seconds = int(moment.astimezone(UTC).timestamp())
    except (ValueError, OverflowError) as e:
        raise BadInput(f"{text[:40]!r} is no time: {e}") from e
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


async def sequence_of(bus: Bus, text: str, now_ns: int) -> int:
    """A sequence as it is, or the last one stored at or before a time. Raises BadInput for a time that lies ahead.

    The server stamps events as it stores them, so that times rise with sequences and halving the log finds the place.
    Where a server's clock was set back there may be several events that were stored by then and followed by a later one:
    it is one of them, and the same one whenever it is asked for in a log that has not grown since.
    """
    if _SEQ.fullmatch(text.strip()):
        return int(text)
    wanted = time_ns(text)
    if wanted > now_ns:
        raise BadInput(f"{text} lies ahead: what will be stored by then is not known")
    last, _, _ = await bus.stream_state("EVENTS")
    below, above = 0, last + 1
    while above - below > 1:
        middle = (below + above) // 2
        if _stored_ns(await _there(bus, middle)) <= wanted:
            below = middle
        else:
            above = middle
    if below == 0:
        raise BadInput(f"nothing was in the log at {text}; its first event came later")
    return below


async def _there(bus: Bus, seq: int) -> Stored:
    stored = await bus.next("EVENTS", seq, ">")
    if stored is None:
        raise Unreachable(f"the log has no event {seq}; `sluice audit verify` says what became of it")
    return stored


def _stored_ns(stored: Stored) -> int:
    return time_ns(stored.time)
