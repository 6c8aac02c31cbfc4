"""The pages in a real browser, before real processes: every page at two widths and in both schemes, and a campaign's life."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.web_instance import CHROMIUM, PATIENCE_S, ROOT, WebInstance, browser_args, need_browser, until

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow
AXE = ROOT / "tests" / "vendor" / "axe.min.js"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebInstance]:
    need_browser()
    made = WebInstance(tmp_path_factory.mktemp("web") / "state")
    try:
        yield made.start()
    finally:
        made.close()


class Visitor:
    """A browser that is signed in; what it complains about is kept."""

    def __init__(self, instance: WebInstance, browser) -> None:  # type: ignore[no-untyped-def]
        self.instance, self.browser = instance, browser
        self.url = instance.web_file()["url"]
        self.complaints: list[str] = []
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(instance.web_file()["link"])
        page.wait_for_url(self.url + "/")
        self.session = page.context.storage_state()
        page.context.close()

    def page(self, width: int = 1280, scheme: str = "light", **options):  # type: ignore[no-untyped-def]
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, storage_state=self.session, **options
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(f"{page.url}: {m.text}"))
        page.on("pageerror", lambda e: self.complaints.append(f"{page.url}: {e}"))
        page.on("request", self._only_ours)
        return page

    def _only_ours(self, request) -> None:  # type: ignore[no-untyped-def]
        if not request.url.startswith(("data:", self.url)):
            self.complaints.append(f"a request to somebody else: {request.url}")


@pytest.fixture(scope="module")
def visitor(instance: WebInstance) -> Iterator[Visitor]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=browser_args())
        yield Visitor(instance, browser)
        browser.close()


@pytest.fixture(scope="module")
def campaign(instance: WebInstance, visitor: Visitor) -> str:
    """Opened from the form, watched to its end on a page that is never loaded again; returns its address."""
    page = visitor.page()
    page.goto(visitor.url + "/campaigns/new")
    for name, value in (("name", "from the form"), ("units", "6"), ("population", "40"), ("generations", "30")):
        page.fill(f"input[name={name}]", value)
    # Not `wait_for_function`: it evaluates text, which the policy of the page forbids.
    until("the estimate follows the form", lambda: "with 6 units" in page.inner_text("#estimate"))
    # One miner is one owner, and a verdict wants two: the page is there before the campaign can end.
    second = instance.pid("miner-2")
    os.kill(second, signal.SIGSTOP)
    try:
        page.click("button[type=submit]")
        page.wait_for_url(re.compile(r"/campaigns/[0-9a-f-]{36}$"))
        page.evaluate("window.neverLoadedAgain = true")
        seen = {page.inner_text("#part-campaign .big")}
    finally:
        os.kill(second, signal.SIGCONT)

    def done() -> bool:
        seen.add(page.inner_text("#part-campaign .big"))
        return "finished" in page.inner_text("#part-campaign")

    try:
        until("the campaign finishes on the page", done)
    except AssertionError as e:
        raise AssertionError(f"{e}; seen: {seen}\n{instance.words()}") from e
    assert page.evaluate("window.neverLoadedAgain") is True
    assert len(seen) >= 2, f"the figures never changed: {seen}"
    assert "6 of 6" in page.inner_text("#part-campaign")
    assert page.locator("#part-units tbody tr").count() == 6
    until("it is judged, on the same page", lambda: page.locator("#part-results table.checks").count() >= 1)
    assert page.evaluate("window.neverLoadedAgain") is True
    assert "on the front" in page.inner_text("#part-results")
    address = page.url
    page.context.close()
    return address


def addresses(instance: WebInstance, campaign: str) -> list[str]:
    found = instance.sluice("strategies")
    assert found
    pages = ["/", "/workers", "/campaigns", "/campaigns/new", "/strategies", "/strategies?by=fitness"]
    return [*pages, urlsplit(campaign).path, f"/strategies/{found[0]['id']}"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_page_at_every_width_and_scheme(
    instance: WebInstance, visitor: Visitor, campaign: str, width: int, scheme: str
) -> None:
    visitor.complaints.clear()
    page = visitor.page(width, scheme)
    axe = AXE.read_text()
    for path in addresses(instance, campaign):
        page.goto(visitor.url + path)
        page.wait_for_selector("#link.on")
        if path.startswith("/strategies/"):
            page.wait_for_selector("#chart-candles canvas")
            page.wait_for_selector("#chart-equity canvas")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} scrolls sideways at {width}"
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert len(found["passes"]) > 5, "the check of accessibility has looked at nothing"
        bad = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert not bad, f"{path}: " + json.dumps(
            [[v["id"], [n["html"][:160] for n in v["nodes"]]] for v in bad], indent=1
        )
    page.context.close()
    assert visitor.complaints == []


def test_a_strategy_shows_its_charts_and_their_data(instance: WebInstance, visitor: Visitor, campaign: str) -> None:
    visitor.complaints.clear()
    page = visitor.page()
    page.goto(f"{visitor.url}/strategies/{instance.sluice('strategies')[0]['id']}")
    page.wait_for_selector("#chart-candles canvas")
    page.click("#table-days summary")
    assert page.locator("#table-days tbody tr").count() > 1
    page.click("#curves .switch >> text=Fitness")
    page.wait_for_selector("[data-curves*='range=fitness'] #chart-equity canvas")
    assert page.locator("#table-trades tbody tr").count() >= 1
    assert page.locator("#table-months tbody tr").count() >= 2
    until("the judgement is a table of gates", lambda: page.reload() and page.locator("table.checks").count() >= 1)
    page.context.close()
    assert visitor.complaints == []


def test_pages_say_the_same_without_javascript(instance: WebInstance, visitor: Visitor, campaign: str) -> None:
    page = visitor.page(java_script_enabled=False)
    for path in addresses(instance, campaign):
        page.goto(visitor.url + path)
        assert page.locator("main").inner_text().strip()
    page.goto(f"{visitor.url}/strategies/{instance.sluice('strategies')[0]['id']}?range=fitness")
    assert page.locator("#table-trades tbody tr").count() >= 1
    page.goto(visitor.url + "/campaigns/new?units=3&risk=LOW&risk=HIGH&seeds=2&dataset=nope")
    assert "registered dataset" in page.inner_text("main")
    page.context.close()


def test_updates_leave_focus_and_scroll_alone(visitor: Visitor, campaign: str) -> None:
    page = visitor.page(360)
    page.goto(visitor.url + "/")
    page.wait_for_selector("#link.on")
    page.locator("#part-top a").last.focus()
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    at = page.evaluate("window.scrollY")
    assert at > 0
    heard = "new Promise((r) => document.addEventListener('htmx:sseMessage', () => setTimeout(r, 100), {once: true}))"
    page.evaluate(heard)
    assert page.evaluate("document.activeElement.getAttribute('href')") == focused
    assert page.evaluate("window.scrollY") == at
    page.context.close()


def test_a_lost_connection_is_marked_and_taken_up_again(instance: WebInstance, visitor: Visitor, campaign: str) -> None:
    """The process behind the page is killed; its watchdog brings it back where it was."""
    page = visitor.page()
    page.goto(visitor.url + "/")
    page.wait_for_selector("#link.on")
    old, watchdog = instance.pid("web"), instance.watchdog()
    # It brings nothing back before the page has been looked at.
    os.kill(watchdog, signal.SIGSTOP)
    try:
        os.kill(old, signal.SIGKILL)
        page.wait_for_selector("#link.stale")
        assert re.search(r"as of \d\d:\d\d:\d\d UTC", page.inner_text("#link"))
    finally:
        os.kill(watchdog, signal.SIGCONT)
    page.wait_for_selector("#link.on")
    assert instance.pid("web") not in (0, old)
    assert instance.web_file()["url"] == visitor.url
    assert "stale" not in (page.get_attribute("body", "class") or "")
    page.context.close()


def test_while_the_bus_is_away_pages_claim_nothing_and_recover(
    instance: WebInstance, visitor: Visitor, campaign: str
) -> None:
    page = visitor.page(360)
    page.goto(visitor.url + "/")
    page.wait_for_selector("#link.on")
    server = instance.pid("nats-server")
    os.kill(server, signal.SIGSTOP)
    try:
        page.wait_for_selector("#part-tiles .warn")
        assert re.search(r"Miners alive\s+–\s+\?\s*unknown", page.inner_text("#part-tiles"))
        page.goto(visitor.url + "/workers")
        assert page.locator(".state-unknown").count() >= 2
        assert page.locator(".state-alive").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        os.kill(server, signal.SIGCONT)
    page.wait_for_selector(".state-alive")
    page.context.close()


def test_an_event_shows_on_a_page_that_is_never_loaded_again(
    instance: WebInstance, visitor: Visitor, campaign: str
) -> None:
    """From the command to the page, over bus, projector and stream; `sluice bench web` measures how soon."""
    page = visitor.page()
    page.goto(visitor.url + "/campaigns")
    page.wait_for_selector("#link.on")
    rows = page.locator("#part-campaigns tbody tr")
    count = rows.count()
    asked = instance.sluice(
        "mine", "--dataset", "test_X-USD_5m", "--units", "1", "--population", "20", "--generations", "2"
    )
    page.wait_for_selector(f"a[href='/campaigns/{asked['campaign']}']")
    assert rows.count() == count + 1
    page.context.close()


def test_signing_out_ends_the_session(instance: WebInstance, visitor: Visitor, tmp_path: Path) -> None:
    context = visitor.browser.new_context(storage_state=visitor.session)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(visitor.url + "/")
    page.click("text=Sign out")
    page.wait_for_selector("text=This page needs a session")
    context.close()
