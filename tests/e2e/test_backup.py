"""`sluice backup` and `restore` as a person uses them: while mining goes on, to a folder and to an object store."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import polars as pl
import psutil
import pytest

from bus.accounts import read_credentials
from bus.client import Bus, Stored
from bus.copies.manifest import require_manifest
from bus.copies.read import read_copy
from bus.copies.target import FolderTarget
from bus.records import event_record
from bus.seals.verify import record_of
from bus.server import free_port
from tests.e2e.cli_instance import FAST, PATIENCE_S, ROOT, SLUICE, answer, refused, sluice, start, until
from tests.e2e.web_instance import write_candles
from tests.support.copies import events, message, write_copy

SPEC = ("--dataset", "test_X-USD_5m", "--units", "6", "--population", "30", "--generations", "12", "--seed", "9")


async def log_of(state: Path) -> list[Stored]:
    bus = await Bus.connect(read_credentials(state / "creds" / "admin.json"), "test", timeout_s=PATIENCE_S)
    try:
        return [s async for s in bus.read("EVENTS", 1)]
    finally:
        await bus.close()


def finished(state: Path) -> dict[str, object] | None:
    """The end of the one campaign."""
    done = sluice(state, "events", "--type", "mining.campaign.finished", "--json")
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return found[0]["data"] if found else None


def counted(state: Path, type_: str) -> int:
    done = sluice(state, "events", "--type", type_, "--json")
    return len(json.loads(done.stdout)) if done.returncode == 0 else 0


def whole(state: Path) -> dict[str, object]:
    """What `audit verify` says once everything is sealed."""

    def sealed() -> dict[str, object] | None:
        report = answer(state, "audit", "verify")
        assert isinstance(report, dict)
        assert report["ok"], report
        return report if report["sealed_through"] == report["events"] else None

    return until(sealed, "everything is sealed")  # type: ignore[no-any-return]


def outcome(state: Path) -> str:
    """The outcome digest of the read models, rebuilt and live alike."""

    def equal() -> str:
        done = sluice(state, "replay", "--digest", "--json")
        report = json.loads(done.stdout)
        at_end = report["seq"] == len(json.loads(sluice(state, "events", "--json").stdout))
        return report["outcome_digest"] if report["equal"] and at_end else ""

    return until(equal, "the read models stand at the log's end")  # type: ignore[no-any-return]


def stop(up: "subprocess.Popen[bytes]") -> None:
    if up.poll() is None:
        up.send_signal(signal.SIGINT)
    assert up.wait(PATIENCE_S) == 0


@pytest.mark.slow
async def test_a_copy_made_while_mining_is_restored_and_mining_ends_as_it_would_have(tmp_path: Path) -> None:
    old, new, copy = tmp_path / "old", tmp_path / "new", tmp_path / "copy"
    csv = write_candles(tmp_path / "test_X-USD_5m.csv")
    # One miner is one owner, and a verdict wants two: the campaign cannot end before the copy is made.
    up = start(old, "--empty", "--miners", "1")
    try:
        until(lambda: sluice(old, "data", "import", str(csv)).returncode == 0, "the dataset is registered")
        assert sluice(old, "mine", *SPEC).returncode == 0
        until(lambda: counted(old, "mining.unit.replica_answered") >= 2, "two replicas are answered")
        first = answer(old, "backup", str(copy))
        assert isinstance(first, dict)
        assert not finished(old)
    finally:
        stop(up)
    part = tmp_path / "part"
    shutil.copytree(copy, part)
    up = start(old, "--empty", "--miners", "2")
    try:
        end = until(lambda: finished(old), "the campaign ends")
        second = answer(old, "backup", str(copy))
        assert isinstance(second, dict)
        assert second["incremental"]
        assert second["seq"] > first["seq"]
        assert answer(old, "backup", "verify", str(copy))["ok"]  # type: ignore[index]
        assert "lies in the state" in refused(sluice(old, "backup", str(old / "x")), 2)
        whole(old)
        outcomes, log = outcome(old), await log_of(old)
        assert list(read_copy(str(copy))) == [record_of(s) for s in log[: second["seq"]]]
        exported(old, tmp_path, log)
    finally:
        stop(up)

    # A bit flips under the stopped server: the log is seen as damaged, and the copy makes a new state.
    block = max((old / "nats").rglob("EVENTS/msgs/*.blk"), key=lambda p: p.stat().st_size)
    raw = bytearray(block.read_bytes())
    raw[raw.index(log[20].data) + 20] ^= 1
    block.write_bytes(raw)
    up = start(old, "--empty", "--miners", "0")
    try:
        until(lambda: sluice(old, "status").returncode == 0, "it runs again")
        # Only what is new is read for a copy that is there: it heeds the auditor, who reads everything.
        until(lambda: sluice(old, "backup", str(copy)).returncode == 1, "the auditor has found it")
        assert "event 21" in refused(sluice(old, "backup", str(copy)), 1)
    finally:
        stop(up)
    assert "sealed through" in sluice(old, "audit", "verify", "--copy", str(part)).stdout

    # The older copy, with the auditor's folder of the old state: mining goes on to the same end.
    new.mkdir()
    (new / "sluice.toml").write_text(FAST)
    shutil.copytree(old / "audit", new / "audit")
    done = answer(new, "restore", str(part))
    assert isinstance(done, dict)
    assert (done["last_seq"], done["epoch"], done["seals_go_on"]) == (first["seq"], 2, True)
    assert "holds a log already" in refused(sluice(new, "restore", str(part)), 2)
    up = start(new, "--miners", "2")
    try:
        again = until(lambda: finished(new), "the campaign ends here too")
        assert again == end
        assert outcome(new) == outcomes
        restored = await log_of(new)
        assert [record_of(s) for s in restored[: first["seq"]]] == [record_of(s) for s in log[: first["seq"]]]
        report = whole(new)
        assert report["epoch"] == 2
        assert report["superseded"] > 0
        assert sluice(new, "backtest", answer(new, "strategies")[0]["id"]).returncode == 0  # type: ignore[index]
        # What was restored is another log from here on, and its copies go on where the older one ended.
        assert "nothing was added" in refused(sluice(new, "backup", str(copy)), 2)
        assert answer(new, "backup", str(part))["incremental"]  # type: ignore[index]
        assert "an instance runs on" in refused(sluice(new, "restore", str(part)), 3)
    finally:
        stop(up)
    seals, key = str(new / "audit" / "seals.jsonl"), str(old / "audit" / "key.pub")
    report = answer(tmp_path, "audit", "verify", "--copy", str(part), "--seals", seals, "--key", key)
    assert isinstance(report, dict)
    assert report["ok"], report
    assert report["epoch"] == 2

    # Without the key a new one begins, and the copy keeps the old seals.
    bare = tmp_path / "bare"
    said = sluice(bare, "restore", str(part))
    assert said.returncode == 0, said.stderr
    assert "a new one begins" in said.stdout
    assert not (bare / "audit").exists()


def exported(state: Path, folder: Path, log: list[Stored]) -> None:
    """The Parquet file holds what the log holds, whole and in part."""
    out = folder / "all.parquet"
    assert answer(state, "audit", "export", "--out", str(out), "--until", str(len(log))) == {
        "file": str(out),
        "events": len(log),
    }
    rows = pl.read_parquet(out).rows(named=True)
    for stored, row in zip(log, rows, strict=True):
        said = event_record(stored)
        assert json.loads(row.pop("data")) == said.pop("data")
        assert row.pop("time").isoformat(timespec="milliseconds") == said.pop("time").replace("Z", "+00:00")
        assert row == {name: said[name] for name in row}
    assert "exists already" in refused(sluice(state, "audit", "export", "--out", str(out)), 2)
    some = folder / "some.parquet"
    middle = event_record(log[len(log) // 2])["time"]
    words = ("--type", "mining.unit", "--since", "10", "--until", middle)
    assert sluice(state, "audit", "export", "--out", str(some), *words).returncode == 0
    found = pl.read_parquet(some)
    wanted = [
        r for r in rows_of(log) if r["type"].startswith("mining.unit.") and r["seq"] >= 10 and r["time"] <= middle
    ]
    assert wanted
    assert found["seq"].to_list() == [r["seq"] for r in wanted]
    assert not list(folder.glob("*.part"))


def rows_of(log: list[Stored]) -> list[dict[str, str]]:
    return [event_record(s) for s in log]


@pytest.mark.slow
def test_a_restore_that_was_killed_is_begun_anew_and_up_refuses_its_state(tmp_path: Path) -> None:
    """It is held where it reads the last file, that of results: a pipe into which nobody writes."""
    target, state = FolderTarget(tmp_path / "copy"), tmp_path / "state"
    results = [message(n, f"result.c.u.{n}.h.1", b"r") for n in range(1, 91)]
    write_copy(target, {"EVENTS": events(300), "RESULT": results}, per_file=100)
    last = target.root / require_manifest(target).files()[-1].name
    kept = last.read_bytes()
    last.unlink()
    os.mkfifo(last)
    process = subprocess.Popen([*SLUICE, "restore", str(target.root), "--state", str(state)], cwd=ROOT)
    try:
        # The pipe can be opened for writing once the restore reads from it: then it is killed.
        pipe = until(lambda: _reader(last), "the restore reads the last file")
        process.kill()
        process.wait(PATIENCE_S)
        os.close(pipe)
        server = server_of(state)
        assert server, "the killed restore left no server behind: what the next one must end"
        line = refused(sluice(state, "up", "--nats-port", "0", "--http", "127.0.0.1:0"), 1)
        assert "cut short and its log is not whole" in line
        assert f"sluice restore {target.root} --state {state}" in line
        last.unlink()
        last.write_bytes(kept)
        done = answer(state, "restore", str(target.root))
        assert isinstance(done, dict)
        assert done["messages"] == {"EVENTS": 300, "RESULT": 90}
        assert server_of(state) == []
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        for pid in server_of(state):
            os.kill(pid, signal.SIGKILL)


def _reader(pipe: Path) -> int:
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0


def server_of(state: Path) -> list[int]:
    conf = str(state / "server.conf")
    return [p.pid for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-2:] == ["-c", conf]]


@pytest.fixture
def object_store(tmp_path: Path):  # type: ignore[no-untyped-def]
    """An S3-compatible server on loopback with a bucket, and the environment that leads there."""
    port = free_port()
    with (tmp_path / "moto.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=out, stderr=out
        )
    url = f"http://127.0.0.1:{port}"

    def bucket() -> bool:
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/copies", method="PUT"), timeout=5) as r:
                return bool(r.status == 200)
        except OSError:
            assert process.poll() is None, (tmp_path / "moto.log").read_text()
            return False

    until(bucket, "the object store makes a bucket")
    yield {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    process.terminate()
    process.wait(PATIENCE_S)


@pytest.mark.slow
def test_a_copy_in_an_object_store(tmp_path: Path, object_store: dict[str, str]) -> None:
    state, where = tmp_path / "state", "s3://copies/of/sluice"
    csv = write_candles(tmp_path / "test_X-USD_5m.csv")

    def ask(at: Path, *args: str) -> dict[str, object]:
        done = sluice(at, *args, "--json", **object_store)
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    assert "there is nothing at" in refused(sluice(tmp_path, "restore", where, **object_store), 2)
    up = start(state, "--empty", "--miners", "0")
    try:
        until(lambda: sluice(state, "status").returncode == 0, "it runs")
        first = ask(state, "backup", where)
        assert sluice(state, "data", "import", str(csv)).returncode == 0
        second = ask(state, "backup", where)
        assert (first["incremental"], second["incremental"]) == (False, True)
        line = refused(sluice(state, "backup", "s3://no-such-bucket/x", **object_store), 3)
        assert "s3://no-such-bucket/x cannot be used" in line
    finally:
        stop(up)
    assert ask(tmp_path, "backup", "verify", where)["ok"]
    done = ask(tmp_path / "new", "restore", where)
    assert (done["last_seq"], done["datasets"]) == (second["seq"], 1)
    nowhere = object_store | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    assert "cannot be used" in refused(sluice(tmp_path, "backup", "verify", where, **nowhere), 3)
