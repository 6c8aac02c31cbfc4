"""`unshare -n python -m tests.support.namespaces DIR`: three nodes in network namespaces, and the cable of one pulled.

The namespace that this runs in is the switch and the clients' machine; nothing of it touches the network of the machine.
Exit status 77 with a word where this kernel cannot do that.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from bus.accounts import write_credentials
from bus.cluster import Node, new_plan, write_node
from tests.support.cluster import NAMES, ClusterInstance, Nodes
from tests.support.instance import PATIENCE_S, until
from tests.support.racers import Racers

CANNOT = 77
NET = "10.255.77"


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


class Cables:
    """A switch, and for each node a namespace with a cable to it."""

    def __init__(self) -> None:
        self.holders: dict[str, subprocess.Popen[bytes]] = {}

    def lay(self) -> None:
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "addr", "add", f"{NET}.254/24", "dev", "switch")
        run("ip", "link", "set", "switch", "up")
        for i, name in enumerate(NAMES, 1):
            # Holds the namespace as long as our end of its input is open.
            holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self.holders[name] = holder
            run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", f"of-{name}")
            self._moved(name, holder.pid)
            run("ip", "link", "set", f"to-{name}", "master", "switch")
            run("ip", "link", "set", f"to-{name}", "up")
            for words in (("link", "set", "lo", "up"), ("addr", "add", f"{NET}.{i}/24", "dev", f"of-{name}"),
                          ("link", "set", f"of-{name}", "up")):  # fmt: skip
                run(*self.inside(name), "ip", *words)

    def _moved(self, name: str, pid: int) -> None:
        """Into the namespace of that process, once it has one that is not ours."""
        ours = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{pid}/ns/net").readlink() == ours:
            pass
        run("ip", "link", "set", f"of-{name}", "netns", str(pid))

    def inside(self, name: str) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.holders[name].pid), "-n")

    def pull(self, name: str) -> None:
        run("ip", "link", "set", f"to-{name}", "down")

    def plug(self, name: str) -> None:
        run("ip", "link", "set", f"to-{name}", "up")

    def close(self) -> None:
        for holder in self.holders.values():
            holder.communicate()


class Apart(ClusterInstance):
    """The nodes on addresses of their own, without proxies between them."""

    def __init__(self, root: Path, cables: Cables) -> None:
        super().__init__(root, presence_ttl_s=20.0, lease_ttl_s=5.0)
        nodes = tuple(Node(n, f"{NET}.{i}", 4222, 6222) for i, n in enumerate(NAMES, 1))
        self.plan = new_plan(nodes, None, root / "nodes")
        self.nodes = Nodes(self.plan, cables.inside)

    def write(self) -> None:
        for node in self.plan.nodes:
            write_node(self.nodes.folder(node.name), self.plan, node, self.accounts)
        write_credentials(self.state.creds, self.accounts, self.plan.url)


async def scenario(root: Path, cables: Cables) -> None:
    cluster = Apart(root, cables)
    try:
        await cluster.start()
        racers = Racers([await cluster.bus("admin") for _ in range(3)])
        racers.start()

        async def decided(count: int) -> None:
            async def more() -> bool:
                racers.healthy()
                return racers.decided > count

            await until("races are decided", more)

        await decided(5)
        leader = await cluster.leader("EVENTS")
        cables.pull(leader)
        await decided(racers.decided + 20)
        assert await cluster.leader("EVENTS") != leader
        cables.plug(leader)
        await cluster.current()
        await decided(racers.decided + 5)
        await asyncio.wait_for(racers.finish(), PATIENCE_S)
        print(f"{len(racers.won)} races decided, {len(racers.appended)} appended")
    except AssertionError as e:
        raise AssertionError(f"{e}\n{cluster.nodes.words()}") from e
    finally:
        await cluster.close()


def main() -> int:
    cables = Cables()
    try:
        try:
            cables.lay()
        except (subprocess.CalledProcessError, OSError) as e:
            print(f"no network namespaces here: {getattr(e, 'stderr', '') or e}")
            return CANNOT
        asyncio.run(scenario(Path(sys.argv[1]), cables))
    finally:
        cables.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
