"""`sluice cluster grow`: the log of a single server onto three nodes, step by step, each checked, fit to be run again.

The nodes run their set-up configuration meanwhile and the instance is stopped: at run time nobody may make or change a
stream. The single server's own store is only read, so that whatever is cut off can be begun anew.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from bus.accounts import load_accounts, read_credentials, write_credentials
from bus.client import Bus, Credentials
from bus.cluster import NODES, Node, Plan, write_plan
from bus.envelope import now_rfc3339
from bus.foreign import look, too_old
from bus.processes import this_process
from bus.run_file import RunFile, write_run_file
from bus.seals.common import last_common
from bus.seals.reading import read_records
from bus.server import Server, free_port
from bus.settings import StateDir
from bus.setup import create_stream
from bus.streams import StreamSpec, difference, in_memory, stream_config, stream_specs
from bus.transfer import all_current, content, copy_stream, remove_stream, update_stream, wait_current
from cli.epochs import open_epoch
from domain.errors import SluiceError, Unreachable

#: For everything that has to happen on the nodes: forming, copying, catching up.
PATIENCE_S = 120.0


class Moved(NamedTuple):
    """What became of a stream: `copied`, `kept` (it was there already) or `made` (nothing to copy)."""

    name: str
    how: str
    messages: int
    last_seq: int


class Grow:
    """One run. `say` takes a line for people whenever a step is done."""

    def __init__(self, state: StateDir, plan: Plan, say: Callable[[str], None]) -> None:
        self.state, self.plan, self.say = state, plan, say
        self.settings = state.settings()
        self.accounts = load_accounts(state.root / "accounts.json", [self.settings.host_name()])
        self.specs = stream_specs(self.settings.presence_ttl_s, self.settings.lease_ttl_s, NODES)

    async def run(self) -> list[Moved]:
        """Unreachable says which step is missing; what was done stays done."""
        await asyncio.gather(*(self._reached(n) for n in self.plan.nodes))
        if await self._serving():
            self.say("the nodes serve, the log lies on all three and is current: nothing to do")
            return []
        for node in self.plan.nodes:
            await self._set_up(node)
        self.say(f"{NODES} nodes answer, in their set-up configuration")
        target = await Bus.connect(self._as_setup(self.plan.url), "cluster grow", patience_s=PATIENCE_S)
        try:
            moved = await self._move(target)
            names = [m.name for m in moved]
            await wait_current(target, names, NODES, PATIENCE_S)
            self.say(f"all {NODES} copies of {len(names)} streams are current")
            if not self.plan.grown:
                await self._open_epoch(target)
            await self._drop_buckets(target)
        finally:
            await target.close()
        write_credentials(self.state.creds, self.accounts, self.plan.url)
        if not self.plan.grown:
            write_plan(self.state, msgspec.structs.replace(self.plan, grown=now_rfc3339()))
        return moved

    # -- the nodes ------------------------------------------------------------------------------------------------

    def _as_setup(self, url: str) -> Credentials:
        return Credentials(url, "setup", "setup", self.accounts.setup)

    async def _reached(self, node: Node) -> None:
        found = await look(node.url)
        if found is None:
            raise Unreachable(
                f"node {node.name} does not answer at {node.url}; start it there: "
                f"sluice cluster serve {self.plan.folder(node)} --setup"
            )
        if too_old(found.version):
            raise Unreachable(f"node {node.name} is nats-server {found.version}, 2.12 or newer is needed")
        if found.name != node.name:
            raise Unreachable(f"at {node.url} answers {found.name or 'a server without a name'}, not node {node.name}")

    async def _serving(self) -> bool:
        """Whether this was done before, and the nodes run as they should from then on."""
        path = self.state.creds / "admin.json"
        if not self.plan.grown or not path.exists():
            return False
        creds = msgspec.structs.replace(read_credentials(path), url=self.plan.url)
        try:
            bus = await Bus.connect(creds, "cluster grow", timeout_s=5.0, patience_s=20.0)
        except Unreachable:
            return False
        try:
            for spec in self.specs:
                info = await bus.stream_info(spec.config.name or "")
                if info is None and in_memory(spec):
                    continue  # the next start makes it
                if info is None or difference(spec, stream_config(info)) or not all_current(info, NODES):
                    return False
            return True
        finally:
            await bus.close()

    async def _set_up(self, node: Node) -> None:
        try:
            bus = await Bus.connect(self._as_setup(node.url), "cluster grow", timeout_s=10.0)
        except Unreachable as e:
            raise Unreachable(
                f"node {node.name} does not let the set-up user in; stop it and start it with: "
                f"sluice cluster serve {self.plan.folder(node)} --setup"
            ) from e
        await bus.close()

    # -- the streams ----------------------------------------------------------------------------------------------

    async def _move(self, target: Bus) -> list[Moved]:
        disk = [s for s in self.specs if not in_memory(s)]
        if self.plan.grown or not any(self.state.nats_store.iterdir()):
            return [await self._stream(None, target, s) for s in disk]
        settings = msgspec.structs.replace(self.settings, nats_listen="127.0.0.1")
        server = Server(self.state, self.accounts, settings, free_port())
        await server.start(setup=True, timeout_s=PATIENCE_S)
        try:
            # Should we be ended by force, whoever comes next ends it before anything else opens its store.
            me, proc = this_process("supervisor"), server.process
            assert proc is not None
            write_run_file(self.state, RunFile(me, me, "up", processes=(proc.proc,)))
            source = await Bus.connect(self._as_setup(server.url), "cluster grow")
            try:
                return [await self._stream(source, target, s) for s in disk]
            finally:
                await source.close()
        finally:
            await server.stop()
            self.state.run_file.unlink(missing_ok=True)

    async def _stream(self, source: Bus | None, target: Bus, spec: StreamSpec) -> Moved:
        """The stream on the nodes, with three copies: what it holds on the single server, or as it is there already."""
        name = spec.config.name or ""
        has = await source.stream_info(name) if source is not None else None
        if source is not None and has is not None:
            moved = await self._copied(source, target, name)
        else:
            made = await target.stream_info(name) is None
            if made:
                await self._persistently(lambda: create_stream(target, spec))
            last, messages, _ = await target.stream_state(name)
            moved = Moved(name, "made" if made else "kept", messages, last)
        info = await target.stream_info(name)
        if info is not None and info["config"].get("num_replicas") != NODES:
            await update_stream(target, info["config"] | {"num_replicas": NODES})
        self.say(f"{name}: {moved.how}, {moved.messages:,} messages up to {moved.last_seq:,}")
        return moved

    async def _copied(self, source: Bus, target: Bus, name: str) -> Moved:
        wanted = await content(source, name)
        if await self._same(target, name, wanted.messages, wanted.last) and await content(target, name) == wanted:
            return Moved(name, "kept", wanted.messages, wanted.last)

        async def anew() -> None:
            await remove_stream(target, name)
            await copy_stream(source, target, name, NODES)

        await self._persistently(anew)
        if await content(target, name) != wanted:
            raise SluiceError(
                f"{name} on the nodes is not what it is here; the single server's log is whole, run it again"
            )
        return Moved(name, "copied", wanted.messages, wanted.last)

    async def _same(self, target: Bus, name: str, messages: int, last: int) -> bool:
        """Whether what an earlier run left may be the whole of it."""
        there = await target.stream_info(name)
        return there is not None and (there["state"]["messages"], there["state"]["last_seq"]) == (messages, last)

    async def _open_epoch(self, target: Bus) -> None:
        """The nodes' log was made now, though it holds every event as it was: who compares it with seals must know.

        Cut off after this, the next run finds another log than the single server's, and copies it anew.
        """
        last = await target.last_seq("EVENTS")
        if last:
            common = await last_common(read_records(target, last), ())
            opened = await open_epoch(target, common, "moved onto three nodes", "sluice cluster grow")
            self.say(f"EVENTS: epoch {opened.epoch} begins after event {last:,}, which all epochs share")

    async def _persistently(self, work: Callable[[], Any]) -> None:
        """Nodes that have only just met cannot take three copies yet: for a while that is no failure."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                await work()
                return
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(1.0)

    async def _drop_buckets(self, target: Bus) -> None:
        """What lives in memory is made by the watchdog; one that it made with other settings goes."""
        for spec in self.specs:
            name = spec.config.name or ""
            info = await target.stream_info(name) if in_memory(spec) else None
            if info is not None and difference(spec, stream_config(info)):
                await remove_stream(target, name)
                self.say(f"{name}: removed, the next start makes it with the settings of now")
