"""The server of an instance: made ready once, started or taken over, its buckets made anew, its credentials written."""

import hashlib
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from bus.accounts import load_accounts, read_credentials, write_credentials
from bus.client import Bus, Credentials
from bus.cluster import grown_url
from bus.copies.marker import refuse_half_restored
from bus.foreign import ForeignServer
from bus.processes import Process, stop_all
from bus.run_file import Launch, RunFile
from bus.server import Server, free_port
from bus.settings import Settings, StateDir
from bus.setup import StreamsDiffer, create_streams, missing_streams
from bus.streams import StreamSpec, in_memory, stream_specs
from domain.errors import SluiceError
from domain.hashing import canonical

log = logging.getLogger("sluice.watchdog")


def _port_of(url: str) -> int | None:
    return urlsplit(url).port if url else None


class Broker:
    """Our own nats-server, or a foreign one that is used as it is."""

    def __init__(self, state: StateDir, settings: Settings, launch: Launch, before: RunFile | None) -> None:
        self.state, self.settings, self.before = state, settings, before
        self.host = settings.host_name()
        self.replicas = 1
        self.accounts = load_accounts(state.root / "accounts.json", [self.host])
        # An earlier watchdog of the same life chose a port: those who are connected come back to it.
        known = _port_of(before.nats_url) if before is not None else None
        wanted = settings.nats_port if launch.nats_port is None else launch.nats_port
        foreign = launch.nats_url or grown_url(state)
        self.server: Server | ForeignServer = (
            ForeignServer(foreign)
            if foreign
            else Server(state, self.accounts, settings, known or wanted or free_port())
        )

    @property
    def process(self) -> Process | None:
        return self.server.process

    def _specs(self) -> tuple[StreamSpec, ...]:
        return stream_specs(self.settings.presence_ttl_s, self.settings.lease_ttl_s, self.replicas)

    def _on_disk(self) -> tuple[StreamSpec, ...]:
        return tuple(s for s in self._specs() if not in_memory(s))

    async def start(self, on_started: Callable[[], None]) -> None:
        """Serve: an answering server of ours is kept, another ended; then everything is verified."""
        refuse_half_restored(self.state)
        specs = self._on_disk()
        foreign = isinstance(self.server, ForeignServer)
        marker = self.state.root / "streams.sha256"
        wanted = hashlib.sha256(canonical([str(s.config) for s in specs])).hexdigest()
        ready = foreign or (marker.exists() and marker.read_text() == wanted)
        if not await self._adopted(ready):
            if not ready:
                await self._set_up(specs)
                marker.write_text(wanted)
            await self.server.start()
        on_started()
        self._write_credentials()
        bus = await Bus.connect(self.credentials(), f"{self.host}.watchdog start")
        try:
            if isinstance(self.server, ForeignServer):
                # A cluster is made by `sluice cluster grow`: what is in memory has as many replicas as the log.
                log_ = await bus.stream_info("EVENTS")
                self.replicas = int(log_["config"].get("num_replicas", 1)) if log_ else 1
                specs = self._on_disk()
                if self.server.anonymous:
                    await create_streams(bus, specs)
            missing = await missing_streams(bus, specs)
            if missing and foreign:
                raise SluiceError(
                    f"the servers at {self.server.url} lack {', '.join(missing)}; `sluice cluster grow` makes them"
                )
            if missing:
                raise SluiceError(
                    f"the log of this instance lacks {', '.join(missing)}; restore it from a backup or start empty"
                )
            await self.make_buckets(bus)
        finally:
            await bus.close()

    async def _adopted(self, ready: bool) -> bool:
        """Take the running server of an earlier watchdog over when it is well, end it when it is not."""
        proc = self.before.process("nats-server") if self.before is not None else None
        if proc is None or not proc.running() or not isinstance(self.server, Server) or self.before is None:
            return False
        self.server.adopt(proc, _port_of(self.before.monitor_url) or 0)
        if ready and self.server.healthy():
            log.info("took nats-server over (process %d)", proc.pid)
            return True
        await stop_all([Process(proc)], self.settings.stop_s)
        return False

    async def restart(self, timeout_s: float) -> None:
        """After its end: the same port and store; hosts that were let in meanwhile are known."""
        self.accounts = load_accounts(self.state.root / "accounts.json", [self.host])
        if isinstance(self.server, Server):
            self.server.accounts = self.accounts
            await self.server.start(timeout_s=timeout_s)
        self._write_credentials()

    def _write_credentials(self) -> None:
        anonymous = isinstance(self.server, ForeignServer) and self.server.anonymous
        ca = self.server.ca if isinstance(self.server, Server) else ""
        write_credentials(self.state.creds, self.accounts, self.server.url, anonymous=anonymous, ca=ca)

    async def make_buckets(self, bus: Bus) -> None:
        """Those that live in memory do not outlive the server."""
        try:
            await create_streams(bus, tuple(s for s in self._specs() if in_memory(s)))
        except StreamsDiffer as e:
            if isinstance(self.server, Server):
                raise
            advice = "with the nodes in their set-up configuration, `sluice cluster grow` removes such a bucket"
            raise StreamsDiffer(f"{e}; {advice}") from e

    async def _set_up(self, specs: tuple[StreamSpec, ...]) -> None:
        """The set-up user exists only in a server without agents: at run time nobody can alter or empty a stream."""
        assert isinstance(self.server, Server)
        await self.server.start(setup=True)
        try:
            creds = Credentials(self.server.url, "setup", "setup", self.accounts.setup, ca=self.server.ca)
            bus = await Bus.connect(creds, "setup")
            try:
                created = await create_streams(bus, specs)
                log.info("created streams: %s", ", ".join(created))
            finally:
                await bus.close()
        finally:
            await self.server.stop()

    def credentials(self, role: str = "watchdog") -> Credentials:
        """For this process; agents read theirs from their own file."""
        return read_credentials(self.state.creds / f"{role}.json")
