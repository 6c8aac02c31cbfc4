"""A running instance with pages, and a real browser in front of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
#: `silent_s` is long: a server that a test has stopped is looked at in peace, and not replaced meanwhile.
FAST = (
    "silent_s = 600.0\n"
    "heartbeat_s = 0.2\npresence_ttl_s = 3.0\nlease_ttl_s = 2.0\nsweep_s = 0.3\nack_wait_s = 3.0\ncheckpoint_s = 0.2\n"
)
#: Ends a test that hangs; measures nothing.
PATIENCE_S = 150.0
T = TypeVar("T")


def until(what: str, check: Callable[[], T], timeout_s: float = PATIENCE_S) -> T:
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)
    return found


def need_browser() -> None:
    """Skip with a clear word where there is no Chromium; where CI says so, it must be there."""
    if Path(CHROMIUM).exists():
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"there is no {CHROMIUM}, and with CI=true these tests must run")
    pytest.skip(f"there is no {CHROMIUM}: install Debian's package chromium to run the tests in a browser")


def browser_args() -> list[str]:
    return [*ARGS, "--no-sandbox"] if os.name != "nt" and os.geteuid() == 0 else ARGS


def write_candles(path: Path, n: int = 4_000) -> Path:
    """Candles of five minutes with some movement, as a file that can be imported."""
    rng = np.random.Generator(np.random.PCG64(11))
    close = np.maximum(np.round(150 + np.cumsum(rng.integers(-60, 61, n)) / 100, 2), 5.0)
    opened = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1
    first = 1_700_000_100 // 300 * 300
    rows = [
        f"{first + i * 300},{opened[i]:.2f},{high[i]:.2f},{low[i]:.2f},{close[i]:.2f},{1 + i % 7}.5" for i in range(n)
    ]
    path.write_text("time,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    return path


class WebInstance:
    """`sluice up` on a state of its own, with everything that it owns."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        name = f"{command[0]}-{len(self.processes)}.log"
        with (self.state / name).open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *command, "--state", str(self.state)], stdout=out, stderr=out, cwd=ROOT
            )
        self.processes.append(process)
        return process

    def sluice(self, *args: str) -> Any:
        command = [sys.executable, "-m", "cli", *args, "--state", str(self.state), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, check=False)
        return json.loads(done.stdout) if done.returncode in (0, 1) and done.stdout else None

    def web_file(self) -> dict[str, str]:
        path = self.state / "web.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def start(self) -> "WebInstance":
        self.state.mkdir(parents=True)
        (self.state / "sluice.toml").write_text(FAST)
        self.run("cli", "up", "--nats-port", "0", "--http", "127.0.0.1:0", "--empty", "--miners", "2")
        until("the instance runs", lambda: (self.state / "run.json").exists())
        until("the pages are there", self.web_file)
        until("both miners alive", self._mining)
        csv = write_candles(self.state / "test_X-USD_5m.csv")
        assert self.sluice("data", "import", str(csv))
        return self

    def pid(self, name: str) -> int:
        """The process of that name according to run.json, 0 when there is none."""
        found = json.loads((self.state / "run.json").read_text())["processes"]
        return next((int(p["pid"]) for p in found if p["name"] == name), 0)

    def watchdog(self) -> int:
        return int(json.loads((self.state / "run.json").read_text())["watchdog"]["pid"])

    def _mining(self) -> bool:
        status = self.sluice("status") or {"agents": []}
        return sum(a["kind"] == "miner" and a["state"] == "alive" for a in status["agents"]) == 2

    def words(self) -> str:
        """The last words of all processes, for a failed assertion."""
        logs = [*self.state.glob("*.log"), *(self.state / "logs").glob("*.log")]
        return "\n".join(f"-- {p.name}\n" + "\n".join(p.read_text(errors="replace").splitlines()[-8:]) for p in logs)

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        shutil.rmtree(self.state, ignore_errors=True)
