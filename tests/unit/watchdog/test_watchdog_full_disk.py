"""A disk without room for another byte (/dev/full says so to every write) ends no watchdog."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.watchdog import children
from agents.watchdog.__main__ import Pulse, write_pulse
from agents.watchdog.agent import Watchdog
from agents.watchdog.children import Child
from agents.watchdog.notes import Notes
from agents.watchdog.record import Recorder
from bus.client import Bus
from bus.processes import this_process
from bus.run_file import Launch, read_run_file
from bus.settings import StateDir

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path)
    state.create()
    return state


@pytest.fixture
def fill() -> Callable[[Path], None]:
    def fill(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/full")

    return fill


async def test_run_json_is_written_once_there_is_room_again(state: StateDir, fill: Callable[[Path], None]) -> None:
    tmp = state.run_file.with_suffix(".tmp")
    fill(tmp)
    watchdog = Watchdog(state, Launch(this_process("up")), asyncio.Event(), Notes(quiet=True))
    watchdog.write_run_file()
    assert watchdog.unsaved
    assert read_run_file(state) is None
    tmp.unlink()
    watchdog.write_run_file()
    assert not watchdog.unsaved
    run = read_run_file(state)
    assert run is not None
    assert run.watchdog.pid == os.getpid()


def test_the_pulse_goes_on_where_only_old_bytes_can_be_written_over(
    state: StateDir, fill: Callable[[Path], None]
) -> None:
    path = state.root / "watchdog.beat"
    write_pulse(path, Pulse(1, 1_000_000, 1.0))
    fill(path.with_suffix(".tmp"))
    write_pulse(path, Pulse(1, 7, 2.0))
    assert json.loads(path.read_bytes()) == {"pid": 1, "turns": 7, "time": 2.0}


def test_what_cannot_be_kept_is_still_told(state: StateDir, fill: Callable[[Path], None]) -> None:
    untold = state.root / "untold.jsonl"
    recorder = Recorder(Bus.__new__(Bus), "alpha", "up", untold, lambda: "2026-01-01T00:00:00Z")
    fill(untold)
    recorder.gave_up("miner-1", 5, "b.1", 3, 300.0, 0.0)
    (event,) = recorder._waiting
    assert event.subject == "alpha_miner-1"


def test_an_agent_starts_though_its_output_has_no_place(state: StateDir) -> None:
    (state.logs / "x.out").symlink_to(state.root / "gone" / "x.out")  # cannot be opened, as a new file on a full disk
    child = Child("x", "miner", ("-c", "print('hello')"), ("x",))
    children.start(child, state, 0.0)
    assert child.process is not None
    child.process.wait(60)
    assert child.process.exit == 0
