"""Files of a copy and its manifest: what was written is read, and whatever is altered is found."""

import gzip
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.chain import ID_HEADER
from bus.client import Stored
from bus.copies.manifest import NAME, read_manifest, require_manifest
from bus.copies.read import read_copy, verify_copy
from bus.copies.records import CopyDamaged, own_headers, pack, unpack
from bus.copies.target import FolderTarget, open_target
from bus.seals.verify import record_of
from domain.errors import BadInput
from tests.support.copies import events, message, write_copy

LOG = events(230)
CLAIMS = [message(n, "claim.u.0.h.1", b"{}") for n in (3, 4, 9)]


@pytest.fixture
def copy(tmp_path: Path) -> FolderTarget:
    target = FolderTarget(tmp_path / "copy")
    write_copy(target, {"EVENTS": LOG, "CLAIM": CLAIMS}, CLAIM=12)
    return target


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=300), st.text(max_size=20), st.dictionaries(st.text(max_size=8), st.text(max_size=8))
        )
    )
)
def test_what_is_packed_is_unpacked(parts) -> None:  # type: ignore[no-untyped-def]
    messages = [
        Stored(f"ev.a.b.{n}.c", n, data, own_headers(headers | {ID_HEADER: id}), "t")
        for n, (data, id, headers) in enumerate(parts, 1)
    ]
    packed = pack(messages)
    assert list(unpack("x", packed)) == messages
    assert pack(messages) == packed


def test_only_the_headers_of_the_message_itself_are_copied() -> None:
    transport = {"Nats-Batch-Id": "b", "Nats-Expected-Last-Subject-Sequence": "3", "Nats-Sequence": "7"}
    assert own_headers({ID_HEADER: "i", "KV-Operation": "DEL"} | transport) == {ID_HEADER: "i", "KV-Operation": "DEL"}


def test_a_copy_is_read_as_the_log_it_is_of(copy: FolderTarget) -> None:
    assert list(read_copy(copy)) == [record_of(m) for m in LOG]
    assert list(read_copy(copy.where, "CLAIM")) == [record_of(m) for m in CLAIMS]
    assert list(read_copy(copy, "AUDIT")) == []
    checked = verify_copy(copy)
    assert (checked.problems, checked.seq, checked.messages, checked.files) == ([], 230, 233, 6)


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(copy: FolderTarget) -> None:
    rng = random.Random(5)
    names = sorted(copy.sizes())
    assert len(names) == 7
    for name in names:
        whole = copy.read(name)
        assert whole
        for _ in range(20):
            at = rng.randrange(len(whole))
            bad = bytearray(whole)
            bad[at] ^= 1 << rng.randrange(8)
            copy.write(name, bytes(bad))
            if name == NAME:
                with pytest.raises((CopyDamaged, BadInput)):
                    require_manifest(copy)
            else:
                assert [p.file for p in verify_copy(copy).problems] == [name]
                with pytest.raises(CopyDamaged, match=name.split("/")[1]):
                    list(read_copy(copy, name.split("/")[0]))
        copy.write(name, whole)
    assert verify_copy(copy).problems == []


def test_all_that_is_wrong_is_said(copy: FolderTarget) -> None:
    first, *_, last = sorted(f.name for f in require_manifest(copy).events.files)
    (copy.root / first).unlink()
    copy.write(last, b"")
    assert {p.file for p in verify_copy(copy).problems} == {first, last}


def test_a_copy_without_a_manifest_was_cut_short(copy: FolderTarget, tmp_path: Path) -> None:
    (copy.root / NAME).unlink()
    assert read_manifest(copy) is None
    with pytest.raises(BadInput, match="cut short"):
        require_manifest(copy)
    with pytest.raises(BadInput, match="there is nothing at"):
        require_manifest(FolderTarget(tmp_path / "nowhere"))


def test_a_newer_format_is_told_from_damage(copy: FolderTarget) -> None:
    raw = msgspec.json.decode(copy.read(NAME) or b"", type=dict[str, object])
    copy.write(NAME, msgspec.json.encode(raw | {"format": 2}))
    with pytest.raises(BadInput, match="format 2"):
        require_manifest(copy)


def test_a_manifest_that_names_files_outside_of_the_copy_is_refused(copy: FolderTarget) -> None:
    manifest = require_manifest(copy)
    events_ = manifest.events
    outside = msgspec.structs.replace(events_.files[0], name="../secret.gz")
    streams = (msgspec.structs.replace(events_, files=(outside,)),)
    bad = msgspec.structs.replace(manifest, streams=streams, sha256="")
    copy.write(NAME, msgspec.json.encode(msgspec.structs.replace(bad, sha256=bad.digest())))
    with pytest.raises(CopyDamaged, match="secret"):
        require_manifest(copy)


@pytest.mark.parametrize("gone", [0, 100, 229])
def test_an_event_that_is_missing_from_the_start_is_found(tmp_path: Path, gone: int) -> None:
    target = FolderTarget(tmp_path)
    write_copy(target, {"EVENTS": [m for i, m in enumerate(LOG) if i != gone]}, EVENTS=230)
    assert verify_copy(target).problems


def test_what_is_no_file_of_a_copy_is_said() -> None:
    head = b'{"seq":1,"subject":"s","time":"t","headers":{},"bytes":%d}\n'
    for data in (b"", b"plain", gzip.compress(b"{}\n"), gzip.compress(head % 9 + b"abc\n"), pack(LOG)[:-9]):
        with pytest.raises(CopyDamaged, match="EVENTS/x"):
            list(unpack("EVENTS/x", data))
    with pytest.raises(CopyDamaged, match="larger than any file"):
        list(unpack("EVENTS/x", gzip.compress(bytes(65 * 1024**2), 1)))


def test_places_that_cannot_be_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a folder nor an object store"):
        open_target("nothing-like-that://bucket/x")
    with pytest.raises(BadInput, match="at least a bucket"):
        open_target("s3://")
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(BadInput, match="is a file"):
        open_target(str(file)).sizes()
    assert isinstance(open_target(f"file://{tmp_path}"), FolderTarget)


def test_an_object_store_keeps_what_a_folder_keeps() -> None:
    target = open_target("memory://bucket/a/b")
    assert target.read(NAME) is None
    assert target.sizes() == {}
    write_copy(target, {"EVENTS": LOG})
    assert list(read_copy(target)) == [record_of(m) for m in LOG]
    assert set(target.sizes()) == {NAME, *(f.name for f in require_manifest(target).files())}
