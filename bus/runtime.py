"""The life of an agent process: connect, say so, work, stop in good order on SIGTERM, Ctrl-C or its supervisor's end."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import nats.errors

from bus import subjects
from bus.accounts import read_credentials
from bus.client import Bus
from bus.envelope import now_rfc3339
from bus.messages import AgentState, Presence
from bus.settings import Settings, StateDir, default_state_dir
from domain.errors import SluiceError, Unreachable

log = logging.getLogger("sluice.runtime")
VERSION = "0.1.0"


@dataclass
class Context:
    """What an agent is given: its connection, settings, names and the signal to stop. Clock and ids come from here too."""

    bus: Bus
    settings: Settings
    state_dir: StateDir
    kind: str
    name: str
    host: str
    slot: str = ""
    lane: str = ""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    state: AgentState = "starting"
    detail: str = ""
    done: int = 0
    started: str = field(default_factory=now_rfc3339)
    now: Callable[[], str] = now_rfc3339

    async def beat(self) -> None:
        """Publish one heartbeat; a lost server is no reason to fail."""
        presence = Presence(
            agent=self.name,
            kind=self.kind,
            host=self.host,
            pid=os.getpid(),
            state=self.state,
            started=self.started,
            time=self.now(),
            interval_s=self.settings.heartbeat_s,
            done=self.done,
            slot=self.slot,
            lane=self.lane,
            detail=self.detail,
        )
        subject = f"{self.bus.wire.presence}.{subjects.presence_key(self.host, self.name)}"
        if self.bus.nc.is_connected:
            try:
                await self.bus.nc.publish(subject, msgspec.json.encode(presence))
            except (nats.errors.Error, OSError) as e:
                log.debug("no heartbeat now: %s", e)

    async def idle(self, seconds: float) -> None:
        """Wait, but not beyond the signal to stop."""
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except TimeoutError:
            return


Body = Callable[[Context], Awaitable[None]]


def parser(kind: str) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog=f"python -m agents.{kind}", description=f"Run the {kind} agent of one instance.")
    p.add_argument(
        "--state", type=Path, default=default_state_dir(), help="state directory ($SLUICE_STATE, else .sluice)"
    )
    p.add_argument("--creds", type=Path, help="credentials file (default: the role's file in the state directory)")
    p.add_argument("--slot", default="1", help="stable number of this process among its kind on this host")
    p.add_argument("--supervised", action="store_true", help="stop when standard input closes: the supervisor is gone")
    return p


def run_agent(kind: str, body: Body, *, role: str = "", slotted: bool = False, lane: str = "") -> int:
    """The main function of every agent module; returns the exit status (0 stopped, 3 could not reach what it needs)."""
    args = parser(kind).parse_args()
    logging.basicConfig(
        level=os.environ.get("SLUICE_LOG", "INFO"),
        stream=sys.stderr,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    logging.getLogger("numba").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(kind, body, args, role or kind, slotted, lane))
    except KeyboardInterrupt:
        return 0
    except SluiceError as e:
        log.error("%s: %s", kind, e)
        return 3 if isinstance(e, Unreachable) else 1
    return 0


async def _run(kind: str, body: Body, args: argparse.Namespace, role: str, slotted: bool, lane: str) -> None:
    state_dir = StateDir(args.state)
    settings = state_dir.settings()
    host = settings.host_name()
    creds_path = args.creds or state_dir.creds / (f"miner-{host}.json" if role == "miner" else f"{role}.json")
    credentials = read_credentials(creds_path)
    host = credentials.host or host
    name = f"{kind}-{args.slot}" if slotted else kind
    bus = await Bus.connect(credentials, f"{host}.{name}", timeout_s=30.0)
    context = Context(bus, settings, state_dir, kind, name, host, args.slot if slotted else "", lane)
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(sig, context.stop.set)
        except NotImplementedError:  # Windows
            signal.signal(sig, lambda *_: loop.call_soon_threadsafe(context.stop.set))
    if args.supervised:
        _watch_stdin(loop, context.stop)
    beats = asyncio.create_task(_heartbeats(context))
    try:
        await body(context)
        context.state = "stopped"
    finally:
        if context.state != "stopped":
            context.state = "dead"  # the last heartbeat must not call it alive until its time runs out
        beats.cancel()
        await context.beat()
        await bus.close()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """The supervisor holds the other end of our standard input; when it dies, however, the end closes."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()


async def _heartbeats(context: Context) -> None:
    while True:
        await context.beat()
        await asyncio.sleep(context.settings.heartbeat_s)
