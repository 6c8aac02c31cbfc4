"""Schema evolution: what an older version of an event said, in the words of today's.

A struct that changes gets a new version in `bus.events.REGISTRY` and an upcaster here that lifts the data of the version
before it; they are chained, 1 -> 2 -> 3. Nothing in the log is ever rewritten, and events of today's version do not come
here at all, so that evolution costs them nothing.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from domain.errors import BadInput

#: The decoded JSON of an event's `data`.
Fields = dict[str, Any]
#: Pure: the fields as the next version has them, in a new dictionary. A missing or odd field raises as Python does.
Upcaster = Callable[[Fields], Fields]


def added(**values: Any) -> Upcaster:
    """The next version has fields that this one did not know: what they would have been."""
    return lambda old: old | values


def renamed(**names: str) -> Upcaster:
    """`old="new"`: the next version calls a field by another name."""
    return lambda old: {names.get(name, name): value for name, value in _having(old, *names).items()}


def split(field: str, parts: Callable[[Any], Fields]) -> Upcaster:
    """The next version has several fields in place of one; `parts` makes them of its value."""
    return lambda old: {n: v for n, v in _having(old, field).items() if n != field} | parts(old[field])


def _best_objective(find: Any) -> Fields:
    return {"best_objective": None if find is None else find["objective"]}


def _having(old: Fields, *names: str) -> Fields:
    missing = [n for n in names if n not in old]
    if missing:
        raise KeyError(missing[0])
    return old


#: (event type, version that it reads) -> how that becomes the next version. One for each version before today's.
UPCASTERS: dict[tuple[str, int], Upcaster] = {
    # Version 1 had seen every end; since version 2 `exit` may also be null. What it did say means the same.
    ("ops.agent.stopped", 1): added(),
    # Version 1 had the best find whole, as the answer in RESULT has it.
    ("mining.unit.replica_answered", 1): split("best", _best_objective),
    # Since version 2 `find` may also be null.
    ("strategy.strategy.discovered", 1): added(),
    ("strategy.strategy.validated", 1): added(),
}


def lift(name: str, version: int, today: int, data: bytes | msgspec.Raw) -> bytes:
    """The data of an older version as JSON of today's; BadInput when it is not what that version was."""
    try:
        fields = msgspec.json.decode(data)
        for at in range(version, today):
            upcaster = UPCASTERS.get((name, at))
            if upcaster is None:
                raise BadInput(f"{name} has no version {at}")
            fields = upcaster(fields)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise BadInput(f"data of {name} version {version} cannot be read: {e}") from e
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        raise BadInput(f"data of {name} is not what version {version} was: {e!r}") from e
    # Through JSON again, so that what follows reads it as it reads today's: the same rules for every type of field.
    return msgspec.json.encode(fields)
