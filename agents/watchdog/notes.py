"""What the watchdog tells `sluice up` over their pipe: one JSON line each, dropped rather than waited for."""

import logging
import os
from typing import Any

import msgspec

log = logging.getLogger("sluice.watchdog")


class Notes:
    """`quiet`: nobody listens, the log has to do."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        if not quiet:
            # A reader that stands still must not make us stand still.
            os.set_blocking(1, False)

    def _send(self, record: dict[str, Any]) -> None:
        if self._quiet:
            return
        try:
            os.write(1, msgspec.json.encode(record) + b"\n")
        except OSError as e:
            log.debug("nobody reads: %s", e)

    def note(self, text: str, level: int = logging.WARNING) -> None:
        log.log(level, "%s", text)
        self._send({"note": text})

    def ready(self, url: str, version: str, miners: int) -> None:
        self._send({"ready": True, "nats": url, "version": version, "miners": miners})

    def failed(self, text: str, status: int) -> None:
        log.error("%s", text)
        self._send({"failed": text, "status": status})

    def states(self, states: dict[str, str], done: int) -> None:
        self._send({"states": states, "done": done})
