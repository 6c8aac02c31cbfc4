"""Where an agent's log goes: standard error, a rotated file, and the bus, which never holds the agent up.

Several agents may share a process: each record belongs to the agent in whose task it was made.
"""

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

import msgspec
import nats.errors

from bus import subjects
from bus.client import Bus
from bus.messages import LogLine

FILE_BYTES = 2 * 1024 * 1024
FILES = 5
KEPT_LINES = 2000
LINE_CHARS = 8_000
SHIP_EVERY_S = 0.3
#: The agent that the running task belongs to; "" = the process as a whole.
current_agent: ContextVar[str] = ContextVar("current_agent", default="")
_FORMAT = logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s")


def start_logging() -> None:
    """Standard error for the whole process, level from $SLUICE_LOG."""
    logging.basicConfig(level=os.environ.get("SLUICE_LOG", "INFO"), stream=sys.stderr, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_FORMAT)
    logging.getLogger("numba").setLevel(logging.WARNING)


def _of(agent: str) -> "logging.Filter":
    """Records of this agent; those of no agent go to all, which in a process of one agent is the same."""

    class Own(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return current_agent.get() in ("", agent)

    return Own()


class BusLog(logging.Handler):
    """Keeps the newest lines in memory and ships them when the bus is there; what does not fit is counted and said."""

    def __init__(self, host: str, agent: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._subject = subjects.agent_log(host, agent)
        self._host, self._agent = host, agent
        self._secrets = [s for s in secrets if s]
        self._lines: deque[LogLine] = deque()
        self._dropped = 0
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)[:LINE_CHARS]
        for secret in self._secrets:
            text = text.replace(secret, "…")
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if len(self._lines) >= KEPT_LINES:
            self._dropped += 1
            return
        self._lines.append(LogLine(at, record.levelname, self._agent, self._host, text))

    async def ship(self, bus: Bus) -> None:
        """Send what has gathered, without waiting for an answer; while the bus is away it goes on gathering."""
        while self._lines and bus.nc.is_connected:
            line = self._lines[0]
            try:
                await bus.nc.publish(self._subject, msgspec.json.encode(line))
            except (nats.errors.Error, OSError):
                return  # logging that here would only add lines that cannot go out either
            self._lines.popleft()
            if self._dropped and not self._lines:
                dropped, self._dropped = self._dropped, 0
                text = f"sluice.logs: {dropped} lines are missing here, the file on {self._host} has them"
                self._lines.append(LogLine(line.time, "WARNING", self._agent, self._host, text))

    async def keep_shipping(self, bus: Bus) -> None:
        while True:
            await self.ship(bus)
            await asyncio.sleep(SHIP_EVERY_S)


def log_to_file(folder: Path, agent: str) -> logging.Handler:
    """`<folder>/<agent>.log`, rotated; a disk that takes no more must not take the agent down."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(folder / f"{agent}.log", maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8")
    handler.setFormatter(_FORMAT)
    handler.addFilter(_of(agent))
    logging.getLogger().addHandler(handler)
    return handler


def log_to_bus(host: str, agent: str, secrets: Iterable[str] = ()) -> BusLog:
    handler = BusLog(host, agent, secrets)
    handler.addFilter(_of(agent))
    logging.getLogger().addHandler(handler)
    return handler


def no_longer(*handlers: logging.Handler) -> None:
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
        handler.close()
