"""The pages that a person sees. Every address works without JavaScript; what changes comes over the stream of the page."""

import asyncio
import contextlib
import sqlite3
from typing import Any
from urllib.parse import urlencode

from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException, PermissionDeniedException, ServiceUnavailableException
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from domain.errors import SluiceError, Unreachable
from projections import queries, ranking
from projections.estimate import Estimate
from projections.queries import Json
from web import form
from web.fragments import PAGES, Params
from web.live import MAX_CLIENTS
from web.luck import luck_sentence
from web.secrets import COOKIE, SESSION_S
from web.services import Services
from web.stream import stream

Req = Request[Any, Any, Any]
Given = NamedDependency[Services]
Id = FromPath[str]


def params_of(request: Req, **fixed: str) -> Params:
    """Only what the page knows: a stream must not be made anew by an address with other words in it."""
    return {k: v[:80] for k in ("page", "by") if (v := request.query_params.get(k))} | fixed


async def show(
    services: Services, request: Req, page: str, title: str, status: int = 200, **values: Any
) -> Response[str]:
    """A whole page with its fragments as they are now."""
    services.hub.look()
    params: Params = values.pop("params", {})
    fragments = await services.renderer.fragments(PAGES[page], params)
    html = services.renderer.page(
        f"{page}.html",
        page=page,
        title=title,
        f=fragments,
        params=params,
        live="/live?" + urlencode({"of": page, **params}),
        csrf=services.secrets.csrf(request.scope["state"].get("session", "")),
        now=services.hub.now,
        version=services.version,
        **values,
    )
    return Response(html, media_type=MediaType.HTML, status_code=status)


@get("/", include_in_schema=False)
async def overview(request: Req, services: Given) -> Response[str]:
    return await show(services, request, "overview", "Overview")


@get("/workers", include_in_schema=False)
async def workers(request: Req, services: Given) -> Response[str]:
    return await show(services, request, "workers", "Workers")


@get("/campaigns", include_in_schema=False)
async def campaigns(request: Req, services: Given) -> Response[str]:
    return await show(services, request, "campaigns", "Campaigns", params=params_of(request))


@get("/campaigns/{id:str}", include_in_schema=False)
async def campaign(request: Req, services: Given, id: Id) -> Response[str]:
    found = await services.views.read(lambda con: queries.campaign(con, id))
    if found is None:
        raise NotFoundException(f"there is no campaign {id[:40]}")
    title = f"Campaign {found['name'] or id[:8]}"
    return await show(services, request, "campaign", title, params=params_of(request, id=id), c=found)


@get("/strategies", include_in_schema=False)
async def leaderboard(request: Req, services: Given) -> Response[str]:
    return await show(services, request, "leaderboard", "Leaderboard", params=params_of(request))


@get("/strategies/{id:str}", include_in_schema=False)
async def strategy(request: Req, services: Given, id: Id) -> Response[str]:
    found = await _strategy(services, id)
    title = f"Strategy {found['id'][:8]}"
    name = request.query_params.get("range", "")
    drawn = await _curves(services, found, name) if name else {"curves": None, "both": []}
    return await show(
        services, request, "strategy", title, params={"id": found["id"]}, s=found, **drawn,
        luck=luck_sentence(found["trials"], found["metrics"]["daily"]),
    )  # fmt: skip


async def _curves(services: Services, found: Json, name: str) -> Json:
    """`curves` of the range that is drawn, `both` ranges for the tables."""
    chosen = await services.curves.of(found, name)
    return {"curves": chosen, "both": [await services.curves.of(found, r) for r in ("fitness", "walk_forward")]}


async def _strategy(services: Services, id: str) -> Json:
    found = await services.views.read(lambda con: ranking.strategy(con, id))
    if found is None:
        raise NotFoundException(f"there is no strategy {id[:40]}")
    return found


@get("/strategies/{id:str}/curves", include_in_schema=False)
async def curves(request: Req, services: Given, id: Id) -> Response[str]:
    """The part of a strategy's page that is computed: charts with their data as tables."""
    found = await _strategy(services, id)
    name = request.query_params.get("range", "walk_forward")
    html = services.renderer.page("_curves.html", s=found, **await _curves(services, found, name))
    return Response(html, media_type=MediaType.HTML)


@get("/live", include_in_schema=False)
async def live(request: Req, services: Given) -> Stream:
    page = request.query_params.get("of", "")
    if page not in PAGES:
        raise NotFoundException("there is no such page")
    if services.hub.clients >= MAX_CLIENTS:
        raise ServiceUnavailableException("too many pages are open")
    params = params_of(request)
    if (id := request.query_params.get("id", "")) or page in ("campaign", "strategy"):
        params["id"] = id[:80]
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    body = stream(services.hub, services.renderer, page, params)
    return Stream(body, media_type="text/event-stream", headers=headers)


# -- campaigns from a form ----------------------------------------------------------------------------------------


Filled = tuple[form.Asked, Estimate | None, Json]


async def _asked(services: Services, data: Any) -> Filled:
    values, risks = form.values_of(data), tuple(data.getall("risk", []))
    return await services.views.read(lambda con: _answer(con, services, values, risks))


def _answer(con: sqlite3.Connection, services: Services, values: dict[str, str], risks: tuple[str, ...]) -> Filled:
    asked = form.ask(con, values, risks)
    return asked, form.estimates(con, asked, len(services.hub.now.miners())), form.choices(con)


async def _form(s: Services, request: Req, filled: Filled, status: int = 200, refused: str = "") -> Response[str]:
    """`refused`: why nothing, or not all, was asked for."""
    asked, est, choices = filled
    return await show(
        s, request, "form", "New campaign", status, asked=asked, est=est, choices=choices, refused=refused,
        owners=s.hub.now.owners(),
    )  # fmt: skip


@get("/campaigns/new", include_in_schema=False)
async def new_campaign(request: Req, services: Given) -> Response[str]:
    query = request.query_params
    if query:
        return await _form(services, request, await _asked(services, query))
    choices = await services.views.read(form.choices)
    first = choices["datasets"][0]["id"] if choices["datasets"] else ""
    values = form.DEFAULTS | {"dataset": first}
    filled = await services.views.read(lambda con: _answer(con, services, values, ("MEDIUM",)))
    return await _form(services, request, filled)


@get("/campaigns/estimate", include_in_schema=False)
async def estimate(request: Req, services: Given) -> Response[str]:
    asked, est, _ = await _asked(services, request.query_params)
    html = services.renderer.page("_estimate.html", asked=asked, est=est, owners=services.hub.now.owners())
    return Response(html, media_type=MediaType.HTML)


@post("/campaigns", include_in_schema=False)
async def open_campaigns(request: Req, services: Given) -> Response[Any]:
    """Ask for all of them, then show the first; a mistake brings the form back as it was filled in."""
    filled = await _asked(services, await request.form())
    asked = filled[0]
    if asked.error:
        return await _form(services, request, filled, 422, asked.error)
    ids: list[str] = []
    try:
        for spec in asked.specs:
            ids.append(await services.request(spec, "web"))
    except SluiceError as e:
        kept = f"; {len(ids)} of {len(asked.specs)} campaigns were asked for before that" if ids else ""
        return await _form(services, request, filled, 503, f"{e}{kept}")
    with contextlib.suppress(Unreachable):
        await _projected(services, ids[-1])
    return Redirect(f"/campaigns/{ids[0]}" if len(ids) == 1 else "/campaigns", status_code=303)


async def _projected(services: Services, campaign: str) -> None:
    """Wait until the read models know of it, so that the next page does; not for ever: the projector may be down."""
    for _ in range(int(services.patience_s / 0.05)):
        if await services.views.read(lambda con: queries.campaign(con, campaign)) is not None:
            return
        await asyncio.sleep(0.05)


# -- signing in ---------------------------------------------------------------------------------------------------


@get("/login", include_in_schema=False)
async def login(request: Req, services: Given) -> Response[str]:
    """A page, no redirect: with a strict cookie the browser must come from one of our own pages."""
    if not services.secrets.use_link(request.query_params.get("token", "")):
        raise PermissionDeniedException(
            "this link was used already, or is not one of ours; web.json holds the valid one"
        )
    await asyncio.to_thread(services.write_web_file)
    cookie = Cookie(
        COOKIE, value=services.secrets.new_session(), httponly=True, samesite="strict", path="/", max_age=SESSION_S
    )
    html = services.renderer.page("welcome.html", title="Signed in")
    return Response(html, media_type=MediaType.HTML, cookies=[cookie])


@post("/logout", include_in_schema=False)
async def logout(request: Req, services: Given) -> Response[Any]:
    """The cookie goes, and a copy of it is worth nothing any more."""
    await asyncio.to_thread(services.secrets.end_session, request.cookies.get(COOKIE, ""))
    answer: Response[Any] = Redirect("/", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


HANDLERS = [
    overview, workers, campaigns, new_campaign, estimate, campaign, leaderboard, strategy, curves, live, open_campaigns,
    login, logout,
]  # fmt: skip
