"""A whole instance as a person runs it: `sluice up` or `sluice join` as a real process, and what lives of it."""

import asyncio
import contextlib
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
from bus.messages import Presence
from bus.presence import read_presence
from bus.processes import send_signal
from bus.run_file import RunFile, read_run_file
from bus.settings import StateDir
from domain.errors import SluiceError
from tests.support.instance import ROOT, until

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
    "stop_s": 30.0,
}
#: For everything that has to happen: it ends a test that hangs and measures nothing, so a busy machine may take its time.
#: Longer than `start_s`, after which at the latest a process is replaced that was stopped before its first heartbeat.
PATIENCE_S = 150.0


def sluice(state: Path, *args: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
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

    async def presences(self) -> dict[str, Presence]:
        """The heartbeats of this host by agent; empty while nothing answers."""
        try:
            # A connection of its own each time: the server may be another one since, on another port.
            bus = await Bus.connect(read_credentials(self.state.creds / "admin.json"), "test-looks", timeout_s=2.0)
        except (SluiceError, OSError):
            return {}
        try:
            return {p.agent: p for p in await read_presence(bus) if p.host == self.hosts[0]}
        except SluiceError:
            return {}
        finally:
            await bus.nc.close()

    async def alive(self, *names: str, timeout_s: float = PATIENCE_S) -> None:
        """All of them say so themselves: a heartbeat that an ended process left behind does not count."""

        async def look() -> bool:
            found = await self.presences()
            if any(n not in found or found[n].pid != self.pid_of(n) for n in names):
                return False
            agents = await self.agents()
            return all(agents.get(n, {}).get("state") == "alive" for n in names)

        try:
            await until(f"alive: {', '.join(names)}", look, timeout_s, every_s=0.2)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.words()}") from e

    def pid_of(self, agent: str) -> int:
        """The process that the agent runs in: its own, or the one that light agents share."""
        return self.pid(agent) or self.pid("light")

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
        """`sluice down`: everything stops when asked, nothing has to be killed, nothing is left."""
        before, told = len(self._said()), len(self.output())
        done = await asyncio.to_thread(sluice, self.state.root, "down", "--timeout", f"{PATIENCE_S:g}")
        assert done.returncode == 0, done.stderr
        assert self.up is not None
        assert await asyncio.to_thread(self.up.wait, PATIENCE_S) == 0
        assert self.scan() == []
        assert "is killed" not in self._said()[before:] + self.output()[told:], self.words()
        assert not self.state.run_file.exists()

    def _said(self) -> str:
        """What the watchdog wrote into its log."""
        return (self.state.logs / "watchdog.log").read_text(errors="replace")

    async def close(self) -> None:
        for bus in self._buses:
            # Its server may be gone: that must not keep what runs from being ended.
            with contextlib.suppress(OSError):
                await bus.nc.close()
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGCONT)
            self.up.terminate()
            try:
                await asyncio.to_thread(self.up.wait, 60)
            except subprocess.TimeoutExpired:
                self.up.kill()
                await asyncio.to_thread(self.up.wait, 60)
        run = self.run()
        for proc in (run.watchdog, *run.processes) if run is not None else ():
            send_signal(proc, signal.SIGKILL)
