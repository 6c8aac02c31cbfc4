"""`python -m agents.watchdog --state DIR`: the watchdog under `sluice up`, `sluice join`, or any other supervisor."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from agents.watchdog.agent import Watchdog
from agents.watchdog.notes import Notes
from bus.logs import log_to_file, start_logging
from bus.processes import this_process
from bus.run_file import Launch, read_launch, take_lock
from bus.settings import StateDir, default_state_dir
from domain.errors import BadInput, SluiceError, Unreachable

log = logging.getLogger("sluice.watchdog")


def main() -> int:
    p = argparse.ArgumentParser(prog="python -m agents.watchdog", description="Keep what this host runs running.")
    p.add_argument("--state", type=Path, default=default_state_dir(), help="state directory")
    p.add_argument("--supervised", action="store_true", help="`sluice up` holds both ends of our pipes")
    args = p.parse_args()
    start_logging()
    state, notes = StateDir(args.state), Notes(quiet=not args.supervised)
    try:
        state.create()
        log_to_file(state.logs, "watchdog")
        lock = take_lock(state, state.root / "watchdog.lock")
        asyncio.run(_run(state, notes, supervised=args.supervised))
        lock.close()
    except SluiceError as e:
        status = 2 if isinstance(e, BadInput) else 3 if isinstance(e, Unreachable) else 1
        notes.failed(str(e), status)
        return status
    return 0


async def _run(state: StateDir, notes: Notes, *, supervised: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(sig, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(sig, lambda *_: loop.call_soon_threadsafe(stop.set))
    launch = read_launch(state) if supervised else None
    if supervised:
        _stop_with_the_supervisor(loop, stop)
    watchdog = Watchdog(state, launch or Launch(this_process("watchdog")), stop, notes)
    pulse = asyncio.create_task(_pulse(state, watchdog))
    try:
        await watchdog.run()
    finally:
        pulse.cancel()


def _stop_with_the_supervisor(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """`sluice up` holds the other end of our standard input: when it dies, however, the end closes."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()


class Pulse(msgspec.Struct, frozen=True):
    """`DIR/watchdog.beat`: by it `sluice up` judges the watchdog, also while there is no bus."""

    pid: int
    turns: int
    time: float


def write_pulse(path: Path, pulse: Pulse) -> None:
    """A full disk must not look like a watchdog that stands still: then the old bytes are written over, which takes no room."""
    tmp, data = path.with_suffix(".tmp"), msgspec.json.encode(pulse)
    try:
        tmp.write_bytes(data)
        tmp.replace(path)
    except OSError as e:
        try:
            with path.open("r+b") as f:
                f.write(data.ljust(path.stat().st_size))
        except OSError:
            log.warning("no pulse: %s", e)


async def _pulse(state: StateDir, watchdog: Watchdog) -> None:
    path = state.root / "watchdog.beat"
    while True:
        turns = watchdog.context.progress if hasattr(watchdog, "context") else 0
        write_pulse(path, Pulse(os.getpid(), turns, time.time()))
        await asyncio.sleep(min(1.0, watchdog.settings.heartbeat_s))


if __name__ == "__main__":
    sys.exit(main())
