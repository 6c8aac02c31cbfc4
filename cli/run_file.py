"""`DIR/run.json` and the lock: which processes an instance has, and that there is only one of it."""

import os
from pathlib import Path
from typing import IO

import msgspec
import psutil

from bus.settings import StateDir
from domain.errors import Unreachable


class Proc(msgspec.Struct, frozen=True):
    """A process, known by id and start time: an id alone may be somebody else's by now."""

    name: str
    pid: int
    create_time: float

    def running(self) -> bool:
        try:
            p = psutil.Process(self.pid)
            return abs(p.create_time() - self.create_time) < 0.05 and p.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class RunFile(msgspec.Struct, frozen=True):
    """What runs: `supervisor` is the `sluice up` process."""

    supervisor: Proc
    nats_url: str
    nats_version: str
    monitor_url: str
    processes: tuple[Proc, ...] = ()


def this_process(name: str, pid: int | None = None) -> Proc:
    pid = pid or os.getpid()
    return Proc(name, pid, psutil.Process(pid).create_time())


def write_run_file(state: StateDir, run: RunFile) -> None:
    tmp = state.run_file.with_suffix(".tmp")
    tmp.write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    tmp.replace(state.run_file)


def read_run_file(state: StateDir) -> RunFile | None:
    """None when there is none or it cannot be read (a run that was cut off while writing)."""
    try:
        return msgspec.json.decode(state.run_file.read_bytes(), type=RunFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def require_running(state: StateDir) -> RunFile:
    run = read_run_file(state)
    if run is None or not run.supervisor.running():
        raise Unreachable(f"nothing runs on {state.root}; start it with `sluice up`")
    return run


def take_lock(state: StateDir) -> IO[str]:
    """The only `sluice up` on this directory, or Unreachable. Held until the file is closed or the process ends."""
    handle = Path(state.lock).open("a+")  # noqa: SIM115 - it stays open as long as we run
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        handle.close()
        run = read_run_file(state)
        who = f" (process {run.supervisor.pid})" if run else ""
        raise Unreachable(
            f"an instance runs on {state.root} already{who}; stop it with `sluice down`, or choose another --state"
        ) from e
    return handle
