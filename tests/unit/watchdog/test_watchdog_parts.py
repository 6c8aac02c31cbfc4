"""Processes known by id and start, run.json, the plan of a host, settings, reports of joined machines, log lines."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agents.watchdog.children import last_words, plan, web_address
from agents.watchdog.record import read_report, read_untold
from bus import orphan
from bus.accounts import Accounts
from bus.envelope import encode_event, make_event
from bus.events import AgentGaveUp, AgentStarted, AgentStopped, EventData, KernelFlagged
from bus.logs import KEPT_LINES, BusLog, current_agent, log_to_bus, log_to_file, no_longer
from bus.messages import LogLine
from bus.orphan import replaced_by
from bus.processes import Proc, Process, send_signal, start_of, stop_all, this_process
from bus.run_file import Launch, RunFile, read_run_file, take_lock, write_run_file
from bus.server import PORTS_FROM, Server, free_port
from bus.settings import Settings, StateDir
from cli.commands.logs import wanted
from domain.errors import BadInput, Unreachable

ME = this_process("me")


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path)
    state.create()
    return state


# -- processes ----------------------------------------------------------------------------------------------------


def child(code: str = "import time; time.sleep(60)") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)


def test_a_process_is_known_by_id_and_start() -> None:
    assert ME.running()
    reused = Proc("me", ME.pid, "another.1")
    assert not reused.running()
    assert not send_signal(reused, signal.SIGKILL), "we still live"
    assert start_of(2**22 + 1) == ""


async def test_a_stopped_process_that_is_not_our_child_is_ended_too() -> None:
    popen = child()
    process = Process(this_process("x", popen.pid))
    process.signal(signal.SIGSTOP)
    # A SIGTERM that overtakes the SIGSTOP would end the process at once: wait until it has really stopped.
    assert os.WIFSTOPPED((await asyncio.to_thread(os.waitpid, popen.pid, os.WUNTRACED))[1])
    assert process.running()
    stopping = asyncio.create_task(stop_all([process], 0.2))
    assert await asyncio.to_thread(popen.wait, 60) == -signal.SIGKILL
    assert await stopping == [process]
    assert (process.running(), process.exit) == (False, None)


async def test_a_process_that_stops_when_asked_is_not_killed() -> None:
    popen = child()
    process = Process(this_process("x", popen.pid), popen)
    assert await stop_all([process], 60.0) == []
    assert process.exit == -signal.SIGTERM


def test_run_json_is_read_as_written_and_another_version_is_none(state: StateDir) -> None:
    run = RunFile(ME, ME, "up", "nats://x:1", "2.15", "", (Proc("miner-1", 5, "b.1"),), {"light": ((1.5, "u.0"),)})
    write_run_file(state, run)
    assert read_run_file(state) == run
    state.run_file.write_text('{"supervisor": {"pid": 1}}')
    assert read_run_file(state) is None


def test_only_one_holds_the_lock(state: StateDir) -> None:
    with take_lock(state):
        with pytest.raises(Unreachable, match="sluice down"):
            take_lock(state)
        take_lock(state, state.root / "watchdog.lock").close()
    take_lock(state).close()


def test_an_agent_sees_that_another_process_runs_in_its_place() -> None:
    run = RunFile(ME, ME, "up", processes=(Proc("miner-1", ME.pid, ME.start), Proc("miner-2", 7, "gone")))
    assert replaced_by(run, "miner-1", ME.pid) == 0
    assert replaced_by(run, "miner-1", 1) == ME.pid
    assert replaced_by(run, "miner-2", 1) == 0
    assert replaced_by(None, "miner-1", 1) == 0


def test_a_full_disk_is_named_as_the_likely_cause(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state.full() == ""
    monkeypatch.setattr("bus.settings._NO_ROOM", 2**80)
    assert f"the disk of {state.root} is full" in state.full()
    assert StateDir(state.root / "nowhere").full() == ""


def test_a_free_port_is_none_that_outgoing_connections_get() -> None:
    found = [free_port() for _ in range(50)]
    assert max(found) < 32_768, "where Linux begins to hand ports out"
    assert len(set(found)) == 50


def test_no_port_is_given_twice_not_even_to_the_server_that_restarts_on_it(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, kept, other = (free_port() for _ in range(3))
    # As after a restart: of the three only the first was given by this process.
    monkeypatch.setattr("bus.server._given", {first})
    drawn = iter([first, kept, other])
    monkeypatch.setattr("bus.server.secrets.randbelow", lambda room: next(drawn) - PORTS_FROM)
    server = Server(state, Accounts({}, "unused"), Settings(), kept)
    assert server.monitor_port == other, "its own port would be the one place where it cannot be watched"


def test_the_last_orphan_ends_the_server_before_it_is_ended_by_force(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a stop may take by the settings: all agents wait for each other."""
    monkeypatch.setattr(orphan, "LAST_RESORT_S", 0.6)
    other, server = child(), child()
    gone = Proc("watchdog", 2**22 + 1, "gone")
    names = (this_process("miner-1", other.pid), this_process("nats-server", server.pid))
    write_run_file(state, RunFile(gone, gone, "up", processes=names))
    watch = orphan.OrphanWatch(state, "validator", 1.0, lambda: None)
    watch.orphaned = True
    try:
        watch.turn_off(3600.0)
        assert server.wait(60) == -signal.SIGTERM
        assert other.poll() is None, "it is not ours to end"
    finally:
        other.kill()
        other.wait(60)
        server.kill()
        server.wait(60)


# -- plan and settings ----------------------------------------------------------------------------------------------


def names(settings: Settings, launch: Launch, state: StateDir) -> list[str]:
    return [c.name for c in plan(settings, launch, state) if c.name != "web"]


def test_light_agents_share_a_process_unless_told_otherwise(state: StateDir) -> None:
    launch = Launch(ME, miners=2)
    assert names(Settings(), launch, state) == ["light", "validator", "projector", "miner-1", "miner-2"]
    (light, *_) = plan(Settings(), launch, state)
    assert light.agents == ("dispatcher", "auditor")
    for word in ('restart = "never"', "alone = true"):
        state.config.write_text(f"[agents.dispatcher]\n{word}\n")
        assert names(state.settings(), launch, state)[:3] == ["light", "dispatcher", "validator"]


def test_a_machine_that_joins_has_miners_only(state: StateDir) -> None:
    children = plan(Settings(miners=1), Launch(ME, "join", nats_url="nats://x:1", creds="c.json"), state)
    assert [c.name for c in children] == ["miner-1"]
    assert children[0].arguments[-2:] == ("--creds", "c.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[agents.minr]\nrestart = "never"\n', "agents.minr"),
        ('[agents.miner]\nrestart = "sometimes"\n', "sometimes"),
        ("[agents.miner]\nrestarts = 1\n", "restarts"),
        ("check_s = 0\n", "check_s"),
        ("silent_s = nan\n", "silent_s"),
        ("restart_limit = -1\n", "restart_limit"),
    ],
)
def test_a_wrong_key_is_named(state: StateDir, text: str, says: str) -> None:
    state.config.write_text(text)
    with pytest.raises(BadInput, match=says):
        state.settings()


def test_the_pages_come_back_where_they_were(state: StateDir) -> None:
    launch = Launch(ME)
    assert web_address(state, Settings(http="0.0.0.0:9000"), launch) == "0.0.0.0:9000"
    assert web_address(state, Settings(), Launch(ME, http="127.0.0.1:0")) == "127.0.0.1:0"
    (state.root / "web.json").write_text('{"url": "http://127.0.0.1:18421/", "link": "x"}')
    assert web_address(state, Settings(), launch) == "127.0.0.1:18421"
    assert web_address(state, Settings(), Launch(ME, http="127.0.0.1:0")) == "127.0.0.1:18421"


def test_last_words_are_the_end_of_what_was_printed(state: StateDir) -> None:
    assert last_words(state, "miner-1") == ""
    (state.logs / "miner-1.out").write_text("x" * 9000 + "\nTraceback\nMemoryError: no\n")
    assert last_words(state, "miner-1").endswith("Traceback | MemoryError: no")


# -- reports --------------------------------------------------------------------------------------------------------


def report(data: EventData, subject: str) -> bytes:
    return encode_event(make_event(data, id="i", source="x", subject=subject, time="2026-01-01T00:00:00Z"))


def test_a_joined_machine_reports_of_its_own_agents_only() -> None:
    data = AgentStarted("miner", "beta", 5, "0.1")
    event = read_report("telem.beta.watchdog.ops", report(data, "beta_miner-1"), 9)
    assert (event.subject, event.causationid, event.payload()) == ("beta_miner-1", "TELEM.9", data)
    for subject, said, of in (
        ("telem.beta.watchdog.ops", data, "alpha_miner-1"),
        ("telem.gamma.watchdog.ops", data, "beta_miner-1"),
        ("telem.beta.watchdog.ops", AgentStarted("validator", "beta", 5, "0.1"), "beta_validator"),
        ("telem.beta.watchdog.ops", KernelFlagged("l", "u", "d"), "beta_miner-1"),
    ):
        with pytest.raises(BadInput):
            read_report(subject, report(said, of), 9)
    with pytest.raises(BadInput):
        read_report("telem.beta.watchdog.ops", b"nonsense", 9)


def test_what_a_dead_watchdog_could_not_store_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "untold.jsonl"
    assert read_untold(path) == []
    told = report(AgentStarted("miner", "beta", 5, "0.1"), "beta_miner-1")
    path.write_bytes(told + b"\n" + told[:40])
    assert [e.subject for e in read_untold(path)] == ["beta_miner-1"]


def test_an_old_stop_with_a_status_is_still_read() -> None:
    old = msgspec.json.decode(b'{"kind":"miner","host":"a","pid":1,"exit":-9,"wanted":false}', type=AgentStopped)
    assert old == AgentStopped("miner", "a", 1, -9, False)
    assert AgentGaveUp.__doc__


# -- logs -----------------------------------------------------------------------------------------------------------


class Connection:
    """What `ship` needs of a client; `sent` are the lines."""

    def __init__(self) -> None:
        self.is_connected = True
        self.sent: list[tuple[str, LogLine]] = []
        self.fails = False

    async def publish(self, subject: str, data: bytes) -> None:
        if self.fails:
            raise OSError("gone")
        self.sent.append((subject, msgspec.json.decode(data, type=LogLine)))


class FakeBus:
    def __init__(self) -> None:
        self.nc = Connection()


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("sluice.x", logging.WARNING, __file__, 1, text, args, None)


async def test_lines_wait_for_the_bus_in_order_within_bounds_and_without_secrets() -> None:
    lines, bus = BusLog("alpha", "miner-1", ["hunter2", ""]), FakeBus()
    bus.nc.is_connected = False
    for i in range(KEPT_LINES + 5):
        lines.handle(record("line %d hunter2", i))
    await lines.ship(bus)  # type: ignore[arg-type]
    assert bus.nc.sent == []
    bus.nc.is_connected, bus.nc.fails = True, True
    await lines.ship(bus)  # type: ignore[arg-type]
    bus.nc.fails = False
    await lines.ship(bus)  # type: ignore[arg-type]
    assert [s for s, _ in bus.nc.sent] == ["log.alpha.miner-1"] * (KEPT_LINES + 1)
    said = [line.message for _, line in bus.nc.sent]
    assert said[:2] == ["sluice.x: line 0 …", "sluice.x: line 1 …"]
    assert "5 lines are missing" in said[-1]
    assert not any("hunter2" in s for s in said)


async def test_agents_in_one_process_have_logs_of_their_own(tmp_path: Path) -> None:
    handlers = [log_to_file(tmp_path, "a"), log_to_file(tmp_path, "b")]
    ships = {a: log_to_bus("alpha", a) for a in "ab"}
    log = logging.getLogger("sluice.test")

    async def agent(name: str) -> None:
        current_agent.set(name)
        await asyncio.to_thread(log.warning, "I am %s", name)

    try:
        await asyncio.gather(*(asyncio.create_task(agent(n)) for n in "ab"))
        log.warning("for all")
        bus = FakeBus()
        await ships["a"].ship(bus)  # type: ignore[arg-type]
        assert [line.message for _, line in bus.nc.sent] == ["sluice.test: I am a", "sluice.test: for all"]
        text = (tmp_path / "b.log").read_text()
        assert "I am b" in text
        assert "I am a" not in text
        assert "for all" in text
    finally:
        no_longer(*handlers, *ships.values())


def test_lines_are_chosen_by_agent_kind_or_host() -> None:
    line = LogLine("t", "INFO", "miner-2", "beta", "m")
    assert all(wanted(line, a) for a in ("", "miner", "miner-2", "beta", "beta.miner-2"))
    assert not any(wanted(line, a) for a in ("miner-1", "alpha", "validator", "alpha.miner-2"))
