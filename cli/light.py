"""`python -m cli.light --agents dispatcher,…`: the light agents of an instance in one process.

Each has its own credentials, heartbeat and log, and is started again here when it fails; `python -m agents.NAME` still
runs any of them alone.
"""

import argparse
import asyncio
import importlib
import logging
import sys
import time
from collections import deque
from pathlib import Path

from bus.logs import current_agent, start_logging
from bus.runtime import Body, live, run_process, stop_on_signals
from bus.settings import Settings, StateDir, default_state_dir
from domain.errors import SluiceError

log = logging.getLogger("sluice.light")
MAX_BACKOFF_S = 30.0


class TooOften(SluiceError):
    """An agent fails again and again: the process ends, and the watchdog decides what follows."""


def body_of(kind: str) -> Body:
    body: Body = importlib.import_module(f"agents.{kind}.agent").run
    return body


async def keep(kind: str, state: StateDir, settings: Settings, stop: asyncio.Event) -> None:
    """Run one agent until `stop`; after a failure again, with a growing pause. TooOften beyond the limit of restarts."""
    current_agent.set(kind)
    failures: deque[float] = deque(maxlen=settings.restart_limit + 1)
    body = body_of(kind)
    while not stop.is_set():
        try:
            await live(kind, body, state, stop)
        except Exception as e:
            # `live` has logged it; one agent's failure must not take the others along.
            failures.append(time.monotonic())
            if len(failures) > settings.restart_limit and failures[-1] - failures[0] < settings.restart_window_s:
                raise TooOften(f"{kind} failed {len(failures)} times: {e}") from e
            pause = min(MAX_BACKOFF_S, settings.backoff_s * 2 ** (len(failures) - 1))
            log.warning("%s starts again in %.1f s", kind, pause)
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                continue


async def host(kinds: list[str], state: StateDir, *, supervised: bool) -> None:
    stop = asyncio.Event()
    watch = stop_on_signals(stop, state, "light", supervised=supervised)
    settings = state.settings()
    tasks = [asyncio.create_task(keep(kind, state, settings, stop), name=kind) for kind in kinds]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        stop.set()
        await asyncio.wait(tasks, timeout=settings.stop_s)
    for task in tasks:
        task.result()
    if watch is not None:
        await asyncio.to_thread(watch.turn_off, settings.stop_s)


def main() -> int:
    p = argparse.ArgumentParser(prog="python -m cli.light", description="Host light agents in one process.")
    p.add_argument("--state", type=Path, default=default_state_dir(), help="state directory")
    p.add_argument("--agents", required=True, help="names, separated by commas")
    p.add_argument("--supervised", action="store_true", help="stop when nobody owns the instance any more")
    args = p.parse_args()
    start_logging()
    kinds = [k for k in args.agents.split(",") if k]
    return run_process("light", lambda: host(kinds, StateDir(args.state), supervised=args.supervised))


if __name__ == "__main__":
    sys.exit(main())
