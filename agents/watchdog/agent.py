"""The watchdog: takes over or starts what this host runs, judges it again and again, replaces what crashed or stalled."""

import asyncio
import logging
import os
import signal
import time

from agents.watchdog import children as kids
from agents.watchdog.broker import Broker
from agents.watchdog.children import Child
from agents.watchdog.decide import Death, Judged, Restart, after_death, follow, judge
from agents.watchdog.notes import Notes
from agents.watchdog.observe import Answers, Observer, answers
from agents.watchdog.record import Recorder, Reports
from bus.client import Bus
from bus.logs import log_to_bus, no_longer
from bus.processes import Process, stop_all, this_process
from bus.run_file import Launch, RunFile, read_run_file, write_run_file
from bus.runtime import VERSION, Context
from bus.server import Server
from bus.settings import StateDir
from domain.errors import SluiceError

log = logging.getLogger("sluice.watchdog")
SERVER = "nats-server"
TICK_S = 0.3
BOUND_EVERY_S = 30.0


class Watchdog:
    """One a state directory. `run` ends when `stop` is set; then nothing of it runs any more."""

    def __init__(self, state: StateDir, launch: Launch, stop: asyncio.Event, notes: Notes) -> None:
        self.state, self.launch, self.stop, self.notes = state, launch, stop, notes
        self.settings = state.settings()
        self.before = read_run_file(state)
        self.children = kids.plan(self.settings, launch, state)
        self.server = Child(SERVER, SERVER, ())
        self.broker = Broker(state, self.settings, launch, self.before) if launch.mode == "up" else None
        self.web = Answers(self._web_answers, self.settings.check_s)
        self.health = Answers(self._server_answers, self.settings.check_s)
        self.bounded_at = time.monotonic()
        self.told: dict[str, str] = {}
        self.unsaved = False

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Raises SluiceError when the instance cannot be brought up."""
        self.write_run_file()
        try:
            if self.broker is not None:
                await self.broker.start(self._server_started)
        except SluiceError:
            await self._stop_processes()
            self.state.run_file.unlink(missing_ok=True)
            raise
        self.context = await self._connect()
        untold = self.state.root / "untold.jsonl"
        self.recorder = Recorder(self.context.bus, self.context.host, self.launch.mode, untold, self.context.now)
        names = [a for c in self.children for a in c.agents]
        self.observer = Observer(self.context.bus, self.context.host, names, self.settings.check_s)
        await self._take_over()
        runs = [self.observer.run(), self.recorder.run(), self._beats(), self.lines.keep_shipping(self.context.bus)]
        if self.broker is not None:
            runs += [Reports(self.context.bus).run(), self.web.run()]
            runs += [self.health.run()] if isinstance(self.broker.server, Server) else []
        tasks = [asyncio.create_task(r) for r in runs]
        miners = sum(c.kind == "miner" for c in self.children)
        server = self.broker.server if self.broker else None
        self.notes.ready(self.context.bus.credentials.url, server.version if server else "", miners)
        try:
            await self._watch(tasks)
        finally:
            await self._end(tasks)

    async def _connect(self) -> Context:
        creds = self.broker.credentials() if self.broker else kids.own_credentials(self.launch)
        host = creds.host or self.settings.host_name()
        bus = await Bus.connect(creds, f"{host}.watchdog", timeout_s=10.0, patience_s=2.0)
        self.lines = log_to_bus(host, "watchdog", [creds.seed])
        log.info("watchdog runs on %s as process %d, version %s", host, os.getpid(), VERSION)
        return Context(bus, self.settings, self.state, "watchdog", "watchdog", host, stop=self.stop, state="alive")

    async def _beats(self) -> None:
        while True:
            await self.context.beat()
            await asyncio.sleep(self.settings.heartbeat_s)

    async def _watch(self, tasks: list[asyncio.Task[None]]) -> None:
        """Until told to stop; a helper task that fails ends the watchdog, whoever owns it starts it again."""
        while not self.stop.is_set():
            await self._check_server()
            if self.unsaved:
                self.write_run_file()
            for child in self.children:
                await self._check(child)
            self.context.step()
            self._tell_states()
            for task in tasks:
                if task.done():
                    task.result()
            await self.context.idle(min(TICK_S, self.settings.check_s))

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Agents first, then the server: an agent that stops may still have something to say."""
        if not self.stop.is_set():
            # We failed, our children did not: the next watchdog takes them over.
            for task in tasks:
                task.cancel()
            await self._leave()
            return
        await stop_all([c.process for c in self.children if c.process], max(0.5, self.settings.stop_s - 1.5))
        for child in self.children:
            if child.process is not None and child.start_at is None:
                self._tell_stopped(child, wanted=True)
        if self.broker is None or self.broker.server.running():
            await self.recorder.flush(1.0)
        for task in tasks:
            task.cancel()
        self.context.state = "stopped"
        await self.context.beat()
        await self._leave()
        await self._stop_processes()
        self.state.run_file.unlink(missing_ok=True)

    async def _leave(self) -> None:
        """The last words go out first: they say what was wrong."""
        no_longer(self.lines)
        await self.lines.ship(self.context.bus)
        await self.context.bus.close()

    async def _stop_processes(self) -> None:
        left = [Process(p) for p in self.before.processes if p.running()] if self.before else []
        await stop_all([p for p in left if p.proc.name != SERVER], 1.0)
        if self.broker is not None:
            await self.broker.server.stop(2.0)

    # -- what runs ------------------------------------------------------------------------------------------------

    def _server_started(self) -> None:
        assert self.broker is not None
        if self.broker.process is not None:
            kids.take(self.server, self.broker.process, time.monotonic())
        self.health.forgive()
        self.write_run_file()

    async def _take_over(self) -> None:
        """Children of an earlier watchdog that still run stay; what it had and we do not want is ended."""
        before = {p.name: p for p in self.before.processes} if self.before else {}
        surplus = [Process(p) for n, p in before.items() if n != SERVER and not any(c.name == n for c in self.children)]
        await stop_all(surplus, self.settings.stop_s)
        for child in [self.server, *self.children]:
            deaths = self.before.deaths.get(child.name, ()) if self.before else ()
            child.deaths = [Death(at, work) for at, work in deaths]
            proc = before.get(child.name)
            if proc is None or child is self.server:
                continue
            if proc.running() and child.kind != "web":
                kids.take(child, Process(proc), time.monotonic())
                # Once more, should the one before us have died before it could: what is stored is not stored twice.
                self._tell_started(child)
                log.info("took %s over (process %d)", child.name, proc.pid)
            else:
                await stop_all([Process(proc)], self.settings.stop_s)
                for agent in child.told_of:
                    self.recorder.stopped(agent, proc.pid, proc.start, None, wanted=False)
        self._tell_started(self.server)
        for child in self.children:
            if child.process is None:
                self._start(child)

    def _start(self, child: Child) -> None:
        extra: tuple[str, ...] = ()
        if child.kind == "web":
            extra = ("--http", kids.web_address(self.state, self.settings, self.launch))
            self.web.forgive()
        kids.start(child, self.state, time.monotonic(), extra)
        self.write_run_file()
        self._tell_started(child)

    def write_run_file(self) -> None:
        """A disk that is full for a while must not end who could say so: what is not written now is at the next look."""
        known = {p.name: p for p in self.before.processes} if self.before else {}
        known |= {c.name: c.process.proc for c in [self.server, *self.children] if c.process}
        server = self.broker.server if self.broker else None
        monitor = f"http://127.0.0.1:{server.monitor_port}" if server and server.monitor_port else ""
        deaths = {c.name: tuple((d.at, d.work) for d in c.deaths) for c in [self.server, *self.children] if c.deaths}
        run = RunFile(
            self.launch.supervisor, this_process("watchdog"), self.launch.mode, server.url if server else self.launch.nats_url,
            server.version if server else "", monitor, tuple(p for p in known.values() if p.running()), deaths,
        )  # fmt: skip
        try:
            write_run_file(self.state, run)
            self.unsaved = False
        except OSError as e:
            if not self.unsaved:
                log.error("run.json cannot be written, trying again: %s%s", e, self.state.full())
            self.unsaved = True

    # -- judging --------------------------------------------------------------------------------------------------

    def _server_answers(self) -> bool:
        server = self.broker.server if self.broker else None
        return isinstance(server, Server) and server.healthy()

    def _web_answers(self) -> bool:
        url = kids.web_url(self.state)
        return bool(url) and answers(f"{url.rstrip('/')}/health/live")

    async def _check_server(self) -> None:
        child = self.server
        if self.broker is None or self.broker.process is None:
            return
        if not child.running():
            if child.start_at is None:
                await self._ended(child)
            if child.start_at is not None and time.monotonic() >= child.start_at:
                await self._restart_server()
        elif self.health.silent_s() > self.settings.silent_s:
            await self._replace(child, f"no answer for {self.health.silent_s():.0f} s")

    async def _restart_server(self) -> None:
        assert self.broker is not None
        try:
            await self.broker.restart(self.settings.start_s)
            self._server_started()
            self._tell_started(self.server)
            await self.broker.make_buckets(self.context.bus)
        except SluiceError as e:
            self.notes.note(f"{SERVER} does not come back: {e}")
            if not self.server.running():
                self.server.process = self.broker.process
                await self._ended(self.server)

    async def _check(self, child: Child) -> None:
        if child.start_at is not None:
            if time.monotonic() >= child.start_at and self._server_is_there():
                self._start(child)
            return
        if not child.running():
            await self._ended(child)
            return
        child.judged = self._state(child)
        if child.kind == "web" and child.judged.state == "alive":
            child.judged = self._web_state(child)
        if child.judged.replace:
            await self._replace(child, child.judged.reason)
        if time.monotonic() - self.bounded_at > BOUND_EVERY_S:
            self.bounded_at = time.monotonic()
            for c in self.children:
                kids.bound_output(self.state, c)

    def _server_is_there(self) -> bool:
        return self.broker is None or self.broker.server.running()

    def _state(self, child: Child) -> Judged:
        """The worst of the agents in the process. While the bus is away they are what they were."""
        now, since = time.monotonic(), self.observer.reachable_since
        if since is None:
            return child.judged
        found = []
        for agent in child.agents:
            presence = self.observer.presences.get(agent)
            before = child.tracks[agent].started
            child.tracks[agent] = follow(child.tracks[agent], presence, now, self.observer.ends)
            self._note_inner_restart(child, agent, before)
            found.append(judge(child.tracks[agent], self.observer.ends, now, since, self.settings))
        worst = ("stalled", "dead", "starting", "stopped", "alive")
        return min(found, key=lambda j: worst.index(j.state))

    def _note_inner_restart(self, child: Child, agent: str, before: str) -> None:
        """An agent that shares its process was started again in it."""
        started = child.tracks[agent].started
        if before and started != before and child.process is not None:
            self.recorder.stopped(agent, child.process.pid, before, 1, wanted=False)
            self.recorder.started(agent, child.process.pid, started)

    def _web_state(self, child: Child) -> Judged:
        """Beyond its heartbeats it has to answer, from when it said that it is ready."""
        silent = min(self.web.silent_s(), time.monotonic() - child.tracks["web"].ready_at)
        if silent <= self.settings.silent_s:
            return Judged("alive")
        return Judged("stalled", f"no answer over HTTP for {silent:.0f} s", replace=True)

    async def _replace(self, child: Child, reason: str) -> None:
        """Ask it to stop, wait, kill (which ends a stopped process too), and go on as after any other end."""
        assert child.process is not None
        never = self.settings.agent(child.name).restart == "never"
        if not child.told_stalled:
            child.told_stalled = True
            ends = "" if never else "; it is replaced"
            self.notes.note(f"{child.name} (process {child.process.pid}) is stalled: {reason}{ends}")
            for agent in child.told_of:
                self.recorder.stalled(agent, child.process.pid, child.process.proc.start, reason)
        if never:
            return
        await stop_all([child.process], min(1.0, self.settings.stop_s / 2))
        await self._ended(child)

    async def _ended(self, child: Child) -> None:
        """Record the end, and decide what follows."""
        assert child.process is not None
        exit, pid = child.process.exit, child.process.pid
        child.judged = Judged("dead")
        self._tell_stopped(child, wanted=False)
        work = next((t.work for t in child.tracks.values() if t.work), "")
        poison = await self._poisoned(work)
        child.deaths = [d for d in child.deaths if not await self._poisoned(d.work)]
        child.deaths += [] if poison else [Death(time.time(), work)]
        follows = after_death(child.deaths, time.time(), self.settings, self.settings.agent(child.name).restart)
        how = "ended" if exit is None else f"ended with status {exit}"
        words = kids.last_words(self.state, child.name)
        if words and exit not in (0, None, -signal.SIGTERM, -signal.SIGKILL):
            log.error("%s said last: %s", child.name, words)
        if isinstance(follows, Restart):
            child.start_at = time.monotonic() + follows.delay_s
            because = f" at work on {work}, which is to blame" if poison else ""
            self.notes.note(f"{child.name} (process {pid}) {how}{because}; starting it again")
        else:
            self._gave_up(child, how, follows.deaths, follows.retry_s)
        self.write_run_file()

    async def _poisoned(self, work: str) -> bool:
        """A death on a replica that brings everybody down is the replica's. Without the bus it cannot be told: not yet."""
        return bool(work) and self.observer.reachable_since is not None and await self.observer.poisoned(work)

    def _gave_up(self, child: Child, how: str, deaths: int, retry_s: float) -> None:
        assert child.process is not None
        child.start_at = time.monotonic() + retry_s if retry_s else float("inf")
        where = f"its log: {self.state.logs / child.name}.log"
        if retry_s:
            child.deaths = []
            window = self.settings.restart_window_s
            self.notes.note(
                f"{child.name} {how}, {deaths} times within {window:g} s: left alone for {retry_s:g} s; {where}"
            )
        else:
            self.notes.note(f'{child.name} {how} and stays so (restart = "never"); {where}')
        for agent in child.told_of:
            self.recorder.gave_up(
                agent, child.process.pid, child.process.proc.start, deaths, self.settings.restart_window_s, retry_s
            )

    def _tell_stopped(self, child: Child, *, wanted: bool) -> None:
        assert child.process is not None
        if not child.told_stopped:
            child.told_stopped = True
            for agent in child.told_of:
                self.recorder.stopped(
                    agent, child.process.pid, child.process.proc.start, child.process.exit, wanted=wanted
                )

    def _tell_started(self, child: Child) -> None:
        if child.process is not None:
            for agent in child.told_of:
                self.recorder.started(agent, child.process.pid, child.process.proc.start)

    def _tell_states(self) -> None:
        states: dict[str, str] = {c.name: c.judged.state for c in self.children}
        done = sum(p.done for p in self.observer.presences.values() if p.kind == "miner")
        if states | {"done": str(done)} != self.told:
            self.told = states | {"done": str(done)}
            self.notes.states(states, done)
