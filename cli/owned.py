"""The watchdog as `sluice up` and `sluice join` own it: started, listened to, judged by its pulse, restarted, stopped."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bus.processes import Process, stop_all, this_process
from bus.run_file import read_run_file
from bus.settings import Settings, StateDir
from domain.errors import BadInput, SluiceError, Unreachable

log = logging.getLogger("sluice.up")
MAX_BACKOFF_S = 10.0
HOPELESS = 10
_ERRORS: dict[int, type[SluiceError]] = {2: BadInput, 3: Unreachable}


class Owned:
    """`start` returns when the instance is up, `keep` keeps a watchdog there, `end` leaves nothing running."""

    def __init__(self, state: StateDir, settings: Settings, on_note: Callable[[dict[str, Any]], None]) -> None:
        self.state, self.settings, self.on_note = state, settings, on_note
        self.ready: dict[str, Any] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._failed: SluiceError | None = None
        self._reader: asyncio.Task[None] | None = None
        self._pulse: tuple[bytes, float] = (b"", 0.0)
        self._turns: tuple[int, float] = (-1, 0.0)

    async def start(self) -> None:
        """SluiceError with the watchdog's own words when the instance cannot be brought up."""
        await self._launch()
        assert self._process is not None
        while not self.ready:
            if self._process.returncode is not None:
                await self._heard()
                raise self._failed or SluiceError(
                    f"the watchdog ended with status {self._process.returncode}; its log: {self.state.logs / 'watchdog.log'}"
                )
            await asyncio.sleep(0.03)

    async def _launch(self) -> None:
        self.ready, self._failed = {}, None
        out_path = self.state.logs / "watchdog.out"
        command = [sys.executable, "-m", "agents.watchdog", "--state", str(self.state.root), "--supervised"]
        with out_path.open("wb") as out:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=out,
                start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        now = time.monotonic()
        self._pulse, self._turns = (b"", now), (-1, now)
        self._reader = asyncio.create_task(self._listen(self._process))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                said = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.MsgspecError:
                log.debug("the watchdog says %r", line)
                continue
            if "failed" in said:
                self._failed = _ERRORS.get(said["status"], SluiceError)(said["failed"])
            elif "ready" in said:
                self.ready = said
            else:
                self.on_note(said)

    async def _heard(self) -> None:
        """All that an ended watchdog said."""
        if self._reader is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._reader), 1.0)

    async def keep(self, stop: asyncio.Event) -> None:
        """Until `stop`: a watchdog that ended or stands still is replaced; raises when it cannot come up any more."""
        failures = 0
        while not stop.is_set():
            assert self._process is not None
            why = self._stalled()
            if why and self._process.returncode is None:
                self.on_note({"note": f"the watchdog (process {self._process.pid}) is stalled: {why}; it is replaced"})
                self._process.kill()
                await self._process.wait()
            if self._process.returncode is not None:
                await self._heard()
                failures = failures + 1 if self._failed or not self.ready else 0
                if self._failed and failures > HOPELESS:
                    raise self._failed
                said = f": {self._failed}" if self._failed else f" with status {self._process.returncode}"
                self.on_note({"note": f"the watchdog ended{said}{self.state.full()}; starting it again"})
                await _idle(stop, min(MAX_BACKOFF_S, 0.2 * 2**failures))
                if not stop.is_set():
                    await self._launch()
            await _idle(stop, min(0.3, self.settings.check_s))

    def _stalled(self) -> str:
        """Why its pulse says that it stands still, "" when it does not."""
        now, found = time.monotonic(), b""
        with contextlib.suppress(FileNotFoundError):
            found = (self.state.root / "watchdog.beat").read_bytes()
        if found != self._pulse[0]:
            self._pulse = (found, now)
            with contextlib.suppress(msgspec.MsgspecError):
                turns = int(msgspec.json.decode(found)["turns"])
                if turns != self._turns[0]:
                    self._turns = (turns, now)
        s = self.settings
        silent, still = now - self._pulse[1], now - self._turns[1]
        if silent > (s.silent_s if self.ready else s.start_s):
            return f"no pulse for {silent:.0f} s"
        if still > s.start_s + s.stall_s:
            return f"its main loop stands still for {still:.0f} s"
        return ""

    async def end(self) -> None:
        """The watchdog stops everything in good order; what is left after that is ended by id and start."""
        p = self._process
        if p is not None and p.returncode is None:
            p.terminate()
            try:
                await asyncio.wait_for(p.wait(), self.settings.stop_s)
            except TimeoutError:
                log.warning("the watchdog did not stop within %g s and is killed", self.settings.stop_s)
                p.kill()
                await p.wait()
        if self._reader is not None:
            await self._heard()
            self._reader.cancel()
        await end_leftovers(self.state, 0.5)
        self.state.run_file.unlink(missing_ok=True)


async def _idle(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def end_leftovers(state: StateDir, timeout_s: float) -> list[str]:
    """End what run.json names and still runs: the watchdog first (it would start things again), the server last."""
    run = read_run_file(state)
    if run is None:
        return []
    me = this_process("me")
    known = [run.watchdog, *run.processes]
    found = [Process(p) for p in known if p.running() and (p.pid, p.start) != (me.pid, me.start)]
    for group in (
        [p for p in found if p.proc.name == "watchdog"],
        [p for p in found if p.proc.name not in ("watchdog", "nats-server")],
        [p for p in found if p.proc.name == "nats-server"],
    ):
        await stop_all(group, timeout_s)
    return [f"{p.proc.name} (process {p.pid})" for p in found]
