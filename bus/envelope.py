"""The envelope of every event: CloudEvents 1.0 in structured JSON, and its codec.

`data` stays raw until someone asks for it, so that a reader can route a million events without decoding each.
"""

import functools
from datetime import UTC, datetime

import msgspec

from bus.events import REGISTRY, EventData, type_of
from bus.subjects import event_subject
from bus.upcast import lift
from domain.errors import BadInput, SluiceError

#: What decoding raises for bytes from elsewhere: bad JSON or types, bad UTF-8, endless nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class TooNew(SluiceError):
    """An event of a version newer than this program; the reader halts and its position stays."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable fact. `subject` is the entity's id, `source` the agent; order is the stream sequence, not `time`."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: str
    subject: str
    correlationid: str = ""
    causationid: str = ""
    schemaver: int = 1
    data: msgspec.Raw

    def payload(self) -> EventData:
        """The typed data, of an older version lifted to today's; BadInput when type or data are not ours, TooNew when
        written by a newer version."""
        entry = REGISTRY.get(self.type)
        if entry is None:
            raise BadInput(f"unknown event type {self.type!r}")
        if self.schemaver > entry.version:
            raise TooNew(f"event {self.id} is {self.type} version {self.schemaver}, this program knows {entry.version}")
        data: bytes | msgspec.Raw = self.data
        if self.schemaver < entry.version:
            data = lift(self.type, self.schemaver, entry.version, data)
        try:
            return _decoder(entry.struct).decode(data)
        except UNREADABLE as e:
            raise BadInput(f"data of {self.type} {self.id} cannot be read: {e}") from e

    def nats_subject(self) -> str:
        return event_subject(self.type, self.subject)


_DECODER = msgspec.json.Decoder(Event)
#: One a type: to look the type up anew with every event costs as much as to read a small one.
_DATA = {name: msgspec.json.Decoder(entry.struct) for name, entry in REGISTRY.items()}
_ENCODER = msgspec.json.Encoder()


@functools.cache
def _decoder(struct: type[EventData]) -> msgspec.json.Decoder[EventData]:
    """One a type: to look a type up anew with every event costs as much as to read a small one."""
    return msgspec.json.Decoder(struct)


def now_rfc3339() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_event(
    data: EventData, *, id: str, source: str, subject: str, time: str, correlation: str = "", causation: str = ""
) -> Event:
    """Wrap `data`; type and version come from the registry, id and time from the caller (never made up here)."""
    name = type_of(data)
    return Event(
        id=id,
        source=source,
        type=name,
        time=time,
        subject=subject,
        correlationid=correlation,
        causationid=causation,
        schemaver=REGISTRY[name].version,
        data=msgspec.Raw(_ENCODER.encode(data)),
    )


def encode_event(event: Event) -> bytes:
    return _ENCODER.encode(event)


def decode_event(raw: bytes) -> Event:
    """BadInput when the bytes are not an envelope."""
    try:
        return _DECODER.decode(raw)
    except UNREADABLE as e:
        raise BadInput(f"not an event envelope: {e}") from e


def read_event(subject: str, raw: bytes) -> Event:
    """An event as it lies in the log; BadInput when it is none, or says another type or entity than its subject."""
    event = decode_event(raw)
    try:
        said = event.nats_subject()
    except ValueError as e:
        raise BadInput(f"{event.type!r} is no event type") from e
    if said != subject:
        raise BadInput(f"the event says that it belongs under {said}")
    return event
