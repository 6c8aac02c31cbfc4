"""The JSON interface: the shapes of the command line, for scripts; documented at /api/openapi.json."""

import sqlite3
import time
from typing import Annotated, Any, cast

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from bus.records import event_filter, event_record
from domain.errors import BadInput
from domain.risk import Level
from projections import queries, ranking
from projections.live import (
    NOT_RECORDED_AGENT,
    NOT_RECORDED_WORKER,
    agent_rows,
    halted,
    past_agent_rows,
    past_worker_rows,
    worker_rows,
)
from projections.queries import Json
from web import asof, form
from web.asof import AsOf, Rows
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


def _status(con: sqlite3.Connection) -> Json:
    return {"units": queries.unit_counts(con), "best": ranking.best(con), "agents": queries.agents(con)}


@get("/api/status", summary="Agents, units and the best find")
async def status(services: Given, as_of: AsOf = "") -> Json:
    if as_of:
        seq = await asof.sequence(services, as_of)
        then = await services.past.read(seq, _status)
        found = {"nats": None, **then, "agents": past_agent_rows(then["agents"]), "last_seq": seq}
        return asof.as_it_was(seq, found, ("nats", *(f"agents.{name}" for name in NOT_RECORDED_AGENT)))
    now = services.hub.now
    found = await services.views.read(_status)
    return {
        "nats": {"url": services.bus.credentials.url, "version": services.bus.server_version},
        **found,
        "agents": agent_rows(now.presences, found["agents"]),
        "last_seq": now.last_seq,
    }


@get("/api/workers", summary="Miners: what they did and whether they live")
async def workers(services: Given, as_of: AsOf = "") -> Rows:
    if as_of:
        seq = await asof.sequence(services, as_of)
        then = await services.past.read(seq, lambda con: past_worker_rows(queries.workers(con)))
        return asof.as_it_was(seq, then, NOT_RECORDED_WORKER)
    presences = services.hub.now.presences
    return await services.views.read(
        lambda con: worker_rows(queries.workers(con), presences, queries.agents(con, "miner"))
    )


@get("/api/datasets", summary="Registered datasets")
async def datasets(services: Given, as_of: AsOf = "") -> Rows:
    return await asof.read(services, as_of, queries.datasets)


@get("/api/units", summary="Units of work and their verdicts")
async def units(
    services: Given,
    campaign: Word = "",
    unit_state: UnitState = "",
    limit: Limit = 100,
    offset: Offset = 0,
    as_of: AsOf = "",
) -> Rows:
    return await asof.read(services, as_of, lambda con: queries.units(con, campaign, unit_state, limit, offset))


@get("/api/campaigns", summary="Campaigns, newest first")
async def campaigns(services: Given, limit: Limit = 100, offset: Offset = 0, as_of: AsOf = "") -> Rows:
    return await asof.read(services, as_of, lambda con: queries.campaigns(con, limit, offset))


@get("/api/campaigns/{id:str}", summary="One campaign with its spec")
async def campaign(services: Given, id: Id, as_of: AsOf = "") -> Json:
    def read(con: sqlite3.Connection) -> Json:
        found = _there(queries.campaign(con, id), "campaign", id, as_of)
        return found | {"spec": msgspec.json.decode(found["spec"]) if found["spec"] else None}

    return cast(Json, await asof.read(services, as_of, read))


def _there(found: Json | None, what: str, id: str, as_of: str) -> Json:
    if found is None:
        raise NotFoundException(
            f"there {'was' if as_of else 'is'} no {what} {id[:40]}{f' as of {as_of[:40]}' if as_of else ''}"
        )
    return found


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
    as_of: AsOf = "",
) -> Rows:
    return await asof.read(services, as_of, lambda con: ranking.strategies(con, by, stage, limit, offset))


async def _strategy(services: Services, id: str, as_of: str) -> Rows:
    return await asof.read(services, as_of, lambda con: _there(ranking.strategy(con, id), "strategy", id, as_of))


@get("/api/strategies/{id:str}", summary="One strategy by at least the first 8 signs of its id")
async def strategy(services: Given, id: Id, as_of: AsOf = "") -> Json:
    return cast(Json, await _strategy(services, id, as_of))


@get("/api/strategies/{id:str}/curves", summary="Equity, drawdown, trades and candles over one range")
async def curves(services: Given, id: Id, range: Word = "walk_forward", as_of: AsOf = "") -> Response[bytes]:
    found = cast(Json, await _strategy(services, id, as_of))
    drawn: Any = await services.curves.of(found["result"] if as_of else found, range)
    body = msgspec.json.encode(asof.as_it_was(found["as_of"], drawn) if as_of else drawn)
    return Response(body, media_type="application/json", headers={"cache-control": "private, max-age=300"})


@get("/api/events", summary="The log, from a sequence on")
async def events(
    services: Given,
    type: Word = "",
    entity: Word = "",
    since: FromQuery[int] = 1,
    limit: Limit = 100,
    as_of: AsOf = "",
) -> Rows:
    end = await asof.sequence(services, as_of) if as_of else 0
    if as_of and not 1 <= end <= (last := await services.bus.last_seq("EVENTS")):
        raise BadInput(f"the log has events 1 to {last}, there is no sequence {end} yet")
    found: list[Json] = []
    async for stored in services.bus.read("EVENTS", max(1, since), event_filter(type, entity), min(limit, 500)):
        if as_of and stored.seq > end:
            break
        found.append(event_record(stored))
        if len(found) >= limit:
            break
    return asof.as_it_was(end, found) if as_of else found


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
