"""`sluice up` and `sluice join` in the foreground: own the watchdog, say what happens, stop all in good order."""

import asyncio
import contextlib
import logging
import signal
import time
from typing import Any

import msgspec

from bus.accounts import read_credentials, write_private
from bus.campaigns import campaign_spec, request_campaign
from bus.client import Bus, Credentials
from bus.cluster import grown_url
from bus.presence import judged_state, read_presence
from bus.processes import this_process
from bus.run_file import Launch, Mode, take_lock, write_launch
from bus.server import check_port
from bus.settings import StateDir, http_address
from bus.subjects import host_token
from cli import common
from cli.actions import register_dataset
from cli.commands.instance import best_line
from cli.owned import Owned, end_leftovers
from domain.errors import BadInput, SluiceError
from market.bundled import bundled
from market.store import DatasetStore
from projections import files, queries, ranking

log = logging.getLogger("sluice.up")
SHOW_EVERY_S = 2.0
#: The fewest with which a find can pass at 5 %: (1 + 0) / (1 + 19). They run behind everything else and take a minute.
STARTER_NULLS = 19


async def run_instance(args: common.Args) -> int:
    """Exit status 0 after Ctrl-C or `sluice down`."""
    if args.nats_port is not None and (args.nats or grown_url(StateDir(args.state))):
        raise BadInput("--nats-port is for a server of our own; the log of this instance is to be on others")
    launch = Launch(
        this_process("supervisor"), "up", args.nats_port, args.nats or "", args.miners, getattr(args, "http", "") or ""
    )
    return await _own(args, launch)


async def run_joined(args: common.Args) -> int:
    """Miners of this machine for an instance elsewhere; needs the URL and, where the server has users, credentials."""
    state = StateDir(args.state)
    state.create()
    creds = read_credentials(args.creds) if args.creds else Credentials("", "miner", host=state.settings().host_name())
    creds = msgspec.structs.replace(creds, url=args.url, host=host_token(creds.host or state.settings().host_name()))
    if creds.ca:
        creds = msgspec.structs.replace(creds, url=creds.url.replace("nats://", "tls://"))
    path = state.creds / f"miner-{creds.host}.json"
    write_private(path, msgspec.json.encode(creds))
    launch = Launch(this_process("supervisor"), "join", nats_url=creds.url, miners=args.miners, creds=str(path))
    return await _own(args, launch)


async def _own(args: common.Args, launch: Launch) -> int:
    state = StateDir(args.state)
    state.create()
    settings = state.settings()
    lock = take_lock(state)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(sig, stop.set)
    say = _Say(args.json, state, launch.mode)
    for name in await end_leftovers(state, settings.stop_s):
        say.note(f"ended {name}, left over from a run that was cut off")
    if launch.mode == "up" and (wanted := launch.http or settings.http):
        host, port = http_address(wanted)
        check_port(port, host, option="--http", key="http")
    state.run_file.unlink(missing_ok=True)
    write_launch(state, launch)
    owned = Owned(state, settings, say.heard)
    try:
        await _unless(stop, owned.start())
        if not stop.is_set():
            say.ready(owned.ready)
            await _serve(args, state, owned, stop, say)
        say.note("stopping …")
    finally:
        at = time.monotonic()
        up = bool(owned.ready)
        await owned.end()
        if up:
            again = "`sluice up`" if launch.mode == "up" else "`sluice join`"
            say.note(f"stopped in {time.monotonic() - at:.1f} s; nothing is lost, {again} goes on from here")
        lock.close()
    return 0


async def _unless(stop: asyncio.Event, work: Any) -> None:
    """Do `work` to its end or its error, or until we are told to stop."""
    task, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        task.result()
    task.cancel()


async def _serve(args: common.Args, state: StateDir, owned: Owned, stop: asyncio.Event, say: "_Say") -> None:
    tasks = [asyncio.create_task(owned.keep(stop)), asyncio.create_task(_link(state, stop, say))]
    bus = None
    if say.mode == "up":
        bus = await Bus.connect(read_credentials(state.creds / "admin.json"), "sluice up")
        tasks.append(asyncio.create_task(_show(state, bus, stop, say)))
    try:
        if bus is not None and not args.empty:
            await _unless(stop, _first_steps(bus, state, state.settings().host_name(), say))
        await _until(stop, tasks)
    finally:
        stop.set()
        if bus is not None:
            await bus.close()


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the signal to stop; a task that fails ends the instance with its error."""
    waiting = asyncio.create_task(stop.wait())
    running: set[asyncio.Task[Any]] = {waiting, *tasks}
    while not stop.is_set():
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    waiting.cancel()
    for task in tasks:
        await task


async def _first_steps(bus: Bus, state: StateDir, host: str, say: "_Say") -> None:
    """On a log that knows no dataset: the bundled candles and a small campaign, so that there is something to see."""
    if await bus.last("EVENTS", "ev.data.dataset.*.imported") is not None:
        return
    from market.importer import import_file  # half a second of polars, needed on the first start only

    for item in bundled():
        candles = await asyncio.to_thread(import_file, item.path, trusted=True)
        digest = await register_dataset(bus, DatasetStore(state.cache), candles, f"bundled {item.path.name}", host)
        say.note(f"registered {item.path.stem}: {candles.info.candles:,} real candles")
        spec = campaign_spec(
            digest, candles.info, units=8, replicas=2, seed=1, risk="MEDIUM", population=60, generations=20,
            candles=0, grammar="full", name="starter", nulls=STARTER_NULLS,
        )  # fmt: skip
        await request_campaign(bus, spec, "first start")
        say.note("opened the starter campaign: 8 units, each mined by two miners that must agree bit for bit")
        say.note(
            f"behind them, the same search on {STARTER_NULLS} series without a message: is what was found better than luck?"
        )


async def _link(state: StateDir, stop: asyncio.Event, say: "_Say") -> None:
    """One line when the pages are there, and again when they move. A used link is followed by another: web.json has it."""
    path, shown = state.root / "web.json", ""
    before = path.stat().st_mtime_ns if path.exists() else 0
    while not stop.is_set():
        if path.exists() and path.stat().st_mtime_ns != before:
            with contextlib.suppress(OSError, msgspec.MsgspecError, KeyError, TypeError):
                found = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
                if found["url"] != shown:
                    shown = found["url"]
                    say.link(found["link"])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.3)


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

    def __init__(self, json: bool, state: StateDir, mode: Mode) -> None:
        self._json, self._state, self.mode = json, state, mode
        self._last = ""

    def heard(self, said: dict[str, Any]) -> None:
        """What the watchdog says."""
        if "note" in said:
            self.note(said["note"])
        elif "states" in said and self.mode == "join":
            alive = sum(s == "alive" for s in said["states"].values())
            self._changed(f"{alive} of {len(said['states'])} miners ready, {said['done']} replicas answered")

    def note(self, text: str) -> None:
        if self._json:
            common.print_line({"note": text})
        else:
            print(text, flush=True)

    def link(self, link: str) -> None:
        if self._json:
            common.print_line({"link": link})
        else:
            print(f"Open {link}", flush=True)

    def ready(self, ready: dict[str, Any]) -> None:
        if self._json:
            common.print_line({"ready": True, "nats": ready["nats"], "miners": ready["miners"]})
            return
        where = f"nats-server {ready['version']} at" if ready["version"] else "joined"
        print(f"{where} {ready['nats']}; state in {self._state.root}")
        one = ready["miners"] == 1
        print(f"{ready['miners']} miner{' starts' if one else 's start'}; Ctrl-C stops everything", flush=True)

    def progress(self, units: dict[str, int], best: dict[str, object] | None, ready: int) -> None:
        counts = ", ".join(f"{count} {name}" for name, count in units.items() if count)
        text = f"{ready} miner{'' if ready == 1 else 's'}, units: {counts or 'none yet'}"
        if best is not None:
            text += f"\n  {best_line(best)}"
        self._changed(text)

    def _changed(self, text: str) -> None:
        if self._json or text == self._last:
            return
        self._last = text
        print(time.strftime("%H:%M:%S ") + text, flush=True)
