"""`DIR/restoring.json`: a restore into this state is under way or was cut short, so that nobody takes its log for whole."""

import shutil
from pathlib import Path

import msgspec
import psutil

from bus.accounts import write_private
from bus.copies.target import sync_folder
from bus.processes import Proc, Process, start_of
from bus.settings import StateDir
from domain.errors import BadInput, SluiceError


class HalfRestored(SluiceError):
    """The log in this state is not whole."""


class _Marker(msgspec.Struct):
    source: str
    started: str


def refuse_half_restored(state: StateDir) -> None:
    """HalfRestored when a restore into `state` was begun and not finished."""
    try:
        source = msgspec.json.decode(state.restoring.read_bytes(), type=_Marker).source
    except FileNotFoundError:
        return
    except msgspec.MsgspecError:
        source = "SOURCE"
    raise HalfRestored(
        f"a restore into {state.root} was cut short and its log is not whole; nothing was started. "
        f"Run `sluice restore {source} --state {state.root}` again: it begins anew"
    )


def begin(state: StateDir, source: str, now: str) -> None:
    """Mark a state that holds no log; what a restore that was cut short left there is cleared away.

    BadInput when there is a log, or anything derived from one. Configuration and accounts may be there before.
    """
    if not state.restoring.exists():
        held = [p for p in (*_derived(state), state.run_file, state.cluster) if p.exists()]
        held += [p for p in state.nats_store.rglob("*") if p.is_file()][:1]
        if held:
            raise BadInput(
                f"{state.root} holds a log already ({held[0].relative_to(state.root)}); nothing was changed. "
                "Restore into another --state, or move this one away"
            )
    write_private(state.restoring, msgspec.json.encode(_Marker(source, now)))
    sync_folder(state.root)
    for process in _servers_left(state):
        process.kill()
        process.wait(10.0)
    for path in (state.nats_store, *_derived(state)):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    state.create()


def _derived(state: StateDir) -> tuple[Path, ...]:
    return state.root / "streams.sha256", state.views, state.past


def finish(state: StateDir) -> None:
    state.restoring.unlink()
    sync_folder(state.root)


def _servers_left(state: StateDir) -> list[Process]:
    """A server that a killed restore left running, known by the configuration file that only this state has."""
    found = []
    for p in psutil.process_iter(["cmdline"]):
        if (p.info["cmdline"] or [])[-2:] == ["-c", str(state.server_conf)]:
            found.append(Process(Proc("nats-server", p.pid, start_of(p.pid))))
    return found
