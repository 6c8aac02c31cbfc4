"""What a host runs: the plan of its processes, how each is started, and what is known of it."""

import importlib.util
import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import msgspec

from agents.watchdog.decide import Death, Judged, Track
from bus.accounts import read_credentials
from bus.client import Credentials
from bus.processes import Process, this_process
from bus.run_file import Launch
from bus.settings import Settings, StateDir

log = logging.getLogger("sluice.watchdog")
#: Agents that share a process unless sluice.toml says otherwise.
LIGHT = ("dispatcher", "auditor")
OWN_PROCESS = ("validator", "projector")
DEFAULT_HTTP_PORT = 8765
OUT_BYTES = 1024 * 1024


@dataclass
class Child:
    """One process. `agents`: those that live in it and send heartbeats."""

    name: str
    kind: str
    arguments: tuple[str, ...]
    agents: tuple[str, ...] = ()
    process: Process | None = None
    deaths: list[Death] = field(default_factory=list)
    tracks: dict[str, Track] = field(default_factory=dict)
    judged: Judged = field(default_factory=lambda: Judged("dead"))
    start_at: float | None = 0.0
    told_stalled: bool = False
    told_stopped: bool = False

    @property
    def told_of(self) -> tuple[str, ...]:
        """Whom the events are about: the agents in it, or the process itself."""
        return self.agents or (self.name,)

    def running(self) -> bool:
        return self.process is not None and self.process.running()


def agent_kind(name: str) -> str:
    """`miner` for miner-2."""
    kind, _, slot = name.rpartition("-")
    return kind if slot.isdigit() else name


def plan(settings: Settings, launch: Launch, state: StateDir) -> list[Child]:
    """The processes of this host, in the order of their start."""
    where = ("--state", str(state.root), "--supervised")
    children = []
    if launch.mode == "up":
        light = [a for a in LIGHT if not settings.agent(a).alone and settings.agent(a).restart != "never"]
        if light:
            hosted = ("-m", "cli.light", *where, "--agents", ",".join(light))
            children.append(Child("light", "light", hosted, tuple(light)))
        alone = [*(a for a in LIGHT if a not in light), *OWN_PROCESS]
        children += [Child(a, a, ("-m", f"agents.{a}", *where), (a,)) for a in alone]
        if importlib.util.find_spec("web.__main__") is not None:
            children.append(Child("web", "web", ("-m", "web", *where), ("web",)))
    creds = ("--creds", launch.creds) if launch.creds else ()
    count = settings.miner_count() if launch.miners is None else launch.miners
    for slot in range(1, count + 1):
        name = f"miner-{slot}"
        children.append(Child(name, "miner", ("-m", "agents.miner", *where, "--slot", str(slot), *creds), (name,)))
    return children


def start(child: Child, state: StateDir, now: float, extra: tuple[str, ...] = ()) -> None:
    """Start it in a session of its own, so that a terminal's Ctrl-C reaches only `sluice up`."""
    out_path = state.logs / f"{child.name}.out"
    if out_path.exists() and out_path.stat().st_size:
        out_path.replace(out_path.with_suffix(".out.1"))
    env = os.environ | {"PYTHONUNBUFFERED": "1", "NUMBA_NUM_THREADS": "1"}
    # The web stops when its standard input closes: a new watchdog starts it anew instead of taking it over.
    stdin = subprocess.PIPE if child.kind == "web" else subprocess.DEVNULL
    with _output(out_path) as out:
        popen = subprocess.Popen(
            [sys.executable, *child.arguments, *extra],
            stdin=stdin, stdout=out, stderr=out, start_new_session=True, env=env,
        )  # fmt: skip
    take(child, Process(this_process(child.name, popen.pid), popen), now)


def _output(path: Path) -> IO[bytes]:
    """Where what an agent says beside its log goes; nowhere while the disk has no room for it."""
    try:
        return path.open("ab")
    except OSError as e:
        log.error("%s cannot be written: %s", path, e)
        return open(os.devnull, "ab")


def take(child: Child, process: Process, now: float) -> None:
    """From now on `process` is this child."""
    child.process, child.start_at = process, None
    child.told_stalled = child.told_stopped = False
    child.judged = Judged("starting")
    child.tracks = {a: Track(process.pid, now) for a in child.agents}


def own_credentials(launch: Launch) -> Credentials:
    """Of a watchdog on a machine that joined: those of its miners."""
    return read_credentials(Path(launch.creds))


def last_words(state: StateDir, name: str, lines: int = 3) -> str:
    """The end of what an ended process wrote to its standard error beside its log."""
    try:
        with (state.logs / f"{name}.out").open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - 4096))
            text = f.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text[-lines:] if line.strip())


def bound_output(state: StateDir, child: Child) -> None:
    """A process that only prints must not fill the disk: what it wrote so far goes when it is too much."""
    path = state.logs / f"{child.name}.out"
    if path.exists() and path.stat().st_size > OUT_BYTES:
        os.truncate(path, 0)


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((address, port))
        except OSError:
            return False
    return True


def web_url(state: StateDir) -> str:
    """What the web wrote into web.json when it was ready; "" before that."""
    try:
        found = msgspec.json.decode((state.root / "web.json").read_bytes())
        return str(found["url"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return ""


def web_address(state: StateDir, settings: Settings, launch: Launch) -> str:
    """HOST:PORT as asked for; else where the pages were last, else the usual port, else any free one."""
    wanted = launch.http or settings.http
    last = urlsplit(web_url(state))
    if wanted and not wanted.endswith(":0"):
        return wanted
    host = wanted.rpartition(":")[0] or "127.0.0.1"
    usual = [last.port] if last.port and last.hostname == host else []
    for port in usual + ([] if wanted else [DEFAULT_HTTP_PORT]):
        if port and _is_free(host, port):
            return f"{host}:{port}"
    return f"{host}:0"
