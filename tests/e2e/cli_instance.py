"""Starting the real command and asking it, for the tests of it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from projections import files, queries

SLUICE = [sys.executable, "-m", "cli"]
ROOT = Path(__file__).parents[2]
#: Ends a test that hangs; measures nothing.
PATIENCE_S = 150.0
FAST = "heartbeat_s = 0.2\npresence_ttl_s = 3.0\nlease_ttl_s = 2.0\nsweep_s = 0.3\nack_wait_s = 3.0\nseal_s = 0.5\n"


def sluice(state: Path, *args: str, timeout: float = PATIENCE_S, **env: str) -> subprocess.CompletedProcess[str]:
    command = [*SLUICE, *args, "--state", str(state)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=os.environ | env, check=False
    )


def answer(state: Path, *args: str) -> object:
    done = sluice(state, *args, "--json")
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], status: int) -> str:
    """One clear line on standard error, nothing else, and the exit status."""
    assert done.returncode == status, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def start(state: Path, *args: str) -> subprocess.Popen[bytes]:
    state.mkdir(parents=True, exist_ok=True)
    if not (state / "sluice.toml").exists():
        (state / "sluice.toml").write_text(FAST)
    with (state / "up.log").open("ab") as out:
        return subprocess.Popen(
            [*SLUICE, "up", "--state", str(state), "--nats-port", "0", "--http", "127.0.0.1:0", *args],
            stdout=out,
            stderr=out,
            cwd=ROOT,
        )


def until(check, what: str, timeout_s: float = PATIENCE_S):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


def agents_alive(state: Path, count: int) -> bool:
    done = sluice(state, "status", "--json")
    return done.returncode == 0 and sum(a["state"] == "alive" for a in json.loads(done.stdout)["agents"]) >= count


def caught_up(state: Path) -> None:
    """Wait until the read models have all that is in the log by now."""
    status = answer(state, "status")
    assert isinstance(status, dict)

    def there() -> bool:
        con = files.open_reader(state / "views.sqlite")
        try:
            return queries.position(con) >= status["last_seq"]
        finally:
            con.close()

    until(there, "the read models stand at the log's end")


def others(state: Path, pids: list[int]) -> bool:
    """Whether run.json names processes, and none of those."""
    try:
        found = [p["pid"] for p in json.loads((state / "run.json").read_text())["processes"]]
    except FileNotFoundError:
        return False
    return bool(found) and not set(found) & set(pids)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
