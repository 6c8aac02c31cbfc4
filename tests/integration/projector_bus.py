"""A real nats-server with our accounts and streams in a temporary state directory, for the tests of the projector."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from agents.projector.agent import run
from bus.accounts import load_accounts, read_credentials, write_credentials
from bus.client import Bus, Credentials, Stored
from bus.runtime import Context
from bus.server import Server, free_port
from bus.settings import Settings, StateDir
from bus.setup import create_streams
from bus.streams import stream_specs
from tests.support.instance import PATIENCE_S

SETTINGS = Settings(nats_port=0, heartbeat_s=0.2)


class Instance:
    """The server, its state directory, and an admin who writes events."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.state.create()
        self.accounts = load_accounts(root / "accounts.json", ["box"])
        self.server = Server(self.state, self.accounts, SETTINGS, free_port())

    async def start(self) -> None:
        await self.server.start(setup=True, timeout_s=PATIENCE_S)
        bus = await Bus.connect(Credentials(self.server.url, "setup", "setup", self.accounts.setup), "setup")
        await create_streams(bus, stream_specs())
        await bus.close()
        await self.server.stop()
        await self.server.start(timeout_s=PATIENCE_S)
        write_credentials(self.state.creds, self.accounts, self.server.url)

    async def connect(self, role: str) -> Bus:
        return await Bus.connect(read_credentials(self.state.creds / f"{role}.json"), f"test-{role}")

    async def destroy_log(self) -> None:
        """What nobody can do at run time: start over with an empty store."""
        await self.server.stop()
        for path in sorted(self.state.nats_store.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        await self.start()


async def append(bus: Bus, messages: list[Stored]) -> None:
    """Store ready-made messages as they are, a few hundred under way at a time."""
    for at in range(0, len(messages), 200):
        await asyncio.gather(*(bus.publish(m.subject, m.data) for m in messages[at : at + 200]))


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Poll to a deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def projecting(instance: Instance) -> AsyncIterator[Context]:
    """The projector at work in this process, stopped in good order at the end."""
    bus = await instance.connect("projector")
    context = Context(bus, SETTINGS, instance.state, "projector", "projector", "box")
    task = asyncio.create_task(run(context))
    try:
        yield context
    finally:
        context.stop.set()
        await asyncio.wait_for(task, PATIENCE_S)
        await bus.close()
