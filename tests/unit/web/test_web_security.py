"""Who gets in, what a forged form or a rebound name gets, and what every answer carries."""

import stat

import pytest

from tests.unit.web.web_app import ASSETS, BASE, browser, csrf_of
from web.guard import host_allowed
from web.secrets import SESSION_S, Secrets
from web.services import Services

PAGES = ("/", "/workers", "/campaigns", "/campaigns/new", "/campaigns/c1", "/strategies")
OTHERS = ("/api/status", "/api/openapi.json", "/metrics", "/live?of=overview")


@pytest.mark.parametrize("path", PAGES + OTHERS)
async def test_nothing_is_shown_without_a_session(services: Services, path: str) -> None:
    async with browser(services, signed_in=False) as client:
        answer = await client.get(path)
    assert answer.status_code == 401
    assert "validated" not in answer.text


@pytest.mark.parametrize("path", ["/health/live", "/static/app.css"])
async def test_health_and_static_files_are_open(services: Services, path: str) -> None:
    async with browser(services, signed_in=False) as client:
        assert (await client.get(path)).status_code == 200


async def test_a_link_signs_one_browser_in_and_the_next_link_is_another(services: Services) -> None:
    async with browser(services, signed_in=False) as client:
        used = services.secrets.link
        answer = await client.get("/login", params={"token": used})
        assert answer.status_code == 200
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await client.get("/")).status_code == 200
    assert services.secrets.link != used
    async with browser(services, signed_in=False) as other:
        assert (await other.get("/login", params={"token": used})).status_code == 403
        assert (await other.get("/login", params={"token": services.secrets.link})).status_code == 200
    assert services.web_file.stat().st_mode & 0o777 == 0o600


async def test_a_look_at_the_links_header_does_not_use_it_up(services: Services) -> None:
    async with browser(services, signed_in=False) as client:
        await client.head("/login", params={"token": services.secrets.link})
        assert (await client.get("/login", params={"token": services.secrets.link})).status_code == 200


async def test_signing_out_ends_the_session_and_every_copy_of_its_cookie(services: Services) -> None:
    async with browser(services) as client, browser(services) as other:
        copy = client.cookies["sluice_session"]
        got = await client.post("/logout", data={"csrf": csrf_of(services, client)})
        assert got.status_code == 303
        client.cookies.set("sluice_session", copy)
        assert (await client.get("/")).status_code == 401
        assert (await other.get("/")).status_code == 200
    again = Secrets(services.web_file.with_name("web.secrets"))
    assert again.session(copy) == "", "a restart must not bring it back"


async def test_scripts_come_in_with_the_token_and_with_no_other(services: Services) -> None:
    async with browser(services, signed_in=False) as client:
        good = {"authorization": f"Bearer {services.secrets.token}"}
        assert (await client.get("/api/status", headers=good)).status_code == 200
        assert (await client.get("/api/status", headers={"authorization": "Bearer wrong"})).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
async def test_a_rebound_name_gets_nothing(services: Services, host: str) -> None:
    async with browser(services) as client:
        assert (await client.get("/", headers={"host": host})).status_code == 400


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "192.168.1.7:8000"])
def test_our_names_and_bare_addresses_are_let_in(host: str) -> None:
    assert host_allowed(host, frozenset({"localhost"}))


async def test_a_form_without_its_token_or_from_another_site_changes_nothing(services: Services) -> None:
    form = {"dataset": "d" * 64, "risk": "LOW", "units": "1"}
    async with browser(services) as client:
        token = csrf_of(services, client)
        for sent, headers in (
            (form, {}),
            (form | {"csrf": "0" * 64}, {}),
            (form | {"csrf": token}, {"origin": "http://evil.example"}),
        ):
            assert (await client.post("/campaigns", data=sent, headers=headers)).status_code == 403
        assert services.bus.appended == []  # type: ignore[attr-defined]
        right = await client.post("/campaigns", data=form | {"csrf": token}, headers={"origin": BASE})
    assert right.status_code == 303
    assert len(services.bus.appended) == 1  # type: ignore[attr-defined]


async def test_a_session_alone_cannot_post_json_either(services: Services) -> None:
    async with browser(services) as client:
        body = {"dataset": "d" * 64, "units": 1}
        assert (await client.post("/api/campaigns", json=body)).status_code == 403
        headers = {"x-csrf-token": csrf_of(services, client)}
        assert (await client.post("/api/campaigns", json=body, headers=headers)).status_code == 202


@pytest.mark.parametrize("path", ["/", "/nowhere", "/health/live", "/api/status", "/static/app.css"])
async def test_every_answer_carries_the_strict_headers(services: Services, path: str) -> None:
    async with browser(services) as client:
        headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_sessions_survive_a_restart_and_end_some_day(services: Services) -> None:
    path = services.web_file.with_name("web.secrets")
    cookie = services.secrets.new_session(now=1000.0)
    again = Secrets(path)
    assert again.session(cookie, now=2000.0)
    assert not again.session(cookie, now=1000.0 + SESSION_S + 1)
    assert not again.session(cookie[:-1] + ("0" if cookie[-1] != "0" else "1"), now=2000.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("cookie", ["", "x", "..", "a.b.c", "a.99999999999.", "é.1.2"])
def test_a_forged_cookie_is_no_session(services: Services, cookie: str) -> None:
    assert services.secrets.session(cookie, now=1.0) == ""


async def test_static_files_are_kept_for_ever_under_their_hash_and_asked_again_without(services: Services) -> None:
    async with browser(services, signed_in=False) as client:
        url = ASSETS.url("app.css")
        first = await client.get(url)
        assert "immutable" in first.headers["cache-control"]
        assert first.headers["content-encoding"] == "gzip"
        assert (await client.get("/static/app.css")).headers["cache-control"] == "no-cache"
        again = await client.get(url, headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304
        assert again.content == b""
        assert (await client.get("/static/../__init__.py")).status_code in (401, 404)
        assert (await client.get("/static/%2e%2e/app.py")).status_code in (401, 404)
