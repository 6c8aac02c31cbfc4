"""The application: routes, the door before them, and what an error looks like."""

import logging
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ASGIApp

from bus.runtime import VERSION
from domain.errors import BadInput, SluiceError, Unreachable
from web import api, assets, pages
from web.assets import Assets
from web.guard import Guard, forged_form_check
from web.services import Services

log = logging.getLogger("sluice.web")
MAX_BODY = 256 * 1024


def _status(error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    return 400 if isinstance(error, BadInput) else 503 if isinstance(error, Unreachable) else 500


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """One clear line: JSON for scripts, a page for people. What we did not expect is logged, not shown."""
    status = _status(error)
    if status == 500:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "this went wrong on our side; the log of the web process says more" if status == 500 else _words(error)
    path = request.url.path
    if path.startswith(("/api", "/health", "/metrics", "/static")):
        body: dict[str, Any] = {"status_code": status, "detail": detail}
        return Response(body, status_code=status, media_type=MediaType.JSON)
    services: Services = request.app.state.services
    html = services.renderer.page("error.html", title="Not possible", status=status, detail=detail)
    return Response(html, status_code=status, media_type=MediaType.HTML)


def _words(error: Exception) -> str:
    if not isinstance(error, HTTPException):
        return str(error)
    extra = error.extra
    if isinstance(extra, list) and extra:
        return "; ".join(
            f"{e.get('key', '')}: {e.get('message', '')}".strip(": ") for e in extra if isinstance(e, dict)
        )
    return error.detail


def build_app(services: Services, files: Assets, names: frozenset[str]) -> ASGIApp:
    """`names`: host names under which the pages may be asked for (lower case, without port)."""
    app = Litestar(
        route_handlers=[*pages.HANDLERS, *api.HANDLERS, assets.route(files)],
        dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
        before_request=forged_form_check(services.secrets),
        exception_handlers={HTTPException: _failed, SluiceError: _failed, Exception: _failed},
        compression_config=CompressionConfig(
            backend="gzip", gzip_compress_level=5, minimum_size=700, exclude=["^/live", "^/static"]
        ),
        openapi_config=OpenAPIConfig(
            title="Sluice", version=VERSION, path="/api", render_plugins=[JsonRenderPlugin(path="/openapi.json")]
        ),
        request_max_body_size=MAX_BODY,
        type_encoders={msgspec.Raw: bytes},
        logging_config=None,
    )
    app.state.services = services
    return Guard(app, services.secrets, names)
