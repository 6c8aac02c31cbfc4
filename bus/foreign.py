"""Servers that somebody else runs (`sluice up --nats URLS`): used as they are, never started, stopped or set up by us."""

import asyncio
import re
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from bus.processes import Process
from bus.server import MIN_VERSION
from bus.urls import server_urls
from domain.errors import Unreachable


class Node(NamedTuple):
    """What a server says of itself before anybody has logged in. `cluster`: "" when it stands alone."""

    url: str
    name: str
    version: str
    wants_credentials: bool
    cluster: str


class _Info(msgspec.Struct):
    server_name: str = ""
    version: str = ""
    auth_required: bool = False
    cluster: str = ""


async def look(url: str, timeout_s: float = 3.0) -> Node | None:
    """The first line that a NATS server sends to everybody; None when nobody answers there like one."""
    found = urlsplit(url)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(found.hostname, found.port, limit=1024 * 1024)
            try:
                line = await reader.readline()
            finally:
                writer.close()
        word, _, rest = line.partition(b" ")
        info = msgspec.json.decode(rest, type=_Info) if word.upper() == b"INFO" else None
    except (OSError, TimeoutError, ValueError, msgspec.MsgspecError):
        return None
    return Node(url, info.server_name, info.version, info.auth_required, info.cluster) if info else None


def too_old(version: str) -> bool:
    m = re.match(r"(\d+)\.(\d+)", version)
    return m is not None and (int(m[1]), int(m[2])) < MIN_VERSION


class ForeignServer:
    """One server or the nodes of a cluster; `url` names all of them, separated by commas."""

    def __init__(self, url: str) -> None:
        self.urls = server_urls(url)
        self.url = ",".join(self.urls)
        self.version = "unknown"
        self.anonymous = True
        self.monitor_port = 0
        self.process: Process | None = None

    async def start(self) -> None:
        """Unreachable when none of them answers or one is too old."""
        there = [n for n in await asyncio.gather(*(look(u) for u in self.urls)) if n is not None]
        if not there:
            raise Unreachable(
                f"no NATS server answers at {self.url}; start it, or leave --nats out to use the bundled one"
            )
        for node in there:
            if too_old(node.version):
                raise Unreachable(
                    f"the server at {node.url} is {node.version}, 2.12 or newer is needed; nothing was started"
                )
        self.version = min(n.version for n in there)
        self.anonymous = not any(n.wants_credentials for n in there)

    def running(self) -> bool:
        """Whether it can be spoken to is seen by those who speak to it."""
        return True

    async def stop(self, timeout_s: float = 0.0) -> None:
        """Not ours to stop."""
