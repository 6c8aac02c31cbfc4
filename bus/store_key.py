"""Encryption of the log on disk: the key, where it comes from, and whether it is the one that the store knows.

The server gets it through its environment: it stands in no configuration, no log and no command line.
"""

import hashlib
import os
import secrets

from bus.accounts import write_private
from bus.settings import Settings, StateDir
from domain.errors import Unreachable

VARIABLE = "SLUICE_STORE_KEY"
#: What the server's own variable is called; its configuration refers to it.
SERVER_VARIABLE = "SLUICE_JETSTREAM_KEY"
REFERENCE = f"${SERVER_VARIABLE}"
CIPHER = "aes"
_KEPT = "nothing was started and nothing is lost"


def store_key(state: StateDir, settings: Settings) -> str:
    """The key for the server, "" where the store is in clear. Unreachable when it is missing, another one, or not asked for."""
    mark, path = state.nats_store / "store.mark", state.root / "store.key"
    encrypted = mark.exists()
    if not settings.encrypt_store:
        if encrypted:
            raise Unreachable(f"the log of {state.root} is encrypted; set encrypt_store = true in sluice.toml, {_KEPT}")
        return ""
    secret = os.environ.get(VARIABLE, "")
    if not secret and path.exists():
        secret = path.read_text().strip()
    if not secret:
        if encrypted:
            raise Unreachable(f"the log is encrypted and its key is missing; restore {path} or set {VARIABLE}, {_KEPT}")
        secret = secrets.token_hex(32)
        write_private(path, f"{secret}\n".encode())
    # Letters first: the server would take a key of digits for a number.
    key = "key-" + hashlib.sha256(b"sluice store\0" + secret.encode()).hexdigest()
    known = hashlib.sha256(b"sluice mark\0" + key.encode()).hexdigest()
    if encrypted and mark.read_text().strip() != known:
        raise Unreachable(f"this is not the key that the log was encrypted with; correct {VARIABLE} or {path}, {_KEPT}")
    if not encrypted:
        write_private(mark, known.encode())
    return key


def with_key(text: str) -> str:
    """A configuration in which the variable is referred to as the server does it, which is without quotes."""
    return text.replace(f'"{REFERENCE}"', REFERENCE)
