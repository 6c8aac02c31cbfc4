"""The life of an agent: connect, say so, work, stop in good order on SIGTERM, Ctrl-C or when nobody owns it any more."""

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import nats.errors

from bus import subjects
from bus.accounts import read_credentials
from bus.client import Bus
from bus.envelope import now_rfc3339
from bus.logs import log_to_bus, log_to_file, no_longer, start_logging
from bus.messages import AgentState, Presence
from bus.orphan import OrphanWatch
from bus.settings import Settings, StateDir, default_state_dir
from domain.errors import BadInput, SluiceError, Unreachable

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
    progress: int = -1
    positions: dict[str, int] = field(default_factory=dict)
    work: str = ""
    quiet_s: float = 0.0
    started: str = field(default_factory=now_rfc3339)
    now: Callable[[], str] = now_rfc3339

    def step(self, **positions: int) -> None:
        """The main loop turned, or a search went on; `positions`: how far a stream was read. What a watchdog judges by."""
        self.progress = max(0, self.progress) + 1
        self.positions |= positions

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
            progress=self.progress,
            positions=dict(self.positions),
            work=self.work,
            quiet_s=self.quiet_s,
        )
        subject = f"{self.bus.wire.presence}.{subjects.presence_key(self.host, self.name)}"
        if self.bus.nc.is_connected:
            try:
                await self.bus.nc.publish(subject, msgspec.json.encode(presence))
            except (nats.errors.Error, OSError) as e:
                log.debug("no heartbeat now: %s", e)

    async def halt(self, why: str, over: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Do nothing until asked to stop, or until `over` (asked every second or so) says that the reason is gone.

        Alive, and of no use: what is wrong is not cured by a restart, so that a watchdog sees progress and no backlog.
        """
        log.error("%s", why)
        self.state, self.detail = "stalled", why
        self.positions.clear()
        while not self.stop.is_set():
            self.step()
            await self.idle(1.0)
            if over is not None and not self.stop.is_set() and await over():
                self.detail = ""
                return

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
    p.add_argument("--slot", default="1", type=_slot, help="stable number of this process among its kind on this host")
    p.add_argument(
        "--supervised", action="store_true", help="stop when neither a watchdog nor `sluice up` owns the instance"
    )
    return p


def _slot(text: str) -> str:
    """The slot stands in subjects: refused here and not with every message."""
    try:
        return subjects.token(text)
    except BadInput as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def run_agent(kind: str, body: Body, *, role: str = "", slotted: bool = False, lane: str = "") -> int:
    """The main function of every agent module; returns the exit status (0 stopped, 3 could not reach what it needs)."""
    args = parser(kind).parse_args()
    start_logging()
    state = StateDir(args.state)

    async def main() -> None:
        name = f"{kind}-{args.slot}" if slotted else kind
        stop = asyncio.Event()
        watch = stop_on_signals(stop, state, name, supervised=args.supervised)
        slot = args.slot if slotted else ""
        await live(kind, body, state, stop, creds=args.creds, role=role or kind, slot=slot, lane=lane)
        if watch is not None:
            await asyncio.to_thread(watch.turn_off, state.settings().stop_s)

    return run_process(kind, main)


def run_process(kind: str, main: Callable[[], Awaitable[None]]) -> int:
    """`main` to its end, what went wrong as one line and an exit status."""

    async def run() -> None:
        await main()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        return 0
    except SluiceError as e:
        log.error("%s: %s", kind, e)
        return 3 if isinstance(e, Unreachable) else 1
    return 0


def stop_on_signals(stop: asyncio.Event, state: StateDir, name: str, *, supervised: bool) -> OrphanWatch | None:
    """SIGTERM, Ctrl-C and, for a process that a watchdog started, the end of all who own it set `stop`."""
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(sig, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(sig, lambda *_: loop.call_soon_threadsafe(stop.set))
    if not supervised:
        return None

    def ask_to_stop() -> None:
        loop.call_soon_threadsafe(stop.set)

    watch = OrphanWatch(state, name, state.settings().orphan_s, ask_to_stop)
    watch.start()
    return watch


async def live(
    kind: str, body: Body, state_dir: StateDir, stop: asyncio.Event,
    *, creds: Path | None = None, role: str = "", slot: str = "", lane: str = "",
) -> None:  # fmt: skip
    """One agent from its connection to its last heartbeat; its log goes to its own file and to the bus."""
    name = f"{kind}-{slot}" if slot else kind
    handlers: list[logging.Handler] = [log_to_file(state_dir.logs, name)]
    try:
        settings = state_dir.settings()
        role, host = role or kind, settings.host_name()
        path = creds or state_dir.creds / (f"miner-{host}.json" if role == "miner" else f"{role}.json")
        credentials = read_credentials(path)
        host = credentials.host or host
        bus = await Bus.connect(credentials, f"{host}.{name}", timeout_s=30.0)
        lines = log_to_bus(host, name, [credentials.seed])
        handlers.append(lines)
        context = Context(bus, settings, state_dir, kind, name, host, slot, lane, stop)
        loops = [asyncio.create_task(_heartbeats(context)), asyncio.create_task(lines.keep_shipping(bus))]
        log.info("%s runs on %s as process %d, version %s", name, host, os.getpid(), VERSION)
        try:
            await body(context)
            context.state = "stopped"
            log.info("%s stops in good order", name)
        finally:
            if context.state != "stopped":
                context.state = "dead"  # the last heartbeat must not call it alive until its time runs out
            for task in loops:
                task.cancel()
            await context.beat()
            await lines.ship(bus)
            await bus.close()
    except Exception as e:
        log.exception("%s ends", name) if not isinstance(e, SluiceError) else log.error("%s ends: %s", name, e)
        raise
    finally:
        no_longer(*handlers)


async def _heartbeats(context: Context) -> None:
    while True:
        await context.beat()
        await asyncio.sleep(context.settings.heartbeat_s)
