"""What pages and the JSON interface say, above all where a figure could mislead."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from bus.events import AgentStarted, AgentStopped, CampaignRequested
from bus.messages import Presence, Progress
from domain.errors import Unreachable
from domain.specs import unit_id
from tests.unit.projections.event_log import EventLog, answer, discover, find, queue, spec
from tests.unit.web.web_app import browser, csrf_of, project
from web.services import Services


def presence(slot: str, age_s: float = 0.0) -> Presence:
    at = datetime.fromtimestamp(time.time() - age_s, UTC).isoformat()
    return Presence(f"miner-{slot}", "miner", "box", 1, "alive", at, at, 1.0, 3, slot, "lane")


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


async def page(services: Services, path: str) -> str:
    async with browser(services) as client:
        answer_ = await client.get(path)
    assert answer_.status_code == 200, answer_.text
    assert "style=" not in answer_.text, "the policy would drop an inline style"
    assert "onclick" not in answer_.text
    assert not re.search(r"<script(?![^>]*src=)", answer_.text)
    return answer_.text


@pytest.mark.parametrize("path", ["/", "/workers", "/campaigns", "/strategies"])
async def test_pages_answer_before_anything_was_projected(empty: Services, path: str) -> None:
    assert "No figures yet" in await page(empty, path)


@pytest.mark.parametrize("path", ["/nowhere", "/strategies/0123456789", "/campaigns/nope"])
async def test_what_does_not_exist_is_said_in_one_line(services: Services, path: str) -> None:
    async with browser(services) as client:
        got = await client.get(path)
    assert got.status_code == 404
    assert "Traceback" not in got.text


async def test_a_validated_loser_stands_before_an_unconfirmed_winner(services: Services) -> None:
    text = text_of(await page(services, "/strategies"))
    assert text.index("✓ validated") < text.index("not validated")
    best = text_of(await page(services, "/"))
    assert "−1.00" in best
    assert "does not earn" in best


async def test_while_nothing_is_validated_the_best_is_marked(tmp_path: Path, empty: Services) -> None:
    log = EventLog()
    discover(log, "c1", "u1", find(25, 0.5, 0.4), spec().search)
    project(tmp_path / "views.sqlite", log.made)
    for path, words in (("/", "Nothing is validated so far"), ("/strategies", "Nothing is validated yet")):
        text = text_of(await page(empty, path))
        assert words in text
        assert "◇ not validated" in text


async def test_figures_stand_beside_their_twin_and_their_benchmark(services: Services) -> None:
    text = text_of(await page(services, "/"))
    for words in ("Walk-forward", "Buy &amp; hold", "Fitness", "net of"):
        assert words in text


async def test_a_miner_without_a_heartbeat_is_not_alive(services: Services, tmp_path: Path, log: EventLog) -> None:
    unit = unit_id("c1", 1)
    queue(log, "c1", unit, 0)
    answer(log, "c1", unit, 0, "1", "ab" * 32)
    project(tmp_path / "views.sqlite", log.made)
    services.hub.now.connected = True
    services.hub.now.presences = [presence("2"), presence("3", age_s=60)]
    services.hub.live += 1
    text = text_of(await page(services, "/workers"))
    assert "1 of 3 alive" in text
    assert "miner 1 – ✕ dead no heartbeat" in text
    assert "miner 2 1 ● alive now" in text, "with its process"
    assert "▲ stalled" in text
    overview = text_of(await page(services, "/"))
    assert "Miners alive 1 on 1 host" in overview
    assert "2 silent" in overview


async def test_while_the_bus_is_away_nobody_is_counted_and_no_state_is_claimed(
    services: Services, log: EventLog
) -> None:
    now = services.hub.now
    now.connected, now.rate = False, 123.0
    now.presences = [presence("1"), msgspec.structs.replace(presence(""), agent="validator", kind="validator")]
    services.hub.live += 1
    text = text_of(await page(services, "/"))
    assert "The bus does not answer" in text
    assert "Miners alive – ? unknown" in text
    assert "123" not in text, "a speed of the past is none of now"
    assert "left" not in text.replace("left not known", "")
    workers = text_of(await page(services, "/workers"))
    assert workers.count("? unknown") == 2
    for words in ("● alive", "of 1 alive", "▲ stalled", "✕ dead"):
        assert words not in workers


async def test_what_the_watchdog_recorded_shows_as_dead_and_with_its_restarts(
    services: Services, tmp_path: Path, log: EventLog
) -> None:
    for pid in (1, 2):
        log.add(AgentStarted("validator", "box", pid, "0"), "box_validator")
        log.add(AgentStopped("validator", "box", pid, -9, False), "box_validator")
    project(tmp_path / "views.sqlite", log.made)
    services.hub.now.connected = True
    services.hub.live += 1
    assert "validator box – ✕ dead no heartbeat – 2" in text_of(await page(services, "/workers"))
    async with browser(services) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    assert 'sluice_agents{kind="validator",host="box",state="dead"} 1' in lines
    assert 'sluice_agent_restarts_total{agent="validator",host="box"} 2' in lines


async def test_each_order_of_the_leaderboard_says_what_it_costs_to_pick_by_it(services: Services) -> None:
    assert "Ranked by fitness, the figure that the search saw" in text_of(await page(services, "/strategies"))
    text = text_of(await page(services, "/strategies?by=walk_forward"))
    assert "Ranked by fitness" not in text
    assert "out of sample no more" in text


async def test_strategies_that_differ_in_their_risk_only_do_not_look_the_same(services: Services) -> None:
    assert "Stop " in text_of(await page(services, "/strategies"))


async def test_progress_of_a_unit_under_way_shows_and_time_left_comes_from_answers(
    services: Services, tmp_path: Path, log: EventLog
) -> None:
    unit = unit_id("c1", 1)
    answer(log, "c1", unit_id("c1", 0), 0, "1", "ab" * 32)
    project(tmp_path / "views.sqlite", log.made)
    now = services.hub.now
    now.connected, now.presences = True, [presence("1")]
    now.progress[(unit, 0)] = (time.monotonic(), Progress("c1", unit, 1, 0, "box", "1", 10, 20, 500, 0.1, "t"))
    services.hub.live += 1
    html = await page(services, "/campaigns/c1")
    text = text_of(html)
    assert 'value="0.500"' in html
    assert "1 of 2 units decided" in text
    assert re.search(r"About .* left with 1 miner", text)


async def test_the_form_estimates_and_opens_a_batch(services: Services) -> None:
    fields = {"dataset": "d" * 64, "risk": ["LOW", "HIGH"], "seeds": "2", "seed": "7", "units": "3", "name": "try"}
    async with browser(services) as client:
        text = text_of((await client.get("/campaigns/estimate", params=fields)).text)
        assert "4 with 12 units" in text
        assert "There are no timings yet" in text
        got = await client.post("/campaigns", data=fields | {"csrf": csrf_of(services, client)})
    assert got.headers["location"] == "/campaigns"
    asked = [e.payload() for e in services.bus.appended]  # type: ignore[attr-defined]
    assert all(isinstance(a, CampaignRequested) for a in asked)
    assert [(a.spec.search.risk, a.spec.seed, a.spec.units) for a in asked] == [
        ("LOW", 7, 3), ("LOW", 8, 3), ("HIGH", 7, 3), ("HIGH", 8, 3),
    ]  # fmt: skip


async def test_more_owners_than_there_are_would_wait_and_the_form_says_so(services: Services) -> None:
    fields = {"dataset": "d" * 64, "risk": "LOW", "replicas": "3"}
    services.hub.now.presences = [presence("1"), presence("2")]
    async with browser(services) as client:
        few = text_of((await client.get("/campaigns/estimate", params=fields)).text)
        enough = text_of((await client.get("/campaigns/estimate", params=fields | {"replicas": "2"})).text)
    assert "3 owners must agree and 2 are there now" in few
    assert "would wait" not in enough


async def test_when_the_bus_is_away_the_form_comes_back_filled_in_and_says_what_was_asked_for(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def once(spec: object, by: str) -> str:
        if asked:
            raise Unreachable("nats-server does not answer")
        asked.append(spec)
        return "c9"

    monkeypatch.setattr(services, "request", once)
    fields = {"dataset": "d" * 64, "risk": "LOW", "seeds": "3", "name": "my words"}
    async with browser(services) as client:
        got = await client.post("/campaigns", data=fields | {"csrf": csrf_of(services, client)})
    assert got.status_code == 503
    text = text_of(got.text)
    assert "Not opened. Nats-server does not answer; 1 of 3 campaigns were asked for before that" in text
    assert "my words" in got.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"units": "0"}, "Units must be 1 to"),
        ({"units": "many"}, "whole number"),
        ({"risk": "WILD"}, "risk level"),
        ({"dataset": "nope"}, "registered dataset"),
        ({"population": "1000"}, "Population must be"),
        ({"seeds": "51"}, "1 to 50"),
        ({"candles": "10"}, "too few"),
    ],
)
async def test_a_mistake_brings_the_form_back_as_it_was_filled_in(
    services: Services, change: dict[str, str], said: str
) -> None:
    fields = {"dataset": "d" * 64, "risk": "LOW", "name": "my words"} | change
    async with browser(services) as client:
        got = await client.post("/campaigns", data=fields | {"csrf": csrf_of(services, client)})
    assert got.status_code == 422
    assert said in text_of(got.text)
    assert "my words" in got.text
    assert services.bus.appended == []  # type: ignore[attr-defined]


async def test_what_a_person_typed_is_text_and_no_markup(services: Services) -> None:
    evil = '"><script>alert(1)</script>'
    async with browser(services) as client:
        got = await client.get("/campaigns/new", params={"name": evil, "dataset": evil})
    assert "<script>alert" not in got.text


@pytest.mark.parametrize(
    "path", ["/strategies?page=0", "/strategies?page=x", "/campaigns?page=-1", "/strategies/short"]
)
async def test_a_wrong_address_is_refused_and_not_an_error_of_ours(services: Services, path: str) -> None:
    async with browser(services) as client:
        assert (await client.get(path)).status_code in (400, 404)


async def test_json_has_the_shapes_of_the_contract(services: Services) -> None:
    async with browser(services) as client:
        status = (await client.get("/api/status")).json()
        found = (await client.get("/api/strategies")).json()
        one = (await client.get(f"/api/strategies/{found[0]['id'][:12]}")).json()
        units = (await client.get("/api/units", params={"state": "validated"})).json()
        wrong = await client.get("/api/units", params={"state": "happy"})
        schema = (await client.get("/api/openapi.json")).json()
    assert set(status) == {"nats", "agents", "units", "best", "last_seq"}
    assert status["best"]["validated"] is True
    assert {"id", "genome", "stage", "rules", "metrics", "walk_forward", "benchmark", "dsr", "pbo", "trials"} <= set(
        one
    )
    assert [u["state"] for u in units] == ["validated"]
    assert wrong.status_code == 400
    assert {"/api/status", "/api/units", "/api/strategies/{id}", "/api/events", "/health/ready"} <= set(schema["paths"])


async def test_events_are_read_from_the_log(services: Services, log: EventLog) -> None:
    services.bus.log = log.made  # type: ignore[attr-defined]
    async with browser(services) as client:
        got = (await client.get("/api/events", params={"since": 3, "limit": 2})).json()
        wrong = await client.get("/api/events", params={"type": "a.b.c.d"})
    assert [e["seq"] for e in got] == [3, 4]
    assert {"type", "subject", "time", "data"} <= set(got[0])
    assert wrong.status_code == 400


async def test_readiness_needs_bus_and_fresh_read_models(services: Services) -> None:
    async with browser(services, signed_in=False) as client:
        assert (await client.get("/health/ready")).status_code == 503
        services.hub.now.connected = True
        assert (await client.get("/health/ready")).json() == {
            "ready": True, "bus": True, "read_models": True, "fresh": True, "halted": [],
        }  # fmt: skip
        services.hub.now.behind_since = time.monotonic() - 60
        assert (await client.get("/health/ready")).status_code == 503


async def test_an_agent_that_halted_at_a_damaged_log_is_told_everywhere(services: Services) -> None:
    words = "halted: event 45 is gone from the log or cannot be read; restore a copy with `sluice restore`"
    broken = msgspec.structs.replace(presence("1"), agent="projector", kind="projector", state="stalled", detail=words)
    services.hub.now.connected = True
    services.hub.now.presences = [broken, msgspec.structs.replace(broken, agent="miner-2", kind="miner", detail="slow")]
    async with browser(services) as client:
        for path in ("/", "/workers", "/campaigns", "/campaigns/new", "/campaigns/c1", "/strategies"):
            html = (await client.get(path)).text
            assert 'role="alert"' in html, path
            assert "Projector has halted. Event 45 is gone" in text_of(html)
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["halted"]) == (503, ["projector"])
        agent = (await client.get("/api/status")).json()["agents"][1]
        assert (agent["state"], agent["detail"]) == ("stalled", words)
    services.hub.now.presences = [presence("1")]
    services.hub.live += 1
    assert 'role="alert"' not in await page(services, "/")


async def test_metrics_are_prometheus_text(services: Services) -> None:
    services.hub.now.presences = [presence("1")]
    async with browser(services) as client:
        text = (await client.get("/metrics")).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'sluice_\w+(\{(\w+="[^"]*",?)+\})? [-+0-9.e]+', line) for line in lines)
    assert 'sluice_units{state="validated"} 1' in lines
    assert 'sluice_agents{kind="miner",host="box",state="alive"} 1' in lines


async def test_a_mistake_of_ours_is_logged_and_not_shown(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(services.renderer, "fragments", broken)
    async with browser(services) as client:
        got = await client.get("/")
    assert got.status_code == 500
    assert "secret detail" not in got.text


def test_the_web_file_says_where_and_how(services: Services) -> None:
    services.write_web_file()
    said = msgspec.json.decode(services.web_file.read_bytes())
    assert said["link"] == f"{said['url']}/login?token={services.secrets.link}"
