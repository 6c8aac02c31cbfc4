"""Events as people and scripts read them: the envelope with its sequence, and what to look for."""

from typing import Any

import msgspec

from bus.client import Stored
from bus.envelope import decode_event
from bus.messages import Parked
from bus.subjects import token
from domain.errors import BadInput


def event_filter(type_: str = "", entity: str = "") -> str:
    """The narrowest subject filter for a type (or the beginning of one) and an entity; BadInput when either is malformed."""
    parts = type_.split(".") if type_ else []
    if len(parts) > 3:
        raise BadInput(f"an event type has three parts, such as mining.unit.validated, not {type_!r}")
    context, kind, verb = (*(token(p) for p in parts), "*", "*", "*")[:3]
    return f"ev.{context}.{kind}.{token(entity) if entity else '*'}.{verb}"


def event_record(stored: Stored) -> dict[str, Any]:
    """The envelope with its sequence; a message that is no event is shown as what it is."""
    try:
        event = decode_event(stored.data)
    except BadInput as e:
        return {"seq": stored.seq, "time": stored.time, "type": "malformed", "subject": stored.subject, "data": str(e)}
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "data"}
    return {"seq": stored.seq, **fields, "data": msgspec.json.decode(event.data)}


def parked_record(stored: Stored) -> dict[str, Any]:
    """A parked message: who set it aside and why, and where it lies in which stream."""
    try:
        p = msgspec.json.decode(stored.data, type=Parked)
    except msgspec.MsgspecError as e:
        p = Parked("", 0, stored.subject, f"this record itself cannot be read: {e}", "", stored.time, b"")
    said = {"by": p.by, "stream": p.stream, "stream_seq": p.seq, "subject": p.subject, "reason": p.reason}
    return {"seq": stored.seq, "time": p.time, **said}
