"""Child processes of the supervisor: start, watch, restart within limits, stop in good order."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from bus.settings import Settings, StateDir
from cli.run_file import Proc, this_process

log = logging.getLogger("sluice.supervisor")


@dataclass
class Child:
    """One agent process. Its standard input stays open as long as we live: when it closes, the agent stops by itself."""

    kind: str
    slot: str = ""
    process: subprocess.Popen[bytes] | None = None
    started: deque[float] = field(default_factory=lambda: deque(maxlen=16))
    gave_up: bool = False
    proc: Proc | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.slot}" if self.slot else self.kind

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


def start_child(child: Child, state: StateDir) -> None:
    """`python -m agents.KIND`, in a session of its own so that a terminal's Ctrl-C reaches only the supervisor."""
    command = [sys.executable, "-m", f"agents.{child.kind}", "--state", str(state.root), "--supervised"]
    if child.slot:
        command += ["--slot", child.slot]
    env = os.environ | {"PYTHONUNBUFFERED": "1", "NUMBA_NUM_THREADS": "1"}
    with (state.logs / f"{child.name}.log").open("ab") as out:
        child.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True, env=env
        )
    child.started.append(time.monotonic())
    with contextlib.suppress(OSError):
        child.proc = this_process(child.name, child.process.pid)


def may_restart(child: Child, settings: Settings) -> bool:
    """At most `restart_limit` restarts within `restart_window_s`."""
    recent = [t for t in child.started if time.monotonic() - t < settings.restart_window_s]
    return len(recent) <= settings.restart_limit


async def stop_children(children: list[Child], timeout_s: float) -> None:
    """SIGTERM to all at once, wait, then kill what is left: only processes that we started."""
    running = [c for c in children if c.process is not None and c.alive()]
    for c in running:
        assert c.process is not None
        c.process.terminate()
    deadline = time.monotonic() + timeout_s
    while any(c.alive() for c in running) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    for c in running:
        assert c.process is not None
        if c.alive():
            log.warning("%s did not stop within %.0f s and is killed", c.name, timeout_s)
            c.process.kill()
        c.process.wait()
        if c.process.stdin is not None:
            c.process.stdin.close()
