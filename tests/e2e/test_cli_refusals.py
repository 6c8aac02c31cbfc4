"""What cannot be done is one clear line with its exit status, and a killed command leaves nothing behind."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from bus.accounts import read_credentials
from bus.client import Bus
from domain.errors import Unreachable
from tests.e2e.cli_instance import (
    FAST,
    PATIENCE_S,
    ROOT,
    SLUICE,
    agents_alive,
    answer,
    is_running,
    others,
    refused,
    sluice,
    start,
    until,
)
from tests.e2e.web_instance import write_candles


def test_wrong_use_is_status_2(tmp_path: Path) -> None:
    assert sluice(tmp_path, "mine").returncode == 2
    assert subprocess.run([*SLUICE, "nonsense"], capture_output=True, cwd=ROOT, check=False).returncode == 2


@pytest.mark.parametrize(
    "line", ["nats_port = 99999", "heartbeat_s = -1.0", "ack_wait_s = 0.0", "miners = -3", "miner = 3"]
)
def test_settings_that_make_no_sense_are_one_clear_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "sluice.toml").write_text(line + "\n")
    assert line.split()[0] in refused(sluice(tmp_path, "up"), 2)


@pytest.mark.parametrize("option", [("--nats-port", "99999"), ("--miners", "-1"), ("--timeout", "-1")])
def test_an_option_out_of_range_is_wrong_use(tmp_path: Path, option: tuple[str, str]) -> None:
    done = sluice(tmp_path, "up", *option)
    assert done.returncode == 2
    assert option[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        line = refused(sluice(tmp_path / "state", "up", "--nats-port", str(port)), 3)
    assert f"port {port} is taken" in line
    assert "--nats-port" in line


def test_nothing_runs_is_said(tmp_path: Path) -> None:
    for command in (("status",), ("down",), ("events",), ("replay",)):
        assert "sluice up" in refused(sluice(tmp_path, *command), 3)
    assert "no read models" in refused(sluice(tmp_path, "strategies"), 3)


def test_a_missing_or_too_old_server_is_said(tmp_path: Path) -> None:
    line = refused(sluice(tmp_path / "a", "up", SLUICE_NATS_SERVER=str(tmp_path / "none")), 3)
    assert "SLUICE_NATS_SERVER" in line
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho 'nats-server: v2.9.10'\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    line = refused(sluice(tmp_path / "b", "up", SLUICE_NATS_SERVER=str(old)), 3)
    assert "2.9.10" in line
    assert "too old" in line


def test_a_state_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "--state" in refused(sluice(tmp_path / "file" / "state", "up"), 3)


def test_settings_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    (tmp_path / "sluice.toml").write_text("miner = 3\n")
    assert "sluice.toml" in refused(sluice(tmp_path, "up"), 2)


async def fill_the_store(state: Path) -> None:
    """Real bytes, until the server says that there is no more room."""
    bus = await Bus.connect(read_credentials(state / "creds" / "admin.json"), "test")
    try:
        for n in range(200):
            try:
                await bus.publish(f"art.test.{n}.1", os.urandom(1_000_000), patience_s=0.0)
            except Unreachable:
                return
        raise AssertionError("the store never filled up")
    finally:
        await bus.close()


@pytest.mark.slow
def test_a_full_store_is_said_and_nothing_is_registered(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "sluice.toml").write_text(FAST + "max_store_mb = 130\n")
    up = start(state, "--empty", "--miners", "0")
    try:
        until(lambda: agents_alive(state, 3), "the agents alive")
        asyncio.run(fill_the_store(state))
        csv = write_candles(tmp_path / "test_BIG-USD_5m.csv")
        line = refused(sluice(state, "data", "import", str(csv)), 3)
        assert "store" in line
        assert answer(state, "events", "--type", "data.dataset.imported") == []
        until(lambda: agents_alive(state, 3), "the agents alive")
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(PATIENCE_S)


def test_a_supervisor_killed_outright_leaves_nothing_running_and_the_next_start_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    up = start(state, "--empty", "--miners", "1")
    until(lambda: agents_alive(state, 4), "the agents alive")
    pids = [p["pid"] for p in json.loads((state / "run.json").read_text())["processes"]]
    before = answer(state, "events")
    up.kill()
    up.wait(PATIENCE_S)
    again = start(state, "--empty", "--miners", "1")
    try:
        # The first one's server may still answer for a moment: who is asked must be another.
        until(lambda: others(state, pids) and agents_alive(state, 4), "the agents alive again")
        until(lambda: not any(is_running(pid) for pid in pids), "nothing of the first one runs")
        after = answer(state, "events")
        assert isinstance(before, list)
        assert isinstance(after, list)
        assert after[: len(before)] == before
    finally:
        again.send_signal(signal.SIGTERM)
        again.wait(PATIENCE_S)
