"""Three real servers on loopback whose routes go through TCP proxies that a test can silence."""

import asyncio
import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bus.accounts import write_credentials
from bus.client import Bus, Credentials
from bus.cluster import NODES, SERVE, SET_UP, Node, Plan, new_plan, write_node
from bus.foreign import look
from bus.server import find_server, free_port
from bus.setup import create_streams
from bus.streams import in_memory, stream_specs
from bus.transfer import wait_current
from domain.errors import SluiceError
from tests.support.instance import PATIENCE_S, Instance, until

NAMES = ("a", "b", "c")


class Routes:
    """A proxy for each ordered pair of nodes, in a thread of its own. Silence is that of a cut cable: nothing is refused or
    closed, nothing arrives; what was under way comes when the cable is whole again."""

    def __init__(self, plan: Plan) -> None:
        self.via = {n.name: {m.name: f"127.0.0.1:{free_port()}" for m in plan.nodes} for n in plan.nodes}
        self._silent: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._heal = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="routes")
        self._thread.start()
        ports = {n.name: n.route_port for n in plan.nodes}
        for start, ends in self.via.items():
            for end, address in ends.items():
                self._do(self._listen(start, end, int(address.rpartition(":")[2]), ports[end]))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _listen(self, start: str, end: str, port: int, to: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            there = None
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", to)
            if there is None:
                writer.close()
                return
            self._writers.append(there[1])
            ways = [self._carry(reader, there[1], {start, end}), self._carry(there[0], writer, {start, end})]
            await asyncio.gather(*ways)

        self._servers.append(await asyncio.start_server(serve, "127.0.0.1", port))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: set[str]) -> None:
        try:
            while data := await reader.read(256 * 1024):
                while ends & self._silent:
                    await self._heal.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return  # either end is gone, and with it the route
        finally:
            writer.close()

    def isolate(self, node: str) -> None:
        async def cut() -> None:
            self._silent.add(node)
            self._heal.clear()

        self._do(cut())

    def heal(self) -> None:
        async def whole() -> None:
            self._silent.clear()
            self._heal.set()

        self._do(whole())

    def close(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in self._writers:
                writer.close()
            await asyncio.gather(*(w.wait_closed() for w in self._writers), return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


def plan_here(out: Path) -> Plan:
    """Three nodes on this machine, on free ports."""
    return new_plan(tuple(Node(n, "127.0.0.1", free_port(), free_port()) for n in NAMES), None, out)


class Nodes:
    """The processes of a cluster whose configurations lie in `plan.out`. Always `close()` it."""

    def __init__(self, plan: Plan, inside: Callable[[str], tuple[str, ...]] = lambda name: ()) -> None:
        """`inside`: what a command begins with that is to run where the node of that name does."""
        self.plan, self._inside = plan, inside
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def folder(self, name: str) -> Path:
        return Path(self.plan.out) / name

    def start(self, *names: str, setup: bool = False) -> None:
        for name in names or NAMES:
            with (self.folder(name) / "log").open("ab") as out:
                self.processes[name] = subprocess.Popen(
                    [*self._inside(name), find_server(), "-c", SET_UP if setup else SERVE],
                    cwd=self.folder(name), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                )  # fmt: skip

    async def answering(self, *names: str) -> None:
        async def there() -> bool:
            return all([await look(n.url, 1.0) is not None for n in self.plan.nodes if n.name in (names or NAMES)])

        try:
            await until("the nodes answer", there)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.words()}") from e

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(PATIENCE_S)

    def stop(self, *names: str) -> None:
        """SIGTERM, and wait until they are gone."""
        for name in names or NAMES:
            self.processes[name].terminate()
        for name in names or NAMES:
            self.processes[name].wait(PATIENCE_S)

    def pause(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def words(self) -> str:
        """The end of every node's log, for a failed assertion."""
        parts = []
        for name in NAMES:
            path = self.folder(name) / "log"
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            parts.append(f"-- node {name}\n" + "\n".join(lines[-25:]))
        return "\n".join(parts)

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait(PATIENCE_S)


class ClusterInstance(Instance):
    """As an instance on one server, on three: `nodes` are disturbed by the test, `routes` cut by it."""

    def __init__(self, root: Path, hosts: tuple[str, ...] = ("alpha",), **settings: float) -> None:
        super().__init__(root, hosts, **settings)
        self.plan = plan_here(root / "nodes")
        self.routes = Routes(self.plan)
        self.nodes = Nodes(self.plan)

    async def start(self) -> "ClusterInstance":
        """The streams are made with three copies in the set-up configuration, then all serve."""
        self.write()
        self.nodes.start(setup=True)
        await self.nodes.answering()
        setup = await Bus.connect(Credentials(self.plan.url, "setup", "setup", self.accounts.setup), "setup")
        await self._made(setup, in_memory_too=False)
        await setup.close()
        self.nodes.stop()
        await self.serve()
        return self

    def write(self) -> None:
        for node in self.plan.nodes:
            write_node(self.nodes.folder(node.name), self.plan, node, self.accounts, self.routes.via[node.name])

    async def serve(self) -> None:
        self.nodes.start()
        await self.nodes.answering()
        write_credentials(self.state.creds, self.accounts, self.plan.url)
        watchdog = await self.bus("watchdog")
        await self._made(watchdog, in_memory_too=True)

    def specs(self):  # type: ignore[no-untyped-def]
        return stream_specs(self.settings.presence_ttl_s, self.settings.lease_ttl_s, NODES)

    async def _made(self, bus: Bus, *, in_memory_too: bool) -> None:
        specs = tuple(s for s in self.specs() if in_memory_too == in_memory(s))

        async def made() -> bool:
            try:
                await create_streams(bus, specs)
            except SluiceError:
                return False  # they have not met yet
            return True

        try:
            await until("three copies of each stream", made, every_s=0.3)
            await wait_current(bus, [s.config.name or "" for s in specs], NODES, PATIENCE_S)
        except (AssertionError, SluiceError) as e:
            raise AssertionError(f"{e}\n{self.nodes.words()}") from e

    async def current(self) -> None:
        """All copies of all streams are as far as their leaders; one of the buckets may fail to catch up (ADR 0019)."""
        bus = await self.bus("watchdog")
        try:
            names = [s.config.name or "" for s in self.specs() if not in_memory(s)]
            await wait_current(bus, names, NODES, PATIENCE_S)
        except SluiceError as e:
            raise AssertionError(str(e)) from e
        finally:
            await bus.nc.close()

    async def leader(self, stream: str) -> str:
        """The node that leads the stream now, asked of all nodes by the watchdog's connection."""
        bus = await self.bus("watchdog")

        async def found() -> str:
            info = await bus.stream_info(stream)
            return str(((info or {}).get("cluster") or {}).get("leader") or "")

        try:
            return await until(f"{stream} has a leader", found)
        finally:
            await bus.nc.close()

    async def close(self) -> None:
        for name in NAMES:
            if name in self.nodes.processes:
                self.nodes.resume(name)
        self.routes.heal()
        await super().close()
        self.nodes.close()
        self.routes.close()
