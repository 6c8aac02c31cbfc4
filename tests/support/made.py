"""Instances of any msgspec struct: one fixed example of each, and random ones for hypothesis."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as mi

_TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)
_INTS = st.integers(-(2**53), 2**53)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def example(kind: type) -> Any:
    """Always the same instance: every optional field filled, one element in every collection, the first of choices."""
    return _example(mi.type_info(kind), "")


def _example(t: mi.Type, name: str) -> Any:
    simple = {mi.StrType: name or "text", mi.IntType: 7, mi.FloatType: 0.25, mi.BoolType: True, mi.NoneType: None}
    if type(t) in simple:
        return simple[type(t)]
    if isinstance(t, mi.StructType):
        return t.cls(**{f.name: _example(f.type, f.name) for f in t.fields if not _may_be_unset(f)})
    if isinstance(t, mi.VarTupleType):
        return (_example(t.item_type, name),)
    if isinstance(t, mi.DictType):
        return {_example(t.key_type, "key"): _example(t.value_type, name)}
    if isinstance(t, mi.LiteralType):
        return t.values[0]
    if isinstance(t, mi.UnionType):
        return _example(next(x for x in t.types if not isinstance(x, mi.NoneType)), name)
    raise AssertionError(f"no example of {t} for {name}")


def _may_be_unset(field: mi.Field) -> bool:
    """Left out of the example: what is not set is not written, so that events from before the field keep their bytes."""
    return not field.required and field.default is field.default_factory is mi.NODEFAULT


def instances(kind: type) -> st.SearchStrategy[Any]:
    return _instances(mi.type_info(kind))


def _instances(t: mi.Type) -> st.SearchStrategy[Any]:
    simple = {
        mi.StrType: _TEXT,
        mi.IntType: _INTS,
        mi.FloatType: _FLOATS,
        mi.BoolType: st.booleans(),
        mi.NoneType: st.none(),
    }
    if type(t) in simple:
        return simple[type(t)]
    if isinstance(t, mi.StructType):
        unset = {f.name: st.just(msgspec.UNSET) for f in t.fields if _may_be_unset(f)}
        fields = {f.name: _instances(f.type) for f in t.fields}
        return st.builds(t.cls, **fields | {name: st.one_of(no, fields[name]) for name, no in unset.items()})
    if isinstance(t, mi.VarTupleType):
        return st.lists(_instances(t.item_type), max_size=2).map(tuple)
    if isinstance(t, mi.DictType):
        return st.dictionaries(_instances(t.key_type), _instances(t.value_type), max_size=2)
    if isinstance(t, mi.LiteralType):
        return st.sampled_from(t.values)
    if isinstance(t, mi.UnionType):
        return st.one_of(*map(_instances, t.types))
    raise AssertionError(f"no instances of {t}")


def golden_bytes(name: str) -> bytes:
    """What `tests/contract/golden_events/NAME.vVERSION.json` holds: the example of that type in its envelope."""
    from bus.envelope import encode_event, make_event
    from bus.events import REGISTRY

    event = make_event(
        example(REGISTRY[name].struct),
        id="00000000-0000-5000-8000-000000000001",
        source="golden",
        subject="entity",
        time="2026-01-02T03:04:05.678Z",
        correlation="correlation",
        causation="causation",
    )
    return msgspec.json.format(encode_event(event), indent=1) + b"\n"
