"""`DIR/run.json`, `DIR/launch.json` and the locks: which processes an instance has, and that there is only one of it."""

import os
from pathlib import Path
from typing import IO, Literal

import msgspec

from bus.accounts import write_private
from bus.processes import Proc
from bus.settings import StateDir
from domain.errors import Unreachable

Mode = Literal["up", "join"]


class RunFile(msgspec.Struct, frozen=True):
    """What runs. `supervisor` is the `sluice up` or `sluice join` process, or the watchdog where that stands alone.

    `deaths`: child -> when it ended unasked (seconds since 1970) and what it worked on, so that limits outlive the watchdog.
    """

    supervisor: Proc
    watchdog: Proc
    mode: Mode
    nats_url: str = ""
    nats_version: str = ""
    monitor_url: str = ""
    processes: tuple[Proc, ...] = ()
    deaths: dict[str, tuple[tuple[float, str], ...]] = {}

    def running(self) -> bool:
        return self.supervisor.running() or self.watchdog.running()

    def process(self, name: str) -> Proc | None:
        return next((p for p in self.processes if p.name == name), None)


class Launch(msgspec.Struct, frozen=True):
    """What `sluice up` and `sluice join` tell the watchdog, also the one that comes after a crash. None = as sluice.toml says."""

    supervisor: Proc
    mode: Mode = "up"
    nats_port: int | None = None
    nats_url: str = ""
    miners: int | None = None
    http: str = ""
    creds: str = ""


def write_run_file(state: StateDir, run: RunFile) -> None:
    tmp = state.run_file.with_suffix(".tmp")
    tmp.write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    tmp.replace(state.run_file)


def read_run_file(state: StateDir) -> RunFile | None:
    """None when there is none or it cannot be read (written by another version)."""
    try:
        return msgspec.json.decode(state.run_file.read_bytes(), type=RunFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write_launch(state: StateDir, launch: Launch) -> None:
    write_private(state.root / "launch.json", msgspec.json.encode(launch))


def read_launch(state: StateDir) -> Launch | None:
    try:
        return msgspec.json.decode((state.root / "launch.json").read_bytes(), type=Launch)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def require_running(state: StateDir) -> RunFile:
    run = read_run_file(state)
    if run is None or not run.running():
        raise Unreachable(f"nothing runs on {state.root}; start it with `sluice up`")
    return run


def take_lock(state: StateDir, path: Path | None = None) -> IO[str]:
    """The only `sluice up` (or, with its own `path`, watchdog) on this directory, or Unreachable.

    Held until the file is closed or the process ends, however it ends.
    """
    handle = (path or state.lock).open("a+")
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
