"""What precedes the bus: `DIR/sluice.toml`, and where things lie in a state directory."""

import os
import socket
import tomllib
from pathlib import Path

import msgspec

from bus.subjects import host_token
from domain.errors import BadInput, Unreachable


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys of sluice.toml with their defaults; intervals in seconds."""

    nats_port: int = 4222
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
    stop_s: float = 4.0
    max_store_mb: int = 0  # 0 = three quarters of the free space

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

    def settings(self) -> Settings:
        """sluice.toml, or the defaults; BadInput names the key that is wrong."""
        if not self.config.exists():
            return Settings()
        try:
            return msgspec.convert(tomllib.loads(self.config.read_text()), Settings)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as e:
            raise BadInput(f"{self.config} cannot be used: {e}; nothing was started") from e
