"""The JSON interface: the shapes of the command line, for scripts; documented at /api/openapi.json."""

import time
from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from bus.records import event_filter, event_record
from domain.errors import BadInput
from domain.risk import Level
from projections import queries, ranking
from projections.live import agent_rows, halted, worker_rows
from projections.queries import Json
from web import form
from web.metrics import exposition
from web.services import Services

Given = NamedDependency[Services]
Id = FromPath[str]
Word = FromQuery[str]
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="at most this many")]
Offset = Annotated[int, QueryParameter(ge=0, le=100_000_000, description="leave out this many")]
UnitState = Annotated[str, QueryParameter(name="state", description="queued, running, …; empty = all")]
READY_LAG_S = 10.0


class NewCampaign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A campaign to open; `candles` 0 = all of the dataset, `dataset` its whole id."""

    dataset: str
    units: int = 8
    replicas: int = 2
    population: int = 60
    generations: int = 20
    candles: int = 0
    seed: int = 1
    risk: Level = "MEDIUM"
    grammar: str = "full"
    name: str = ""


class Asked(msgspec.Struct, frozen=True):
    """The command is in the log; whether it was opened or refused shows in `/api/campaigns`."""

    campaign: str


@get("/api/status", summary="Agents, units and the best find")
async def status(services: Given) -> Json:
    now = services.hub.now
    units, best, recorded = await services.views.read(
        lambda con: (queries.unit_counts(con), ranking.best(con), queries.agents(con))
    )
    return {
        "nats": {"url": services.bus.credentials.url, "version": services.bus.server_version},
        "agents": agent_rows(now.presences, recorded),
        "units": units,
        "best": best,
        "last_seq": now.last_seq,
    }


@get("/api/workers", summary="Miners: what they did and whether they live")
async def workers(services: Given) -> list[Json]:
    presences = services.hub.now.presences
    return await services.views.read(
        lambda con: worker_rows(queries.workers(con), presences, queries.agents(con, "miner"))
    )


@get("/api/datasets", summary="Registered datasets")
async def datasets(services: Given) -> list[Json]:
    return await services.views.read(queries.datasets)


@get("/api/units", summary="Units of work and their verdicts")
async def units(
    services: Given, campaign: Word = "", unit_state: UnitState = "", limit: Limit = 100, offset: Offset = 0
) -> list[Json]:
    return await services.views.read(lambda con: queries.units(con, campaign, unit_state, limit, offset))


@get("/api/campaigns", summary="Campaigns, newest first")
async def campaigns(services: Given, limit: Limit = 100, offset: Offset = 0) -> list[Json]:
    return await services.views.read(lambda con: queries.campaigns(con, limit, offset))


@get("/api/campaigns/{id:str}", summary="One campaign with its spec")
async def campaign(services: Given, id: Id) -> Json:
    found = await services.views.read(lambda con: queries.campaign(con, id))
    if found is None:
        raise NotFoundException(f"there is no campaign {id[:40]}")
    return found | {"spec": msgspec.json.decode(found["spec"]) if found["spec"] else None}


@post(
    ["/api/campaigns", "/api/units"],
    status_code=202,
    summary="Ask for a campaign: its units are queued once it is opened",
)
async def ask(services: Given, data: JSONBody[NewCampaign]) -> Asked:
    values = {name: str(getattr(data, name, default)) for name, default in form.DEFAULTS.items()}
    asked = await services.views.read(lambda con: form.ask(con, values, (data.risk,)))
    if asked.error:
        raise BadInput(asked.error)
    return Asked(await services.request(asked.specs[0], "api"))


@get("/api/strategies", summary="What was found, validated first")
async def strategies(
    services: Given,
    by: FromQuery[ranking.Order] = "fitness",
    stage: Word = "",
    limit: Limit = 10,
    offset: Offset = 0,
) -> list[Json]:
    return await services.views.read(lambda con: ranking.strategies(con, by, stage, limit, offset))


@get("/api/strategies/{id:str}", summary="One strategy by at least the first 8 signs of its id")
async def strategy(services: Given, id: Id) -> Json:
    found = await services.views.read(lambda con: ranking.strategy(con, id))
    if found is None:
        raise NotFoundException(f"there is no strategy {id[:40]}")
    return found


@get("/api/strategies/{id:str}/curves", summary="Equity, drawdown, trades and candles over one range")
async def curves(services: Given, id: Id, range: Word = "walk_forward") -> Response[bytes]:
    found = await services.views.read(lambda con: ranking.strategy(con, id))
    if found is None:
        raise NotFoundException(f"there is no strategy {id[:40]}")
    body = msgspec.json.encode(await services.curves.of(found, range))
    return Response(body, media_type="application/json", headers={"cache-control": "private, max-age=300"})


@get("/api/events", summary="The log, from a sequence on")
async def events(
    services: Given, type: Word = "", entity: Word = "", since: FromQuery[int] = 1, limit: Limit = 100
) -> list[Json]:
    found: list[Json] = []
    async for stored in services.bus.read("EVENTS", max(1, since), event_filter(type, entity), min(limit, 500)):
        found.append(event_record(stored))
        if len(found) >= limit:
            break
    return found


@get("/health/live", summary="This process answers")
async def live() -> Json:
    return {"live": True}


@get(
    "/health/ready", summary="The bus is reachable, the read models are fresh, and no agent has halted at a damaged log"
)
async def ready(services: Given) -> Response[Json]:

    now = services.hub.now
    bus = now.connected and services.bus.nc.is_connected
    views = services.views.version() is not None
    fresh = views and (now.behind_since is None or time.monotonic() - now.behind_since < READY_LAG_S)
    stopped = [a["id"] for a in halted(now.presences)]
    well = bus and fresh and not stopped
    body = {"ready": well, "bus": bus, "read_models": views, "fresh": fresh, "halted": stopped}
    return Response(body, status_code=200 if body["ready"] else 503)


@get("/metrics", media_type="text/plain; version=0.0.4", summary="Prometheus metrics")
async def metrics(services: Given) -> str:
    return await exposition(services)


HANDLERS = [
    status, workers, datasets, units, campaigns, campaign, ask, strategies, strategy, curves, events, live, ready, metrics,
]  # fmt: skip
