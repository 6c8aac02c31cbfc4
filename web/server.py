"""The life of the web process: serve until told to stop, say where, keep the live views going."""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator

import uvicorn

from bus.runtime import Body, Context
from domain.errors import SluiceError, Unreachable
from market.store import DatasetStore
from projections.past import Past
from web.app import build_app
from web.assets import Assets
from web.curves import CurveService
from web.live import Hub
from web.render import Renderer, environment
from web.secrets import Secrets
from web.services import Services
from web.views import Views

log = logging.getLogger("sluice.web")


class _Server(uvicorn.Server):
    """Signals belong to the agent's runtime, which asks us to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; Unreachable with one clear line when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: asyncio turns Nagle's algorithm off for such sockets only, and it costs 40 ms an answer.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as e:
        sock.close()
        raise Unreachable(
            f"the pages cannot be served at {host}:{port} ({e.strerror}); choose another with --http"
        ) from e
    return sock


def url_of(sock: socket.socket) -> str:
    """As a browser on this machine would write it."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def make_services(context: Context, url: str, files: Assets) -> Services:
    views = Views(context.state_dir.views)
    hub = Hub(context.bus, views)
    root = context.state_dir.root
    return Services(
        context.bus, views, hub, Renderer(environment(files), hub, views),
        CurveService(context.bus, DatasetStore(context.state_dir.cache)), Secrets(root / "web.secrets"), root / "web.json",
        Past(context.bus, context.state_dir.past), url,
    )  # fmt: skip


def stop_with_stdin(context: Context) -> None:
    """Our supervisor holds the other end of our standard input: a new one must find the port free."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        try:
            while os.read(0, 1024):
                continue
        except OSError as e:
            log.debug("standard input: %s", e)
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(context.stop.set)

    threading.Thread(target=watch, daemon=True, name="stdin-watch").start()


def body(host: str, port: int, *, supervised: bool = False) -> Body:
    """The agent's body, serving at `host`:`port` (0 = any free port)."""

    async def run(context: Context) -> None:
        if supervised:
            stop_with_stdin(context)
        sock = listen(host, port)
        files = Assets()
        services = make_services(context, url_of(sock), files)
        names = frozenset({"localhost", host.lower(), socket.gethostname().lower(), context.host.lower()})
        config = uvicorn.Config(
            build_app(services, files, names), lifespan="off", access_log=False, log_config=None, server_header=False,
            timeout_graceful_shutdown=2, timeout_keep_alive=30,
        )  # fmt: skip
        server = _Server(config)
        serving = asyncio.create_task(server.serve([sock]))
        live = asyncio.create_task(services.hub.run())
        stopping = asyncio.create_task(context.stop.wait())
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        services.write_web_file()
        context.state = "alive"
        log.info("serving at %s", services.url)
        try:
            await asyncio.wait({serving, live, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            services.hub.stop()
            server.should_exit = True
            live.cancel()
            stopping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({serving}, timeout=3.0)
            services.views.close()
            await services.past.close()
        if not context.stop.is_set():
            for task in (serving, live):
                if task.done() and not task.cancelled() and (failed := task.exception()) is not None:
                    raise failed
            raise SluiceError("the web server ended by itself")

    return run
