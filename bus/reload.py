"""Give a running server its users anew, and nothing else: who is connected stays, who is no user any more is cut off."""

import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from bus.accounts import Accounts, accounts_conf, write_private
from bus.processes import Proc, send_signal
from domain.errors import Unreachable

_MARK = "accounts: "


class _Varz(msgspec.Struct):
    config_load_time: str = ""


def reload_accounts(conf: Path, server: Proc, monitor_url: str, accounts: Accounts, timeout_s: float = 10.0) -> bool:
    """False where no server runs, or the system knows no reload; Unreachable when the server does not take them."""
    if not server.running() or not hasattr(signal, "SIGHUP"):
        return False
    # Only the users: limits were computed for the disk as it was, and a server refuses others while it runs.
    head, mark, _ = conf.read_text().partition(_MARK)
    if not mark:
        raise Unreachable(f"{conf} has no accounts; restart with `sluice up`")
    write_private(conf, (head + accounts_conf(accounts, setup=False)).encode())
    # Measured with 2.15.1: what an account imports that came with a reload leads nowhere before the next one.
    for _ in range(2):
        before = _loaded(monitor_url)
        if not send_signal(server, signal.SIGHUP):
            return False
        deadline = time.monotonic() + timeout_s
        while _loaded(monitor_url) == before:
            if time.monotonic() > deadline:
                raise Unreachable("the running server did not take the new users; they hold from its next start on")
            time.sleep(0.02)
    return True


def _loaded(monitor_url: str) -> str:
    """When the server read its configuration last."""
    try:
        with urllib.request.urlopen(f"{monitor_url}/varz", timeout=2) as answer:
            return msgspec.json.decode(answer.read(), type=_Varz).config_load_time
    except (urllib.error.URLError, OSError, msgspec.MsgspecError) as e:
        raise Unreachable(
            f"the running server does not say how it is ({e}); the new users hold from its next start"
        ) from e
