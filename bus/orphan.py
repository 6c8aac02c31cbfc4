"""An agent whose watchdog and `sluice up` are both gone stops by itself; the last one ends the server that they left.

A new watchdog takes running agents over, so the end of one is no reason to stop at once.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from bus.processes import send_signal
from bus.run_file import RunFile, read_run_file
from bus.settings import StateDir

log = logging.getLogger("sluice.orphan")
#: Above this an agent that was told to stop has hung.
LAST_RESORT_S = 30.0


def replaced_by(run: RunFile | None, name: str, pid: int) -> int:
    """The process that runs under our name instead of us, 0 when there is none."""
    mine = run.process(name) if run else None
    return mine.pid if mine and mine.pid != pid and mine.running() else 0


class OrphanWatch:
    """A thread that looks into run.json. `stop` is called once; `orphaned` says why."""

    def __init__(self, state: StateDir, name: str, orphan_s: float, stop: Callable[[], None]) -> None:
        self._state, self._name, self._orphan_s, self._stop = state, name, orphan_s, stop
        self.orphaned = False

    def start(self) -> None:
        threading.Thread(target=self._watch, daemon=True, name="orphan-watch").start()

    def _watch(self) -> None:
        alone_since: float | None = None
        while True:
            time.sleep(min(1.0, self._orphan_s / 4))
            run = read_run_file(self._state)
            other = replaced_by(run, self._name, os.getpid())
            if other:
                log.warning("process %d has taken our place: stopping", other)
                break
            if run is not None and run.running():
                alone_since = None
                continue
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since >= self._orphan_s:
                log.warning("neither a watchdog nor `sluice up` for %g s: stopping", self._orphan_s)
                self.orphaned = True
                break
        self._stop()
        time.sleep(LAST_RESORT_S)
        log.error("still there %g s after the order to stop: leaving at once", LAST_RESORT_S)
        os._exit(1)

    def turn_off(self, wait_s: float) -> None:
        """After our own end: wait for the others, then end the server, unless somebody runs the instance again."""
        if not self.orphaned:
            return
        # They all wait for each other here, and all of them are ended by force at the last resort: somebody must be earlier.
        deadline = time.monotonic() + min(wait_s, LAST_RESORT_S / 3)
        while time.monotonic() < deadline:
            run = read_run_file(self._state)
            if run is None or run.running():
                return
            others = [p for p in run.processes if p.pid != os.getpid() and p.name != "nats-server"]
            if not any(p.running() for p in others):
                break
            time.sleep(0.1)
        run = read_run_file(self._state)
        server = run.process("nats-server") if run and not run.running() else None
        if server is not None and send_signal(server, signal.SIGTERM):
            log.warning("ended nats-server (process %d), which nobody owned any more", server.pid)
