"""One stream a page: a whole snapshot of its fragments first, then what has changed, a few times a second at most."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

from web.fragments import PAGES, Params
from web.live import Hub
from web.render import Renderer
from web.words import number

COALESCE_S = 0.15
BEAT_S = 3.0


def message(event: str, data: str) -> bytes:
    """A server-sent event; line breaks of the data become several `data:` lines."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"event: {event}\n{lines}\n".encode()


async def stream(hub: Hub, renderer: Renderer, page: str, params: Params) -> AsyncIterator[bytes]:
    """Holds no queue: a slow reader is given the newest state when it is ready for it, and nothing in between."""
    sent: dict[str, bytes] = {}
    beat = 0.0
    yield b"retry: 1000\n\n"
    with hub.listening() as changed:
        while not hub.stopping:
            changed.clear()
            for name, html in (await renderer.fragments(PAGES[page], params)).items():
                digest = hashlib.sha256(html.encode()).digest()
                if sent.get(name) != digest:
                    sent[name] = digest
                    yield message(name, html)
            if time.monotonic() - beat >= BEAT_S or not sent:
                beat = time.monotonic()
                yield message("beat", f"event {number(hub.now.position)}")
            await asyncio.sleep(COALESCE_S)
            try:
                await asyncio.wait_for(changed.wait(), BEAT_S)
            except TimeoutError:
                continue
