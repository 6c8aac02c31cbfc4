"""Processes of an instance, known by id **and** start: an id alone may be somebody else's by now."""

import asyncio
import logging
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

log = logging.getLogger("sluice.processes")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()[:8]
    except OSError:
        return ""


def start_of(pid: int) -> str:
    """When the process started, as an opaque mark that no later process of the same id has; "" when it does not run.

    On Linux the ticks since boot: a date would move with every correction of the clock.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        if _BOOT.exists():
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            return "" if fields[0] in "ZX" else f"{_boot()}.{fields[19]}"
        p = psutil.Process(pid)
        return "" if p.status() == psutil.STATUS_ZOMBIE else f"{p.create_time():.2f}"
    except (OSError, psutil.Error, IndexError):
        return ""


class Proc(msgspec.Struct, frozen=True):
    """One process as recorded in run.json."""

    name: str
    pid: int
    start: str

    def running(self) -> bool:
        return bool(self.start) and start_of(self.pid) == self.start


def this_process(name: str, pid: int | None = None) -> Proc:
    pid = pid or os.getpid()
    return Proc(name, pid, start_of(pid))


def send_signal(proc: Proc, sig: int) -> bool:
    """Signal exactly this process; False when it runs no more."""
    if not hasattr(os, "pidfd_open"):
        if proc.running():
            os.kill(proc.pid, sig)
            return True
        return False
    try:
        # The handle is of whoever has the id now, for good: looked at after opening it, nobody can slip in between.
        fd = os.pidfd_open(proc.pid)
    except ProcessLookupError:
        return False
    try:
        if not proc.running():
            return False
        signal.pidfd_send_signal(fd, sig)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


class Process:
    """A process that we started, or (without `popen`) one that an earlier watchdog started and we took over."""

    def __init__(self, proc: Proc, popen: "subprocess.Popen[bytes] | None" = None) -> None:
        self.proc = proc
        self._popen = popen

    @property
    def pid(self) -> int:
        return self.proc.pid

    @property
    def exit(self) -> int | None:
        """The exit status (negative: a signal); None while it runs, and for ever when it was not our child."""
        return self._popen.poll() if self._popen is not None else None

    def running(self) -> bool:
        return self._popen.poll() is None if self._popen is not None else self.proc.running()

    def signal(self, sig: int) -> None:
        if self._popen is not None:
            self._popen.send_signal(sig)
        else:
            send_signal(self.proc, sig)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def wait(self, timeout_s: float) -> None:
        """Blocking; TimeoutError when it still runs then."""
        deadline = time.monotonic() + timeout_s
        while self.running():
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} still runs after {timeout_s:g} s")
            time.sleep(0.01)
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()


async def stop_all(processes: Sequence[Process], timeout_s: float) -> list[Process]:
    """SIGTERM to all at once, wait, then kill what is left (that also ends a stopped process); returns the killed."""
    running = [p for p in processes if p.running()]
    for p in running:
        p.terminate()
    deadline = time.monotonic() + timeout_s
    while any(p.running() for p in running) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    killed = [p for p in running if p.running()]
    for p in killed:
        log.warning("%s (process %d) did not stop within %.1f s and is killed", p.proc.name, p.pid, timeout_s)
        p.kill()
    for p in running:
        await asyncio.to_thread(p.wait, 5.0)
    return killed
