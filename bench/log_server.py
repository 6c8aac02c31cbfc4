"""A nats-server of a benchmark's own with our accounts and streams, and two ways to speak to it: ours and the bare client's."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import nats
from nats.aio.client import Client

from bus.accounts import load_accounts, read_credentials, write_credentials
from bus.client import Bus, Credentials
from bus.server import Server, free_port
from bus.settings import Settings, StateDir
from bus.setup import create_streams
from bus.streams import stream_specs


class LogServer:
    """Running; `state` is its state directory."""

    def __init__(self, state: StateDir) -> None:
        self.state = state

    def credentials(self, role: str) -> Credentials:
        return read_credentials(self.state.creds / f"{role}.json")

    async def bus(self, role: str = "admin") -> Bus:
        return await Bus.connect(self.credentials(role), f"bench-{role}")

    async def bare(self, role: str = "admin") -> tuple[Client, str]:
        """The bare client on the same server with the same rights, and the prefix of its JetStream API."""
        c = self.credentials(role)
        nc = await nats.connect(c.url, nkeys_seed_str=c.seed or None, inbox_prefix=f"_INBOX.{c.user}".encode())
        return nc, c.wire.api


@contextlib.asynccontextmanager
async def log_server() -> AsyncIterator[LogServer]:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        state = StateDir(Path(folder) / "state")
        state.create()
        accounts = load_accounts(state.root / "accounts.json", ["box"])
        server = Server(state, accounts, Settings(nats_port=0), free_port())
        try:
            await server.start(setup=True)
            setup = await Bus.connect(Credentials(server.url, "setup", "setup", accounts.setup), "bench-setup")
            await create_streams(setup, stream_specs())
            await setup.close()
            await server.stop()
            await server.start()
            write_credentials(state.creds, accounts, server.url)
            yield LogServer(state)
        finally:
            await server.stop()
