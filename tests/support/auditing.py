"""The auditor and the projector at work in the test's process, on an instance with a real nats-server."""

import asyncio
import contextlib
import random
import shutil
from argparse import Namespace
from collections.abc import AsyncIterator
from pathlib import Path

from agents.auditor.agent import run as audit
from agents.projector.agent import run as project
from bus.client import Bus, Credentials
from bus.runtime import Context
from bus.seals.verify import Record, Report, record_of
from bus.setup import create_streams
from bus.streams import in_memory
from cli.commands.audit import inspect
from tests.support.instance import PATIENCE_S, Instance, until
from tests.unit.projections.event_log import story

BODIES = {"auditor": audit, "projector": project}


def recorded(seed: int) -> list[Record]:
    """Events as agents would write them; some carry no id."""
    return [record_of(m) for m in story(random.Random(seed), 400).made]


@contextlib.asynccontextmanager
async def at_work(instance: Instance, kind: str) -> AsyncIterator[Context]:
    """Stopped in good order at the end; what it died of is raised there."""
    bus = await Bus.connect(instance.credentials(kind), f"test-{kind}")
    context = Context(bus, instance.state.settings(), instance.state, kind, kind, instance.hosts[0])
    task = asyncio.create_task(BODIES[kind](context))
    try:
        yield context
    finally:
        context.stop.set()
        await asyncio.wait_for(task, PATIENCE_S)
        await bus.close()


async def sealed_through(bus: Bus, seq: int) -> None:
    async def there() -> bool:
        newest = await bus.last("AUDIT", "audit.seal.>")
        return newest is not None and newest.subject.endswith(f".{seq}")

    await until(f"sealed through {seq}", there)


async def found_whole(bus: Bus) -> None:
    """The auditor has compared the whole log with its seals."""

    async def said() -> bool:
        there = await bus.last("AUDIT", "audit.finding")
        return there is not None and b'"ok":true' in there.data

    await until("the log is found whole", said)


async def halts(context: Context) -> str:
    """The words with which it halts."""

    async def halted() -> str:
        return context.detail if context.state == "stalled" and context.detail.startswith("halted: ") else ""

    return await until(f"the {context.kind} halts", halted)


async def verified(instance: Instance, bus: Bus, seals: Path | None = None) -> Report:
    args = Namespace(state=instance.state.root, seals=seals, key=None)
    return await inspect(bus, args, lambda at, end: None)


async def fill(bus: Bus, records: list[Record]) -> None:
    """Store them as they are, without a care for what they mean."""
    for r in records:
        await bus.publish(r.subject, r.payload, id=r.id)


def store_of(instance: Instance, stream: str) -> Path:
    return next(p for p in instance.state.nats_store.rglob(stream) if p.is_dir())


async def forged(instance: Instance, records: list[Record]) -> Bus:
    """As somebody with the machine could: the stream EVENTS thrown away and stored anew with these; an admin's bus."""
    await instance.stop_server()
    shutil.rmtree(store_of(instance, "EVENTS"))
    await instance.server.start(setup=True, timeout_s=PATIENCE_S)
    setup = await Bus.connect(Credentials(instance.server.url, "setup", "setup", instance.accounts.setup), "setup")
    await create_streams(setup, tuple(s for s in instance.specs() if not in_memory(s)))
    await fill(setup, records)
    await setup.close()
    await instance.server.stop()
    await instance.serve()
    return await instance.bus()
