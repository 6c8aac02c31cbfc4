"""One instance for a test: a real nats-server on a free port and real agent processes that a test may kill.

Several "hosts" are several host tokens on the same server, each with its own credentials.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

from bus.accounts import load_accounts, read_credentials, write_credentials
from bus.client import Bus, Credentials
from bus.server import Server, free_port
from bus.settings import Settings, StateDir
from bus.setup import create_streams
from bus.streams import in_memory, stream_specs

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
#: How long a test waits for what must come: for a busy machine of two cores, not a measure of anything.
PATIENCE_S = 90.0
#: Intervals of seconds, so that a lost worker is noticed within a test.
FAST = {
    "heartbeat_s": 0.2,
    "presence_ttl_s": 2.0,
    "lease_ttl_s": 2.0,
    "ack_wait_s": 2.0,
    "nak_delay_s": 0.2,
    "checkpoint_s": 0.2,
    "sweep_s": 0.3,
}


async def until(what: str, check: Callable[[], Awaitable[T]], timeout_s: float = PATIENCE_S, every_s: float = 0.1) -> T:
    """Poll until `check` gives something true; AssertionError with `what` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(every_s)


@dataclass
class Agent:
    """A process of ours: known by its own handle, never by name."""

    kind: str
    slot: str
    host: str
    process: subprocess.Popen[bytes]
    log: Path
    killed: bool = False
    paused: bool = field(default=False)

    @property
    def owner(self) -> str:
        return f"{self.host}.{self.slot}"

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and reap it."""
        self.killed = True
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def pause(self) -> None:
        """SIGSTOP, and wait until it has really stopped: a signal takes its time to arrive."""
        self.paused = True
        self.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE_S
        while psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline, f"{self.kind} {self.slot} does not stop"
            time.sleep(0.01)

    def resume(self) -> None:
        self.paused = False
        self.process.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM, and its exit status."""
        self.killed = True
        if self.paused:
            self.resume()
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def tail(self, lines: int = 12) -> str:
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"-- {self.kind} {self.slot}", *text[-lines:]])


class Instance:
    """Server, credentials, agents of one state directory. Always `close()` it."""

    def __init__(self, root: Path, hosts: tuple[str, ...] = ("alpha",), **settings: float) -> None:
        self.hosts = hosts
        self.state = StateDir(root)
        self.state.create()
        chosen = {"host": hosts[0]} | FAST | settings
        lines = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {str(v).lower()}" for k, v in chosen.items()]
        self.state.config.write_text("\n".join(lines) + "\n")
        self.settings: Settings = self.state.settings()
        self.accounts = load_accounts(root / "accounts.json", list(hosts))
        self.server = Server(self.state, self.accounts, self.settings, free_port())
        self.agents: list[Agent] = []
        self._hold = root / "hold"
        self._buses: list[Bus] = []

    # -- server ---------------------------------------------------------------------------------------------------

    async def start(self) -> "Instance":
        """Make the streams in a server without agents, then serve."""
        disk = tuple(s for s in self.specs() if not in_memory(s))
        await self.server.start(setup=True, timeout_s=PATIENCE_S)
        setup = await Bus.connect(
            Credentials(self.server.url, "setup", "setup", self.accounts.setup, ca=self.server.ca), "setup"
        )
        await create_streams(setup, disk)
        await setup.close()
        await self.server.stop()
        await self.serve()
        return self

    async def serve(self) -> None:
        """Start the server and make the buckets that do not outlive it, as the supervisor does."""
        await self.server.start(timeout_s=PATIENCE_S)
        write_credentials(self.state.creds, self.accounts, self.server.url, ca=self.server.ca)
        bus = await self.bus("watchdog")
        await create_streams(bus, tuple(s for s in self.specs() if in_memory(s)))

    def specs(self):  # type: ignore[no-untyped-def]
        return stream_specs(self.settings.presence_ttl_s, self.settings.lease_ttl_s)

    def kill_server(self) -> None:
        assert self.server.process is not None
        self.server.process.kill()
        self.server.process.wait(PATIENCE_S)

    def credentials(self, role: str) -> Credentials:
        return read_credentials(self.state.creds / f"{role}.json")

    async def bus(self, role: str = "admin") -> Bus:
        """A connection of the test in that role, closed with the instance."""
        bus = await Bus.connect(self.credentials(role), f"test-{role}")
        self._buses.append(bus)
        return bus

    # -- agents ---------------------------------------------------------------------------------------------------

    def agent(self, kind: str, slot: int = 0, host: str = "", module: str = "", **env: str) -> Agent:
        """Start `python -m agents.KIND` (or another module in its place) as a process of its own."""
        host = host or self.hosts[0]
        command = [sys.executable, "-m", module or f"agents.{kind}", "--state", str(self.state.root)]
        if kind == "miner":
            command += ["--slot", str(slot), "--creds", str(self.state.creds / f"miner-{host}.json")]
        log = self.state.logs / f"{kind}-{host}-{slot}-{len(self.agents)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "NUMBA_NUM_THREADS": "1"} | env,
                start_new_session=True,
            )
        agent = Agent(kind, str(slot), host, process, log)
        self.agents.append(agent)
        return agent

    def miner(self, slot: int, host: str = "", pace_ms: int = 0) -> Agent:
        """One miner; with `pace_ms` it rests so long before each generation, and heeds `hold`."""
        if not pace_ms:
            return self.agent("miner", slot, host)
        module = "tests.support.misbehaving"
        hold = str(self._hold)
        return self.agent("miner", slot, host, module, SLUICE_TEST_MISBEHAVE=f"pace:{pace_ms}", SLUICE_TEST_HOLD=hold)

    def miners(self, count: int, host: str = "", first: int = 1, pace_ms: int = 0) -> list[Agent]:
        return [self.miner(first + i, host, pace_ms) for i in range(count)]

    def hold(self, from_unit: int = 0) -> None:
        """Paced miners stop in the middle of units of that index and higher ones, alive and well, until `go_on`."""
        aside = self._hold.with_suffix(".tmp")
        aside.write_text(str(from_unit))
        aside.replace(self._hold)

    def go_on(self) -> None:
        self._hold.unlink()

    def judges(self) -> tuple[Agent, Agent]:
        """The dispatcher and the validator."""
        return self.agent("dispatcher"), self.agent("validator")

    def assert_all_alive(self) -> None:
        """Every agent that the test did not end itself still runs."""
        dead = [a for a in self.agents if not a.killed and not a.alive()]
        assert not dead, "\n".join(a.tail(40) for a in dead)

    def words(self) -> str:
        """The last words of everybody, for a failed assertion."""
        return "\n".join(a.tail() for a in self.agents)

    async def close(self) -> None:
        for agent in self.agents:
            if agent.alive():
                agent.kill()
        await self.hang_up()
        await self.server.stop(timeout_s=2.0)

    async def hang_up(self) -> None:
        """Close the test's own connections."""
        for bus in self._buses:
            # Its server may be gone: that must not keep the next one from being ended.
            with contextlib.suppress(OSError):
                await bus.nc.close()
        self._buses.clear()

    async def stop_server(self) -> None:
        """In good order, with nobody of the test connected."""
        await self.hang_up()
        await self.server.stop()
