"""A whole instance as a person runs it: `sluice up` or `sluice join` as a real process, and what lives of it."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from bus.accounts import read_credentials
from bus.client import Bus
from bus.processes import send_signal
from bus.run_file import RunFile, read_run_file
from bus.settings import StateDir
from tests.support.instance import PATIENCE_S, ROOT, until

#: Intervals of seconds, so that what stands still is noticed within a test.
FAST = {
    "heartbeat_s": 0.2,
    "presence_ttl_s": 3.0,
    "lease_ttl_s": 2.0,
    "ack_wait_s": 2.0,
    "nak_delay_s": 0.2,
    "checkpoint_s": 0.2,
    "sweep_s": 0.3,
    "check_s": 0.3,
    "silent_s": 2.5,
    "backoff_s": 0.1,
    "orphan_s": 2.0,
    "start_s": 120.0,
}


def sluice(state: Path, *args: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *args, "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False)


class Running:
    """One state directory with its own `sluice up` (or `join`). Always `close()` it."""

    def __init__(self, root: Path, host: str, extra: str = "", **settings: float) -> None:
        self.state = StateDir(root)
        self.state.create()
        self.hosts = (host,)
        lines = [f'host = "{host}"', *(f"{k} = {v}" for k, v in (FAST | settings).items())]
        self.state.config.write_text("\n".join(lines) + "\n" + extra)
        self.up: subprocess.Popen[bytes] | None = None
        self._buses: list[Bus] = []

    def start(self, *args: str) -> "Running":
        """`sluice ARGS`, by default `up` on a free port with an empty log."""
        args = args or ("up", "--nats-port", "0", "--miners", "0", "--empty")
        if args[0] == "up":
            # The pages need a port of their own too: two instances of two tests must not meet.
            args = (*args, "--http", "127.0.0.1:0")
        with (self.state.root / "up.log").open("ab") as out:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "cli", *args, "--state", str(self.state.root)], stdout=out, stderr=out, cwd=ROOT
            )
        return self

    # -- looking --------------------------------------------------------------------------------------------------

    def run(self) -> RunFile | None:
        return read_run_file(self.state)

    def pid(self, name: str) -> int:
        """The running process of that name according to run.json, 0 when there is none."""
        run = self.run()
        proc = None if run is None else run.watchdog if name == "watchdog" else run.process(name)
        return proc.pid if proc is not None and proc.running() else 0

    def scan(self) -> list[str]:
        """Names of all processes whose command line names this state directory, found without run.json."""
        found = []
        for p in psutil.process_iter(["cmdline", "status"]):
            words = p.info["cmdline"] or []
            if p.info["status"] == psutil.STATUS_ZOMBIE or not any(str(self.state.root) in w for w in words):
                continue
            if "-m" in words:
                module = words[words.index("-m") + 1].removeprefix("agents.").removeprefix("cli.")
                command = words[words.index("-m") + 2] if module == "cli" else ""
                slot = f"-{words[words.index('--slot') + 1]}" if "--slot" in words else ""
                found.append(f"{module}{slot}" if module != "cli" else command)
            elif "nats-server" in words[0]:
                found.append("nats-server")
        return sorted(found)

    def status(self) -> dict[str, Any]:
        done = sluice(self.state.root, "status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    async def agents(self) -> dict[str, dict[str, Any]]:
        """`sluice status`: agent -> what it says; empty while nothing answers."""
        done = await asyncio.to_thread(sluice, self.state.root, "status", "--json")
        return {a["id"]: a for a in json.loads(done.stdout)["agents"]} if done.returncode == 0 else {}

    async def alive(self, *names: str, timeout_s: float = 180.0) -> None:
        async def look() -> bool:
            agents = await self.agents()
            return all(agents.get(n, {}).get("state") == "alive" for n in names)

        try:
            await until(f"alive: {', '.join(names)}", look, timeout_s, every_s=0.3)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.words()}") from e

    async def bus(self, role: str = "admin") -> Bus:
        bus = await Bus.connect(read_credentials(self.state.creds / f"{role}.json"), f"test-{role}")
        self._buses.append(bus)
        return bus

    def output(self) -> str:
        return (self.state.root / "up.log").read_text(errors="replace")

    def words(self) -> str:
        """Everything that this instance last said, for a failed assertion."""
        parts = [f"-- output\n{self.output()[-3000:]}", f"-- scan {self.scan()}"]
        for path in sorted(self.state.logs.glob("*.log")):
            parts.append(f"-- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-8:]))
        return "\n".join(parts)

    # -- disturbing -----------------------------------------------------------------------------------------------

    def signal(self, name: str, sig: int) -> int:
        """Send it to the process of that name; returns its id."""
        run = self.run()
        assert run is not None
        proc = run.watchdog if name == "watchdog" else run.process(name)
        assert proc is not None, f"{name} is not in run.json"
        assert send_signal(proc, sig), f"{name} does not run"
        return proc.pid

    async def replaced(self, name: str, old: int, within_s: float = PATIENCE_S) -> float:
        """Seconds until another process runs under that name and the old one is gone."""
        started = time.monotonic()

        async def look() -> bool:
            return self.pid(name) not in (0, old) and not psutil.pid_exists(old)

        try:
            await until(f"{name} replaced", look, within_s, every_s=0.05)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.words()}") from e
        return time.monotonic() - started

    # -- ending ---------------------------------------------------------------------------------------------------

    async def nothing_left(self, within_s: float = PATIENCE_S) -> None:
        async def look() -> bool:
            return not self.scan()

        try:
            await until("nothing runs any more", look, within_s)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.words()}") from e

    async def down(self) -> None:
        """`sluice down`: the command ends with 0 and nothing runs any more. How soon is a test of its own (e2e)."""
        done = await asyncio.to_thread(sluice, self.state.root, "down")
        assert done.returncode == 0, done.stderr
        assert self.up is not None
        assert await asyncio.to_thread(self.up.wait, PATIENCE_S) == 0
        await self.nothing_left()

    async def close(self) -> None:
        for bus in self._buses:
            await bus.nc.close()
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGCONT)
            self.up.terminate()
            try:
                await asyncio.to_thread(self.up.wait, 30)
            except subprocess.TimeoutExpired:
                self.up.kill()
                await asyncio.to_thread(self.up.wait, 10)
        run = self.run()
        for proc in (run.watchdog, *run.processes) if run is not None else ():
            send_signal(proc, signal.SIGKILL)
