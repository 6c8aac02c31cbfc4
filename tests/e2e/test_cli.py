"""The `sluice` command as a person and a script use it: real processes, a real server, JSON shapes, one clear line a mistake."""

import contextlib
import json
import os
import re
import signal
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_instance import (
    PATIENCE_S,
    agents_alive,
    answer,
    caught_up,
    refused,
    sluice,
    start,
    until,
)
from tests.e2e.web_instance import write_candles

MINE = ("mine", "--dataset", "test_X-USD_5m", "--units", "4", "--population", "20", "--generations", "4", "--wait")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("instance") / "state"
    up = start(state, "--empty", "--miners", "2")
    try:
        until(lambda: agents_alive(state, 8), "all eight agents alive")
        csv = write_candles(state / "test_X-USD_5m.csv")
        assert sluice(state, "data", "import", str(csv)).returncode == 0
        assert sluice(state, *MINE).returncode == 0
        caught_up(state)
        yield state
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE_S) == 0
        assert "nothing is lost" in (state / "up.log").read_text().splitlines()[-1]


def test_a_campaign_from_the_command_line_is_validated_by_distinct_owners_and_repeats_its_digest(
    instance: Path,
) -> None:
    first, second = answer(instance, *MINE), answer(instance, *MINE)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert set(first) == {"campaign", "units", "validated", "inconclusive", "parked", "trials", "seconds", "digest"}
    assert (first["validated"], first["units"]) == (4, 4)
    assert first["digest"] == second["digest"]
    assert first["trials"] == second["trials"] > 0
    caught_up(instance)
    units = answer(instance, "units", "--campaign", first["campaign"])
    assert isinstance(units, list)
    assert all(len(set(u["owners"])) == 2 and u["state"] == "validated" for u in units)


def test_an_estimate_asks_for_nothing(instance: Path) -> None:
    before = {c["id"] for c in answer(instance, "campaigns")}  # type: ignore[index]
    found = answer(instance, *(a for a in MINE if a != "--wait"), "--estimate")
    assert isinstance(found, dict)
    assert found["trials"] > 0
    assert found["seconds"] > 0
    assert found["answers"] >= 8
    assert {c["id"] for c in answer(instance, "campaigns")} == before  # type: ignore[index]


def test_every_strategy_of_a_grammar_is_evaluated_and_the_best_of_them_shown_as_proven(instance: Path) -> None:
    sweep = ("mine", "--dataset", "test_X-USD_5m", "--grammar", "primer", "--exhaustive")
    planned = answer(instance, *sweep, "--estimate")
    assert isinstance(planned, dict)
    assert planned["trials"] == 20_916
    done = answer(instance, *sweep, "--wait")
    assert isinstance(done, dict)
    assert (done["units"], done["validated"], done["trials"]) == (9, 9, 20_916)

    def proven() -> dict[str, object] | None:
        found = answer(instance, "campaigns")
        assert isinstance(found, list)
        return next(c for c in found if c["id"] == done["campaign"])["proven"]

    best = until(proven, "the read models have the campaign's end")
    shown = answer(instance, "strategy", "show", best["strategy"])
    assert isinstance(shown, dict)
    assert shown["proven"] == {"best_of": 20_916, "grammar": "primer", "campaign": done["campaign"]}
    assert shown["metrics"]["return"] == best["objective"]
    assert "proven best of 20,916" in sluice(instance, "campaigns").stdout
    assert "Proven best of 20,916" in sluice(instance, "strategy", "show", best["strategy"]).stdout
    assert "--units" in refused(sluice(instance, *sweep, "--units", "3"), 2)
    assert "cannot be searched exhaustively" in refused(sluice(instance, *sweep, "--grammar", "full"), 2)


def test_status_and_lists_have_their_documented_shapes(instance: Path) -> None:
    status = answer(instance, "status")
    assert isinstance(status, dict)
    assert set(status) == {"nats", "agents", "units", "best", "last_seq"}
    assert set(status["nats"]) == {"url", "version"}
    assert {"id", "kind", "host", "state", "last_seen_s", "done"} <= set(status["agents"][0])
    assert set(status["units"]) == {"queued", "running", "waiting", "validated", "inconclusive", "parked"}
    assert {"strategy", "pnl", "validated"} <= set(status["best"])
    (dataset,) = answer(instance, "data", "list")  # type: ignore[misc]
    assert set(dataset) == {"id", "venue", "symbol", "granularity", "candles", "first", "last"}
    assert dataset["candles"] == 4_000
    strategies = answer(instance, "strategies", "--limit", "3")
    wanted = {"id", "genome", "stage", "rules", "metrics", "walk_forward", "benchmark", "dsr", "pbo", "trials"}
    assert isinstance(strategies, list)
    assert strategies
    assert wanted <= set(strategies[0])
    assert strategies[0]["stage"] == "validated"
    verified = answer(instance, "data", "verify")
    assert verified == {"ok": True, "problems": []}


def test_one_strategy_is_shown_and_backtested_to_the_figures_of_its_find(instance: Path, tmp_path: Path) -> None:
    (best,) = answer(instance, "strategies", "--limit", "1")  # type: ignore[misc]
    shown = answer(instance, "strategy", "show", best["id"][:12])
    assert isinstance(shown, dict)
    assert shown["id"] == best["id"]
    tested = answer(instance, "backtest", best["id"][:12], "--trades")
    assert isinstance(tested, dict)
    fitness = tested["ranges"]["fitness"]
    assert fitness["metrics"] == {k: shown["metrics"]["windows"][0][k] for k in fitness["metrics"]}
    assert len(fitness["trades"]) == fitness["metrics"]["trades"]
    genome = tmp_path / "mine.json"
    genome.write_text(json.dumps(best["genome"]))
    again = answer(instance, "backtest", str(genome), "--dataset", "test_X-USD_5m")
    assert isinstance(again, dict)
    assert again["ranges"]["fitness"]["metrics"] == fitness["metrics"]


@pytest.mark.parametrize(
    ("sizing", "words"),
    [
        (
            {"mode": "kelly", "fraction_bps": 2500, "kelly": {"multiplier_bps": 5000, "base_bps": 200}},
            "of Kelly's fraction",
        ),
        (
            {"mode": "volatility", "fraction_bps": 2500, "volatility": {"target_ppm": 300}},
            "equity to move by 0.03 % a candle",
        ),
    ],
    ids=["kelly", "volatility"],
)
def test_a_file_may_size_its_trades_by_what_lies_before_them(
    instance: Path, tmp_path: Path, sizing: dict[str, object], words: str
) -> None:
    (best,) = answer(instance, "strategies", "--limit", "1")  # type: ignore[misc]
    genome = best["genome"] | {"risk": best["genome"]["risk"] | {"sizing": sizing}}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(genome))
    tested = answer(instance, "backtest", str(path), "--dataset", "test_X-USD_5m", "--trades")
    assert isinstance(tested, dict)
    assert words in tested["rules"][-1]
    for span in tested["ranges"].values():
        assert len(span["trades"]) == span["metrics"]["trades"]
        assert span["portfolio"]["strategy"]["fees"] == span["metrics"]["fees"]
        assert span["portfolio"]["buy_and_hold"]["total_return"] == span["buy_and_hold"]["total_return"]
    shown = sluice(instance, "backtest", str(path), "--dataset", "test_X-USD_5m")
    assert "buy & hold" in shown.stdout
    assert "profit factor" in shown.stdout
    genome["risk"]["sizing"] = sizing | {"mode": "fraction"}
    path.write_text(json.dumps(genome))
    assert "when, and only when" in refused(sluice(instance, "backtest", str(path), "--dataset", "test_X-USD_5m"), 2)


@pytest.mark.slow
def test_strategies_that_everybody_knows_are_backtested_and_compared(instance: Path) -> None:
    where = ("--dataset", "test_X-USD_5m", "--range", "fitness")
    alone = answer(instance, "backtest", "rsi-momentum", *where)
    both = answer(instance, "backtest", "sma-20-50", *where, "--vs", "rsi-momentum")
    assert isinstance(alone, dict)
    assert isinstance(both, dict)
    assert "SMA(20) crosses above SMA(50)" in " ".join(both["rules"])
    assert both["ranges"]["fitness"]["metrics"]["trades"] > 0
    assert both["vs"] == {k: alone[k] for k in ("genome_id", "rules", "ranges")}
    shown = sluice(instance, "backtest", "sma-20-50", *where, "--vs", "rsi-momentum")
    assert re.search(r"figure +strategy +against +buy & hold", shown.stdout)
    assert "there is no such file" in refused(sluice(instance, "backtest", "sma-20-50", *where, "--vs", "nobody"), 2)
    assert "needs --dataset" in refused(sluice(instance, "backtest", "sma-20-50"), 2)


def test_a_look_at_the_hold_out_is_an_event(instance: Path) -> None:
    (best,) = answer(instance, "strategies", "--limit", "1")  # type: ignore[misc]
    tested = answer(instance, "backtest", best["id"], "--range", "hold-out")
    assert isinstance(tested, dict)
    assert list(tested["ranges"]) == ["hold-out"]
    looks = answer(instance, "events", "--type", "data.holdout.looked")
    assert isinstance(looks, list)
    assert looks[-1]["data"]["genome_id"] == best["genome_id"]


def test_replay_equals_the_live_read_models(instance: Path) -> None:
    report = answer(instance, "replay", "--digest")
    assert isinstance(report, dict)
    assert set(report) == {"seq", "digest", "live_digest", "equal", "outcome_digest"}
    assert report["equal"] is True
    assert report["digest"] == report["live_digest"]
    half = answer(instance, "replay", "--until", str(report["seq"] // 2), "--digest")
    assert isinstance(half, dict)
    assert half["digest"] != report["digest"]


def test_the_log_is_verified_and_an_event_is_proved_without_log_and_server(instance: Path, tmp_path: Path) -> None:
    last = answer(instance, "status")["last_seq"]  # type: ignore[index]

    def sealed() -> dict[str, object] | None:
        found = answer(instance, "audit", "verify")
        assert isinstance(found, dict)
        return found if found["sealed_through"] >= last else None

    report = until(sealed, "all events are sealed")
    assert {"ok", "events", "sealed_through", "problems"} <= set(report)
    assert (report["ok"], report["problems"]) == (True, [])
    assert report["events"] >= last
    proof, nowhere = tmp_path / "proof.json", tmp_path / "no instance here"
    assert sluice(instance, "audit", "prove", "3", "--out", str(proof)).returncode == 0
    key = tmp_path / "auditor.pub"
    key.write_bytes((instance / "audit" / "key.pub").read_bytes())
    checked = answer(nowhere, "audit", "check-proof", str(proof), "--key", str(key))
    assert isinstance(checked, dict)
    assert (checked["ok"], checked["seq"], checked["trusted_key"]) == (True, 3, True)
    text = proof.read_text()
    proof.write_text(text.replace('"seq": 3', '"seq": 4'))
    assert sluice(nowhere, "audit", "check-proof", str(proof)).returncode == 1
    proof.write_text("{}")
    assert "not a proof" in refused(sluice(nowhere, "audit", "check-proof", str(proof)), 2)
    assert "not sealed" in refused(sluice(instance, "audit", "prove", str(last + 10**6)), 1)


def test_events_are_envelopes_in_order_of_their_sequence(instance: Path) -> None:
    events = answer(instance, "events", "--type", "mining.unit.validated")
    assert isinstance(events, list)
    assert [e["seq"] for e in events] == sorted(e["seq"] for e in events)
    assert all(
        e["specversion"] == "1.0" and e["type"] == "mining.unit.validated" and e["correlationid"] for e in events
    )


def files_of(folder: Path) -> list[Path]:
    """Not by `rglob`, which gives up when a folder is gone before it is entered."""
    found = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return [path for path in found if path.is_file()]


PRIVATE = ("accounts.json", "server.conf", "web.secrets", "web.json", "creds/", "audit/key.pem")


def test_no_key_of_the_instance_is_in_an_event_a_log_a_page_or_a_readable_file(instance: Path) -> None:
    """Private keys of the bus, the one that signs sessions and the token for scripts; the link is printed on purpose."""
    accounts = json.loads((instance / "accounts.json").read_text())
    web = json.loads((instance / "web.secrets").read_text())
    keys = [*accounts["seeds"].values(), accounts["setup"], web["key"], web["token"]]
    keys.append((instance / "audit" / "key.pem").read_text().splitlines()[1])
    assert len(keys) > 8
    assert min(map(len, keys)) >= 20
    url, header = json.loads((instance / "web.json").read_text())["url"], {"Authorization": f"Bearer {web['token']}"}
    said = {
        "events": json.dumps(answer(instance, "events", "--limit", "0")),
        "logs": json.dumps(answer(instance, "logs", "--lines", "50000")),
    }
    assert "watchdog" in said["logs"]
    assert "campaign" in said["events"]
    for path in (
        "/",
        "/workers",
        "/campaigns",
        "/campaigns/new",
        "/strategies",
        "/api/status",
        "/api/events",
        "/metrics",
    ):
        with urllib.request.urlopen(urllib.request.Request(url + path, headers=header), timeout=PATIENCE_S) as got:
            said[path] = got.read().decode()
    for file in files_of(instance):
        name = str(file.relative_to(instance))
        # What the processes that run put there for a moment may be gone again.
        with contextlib.suppress(FileNotFoundError):
            if name.startswith(PRIVATE):
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, name
            else:
                said[name] = file.read_bytes().decode(errors="replace")
    assert {"logs/watchdog.log", "run.json", "views.sqlite"} <= set(said)
    assert [where for where, text in said.items() if any(key in text for key in keys)] == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("mine", "--dataset", "no_such_5m"), "no dataset"),
        (("mine", "--dataset", "test_X-USD_5m", "--units", "0"), "units must be"),
        (("mine", "--dataset", "test_X-USD_5m", "--population", "5"), "population must be"),
        (("mine", "--dataset", "test_X-USD_5m", "--candles", "10"), "too few"),
        (("strategy", "show", "ffffffffff"), "no strategy"),
        (("backtest", "nothing.json", "--dataset", "test_X-USD_5m"), "cannot be read"),
        (("data", "import", "nothing.csv"), "nothing.csv: there is no such file"),
        (("events", "--type", "a.b.c.d"), "three parts"),
        (("replay", "--until", "99999999"), "no sequence"),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_2(instance: Path, args: tuple[str, ...], says: str) -> None:
    assert says in refused(sluice(instance, *args), 2)


def test_a_second_instance_on_one_state_is_refused_and_the_first_goes_on(instance: Path) -> None:
    line = refused(sluice(instance, "up", "--nats-port", "0"), 3)
    assert "already" in line
    assert "sluice down" in line
    until(lambda: agents_alive(instance, 8), "all eight agents alive")


def test_doctor_looks_at_everything_an_instance_needs(tmp_path: Path) -> None:
    found = json.loads(sluice(tmp_path, "doctor", "--json").stdout)
    assert found["ok"] is True
    assert {c["name"] for c in found["checks"]} >= {"python", "nats-server", "state", "kernel"}
