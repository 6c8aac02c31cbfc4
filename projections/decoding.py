"""From a message of the log to a fact, as `bus.envelope` reads it, only faster: a log says the same things many times.

A search stands in every strategy that it found, a find in its answers, in its unit's verdict and with its strategy. What was
decoded lately is known by its bytes and not decoded again. Every byte is still checked against its type, and whatever is out
of the ordinary (another version, a wrong subject, data that cannot be read) goes the plain way, which says what is wrong.
"""

import typing
from collections.abc import Callable
from typing import Any

import msgspec

from bus.client import Stored
from bus.envelope import UNREADABLE, decode_event
from bus.events import REGISTRY, EventData
from bus.subjects import is_token
from domain.errors import BadInput
from domain.genome import Genome
from domain.hashing import canonical
from domain.results import Find
from domain.specs import CampaignSpec, SearchSpec
from projections.schema import Fact

#: What is worth remembering, and how many of each: those of the units under way.
_REPEATED: dict[Any, int] = {Find: 512, Genome: 512, SearchSpec: 64, CampaignSpec: 64}


class _Memory:
    """Decoded values by their bytes; when there are too many, all are forgotten."""

    def __init__(self, kind: Any, most: int) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._most = most
        self._known: dict[bytes, Any] = {}

    def value(self, raw: msgspec.Raw) -> Any:
        return self.of_bytes(bytes(raw))

    def of_bytes(self, key: bytes) -> Any:
        found = self._known.get(key)
        if found is None:
            found = self._decode(key)
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[key] = found
        return found

    def value_or_none(self, raw: msgspec.Raw) -> Any:
        return None if bytes(raw) == b"null" else self.value(raw)

    def values(self, raws: tuple[msgspec.Raw, ...]) -> Any:
        return tuple([self.value(raw) for raw in raws])


def find_of(text: str) -> Find:
    """A find from its canonical JSON, which the event that brought it mostly had too."""
    return typing.cast(Find, _MEMORIES[Find].of_bytes(text.encode()))


_MEMORIES = {kind: _Memory(kind, most) for kind, most in _REPEATED.items()}


class _Reader:
    """Decodes whole events of one type, envelope and data in one pass."""

    def __init__(self, name: str, struct: type[EventData], version: int) -> None:
        self.name, self._struct, self.version = name, struct, version
        self._steps: list[tuple[int, Callable[[Any], Any]]] = []
        fields: list[Any] = []
        for at, field in enumerate(msgspec.structs.fields(struct)):
            kind, step = _lean(field.type)
            if step is not None:
                self._steps.append((at, step))
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            fields.append((field.encode_name, kind) if field.required else (field.encode_name, kind, default))
        data = msgspec.defstruct(f"Lean{struct.__name__}", fields) if self._steps else struct
        envelope = [(n, str) for n in ("id", "source", "type", "time", "subject")]
        rest = [
            ("correlationid", str, ""),
            ("schemaver", int, 1),
            ("specversion", str, "1.0"),
            ("causationid", str, ""),
        ]
        whole = msgspec.defstruct(f"Whole{struct.__name__}", [*envelope, ("data", data), *rest], kw_only=True)
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(whole).decode

    def data(self, lean: Any) -> EventData:
        if not self._steps:
            return typing.cast(EventData, lean)
        values = list(msgspec.structs.astuple(lean))
        for at, step in self._steps:
            values[at] = step(values[at])
        return self._struct(*values)


def _lean(kind: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """The type under which a field is taken in, and what makes its value; the type itself where nothing is repeated."""
    if kind in _MEMORIES:
        return msgspec.Raw, _MEMORIES[kind].value
    parts = typing.get_args(kind)
    if len(parts) == 2:
        if parts[1] is type(None) and parts[0] in _MEMORIES:
            return msgspec.Raw, _MEMORIES[parts[0]].value_or_none
        if parts[1] is Ellipsis and parts[0] in _MEMORIES:
            return tuple[msgspec.Raw, ...], _MEMORIES[parts[0]].values
    return kind, None


_READERS = {name: _Reader(name, entry.struct, entry.version) for name, entry in REGISTRY.items()}


def fact_of(stored: Stored) -> Fact:
    """The event in a message; BadInput when it is none or belongs elsewhere, TooNew when a newer program wrote it."""
    parts = stored.subject.split(".")
    reader = _READERS.get(f"{parts[1]}.{parts[2]}.{parts[4]}") if len(parts) == 5 else None
    if reader is not None and parts[0] == "ev" and is_token(parts[3]):
        try:
            e = reader.decode(stored.data)
            if e.type == reader.name and e.subject == parts[3] and e.schemaver == reader.version:
                return Fact(e.id, e.type, e.source, e.subject, e.correlationid, e.time, reader.data(e.data))
        except UNREADABLE:
            pass
    return _plainly(stored)


class Misplaced(BadInput):
    """The event is one, with an id, but nobody may take it; the id is known all the same."""

    def __init__(self, message: str, event_id: str) -> None:
        super().__init__(message)
        self.event_id = event_id


def _plainly(stored: Stored) -> Fact:
    event = decode_event(stored.data)
    try:
        data = event.payload()
        if event.nats_subject() != stored.subject:
            raise BadInput(f"the event says it belongs to {event.nats_subject()}")
    except BadInput as e:
        raise Misplaced(str(e), event.id) from e
    return Fact(event.id, event.type, event.source, event.subject, event.correlationid, event.time, data)


class _Texts:
    """Canonical JSON of the last values, by identity: three rows hold the same find."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[int, tuple[Any, str]] = {}

    def of(self, value: Any) -> str:
        found = self._known.get(id(value))
        # The value is kept with its text, so that no other one can have its identity.
        if found is not None:
            return found[1]
        text = canonical(value).decode()
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[id(value)] = (value, text)
        return text


#: Canonical JSON as text, of values that are never changed.
canonical_text = _Texts(1024).of
