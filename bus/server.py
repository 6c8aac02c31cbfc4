"""The embedded nats-server: find the binary, write server.conf, start, wait until healthy, stop."""

import asyncio
import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from bus.accounts import Accounts, accounts_conf, write_private
from bus.certificates import EVERYWHERE, authority, server_block, wanted
from bus.processes import Proc, Process, start_of, stop_all
from bus.settings import Settings, StateDir
from bus.store_key import CIPHER, REFERENCE, SERVER_VARIABLE, store_key, with_key
from domain.errors import Unreachable

MIN_VERSION = (2, 12)
GIB = 1024**3
LOG_BYTES = 2 * 1024**2
LOG_FILES = 5
#: The same for our own server and for the nodes of a cluster.
SERVER_LIMITS = {
    "max_payload": 8 * 1024 * 1024,
    "max_pending": 128 * 1024 * 1024,
    "lame_duck_grace_period": "0s",
    "lame_duck_duration": "30s",
}
PORTS_FROM = 20_000
_given: set[int] = set()


def find_server() -> str:
    """`SLUICE_NATS_SERVER`, else beside this Python (the pinned wheel), else on PATH."""
    chosen = os.environ.get("SLUICE_NATS_SERVER")
    if chosen:
        if not (Path(chosen).is_file() and os.access(chosen, os.X_OK)):
            raise Unreachable(
                f"SLUICE_NATS_SERVER names {chosen}, which is not a program; unset it to use the bundled server"
            )
        return chosen
    beside = Path(sys.executable).parent / ("nats-server.exe" if os.name == "nt" else "nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise Unreachable("no nats-server was found; run `make setup`, or name one in SLUICE_NATS_SERVER")
    return found


def server_version(binary: str) -> str:
    """The version as text; Unreachable when it is too old or not a nats-server."""
    try:
        out = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unreachable(f"{binary} cannot be run: {e}") from e
    m = re.search(r"v?(\d+)\.(\d+)\.(\d+)", out)
    if not m:
        raise Unreachable(f"{binary} does not say a nats-server version; name another in SLUICE_NATS_SERVER")
    if (int(m[1]), int(m[2])) < MIN_VERSION:
        raise Unreachable(f"nats-server {m[0]} at {binary} is too old, 2.12 or newer is needed; nothing was started")
    return ".".join(m.groups())


def free_port() -> int:
    """A port that nobody listens on, below those that the system hands out by itself where there is room.

    A server that restarts must find its port free: one from the system's own range could go to any connection meanwhile.
    No port is given twice in one process: whoever got it may not listen on it yet (a server's own two ports least of all).
    """
    top = _first_handed_out()
    for _ in range(100 if top > PORTS_FROM + 1_000 else 0):
        port = PORTS_FROM + secrets.randbelow(top - PORTS_FROM)
        if port in _given:
            continue
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            _given.add(port)
            return port
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _first_handed_out() -> int:
    """The lowest port of the system's own choice; 0 where that cannot be told."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def check_port(port: int, address: str = "127.0.0.1", *, option: str = "--nats-port", key: str = "nats_listen") -> None:
    """Unreachable when something listens there already, or the address is not ours."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((address, port))
        except OSError as e:
            if isinstance(e, socket.gaierror) or e.errno == errno.EADDRNOTAVAIL:
                raise Unreachable(
                    f"{address} is no address of this machine; correct {key} in sluice.toml or {option}"
                ) from e
            if e.errno == errno.EACCES:
                raise Unreachable(f"port {port} needs rights that we lack; choose another with {option}") from e
            raise Unreachable(
                f"port {port} is taken; stop what uses it, or choose another with {option} (0 = any free one)"
            ) from e


def store_limit(state: StateDir, settings: Settings) -> int:
    """Bytes JetStream may use: three quarters of the free space (and of what it uses already) unless the settings say more."""
    if settings.max_store_mb:
        return settings.max_store_mb * 1024**2
    used = sum(f.stat().st_size for f in state.nats_store.rglob("*") if f.is_file())
    limit = (shutil.disk_usage(state.root).free + used) * 3 // 4
    if limit < GIB // 4:
        raise Unreachable(
            f"less than 256 MB can be used on the disk of {state.root}; free some space, nothing was started"
        )
    return limit


class Server:
    """A process running nats-server on `state`'s store: started here, or taken over from an earlier watchdog."""

    def __init__(self, state: StateDir, accounts: Accounts, settings: Settings, port: int) -> None:
        self.state, self.accounts, self.settings, self.port = state, accounts, settings, port
        _given.add(port)
        self.monitor_port = free_port()
        self.binary = find_server()
        self.version = server_version(self.binary)
        self.process: Process | None = None

    @property
    def url(self) -> str:
        everywhere = self.settings.nats_listen in EVERYWHERE
        scheme = "tls" if wanted(self.settings) else "nats"
        host = "127.0.0.1" if everywhere else self.settings.nats_listen
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def ca(self) -> str:
        """What clients need to trust it; "" where it speaks in clear."""
        return authority(self.state, self.settings)

    def adopt(self, proc: Proc, monitor_port: int) -> None:
        self.process, self.monitor_port = Process(proc), monitor_port

    def write_conf(self, *, setup: bool) -> None:
        jetstream: dict[str, object] = {
            "store_dir": str(self.state.nats_store),
            "sync_interval": "always",
            "max_file_store": store_limit(self.state, self.settings),
            "max_memory_store": GIB // 4,
        }
        if self.settings.encrypt_store:
            jetstream |= {"cipher": CIPHER, "key": REFERENCE}
        listen = f"[{self.settings.nats_listen}]" if ":" in self.settings.nats_listen else self.settings.nats_listen
        head: dict[str, object] = {
            "listen": f"{listen}:{self.port}",
            "log_file": str(self.state.logs / "nats-server.log"),
            "logfile_size_limit": LOG_BYTES,
            "logfile_max_num": LOG_FILES,
            "http": f"127.0.0.1:{self.monitor_port}",
            "server_name": "sluice",
            **SERVER_LIMITS,
            "jetstream": jetstream,
        }
        if tls := server_block(self.state, self.settings):
            head["tls"] = tls
        text = "# Written anew at every start of `sluice up`; users are known by public keys.\n"
        text += "".join(f"{k}: {json.dumps(v)}\n" for k, v in head.items())
        write_private(self.state.server_conf, (with_key(text) + accounts_conf(self.accounts, setup=setup)).encode())

    async def start(self, *, setup: bool = False, timeout_s: float = 20.0) -> None:
        """Start and wait for /healthz; Unreachable with the server's own last words when it dies."""
        check_port(self.port, self.settings.nats_listen)
        # Nobody but us asks there, so that it may be another one each time.
        self.monitor_port = free_port()
        key = store_key(self.state, self.settings)
        self.write_conf(setup=setup)
        log_path, out_path = self.state.logs / "nats-server.log", self.state.logs / "nats-server.out"
        with out_path.open("wb") as out:
            popen = subprocess.Popen(
                [self.binary, "-c", str(self.state.server_conf)],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | ({SERVER_VARIABLE: key} if key else {}),
            )
        self.process = Process(Proc("nats-server", popen.pid, start_of(popen.pid)), popen)
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.process.running():
                last = _last_words((out_path, log_path)) or f"exit status {self.process.exit}"
                raise Unreachable(f"nats-server did not start: {last} (whole log: {log_path})")
            if await asyncio.to_thread(self.healthy):
                return
            if time.monotonic() > deadline:
                await self.stop()
                raise Unreachable(f"nats-server was not healthy within {timeout_s:g} s (log: {log_path})")
            await asyncio.sleep(0.03)

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/healthz", timeout=1) as r:
                return bool(r.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def running(self) -> bool:
        return self.process is not None and self.process.running()

    async def stop(self, timeout_s: float = 4.0) -> None:
        """SIGTERM, wait, then kill: only our own process."""
        if self.process is not None:
            await stop_all([self.process], timeout_s)


def _last_words(paths: tuple[Path, ...]) -> str:
    """Why the server says it ended."""
    for path in paths:
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        words = [line for line in lines if "[FTL]" in line or "[ERR]" in line or line.startswith("nats-server: ")]
        if words:
            return words[-1].rpartition("] ")[2].removeprefix("nats-server: ")
    return ""
