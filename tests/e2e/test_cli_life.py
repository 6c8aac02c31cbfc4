"""How an instance begins and ends: what is wrong is said before anything starts, and Ctrl-C is quick."""

import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.cli_instance import agents_alive, answer, is_running, refused, sluice, start, until
from tests.e2e.web_instance import write_candles


def test_a_taken_or_malformed_address_of_the_pages_is_said_before_anything_starts(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        taken = f"127.0.0.1:{s.getsockname()[1]}"
        line = refused(sluice(state, "up", "--nats-port", "0", "--http", taken), 3)
        assert "is taken" in line
        assert "--http" in line
        (state / "sluice.toml").write_text(f'http = "{taken}"\n')
        assert "is taken" in refused(sluice(state, "up", "--nats-port", "0"), 3)
    assert "no address of this machine" in refused(sluice(state, "up", "--http", "192.0.2.1:80"), 3)
    for wrong in ("nonsense", "127.0.0.1:99999", "127.0.0.1"):
        done = sluice(state, "up", "--http", wrong)
        assert done.returncode == 2
        assert "is not HOST:PORT" in done.stderr
    (state / "sluice.toml").write_text('http = "nonsense"\n')
    assert "is not HOST:PORT" in refused(sluice(state, "up"), 2)
    assert not (state / "nats" / "jetstream").exists()


def test_a_server_of_ones_own_that_is_not_there_or_too_old_is_said(tmp_path: Path) -> None:
    line = refused(sluice(tmp_path, "up", "--nats", "nats://127.0.0.1:9"), 3)
    assert "nats://127.0.0.1:9" in line
    assert "--nats" in line
    with socket.create_server(("127.0.0.1", 0)) as s:
        threading.Thread(target=greet, args=(s, "2.9.10"), daemon=True).start()
        line = refused(sluice(tmp_path, "up", "--nats", f"nats://127.0.0.1:{s.getsockname()[1]}"), 3)
    assert "2.9.10" in line
    assert "nothing was started" in line


def greet(listening: socket.socket, version: str) -> None:
    """As much of a NATS server as tells its version: INFO, and PONG to a PING."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                info = {"server_id": "x", "version": version, "max_payload": 1_000_000, "proto": 1, "headers": True}
                connection.sendall(b"INFO " + json.dumps(info).encode() + b"\r\n")
                while received := connection.recv(4096):
                    if b"PING" in received:
                        connection.sendall(b"PONG\r\n")


@pytest.mark.slow
def test_ctrl_c_stops_every_process_within_five_seconds_and_the_next_start_goes_on_at_once(tmp_path: Path) -> None:
    """In the middle of a campaign. The best of three: what is measured is Sluice, not what else this machine does."""
    state = tmp_path / "state"
    csv = write_candles(tmp_path / "test_X-USD_5m.csv")
    took, asked = [], ""
    while not took or (min(took) >= 5.0 and len(took) < 3):
        up = start(state, "--empty", "--miners", "2")
        until(lambda: agents_alive(state, 8), "all eight agents alive")
        if not asked:
            assert sluice(state, "data", "import", str(csv)).returncode == 0
            # Neither a fast machine nor an early stop ends a unit before the test has looked.
            long = ("--units", "20", "--population", "400", "--generations", "9000", "--patience", "9000")
            campaign = answer(state, "mine", "--dataset", "test_X-USD_5m", *long)
            assert isinstance(campaign, dict)
            asked = campaign["campaign"]
        until(lambda campaign=asked: running(state, campaign), "a replica is being mined")
        pids = [p["pid"] for p in json.loads((state / "run.json").read_text())["processes"]]
        at = time.monotonic()
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
        took.append(time.monotonic() - at)
        assert not any(is_running(pid) for pid in pids)
    assert min(took) < 5.0, took
    up = start(state, "--empty", "--miners", "2")
    try:
        until(lambda: resumed(state, asked), "it goes on from a checkpoint")
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0


def running(state: Path, campaign: str) -> bool:
    """Whether a unit of the campaign is mined now."""
    done = sluice(state, "units", "--campaign", campaign, "--json")
    return done.returncode == 0 and any(u["state"] == "running" for u in json.loads(done.stdout))


def resumed(state: Path, campaign: str) -> bool:
    """Whether a replica was claimed anew to go on after generation 0."""
    done = sluice(state, "events", "--type", "mining.unit.replica_claimed", "--json")
    claims = json.loads(done.stdout) if done.returncode == 0 else []
    return any(e["correlationid"] == campaign and e["data"]["generation"] > 0 for e in claims)
