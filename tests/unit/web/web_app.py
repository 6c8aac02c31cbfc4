"""The application over read models made from a log in memory; the bus only records what is said on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from bus.client import Expect, Stored
from bus.envelope import Event
from market.store import DatasetStore
from projections.past import Past
from projections.store import ViewStore
from web.app import build_app
from web.assets import Assets
from web.curves import CurveService
from web.live import Hub
from web.render import Renderer, environment
from web.secrets import Secrets
from web.services import Services
from web.views import Views

ASSETS = Assets()
BASE = "http://127.0.0.1:8000"


class RecordingBus:
    """Keeps appended events; `log` is what reading EVENTS gives."""

    def __init__(self) -> None:
        self.appended: list[Event] = []
        self.log: list[Stored] = []
        self.nc = SimpleNamespace(is_connected=True)
        self.server_version = "2.15.1"
        self.credentials = SimpleNamespace(url="nats://127.0.0.1:4222")

    async def append(self, event: Event, expect: Expect) -> int:
        self.appended.append(event)
        return len(self.appended)

    async def read(self, stream: str, start: int, subject_filter: str, batch: int = 500) -> AsyncIterator[Stored]:
        for stored in self.log:
            if stored.seq >= start:
                yield stored


def project(path: Path, messages: list[Stored]) -> None:
    store = ViewStore(path)
    store.apply_batch(messages)
    store.close()


def services_on(folder: Path) -> Services:
    bus: Any = RecordingBus()
    views = Views(folder / "views.sqlite")
    hub = Hub(bus, views)
    curves = CurveService(bus, DatasetStore(folder / "cache"))
    renderer = Renderer(environment(ASSETS), hub, views)
    return Services(
        bus, views, hub, renderer, curves, Secrets(folder / "web.secrets"), folder / "web.json", Past(bus, folder / "past"),
        BASE, patience_s=0.1,
    )  # fmt: skip


@asynccontextmanager
async def browser(services: Services, *, signed_in: bool = True, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; with a session unless told otherwise."""
    app: Any = build_app(services, ASSETS, frozenset({"localhost"}))
    cookies = {"sluice_session": services.secrets.new_session()} if signed_in else {}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url=BASE, cookies=cookies, headers=headers
    ) as client:
        yield client


def csrf_of(services: Services, client: httpx.AsyncClient) -> str:
    return services.secrets.csrf(services.secrets.session(client.cookies["sluice_session"]))
