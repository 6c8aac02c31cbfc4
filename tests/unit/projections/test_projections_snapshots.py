"""Snapshots as a cache: bounded, covering the log, never taken for what they are not."""

import os
import random
from pathlib import Path

import pytest

from projections import files, snapshots
from projections.snapshots import Snapshot, Snapshots, position_of
from projections.store import ViewStore
from tests.unit.projections.event_log import CREATED, story


def stand_at(path: Path, *sequences: int) -> ViewStore:
    """A live file that stands at the last of `sequences`, open."""
    log = story(random.Random(1), max(sequences))
    store = ViewStore(path)
    store.adopt(CREATED)
    store.apply_batch(log.made[: sequences[-1]])
    return store


def fill(shelf: Snapshots, folder: Path, sequences: list[int]) -> list[Snapshot | None]:
    log = story(random.Random(1), max(sequences))
    store = ViewStore(folder / "live.sqlite")
    store.adopt(CREATED)
    made = []
    for seq in sequences:
        store.apply_batch(log.made[:seq])
        made.append(shelf.take(folder / "live.sqlite"))
    store.close()
    return made


def test_a_snapshot_of_a_live_file_is_one_file_with_what_a_reader_saw(tmp_path):
    store = stand_at(tmp_path / "live.sqlite", 60)
    shelf = Snapshots(tmp_path / "past")
    made = shelf.take(tmp_path / "live.sqlite")
    assert made is not None
    assert position_of(made.path) == store.position
    assert [p.name for p in made.path.parent.iterdir()] == [made.path.name]
    assert shelf.fetch(made, tmp_path / "copy.sqlite")
    copy = ViewStore(tmp_path / "copy.sqlite", scratch=True)
    assert (copy.digest(), copy.opened_at) == (store.digest(), 60)
    copy.close()
    store.close()


def test_too_many_are_thinned_where_they_lie_closest_and_the_log_stays_covered(tmp_path):
    shelf = Snapshots(tmp_path / "past", most_files=4)
    fill(shelf, tmp_path, [10, 20, 30, 40, 50, 60, 70, 80])
    kept = [s.seq for s in shelf.all()]
    assert len(kept) == 4
    assert kept[-1] == 80, "most jumps go to where the log is now"
    gaps = [b - a for a, b in zip([0, *kept], kept, strict=False)]
    assert max(gaps) <= 40


def test_of_what_was_asked_for_the_longest_unused_goes(tmp_path):
    shelf = Snapshots(tmp_path / "past", most_files=2, forget="unused")
    first, second = fill(shelf, tmp_path, [10, 20])
    assert first is not None
    assert second is not None
    os.utime(second.path, (1, 1))
    fill(shelf, tmp_path, [30])
    assert [s.seq for s in shelf.all()] == [10, 30]


def test_bytes_are_bounded_too(tmp_path):
    size = fill(Snapshots(tmp_path / "one"), tmp_path, [40])[0].path.stat().st_size  # type: ignore[union-attr]
    shelf = Snapshots(tmp_path / "few", most_bytes=2 * size + size // 2)
    fill(shelf, tmp_path, [41, 42, 43])
    assert len(shelf.all()) == 2
    nothing = Snapshots(tmp_path / "none", most_bytes=10)
    assert fill(nothing, tmp_path, [44]) == [None]
    assert nothing.all() == []
    assert list((tmp_path / "none").rglob("*.tmp")) == []


def test_a_changed_byte_is_noticed_and_the_file_goes(tmp_path):
    shelf = Snapshots(tmp_path / "past")
    (made,) = fill(shelf, tmp_path, [40])
    assert made is not None
    assert shelf.intact(made)
    body = bytearray(made.path.read_bytes())
    body[len(body) // 2] ^= 1
    made.path.write_bytes(body)
    assert not shelf.fetch(made, tmp_path / "copy.sqlite")
    assert not (tmp_path / "copy.sqlite").exists()
    assert shelf.all() == []
    assert not shelf.fetch(made, tmp_path / "copy.sqlite"), "one that another process deleted is no error"


def test_other_code_sees_none_of_them_and_clears_them_away(tmp_path, monkeypatch):
    shelf = Snapshots(tmp_path / "past")
    fill(shelf, tmp_path, [40])
    monkeypatch.setattr(snapshots, "code_version", lambda: "another")
    other = Snapshots(tmp_path / "past")
    assert other.all() == []
    other.scratch().write_bytes(b"left half made")
    other.clean()
    assert shelf.all() == []
    assert list((tmp_path / "past" / "another").iterdir()) == []


def test_the_code_version_is_that_of_the_sources(tmp_path, monkeypatch):
    before = snapshots.code_version()
    snapshots.code_version.cache_clear()
    assert snapshots.code_version() == before
    snapshots.code_version.cache_clear()
    monkeypatch.setattr(snapshots, "fingerprint", lambda: "other tables")
    try:
        assert snapshots.code_version() != before
    finally:
        snapshots.code_version.cache_clear()


def test_one_is_due_wherever_a_stretch_of_the_log_has_none(tmp_path):
    shelf = Snapshots(tmp_path / "past", every=20)
    assert not shelf.due(1, 19)
    assert shelf.due(15, 25)
    fill(shelf, tmp_path, [25])
    assert not shelf.due(15, 25)
    assert not shelf.due(15, 30)
    assert shelf.due(30, 45)


def test_a_finished_file_of_another_version_is_not_opened(tmp_path, monkeypatch):
    (made,) = fill(Snapshots(tmp_path / "past"), tmp_path, [30])
    assert made is not None
    monkeypatch.setattr(files, "fingerprint", lambda: "other tables")
    with pytest.raises(files.Damaged, match="another version"):
        files.open_past(made.path)
