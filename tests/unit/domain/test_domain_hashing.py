"""Canonical bytes, derived ids and seeds."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInput, Conflict, SluiceError, Unreachable
from domain.hashing import canonical, content_hash, derived_id, derived_seed, sha256_hex

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_the_order_of_keys_does_not_change_the_hash(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical(turned) == canonical(value)
    assert content_hash(turned) == sha256_hex(canonical(value))


def test_sha256_agrees_with_the_published_example() -> None:
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_derived_ids_are_version_5_and_distinct_by_part() -> None:
    first = derived_id("unit", "c", 1)
    assert uuid.UUID(first).version == 5
    assert first == derived_id("unit", "c", 1)
    assert len({first, derived_id("unit", "c", 2), derived_id("unit", "d", 1), derived_id("other", "c", 1)}) == 4


def test_derived_seeds_never_change() -> None:
    """The first 8 bytes of SHA-256("a/1"), most significant first: campaigns of the past must replay."""
    assert derived_seed("a", 1) == int(sha256_hex(b"a/1")[:16], 16)
    assert 0 <= derived_seed("generation", 3) < 2**64


@pytest.mark.parametrize(("error", "retryable"), [(BadInput, False), (Unreachable, True), (Conflict, True)])
def test_every_error_says_whether_trying_again_helps(error: type[SluiceError], retryable: bool) -> None:
    assert issubclass(error, SluiceError)
    assert error("x").retryable is retryable
