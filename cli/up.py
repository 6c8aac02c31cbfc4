"""`sluice up` in the foreground: start, register the bundled data on an empty log, show progress, stop in good order."""

import asyncio
import contextlib
import logging
import signal
import time

from bus.campaigns import campaign_spec, request_campaign
from bus.client import Bus
from bus.presence import judged_state, read_presence
from bus.settings import StateDir
from cli import common
from cli.actions import register_dataset
from cli.commands.instance import best_line
from cli.run_file import take_lock
from cli.supervisor import Supervisor
from domain.errors import SluiceError
from market.bundled import bundled
from market.importer import import_file
from market.store import DatasetStore
from projections import files, queries, ranking

log = logging.getLogger("sluice.up")
SHOW_EVERY_S = 2.0


async def run_instance(args: common.Args) -> int:
    """Exit status 0 after Ctrl-C or `sluice down`."""
    state = StateDir(args.state)
    state.create()
    settings = state.settings()
    lock = take_lock(state)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(sig, stop.set)
    supervisor = Supervisor(state, settings, args.nats_port, args.miners, args.nats)
    say, started = _Say(args.json), False
    supervisor.on_note = say.note
    try:
        await supervisor.start()
        supervisor.start_agents()
        started = True
        say.ready(supervisor)
        bus = await Bus.connect(supervisor.credentials("admin"), "sluice up")
        tasks = [asyncio.create_task(supervisor.watch(stop)), asyncio.create_task(_show(state, bus, stop, say))]
        if not args.empty:
            await _first_steps(bus, state, supervisor.host, say)
        await _until(stop, tasks)
        say.note("stopping …")
        await bus.close()
    finally:
        at = time.monotonic()
        await supervisor.stop()
        if started:
            say.note(f"stopped in {time.monotonic() - at:.1f} s; nothing is lost, `sluice up` goes on from here")
        lock.close()
    return 0


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the signal to stop; a task that fails ends the instance with its error."""
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    waiting.cancel()
    for task in tasks:
        await task


async def _first_steps(bus: Bus, state: StateDir, host: str, say: "_Say") -> None:
    """On a log that knows no dataset: the bundled candles and a small campaign, so that there is something to see."""
    if await bus.last("EVENTS", "ev.data.dataset.*.imported") is not None:
        return
    for item in bundled():
        candles = await asyncio.to_thread(import_file, item.path, trusted=True)
        digest = await register_dataset(bus, DatasetStore(state.cache), candles, f"bundled {item.path.name}", host)
        say.note(f"registered {item.path.stem}: {candles.info.candles:,} real candles")
        spec = campaign_spec(
            digest, candles.info, units=8, replicas=2, seed=1, risk="MEDIUM", population=60, generations=20,
            candles=0, grammar="full", name="starter",
        )  # fmt: skip
        await request_campaign(bus, spec, "first start")
        say.note("opened the starter campaign: 8 units, each mined by two miners that must agree bit for bit")


async def _show(state: StateDir, bus: Bus, stop: asyncio.Event, say: "_Say") -> None:
    """A line whenever something has changed; figures come from the read models."""
    while not stop.is_set():
        with contextlib.suppress(SluiceError):
            miners = [p for p in await read_presence(bus) if p.kind == "miner"]
            ready = sum(judged_state(p) == "alive" for p in miners)
            if state.views.exists():
                con = files.open_reader(state.views)
                try:
                    units, best = queries.unit_counts(con), ranking.best(con)
                finally:
                    con.close()
                say.progress(units, best, ready)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SHOW_EVERY_S)


class _Say:
    """Plain lines, each once: readable in a terminal, in a log and through a pipe."""

    def __init__(self, json: bool) -> None:
        self._json = json
        self._last = ""

    def note(self, text: str) -> None:
        if self._json:
            common.print_line({"note": text})
        else:
            print(text, flush=True)

    def ready(self, supervisor: Supervisor) -> None:
        miners = sum(c.kind == "miner" for c in supervisor.children)
        if self._json:
            common.print_line({"ready": True, "nats": supervisor.server.url, "miners": miners})
        else:
            print(
                f"nats-server {supervisor.server.version} at {supervisor.server.url}; state in {supervisor.state.root}"
            )
            print(f"{miners} miners start; Ctrl-C stops everything", flush=True)

    def progress(self, units: dict[str, int], best: dict[str, object] | None, ready: int) -> None:
        counts = ", ".join(f"{count} {name}" for name, count in units.items() if count)
        text = f"{ready} miners, units: {counts or 'none yet'}"
        if best is not None:
            text += f"\n  {best_line(best)}"
        if self._json or text == self._last:
            return
        self._last = text
        print(time.strftime("%H:%M:%S ") + text, flush=True)
