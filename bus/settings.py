"""What precedes the bus: `DIR/sluice.toml`, and where things lie in a state directory."""

import os
import re
import shutil
import socket
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from bus.subjects import host_token
from domain.errors import BadInput, Unreachable

#: What an [agents.NAME] table may be about; a miner also by its slot (miner-2).
KINDS = (
    "light", "dispatcher", "validator", "projector", "miner", "web", "nats-server", "auditor", "deployer", "notifier",
)  # fmt: skip


#: Bytes; with less nothing can be stored any more.
_NO_ROOM = 1024**2


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An [agents.NAME] table. `restart = "never"`: once it has ended it stays so. `alone`: a process of its own."""

    restart: Literal["always", "never"] = "always"
    alone: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys of sluice.toml with their defaults; intervals in seconds.

    The watchdog looks every `check_s`. An agent is stalled after `silent_s` without a heartbeat, after `stall_s`
    without progress, and when it is not ready `start_s` after its start (which may compile kernels). It is restarted
    after `backoff_s`, doubled each time, at most `restart_limit` times within `restart_window_s`, then left alone
    for `cooldown_s`. Agents whose watchdog and `sluice up` are both gone stop by themselves after `orphan_s`.
    Agents send a heartbeat every `heartbeat_s`; one older than `presence_ttl_s` is gone, and its sender with it. A
    delivery without a sign of life goes to another miner after `ack_wait_s`; miners checkpoint every `checkpoint_s`;
    the dispatcher compares the queue with the log every `sweep_s`. A unit gets at most `replica_limit` answers.
    The auditor seals the log after `seal_events` events, and after `seal_s` where there are new ones.
    A server that other machines reach demands TLS unless `tls` is false.
    """

    nats_port: int = 4222
    nats_listen: str = "127.0.0.1"  # other machines can join when this is an address that they reach
    tls: Literal["auto"] | bool = (
        "auto"  # whether clients must encrypt; "auto": when nats_listen is not this machine alone
    )
    tls_names: tuple[str, ...] = ()  # further names and addresses for the server's certificate
    tls_cert: str = ""  # files of your own instead of ours: certificate, key, and the authority's certificate (PEM)
    tls_key: str = ""
    tls_ca: str = ""
    encrypt_store: bool = False  # the log on disk is encrypted with DIR/store.key, or with $SLUICE_STORE_KEY
    http: str = ""  # HOST:PORT of the pages
    miners: int = 0  # 0 = one a core
    host: str = ""  # "" = this machine's name
    heartbeat_s: float = 2.0
    presence_ttl_s: float = 15.0
    lease_ttl_s: float = 10.0
    ack_wait_s: float = 20.0
    nak_delay_s: float = 2.0
    checkpoint_s: float = 1.0
    sweep_s: float = 2.0
    max_ack_pending: int = 256
    replica_limit: int = 5
    restart_limit: int = 3
    restart_window_s: float = 300.0
    cooldown_s: float = 300.0
    backoff_s: float = 0.5
    check_s: float = 2.0
    silent_s: float = 20.0
    stall_s: float = 120.0
    start_s: float = 180.0
    orphan_s: float = 10.0
    stop_s: float = 4.0
    seal_events: int = 1000
    seal_s: float = 60.0
    seal_file: str = ""  # seals are appended to it too; "" = audit/seals.jsonl in the state directory
    seal_webhook: str = ""  # every seal is posted there as JSON; "" = nowhere
    max_store_mb: int = 0  # 0 = three quarters of the free space
    agents: dict[str, AgentSettings] = {}

    def agent(self, name: str) -> AgentSettings:
        """The table of this very agent (miner-2), else that of its kind (miner), else the defaults."""
        return self.agents.get(name) or self.agents.get(re.sub(r"-\d+$", "", name)) or AgentSettings()

    def host_name(self) -> str:
        return host_token(self.host or socket.gethostname())

    def miner_count(self) -> int:
        return self.miners or os.cpu_count() or 1


def default_state_dir() -> Path:
    return Path(os.environ.get("SLUICE_STATE") or ".sluice")


class StateDir:
    """Paths of one instance; two instances with different directories never meet."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.config = self.root / "sluice.toml"
        self.run_file = self.root / "run.json"
        self.lock = self.root / "lock"
        self.creds = self.root / "creds"
        self.nats_store = self.root / "nats"
        self.server_conf = self.root / "server.conf"
        self.logs = self.root / "logs"
        self.cache = self.root / "cache"
        self.views = self.root / "views.sqlite"
        self.restoring = self.root / "restoring.json"
        self.cluster = self.root / "cluster.json"
        self.past = self.root / "past"

    def create(self) -> None:
        """Make the folders; Unreachable with one clear line when that is not possible."""
        try:
            for path in (self.root, self.creds, self.nats_store, self.logs, self.cache):
                path.mkdir(parents=True, exist_ok=True)
            self.creds.chmod(0o700)
            probe = self.root / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as e:
            raise Unreachable(
                f"the state directory {self.root} cannot be written ({e.strerror}); choose another with --state"
            ) from e

    def full(self) -> str:
        """Words to add to an error when the disk has no room left, the likely cause of anything that fails then; else ""."""
        try:
            free = shutil.disk_usage(self.root).free
        except OSError:
            return ""
        return "" if free >= _NO_ROOM else f"; the disk of {self.root} is full: free some space"

    def settings(self) -> Settings:
        """sluice.toml, or the defaults; BadInput names the key that is wrong."""
        if not self.config.exists():
            return Settings()
        try:
            settings = msgspec.convert(tomllib.loads(self.config.read_text()), Settings)
            check_settings(settings)
            return settings
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as e:
            raise BadInput(f"{self.config} cannot be used: {e}; nothing was started") from e
        except BadInput as e:
            raise BadInput(f"{self.config} cannot be used: {e}; nothing was started") from e


_PORTS = range(65_536)
_BOUNDS = (
    ("miners", 0, 1024),
    ("max_ack_pending", 2, 100_000),
    ("replica_limit", 1, 64),
    ("seal_events", 1, 1_000_000),
)


def http_address(text: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`, `[::1]:PORT` or `:PORT` (this machine alone); port 0 = any free one. BadInput otherwise."""
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port) in _PORTS):
        raise BadInput(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8765")
    return host.strip("[]") or "127.0.0.1", int(port)


def check_settings(settings: Settings) -> None:
    """BadInput with the key when a value has the right type and makes no sense all the same."""
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if name.endswith("_s") and name != "cooldown_s" and not 0 < value < 1e7:
            raise BadInput(f"{name} must be more than 0 seconds, not {value:g}")
    if settings.nats_port not in _PORTS:
        raise BadInput(f"nats_port must be 0 to 65535, not {settings.nats_port}")
    if settings.http:
        try:
            http_address(settings.http)
        except BadInput as e:
            raise BadInput(f"http: {e}") from e
    for name, low, high in _BOUNDS:
        if not low <= getattr(settings, name) <= high:
            raise BadInput(f"{name} must be {low} to {high}, not {getattr(settings, name)}")
    if settings.seal_webhook and not re.match(r"https?://[^/]+", settings.seal_webhook):
        raise BadInput(f"seal_webhook must be an http or https URL, not {settings.seal_webhook}")
    if len({bool(settings.tls_cert), bool(settings.tls_key), bool(settings.tls_ca)}) > 1:
        raise BadInput("tls_cert, tls_key and tls_ca belong together: give all three, or none for files of our own")
    if settings.max_store_mb < 0:
        raise BadInput("max_store_mb must be 0 (three quarters of the free space) or more")
    if settings.restart_limit < 0 or settings.cooldown_s < 0:
        raise BadInput("restart_limit and cooldown_s must not be negative")
    for name in settings.agents:
        if name not in KINDS and not re.fullmatch(r"miner-\d+", name):
            raise BadInput(f"[agents.{name}] names no agent; known are {', '.join(KINDS)} and miner-1, miner-2 …")
