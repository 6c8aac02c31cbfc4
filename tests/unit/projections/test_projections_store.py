"""The store: batches, crashes, malformed and too new events, versions and damage of the file, digests."""

import hashlib
import itertools
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.client import Stored
from bus.events import AgentStarted, CampaignFinished
from domain.errors import Unreachable
from projections import files, models, queries
from projections.digest import digests
from projections.position import doubt
from projections.store import Halted, ViewStore
from tests.unit.projections.event_log import CREATED, EventLog, open_campaign, search, spec, story, validate
from tests.unit.projections.event_log import find as find_of


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "views.sqlite"


def project(path: Path, log: EventLog, cuts: list[int] | None = None) -> tuple[str, str]:
    """Digests after applying the log in batches that end at `cuts`."""
    files.remove(path)
    store = ViewStore(path)
    store.adopt(CREATED)
    edges = sorted({0, *(cuts or []), len(log.made)})
    for a, b in itertools.pairwise(edges):
        store.apply_batch(log.made[a:b])
    result = store.digest()
    store.close()
    return result


def one_by_one(path: Path, log: EventLog) -> tuple[str, str]:
    return project(path, log, list(range(len(log.made))))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(r=st.randoms(use_true_random=False), events=st.integers(5, 120), data=st.data())
def test_any_cut_into_batches_gives_the_same_rows(tmp_path, r, events, data):
    log = story(r, events)
    cuts = data.draw(st.lists(st.integers(0, len(log.made)), max_size=6))
    assert project(tmp_path / "a", log, cuts) == one_by_one(tmp_path / "b", log)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(r=st.randoms(use_true_random=False), data=st.data())
def test_a_reader_that_starts_anew_anywhere_and_sees_events_again_gives_the_same_rows(tmp_path, r, data):
    log = story(r, 80)
    expected = project(tmp_path / "clean", log)
    path = tmp_path / "often"
    files.remove(path)
    done = 0
    while done < len(log.made):
        store = ViewStore(path)
        store.adopt(CREATED)
        assert store.position.seq == done
        again = data.draw(st.integers(0, done))
        done = min(len(log.made), done + data.draw(st.integers(1, 60)))
        store.apply_batch(log.made[again:done])
        store.close()
    store = ViewStore(path)
    assert store.digest() == expected
    store.close()


def test_the_stories_reach_every_table_and_every_state(path):
    """Else the two properties above would say little."""
    store = ViewStore(path)
    for seed in range(3):
        log = story(random.Random(seed), 600)
        store.rebuild(CREATED)
        store.apply_batch(log.made)
        con = files.open_reader(path)
        for table in models.TABLES:
            assert con.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0, table
        con.close()
    store.close()


def test_nothing_is_applied_twice(path):
    log = story(random.Random(1), 100)
    store = ViewStore(path)
    assert store.apply_batch(log.made).applied == len(log.made)
    before, position = store.digest(), store.position
    again = store.apply_batch(log.made)
    assert (again.applied, again.keys, again.rejected) == (0, {}, [])
    assert (store.digest(), store.position) == (before, position)
    store.close()


def test_a_second_writer_on_the_same_file_applies_nothing_twice(path):
    log = story(random.Random(2), 90)
    expected = project(path.with_name("clean"), log)
    one, two = ViewStore(path), ViewStore(path)
    one.adopt(CREATED)
    for at in range(0, len(log.made), 30):
        one.apply_batch(log.made[at : at + 20])
        two.apply_batch(log.made[at : at + 30])
    assert one.apply_batch([]).seq == len(log.made)
    assert two.digest() == expected
    one.close()
    two.close()


def test_position_holds_the_id_and_the_chain_of_the_last_event(path):
    log = story(random.Random(3), 12)
    store = ViewStore(path)
    store.adopt(CREATED)
    store.apply_batch(log.made)
    previous, chain = b"", bytes(32)
    for m in log.made:
        subject, id = m.subject.encode(), m.headers["Nats-Msg-Id"].encode()
        head = m.seq.to_bytes(8, "big") + len(subject).to_bytes(4, "big") + subject + len(id).to_bytes(4, "big") + id
        leaf = hashlib.sha256(b"\x00" + head + m.data).digest()
        previous, chain = chain, hashlib.sha256(b"\x02" + chain + leaf).digest()
    p = store.position
    assert (p.created, p.seq, p.chain, p.previous) == (CREATED, len(log.made), chain.hex(), previous.hex())
    last = log.made[-1]
    assert p.event_id == last.headers["Nats-Msg-Id"]
    assert doubt(p, CREATED, p.seq, last) == ""
    assert "content" in doubt(p, CREATED, p.seq, last._replace(data=last.data + b" "))
    assert "another one" in doubt(p, CREATED, p.seq, last._replace(headers={"Nats-Msg-Id": "another"}))
    store.close()
    again = ViewStore(path)
    assert again.position == p
    again.close()


def test_malformed_events_are_refused_with_a_reason_and_remembered_until_parked(path):
    log = EventLog()
    open_campaign(log, "camp", spec())
    log.raw("ev.mining.unit.x.validated", b"{not json")
    log.raw("ev.mining.unit.x.validated", b'{"id": "\xff"}')
    log.raw("ev.mining.unit.x.validated", b'{"data":' + b"[" * 100_000)
    good = log.add(AgentStarted("miner", "box", 1, "0.1.0"), "miner-1")
    log.raw("ev.ops.agent.miner-1.exploded", good.data.replace(b"agent.started", b"agent.exploded"))
    log.raw("ev.cmd.campaign.camp.requested", good.data)
    log.add(AgentStarted("miner", "box", 2**63, "0.1.0"), "miner-1")
    store = ViewStore(path)
    changes = store.apply_batch(log.made)
    reasons = [r.reason for r in changes.rejected]
    parts = (*["not an event envelope"] * 3, "unknown event type", "belongs to", "64-bit")
    for reason, part in zip(reasons, parts, strict=True):
        assert part in reason
    assert store.position.seq == len(log.made)
    store.close()
    store = ViewStore(path)
    assert store.unparked() == [(r.stored.seq, r.reason) for r in changes.rejected]
    digest = store.digest()
    for seq, _ in store.unparked():
        store.mark_parked(seq)
    assert store.unparked() == []
    assert store.digest() == digest, "what is parked already is no part of the read models"
    con = files.open_reader(path)
    assert [r["seq"] for r in queries.rejected(con)] == [r.stored.seq for r in changes.rejected]
    assert [a["pid"] for a in queries.agents(con)] == [1], "a refused event changes no row"
    con.close()
    store.close()


def newer(stored: Stored, seq: int) -> Stored:
    event = msgspec.json.decode(stored.data)
    return stored._replace(seq=seq, data=msgspec.json.encode(event | {"schemaver": 99}))


def test_an_event_newer_than_the_program_halts_before_itself(path):
    log = story(random.Random(4), 20)
    expected = project(path.with_name("clean"), log)
    too_new = newer(log.add(AgentStarted("miner", "box", 1, "9"), "miner-1"), len(log.made))
    log.made[-1] = too_new
    log.add(AgentStarted("miner", "box", 2, "9"), "miner-1")
    store = ViewStore(path)
    store.adopt(CREATED)
    with pytest.raises(Halted, match="version 99") as caught:
        store.apply_batch(log.made)
    assert caught.value.changes.applied == too_new.seq - 1
    for _ in range(2):
        assert store.position.seq == too_new.seq - 1
        assert store.digest() == expected
        with pytest.raises(Halted):
            store.apply_batch(log.made)
    store.close()


def test_a_failed_write_applies_nothing_of_the_batch(path):
    log = story(random.Random(5), 60)
    expected = project(path.with_name("clean"), log)
    store = ViewStore(path)
    store.adopt(CREATED)
    store.apply_batch(log.made[:20])
    before, position = store.digest(), store.position
    other = sqlite3.connect(path)
    (pages,) = other.execute("PRAGMA page_count").fetchone()
    other.close()
    # A disk that is full, as SQLite sees it.
    store._con.execute(f"PRAGMA max_page_count = {pages}")
    big = [log.add(CampaignFinished("x" * 9000, 0, 0, 0, 0), f"big{i}") for i in range(50)]
    with pytest.raises(Unreachable, match="full"):
        store.apply_batch(log.made[20:])
    assert (store.digest(), store.position) == (before, position)
    store._con.execute("PRAGMA max_page_count = 1000000")
    store.apply_batch(log.made[20 : -len(big)])
    assert store.digest() == expected
    store.close()


def test_a_file_of_another_version_is_built_anew_and_says_so(path, monkeypatch):
    log = story(random.Random(6), 30)
    project(path, log)
    monkeypatch.setattr(models, "VERSION", 99)
    with pytest.raises(Unreachable, match="another version"):
        files.open_reader(path)
    store = ViewStore(path)
    assert "another version" in store.opened
    assert store.position.seq == 0
    store.close()


def test_a_damaged_file_is_built_anew_and_says_so(path):
    path.write_bytes(b"this is no database, and it is long enough to be looked at\n" * 40)
    store = ViewStore(path)
    assert "damaged" in store.opened
    log = story(random.Random(7), 30)
    store.adopt(CREATED)
    store.apply_batch(log.made)
    assert store.digest() == project(path.with_name("clean"), log)
    store.close()


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(Unreachable, match="cannot be used now"):
        ViewStore(tmp_path / "nowhere" / "views.sqlite")
    with pytest.raises(Unreachable, match="no read models"):
        files.open_reader(tmp_path / "nowhere" / "views.sqlite")


def test_a_reader_cannot_write_and_sees_what_a_closed_writer_left(path):
    project(path, story(random.Random(8), 30))
    con = files.open_reader(path)
    assert queries.position(con) >= 30
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        con.execute("DELETE FROM units")
    con.close()


def test_rebuilding_gives_the_same_digests(path):
    log = story(random.Random(9), 80)
    store = ViewStore(path)
    store.adopt(CREATED)
    store.apply_batch(log.made)
    before = store.digest()
    store.rebuild(CREATED)
    assert store.digest() != before
    store.apply_batch(log.made)
    assert store.digest() == before
    store.close()


def _finished(log: EventLog, id: str, order: list[int], distinct: str) -> None:
    s = spec(units=3)
    open_campaign(log, id, s, distinct)
    for i in order:
        validate(log, id, s, i, (find_of(20 + i, 0.1 * i),))
    log.add(CampaignFinished("ab" * 32, 3, 0, 0, 900), id)


def test_the_outcome_digest_forgets_ids_times_agents_and_order(tmp_path):
    one, two, other = EventLog(), EventLog(time="2031-05-05T05:05:05.000Z"), EventLog()
    _finished(one, "first", [0, 1, 2], "slot")
    two.add(AgentStarted("miner", "elsewhere", 1, "0.1.0"), "miner-7")
    _finished(two, "second", [2, 0, 1], "host")
    _finished(other, "first", [0, 1, 2], "slot")
    s = spec(units=1, seed=9)
    open_campaign(other, "more", s)
    validate(other, "more", s, 0, ())
    a, b, c = (project(tmp_path / n, log) for n, log in (("a", one), ("b", two), ("c", other)))
    assert a[1] == b[1]
    assert a[0] != b[0]
    assert c[1] != a[1], "one more verdict is another outcome"


def test_evidence_of_two_searches_does_not_depend_on_which_came_first(tmp_path):
    specs = [spec(units=1, population=60), spec(units=1, population=80)]
    results = []
    for order in ((0, 1), (1, 0)):
        log = EventLog()
        for i in order:
            open_campaign(log, f"camp{i}", specs[i])
            validate(log, f"camp{i}", specs[i], 0, (find_of(30, 0.1 + i),))
        results.append(project(tmp_path / str(order[0]), log))
    assert results[0][1] == results[1][1]
    assert results[0][0] != results[1][0]
    assert search(population=80) == specs[1].search


def test_digests_change_with_any_value(path):
    log = story(random.Random(10), 200)
    store = ViewStore(path)
    store.apply_batch(log.made)
    before = store.digest()
    store._con.execute("UPDATE campaigns SET trials = trials + 1 WHERE state = 'finished'")
    assert store._con.execute("SELECT changes()").fetchone()[0] > 0
    after = store.digest()
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert digests(store._con)[0] == store.position.seq
    store.close()


_WRITER = """
import pickle, sys
from pathlib import Path
from bus.client import Stored
from projections.store import ViewStore
log = [Stored(*m) for m in pickle.loads(Path(sys.argv[2]).read_bytes())]
store = ViewStore(Path(sys.argv[1]))
store.adopt(sys.argv[3])
at = store.position.seq
print(at, flush=True)
for start in range(at, len(log), 5):
    store.apply_batch(log[start:start + 5])
    print(store.position.seq, flush=True)
print("done", flush=True)
"""
_ROOT = Path(__file__).parents[3]


def _write_until_killed(path: Path, log: Path, batches: int | None, after_s: float = 0.0) -> tuple[int, bool]:
    """Run a writer, killed `after_s` seconds after so many batches; (where it started, whether it finished)."""
    command = [sys.executable, "-c", _WRITER, str(path), str(log), CREATED]
    env = os.environ | {"PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT, env=env) as p:
        assert p.stdout is not None
        start = int(p.stdout.readline())
        if batches is not None:
            for _ in range(batches):
                p.stdout.readline()
            time.sleep(after_s)
            p.kill()
        return start, b"done" in p.stdout.read()


def test_killed_at_random_it_goes_on_where_it_was(tmp_path):
    """kill -9 of a real process in the middle of its transactions."""
    log = story(random.Random(11), 6000)
    (tmp_path / "log").write_bytes(pickle.dumps([tuple(m) for m in log.made]))
    path, r, starts, done = tmp_path / "views.sqlite", random.Random(12), [], False
    for n in range(20):
        batches = r.randint(1, 100) if n < 4 else None
        start, done = _write_until_killed(path, tmp_path / "log", batches, r.uniform(0.0, 0.05))
        starts.append(start)
        if done:
            break
    assert done
    assert any(0 < start < len(log.made) for start in starts), "no kill fell into its work"
    store = ViewStore(path)
    assert store.position.seq == len(log.made)
    assert store.digest() == project(tmp_path / "clean", log)
    store.close()
