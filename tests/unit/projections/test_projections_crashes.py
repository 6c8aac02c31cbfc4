"""Whatever is played to the read models, in whatever pieces, with whatever goes wrong: they end equal to those of a clean run.

A play draws a log (valid events of every type that a read model takes, and bad ones, which are refused), and then disturbs:
batches of any size, again from any earlier event, with events twice and old ones in between; statements that fail, after
which the same store goes on; and deaths anywhere, between two events, between handling and storing, between two statements of a
transaction, before and after its commit, after which another store opens the file. What the store says it has done
is held against what the file has, and the file, in the end, against a clean run's.
"""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.client import Stored
from domain.errors import Unreachable
from projections import files
from projections import store as store_module
from projections.position import Position
from projections.store import Changes, ViewStore
from tests.unit.projections.event_log import CREATED, EventLog, story

EVENTS = 70


class Death(BaseException):
    """The process is gone: nothing of it runs any more, not even what a program does when it fails."""


class Trouble:
    """Counts down over statements and events; at its end a statement fails (the disk is full), or the process dies."""

    def __init__(self) -> None:
        self.after: int | None = None
        self.fatal = False
        self.dead = False

    def arm(self, after: int, fatal: bool) -> None:
        self.after, self.fatal = after, fatal

    def tick(self, statement: bool) -> None:
        if self.dead:
            raise Death
        if self.after is None or not (statement or self.fatal):
            return
        self.after -= 1
        if self.after < 0:
            self.after = None
            if self.fatal:
                self.dead = True
                raise Death
            raise sqlite3.OperationalError("database or disk is full")


class Connection:
    """A real connection, with trouble before each statement and after each commit. The dead cannot roll back."""

    def __init__(self, con: sqlite3.Connection, trouble: Trouble) -> None:
        self._con, self._trouble = con, trouble

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "ROLLBACK":
            if self._trouble.dead:
                raise Death
            return self._con.execute(sql)
        self._trouble.tick(True)
        done = self._con.execute(sql, *args)
        if sql == "COMMIT" and self._trouble.fatal:
            self._trouble.tick(True)
        return done

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._trouble.tick(True)
        return self._con.executemany(sql, *args)

    @property
    def in_transaction(self) -> bool:
        return self._con.in_transaction

    def close(self) -> None:
        # A file that a dead process had open: what it had not committed is not there.
        self._con.close()


@contextmanager
def troubled(trouble: Trouble) -> Iterator[None]:
    """Every file opened to write, and every event handled, meets the trouble."""
    open_writer, decode = files.open_writer, store_module.fact_of

    def opened(path: Path, **options: bool) -> Any:
        return Connection(open_writer(path, **options), trouble)

    def decoded(raw: Stored) -> Any:
        trouble.tick(False)
        return decode(raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "open_writer", opened)
        patch.setattr(store_module, "fact_of", decoded)
        yield


def batch_from(r: random.Random, log: list[Stored], done: int) -> list[Stored]:
    """What a reader may be handed: in order from an event that was seen, some of it twice, older ones in between."""
    start = done if r.random() < 0.5 else r.randint(0, done)
    batch = list(log[start : min(len(log), done + r.choice((1, 2, 7, 30)))])
    for _ in range(r.choice((0, 0, 1, 4))):
        at = r.randint(0, len(batch))
        # Nothing comes before its predecessors came: only what lies behind, or in this batch before.
        reached = max([done, *(s.seq for s in batch[:at])])
        if reached:
            batch.insert(at, log[r.randrange(reached)])
    return batch


def play(r: random.Random, path: Path, log: EventLog, kind: type[ViewStore] = ViewStore) -> tuple[str, str]:
    """The digests in the end; AssertionError when a store and its file disagree on the way."""
    files.remove(path)
    trouble, log_, store = Trouble(), log.made, None
    with troubled(trouble):
        for turn in range(10 * len(log_) + 100):
            trouble.after, trouble.dead = None, False
            if store is None:
                store = kind(path)
                store.adopt(CREATED)
            done = store.position.seq
            assert done == stands_at(path), "the store stands elsewhere than its file"
            if done == len(log_):
                break
            # Trouble ends some day, else the unluckiest play would never come to an end.
            if turn < 5 * len(log_) and r.random() < 0.6:
                trouble.arm(r.randint(0, 25), fatal=r.random() < 0.6)
            try:
                store.apply_batch(batch_from(r, log_, done))
            except Death:
                store.close()
                store = None
            except Unreachable:
                assert store.position.seq == done
            else:
                if r.random() < 0.1:
                    store.close()
                    store = None
        assert store is not None
        assert store.position.seq == len(log_), "it never came to the end"
    store.close()
    return digests_of(path)


def stands_at(path: Path) -> int:
    con = sqlite3.connect(path)
    try:
        return int(con.execute("SELECT seq FROM position").fetchone()[0])
    finally:
        con.close()


def digests_of(path: Path) -> tuple[str, str]:
    """Of the file, the digests, and what is still to be parked: the same refusals, once each."""
    store = ViewStore(path)
    try:
        everything, outcomes = store.digest()
        return f"{everything} {store.position} {store.unparked()}", outcomes
    finally:
        store.close()


def clean(path: Path, log: EventLog) -> tuple[str, str]:
    files.remove(path)
    store = ViewStore(path)
    store.adopt(CREATED)
    store.apply_batch(log.made)
    store.close()
    return digests_of(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(r=st.randoms(use_true_random=False), events=st.integers(1, EVENTS))
def test_whatever_goes_wrong_the_read_models_end_equal_to_a_clean_run(tmp_path, r, events):
    log = story(r, events)
    assert play(r, tmp_path / "troubled", log) == clean(tmp_path / "clean", log)


class Forgetful(ViewStore):
    """Takes what it has applied already."""

    def apply_batch(self, batch: Any) -> Changes:
        with files.sqlite_errors(self.path):
            for stored in batch:
                if stored.seq <= self.position.seq:
                    self._apply(stored, Changes())
        return super().apply_batch(batch)


class TwoCommits(ViewStore):
    """The rows in one transaction, the position in another."""

    def _write(self, position: Position, changes: Changes) -> None:
        super()._write(self._position, changes)
        self._con.execute("COMMIT")
        self._con.execute("BEGIN IMMEDIATE")
        super()._write(position, Changes())


class PositionFirst(ViewStore):
    """Says that it is done before it is."""

    def _write(self, position: Position, changes: Changes) -> None:
        self._con.execute("UPDATE position SET seq = ?, event_id = ?", (position.seq, position.event_id))
        self._con.execute("COMMIT")
        self._con.execute("BEGIN IMMEDIATE")
        super()._write(position, changes)


class Believing(ViewStore):
    """After a failure it believes rows that the file does not have."""

    def _forget(self) -> None:
        return


class Losing(ViewStore):
    """Loses one row in many that it should write."""

    def _write(self, position: Position, changes: Changes) -> None:
        if position.seq % 11 == 0:
            for keys in self._dirty.values():
                keys.clear()
        super()._write(position, changes)


class Hasty(ViewStore):
    """Moves on although the transaction failed."""

    def apply_batch(self, batch: Any) -> Changes:
        try:
            return super().apply_batch(batch)
        except Unreachable:
            self._position = self._position._replace(seq=max(s.seq for s in batch))
            raise


@pytest.mark.parametrize("kind", [Forgetful, TwoCommits, PositionFirst, Believing, Losing, Hasty])
def test_a_store_that_breaks_one_rule_is_caught(tmp_path, kind):
    """Else the property above would say little."""
    for seed in range(60):
        log = story(random.Random(seed), EVENTS)
        try:
            if play(random.Random(seed), tmp_path / "broken", log, kind) != clean(tmp_path / "clean", log):
                return
        except AssertionError:
            return
    pytest.fail(f"nobody noticed what {kind.__name__} does")
