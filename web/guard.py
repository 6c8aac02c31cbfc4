"""The door: host names, sessions, forged forms, and the headers of every answer. Plain ASGI, before any route."""

import ipaddress
import re
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.exceptions import PermissionDeniedException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from web.secrets import COOKIE, Secrets

OPEN_PATHS = re.compile(r"^/(?:health/(?:live|ready)|static/.+|login|favicon\.ico)$")
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"x-frame-options": b"DENY",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
}
SIGN_IN = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sluice: sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="/static/mark.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/app.css"></head>
<body class="plain"><main id="main"><h1>This page needs a session</h1>
<p>Open the link that <code>sluice up</code> printed. Each link is good for one browser; the one that is valid now always stands
in <code>web.json</code> in the state directory.</p></main></body></html>"""


def host_allowed(header: str, names: frozenset[str]) -> bool:
    """Names that are ours, and bare addresses: a rebound name of somebody else's is neither."""
    name = (urlsplit(f"//{header}").hostname or "") if header else ""
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def cookie_of(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


class Guard:
    """Answers 400 for a foreign host name and 401 without a session; `scope["state"]` gets `session` and `bearer`."""

    def __init__(self, app: ASGIApp, secrets: Secrets, names: frozenset[str]) -> None:
        self.app, self.secrets, self.names = app, secrets, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                extra = [(k, v) for k, v in HEADERS.items() if k not in there]
                if b"cache-control" not in there:
                    extra.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        headers = Headers.from_scope(scope)
        if not host_allowed(headers.get("host", ""), self.names):
            await _plain(send_with_headers, 400, b"this host name is not ours", b"text/plain")
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer" and self.secrets.is_bearer(given.strip())
        session = self.secrets.session(cookie_of(headers))
        state: dict[str, Any] = scope.setdefault("state", {})
        state["session"], state["bearer"] = session, bearer
        path = scope["path"]
        if not (session or bearer or OPEN_PATHS.match(path)):
            if path.startswith(("/api/", "/metrics", "/live")):
                body = b'{"status_code":401,"detail":"a session or the header Authorization: Bearer TOKEN is needed"}'
                await _plain(send_with_headers, 401, body, b"application/json")
            else:
                await _plain(send_with_headers, 401, SIGN_IN, b"text/html; charset=utf-8")
            return
        await self.app(scope, receive, send_with_headers)


async def _plain(send: Send, status: int, body: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def forged_form_check(secrets: Secrets) -> Any:
    """A hook before every request: one that changes something comes from our own page, or carries the bearer token."""

    async def check(request: Request[Any, Any, Any]) -> None:
        if request.method in SAFE_METHODS or request.scope["state"].get("bearer"):
            return
        origin = request.headers.get("origin", "")
        if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
            raise PermissionDeniedException("this request comes from another site")
        token = request.headers.get("x-csrf-token", "")
        if not token and "form" in request.headers.get("content-type", ""):
            token = str((await request.form()).get("csrf", ""))
        if not secrets.is_csrf(request.scope["state"].get("session", ""), token):
            raise PermissionDeniedException("the form is too old or not ours; load the page again and repeat")

    return check
