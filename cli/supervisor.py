"""A small supervisor: owns nats-server and the agents of this instance, restarts what crashes, stops all in good order."""

import asyncio
import hashlib
import logging
from collections.abc import Callable

from bus.accounts import load_accounts, read_credentials, write_credentials
from bus.client import Bus, Credentials
from bus.envelope import encode_event, make_event, now_rfc3339
from bus.events import AgentStarted, AgentStopped, EventData
from bus.runtime import VERSION
from bus.server import ForeignServer, Server, free_port, stop_leftover
from bus.settings import Settings, StateDir
from bus.setup import create_streams, missing_streams
from bus.streams import StreamSpec, in_memory, stream_specs
from cli.children import Child, may_restart, start_child, stop_children
from cli.run_file import Proc, RunFile, read_run_file, this_process, write_run_file
from domain.errors import SluiceError
from domain.hashing import canonical, derived_id

log = logging.getLogger("sluice.supervisor")
SINGLE_AGENTS = ("dispatcher", "validator", "projector")


class Supervisor:
    """`start()` brings everything up, `watch()` keeps it up, `stop()` ends it within `settings.stop_s` and a second."""

    def __init__(
        self,
        state: StateDir,
        settings: Settings,
        port: int | None = None,
        miners: int | None = None,
        nats_url: str = "",
    ) -> None:
        self.state, self.settings = state, settings
        self.host = settings.host_name()
        wanted = settings.nats_port if port is None else port
        self.accounts = load_accounts(state.root / "accounts.json", [self.host])
        self.server: Server | ForeignServer = (
            ForeignServer(nats_url) if nats_url else Server(state, self.accounts, settings, wanted or free_port())
        )
        count = settings.miner_count() if miners is None else miners
        self.children = [Child(kind) for kind in SINGLE_AGENTS] + [Child("miner", str(i + 1)) for i in range(count)]
        self.bus: Bus | None = None
        self.on_note: Callable[[str], None] = log.info

    def _specs(self) -> tuple[StreamSpec, ...]:
        return stream_specs(self.settings.presence_ttl_s, self.settings.lease_ttl_s)

    async def start(self) -> None:
        """Server first (set up once, without agents), then verify the streams, then the agents."""
        self._end_leftovers()
        specs = tuple(s for s in self._specs() if not in_memory(s))
        marker = self.state.root / "streams.sha256"
        wanted = hashlib.sha256(canonical([str(s.config) for s in specs])).hexdigest()
        foreign = isinstance(self.server, ForeignServer)
        if not foreign and (not marker.exists() or marker.read_text() != wanted):
            await self._set_up(specs)
            marker.write_text(wanted)
        await self.server.start()
        write_credentials(self.state.creds, self.accounts, self.server.url, anonymous=foreign)
        self.bus = await Bus.connect(self.credentials("watchdog"), f"{self.host}.supervisor")
        if foreign:
            await create_streams(self.bus, specs)
        missing = await missing_streams(self.bus, specs)
        if missing:
            raise SluiceError(
                f"the log of this instance lacks {', '.join(missing)}; restore it from a backup or start empty"
            )
        await self._make_buckets()
        self.write_run_file()

    async def _make_buckets(self) -> None:
        assert self.bus is not None
        await create_streams(self.bus, tuple(s for s in self._specs() if in_memory(s)))

    def start_agents(self) -> None:
        for child in self.children:
            start_child(child, self.state)
        self.write_run_file()

    async def _set_up(self, specs: tuple[StreamSpec, ...]) -> None:
        """The set-up user exists only in a server without agents: at run time nobody can alter or empty a stream."""
        assert isinstance(self.server, Server)
        await self.server.start(setup=True)
        try:
            creds = Credentials(self.server.url, "setup", "setup", self.accounts.setup)
            bus = await Bus.connect(creds, "setup")
            try:
                created = await create_streams(bus, specs)
                log.info("created streams: %s", ", ".join(created))
            finally:
                await bus.close()
        finally:
            await self.server.stop()

    def credentials(self, role: str) -> Credentials:
        """For this process; agents read theirs from their own file."""
        return read_credentials(self.state.creds / f"{role}.json")

    def _end_leftovers(self) -> None:
        """Processes of a run whose supervisor died: ended by id and start time before anything new is started."""
        run = read_run_file(self.state)
        for proc in run.processes if run else ():
            if stop_leftover(proc.pid, proc.create_time):
                self.on_note(f"ended {proc.name} (process {proc.pid}), left over from a run that was cut off")

    def write_run_file(self) -> None:
        procs: list[Proc] = [c.proc for c in self.children if c.proc is not None]
        if self.server.process is not None:
            procs.append(this_process("nats-server", self.server.process.pid))
        monitor = f"http://127.0.0.1:{self.server.monitor_port}" if self.server.monitor_port else ""
        run = RunFile(this_process("supervisor"), self.server.url, self.server.version, monitor, tuple(procs))
        write_run_file(self.state, run)

    async def watch(self, stop: asyncio.Event, every_s: float = 0.3) -> None:
        """Until `stop`: restart the server and agents that ended, within their limits."""
        announced: dict[str, int] = {}
        while not stop.is_set():
            if not self.server.running() and self.server.process is not None:
                self.on_note(f"nats-server ended with status {self.server.process.returncode}; starting it again")
                await self.server.start()
                await self._make_buckets()
                self.write_run_file()
            for child in self.children:
                await self._watch_child(child, announced)
            try:
                await asyncio.wait_for(stop.wait(), every_s)
            except TimeoutError:
                continue

    async def _watch_child(self, child: Child, announced: dict[str, int]) -> None:
        p = child.process
        if p is None or child.gave_up:
            return
        if child.alive():
            if announced.get(child.name) != p.pid:
                announced[child.name] = p.pid
                await self._tell(child, AgentStarted(child.kind, self.host, p.pid, VERSION))
            return
        await self._tell(child, AgentStopped(child.kind, self.host, p.pid, p.returncode, False))
        if not may_restart(child, self.settings):
            child.gave_up = True
            self.on_note(f"{child.name} ended too often and is left alone; its log: {self.state.logs / child.name}.log")
            return
        self.on_note(f"{child.name} ended with status {p.returncode}; starting it again")
        start_child(child, self.state)
        self.write_run_file()

    async def _tell(self, child: Child, data: EventData) -> None:
        """An event about an agent; while the server is away it is only logged."""
        assert child.process is not None
        assert self.bus is not None
        pid, created = child.process.pid, child.proc.create_time if child.proc else 0.0
        event = make_event(
            data,
            id=derived_id(type(data).__name__, self.host, child.name, pid, str(created)),
            source="supervisor",
            subject=f"{self.host}_{child.name}",
            time=now_rfc3339(),
        )
        try:
            await self.bus.publish(event.nats_subject(), encode_event(event), id=event.id, patience_s=1.0)
        except SluiceError as e:
            log.warning("not recorded: %s", e)

    async def stop(self) -> None:
        """Agents first, then the server: an agent that stops may still have something to say."""
        await stop_children(self.children, max(0.5, self.settings.stop_s - 1.0))
        for child in self.children:
            if child.process is not None and self.server.running():
                await self._tell(
                    child, AgentStopped(child.kind, self.host, child.process.pid, child.process.returncode, True)
                )
        if self.bus is not None:
            await self.bus.close()
        await self.server.stop(timeout_s=2.0)
        self.state.run_file.unlink(missing_ok=True)
