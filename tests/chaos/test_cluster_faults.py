"""Three real servers: the leader killed, a rolling restart, a stopped leader, a partition, while miners mine and writers race."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus import events as ev
from tests.support.campaign import Mine, undisturbed
from tests.support.cluster import NAMES, ClusterInstance
from tests.support.instance import PATIENCE_S, ROOT, until
from tests.support.namespaces import CANNOT
from tests.support.racers import Racers

pytestmark = [
    pytest.mark.slow,
    # What nats-py opened to a node that never said a word it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"),
]
MEDIUM = {"population": 60, "generations": 30}
UNITS = 3
PACE_MS = 20
#: An election takes seconds: what should outlive it has the intervals of a real instance.
SETTINGS = {"presence_ttl_s": 20.0, "lease_ttl_s": 5.0, "ack_wait_s": 10.0}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ClusterInstance]:
    cluster = ClusterInstance(tmp_path / "state", **SETTINGS)
    try:
        yield await cluster.start()
    finally:
        await cluster.close()


class Disturbed:
    """Each disturbance comes in the middle of a campaign of its own, which ends as if nothing had happened."""

    def __init__(self, cluster: ClusterInstance, mine: Mine, racers: Racers, digest: str) -> None:
        self.cluster, self.mine, self.racers, self.digest = cluster, mine, racers, digest
        self.nodes = cluster.nodes

    async def _begin(self) -> tuple[str, str]:
        """A campaign that is under way, and the node that leads the log."""
        campaign = await self.mine.request(UNITS, **MEDIUM)
        await self.mine.seen(campaign, ev.ReplicaAnswered)
        return campaign, await self.cluster.leader("EVENTS")

    async def _goes_on(self, campaign: str) -> None:
        decided = self.racers.decided
        end = await self.mine.finished(campaign)
        assert (end.validated, end.digest) == (UNITS, self.digest)
        await self.mine.check_log(campaign)

        async def more() -> bool:
            self.racers.healthy()
            return self.racers.decided > decided + 3

        await until("races are decided", more)
        self.cluster.assert_all_alive()

    async def leader_killed(self) -> None:
        campaign, leader = await self._begin()
        self.nodes.kill(leader)
        await self._goes_on(campaign)
        self.nodes.start(leader)

    async def rolling_restart(self) -> None:
        campaign, _ = await self._begin()
        for name in NAMES:
            self.nodes.stop(name)
            self.nodes.start(name)
            await self.nodes.answering(name)
            await self.cluster.current()
        await self._goes_on(campaign)

    async def leader_stopped(self) -> None:
        """Stopped and continued, it believes for a moment that it still leads."""
        campaign, leader = await self._begin()
        self.nodes.pause(leader)
        await self._goes_on(campaign)
        self.nodes.resume(leader)

    async def leader_cut_off(self) -> None:
        """It stays connected to those who were connected to it, and knows nothing any more."""
        campaign, leader = await self._begin()
        self.cluster.routes.isolate(leader)
        await self._goes_on(campaign)
        self.cluster.routes.heal()


async def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(cluster: ClusterInstance) -> None:
    cluster.judges()
    mine = await Mine.on(cluster)
    cluster.miners(2, pace_ms=PACE_MS)
    digest = await undisturbed(mine.candles, mine.spec(UNITS, **MEDIUM))
    racers = Racers([await cluster.bus("admin") for _ in range(3)])
    racers.start()
    d = Disturbed(cluster, mine, racers, digest)
    try:
        for disturbance in (d.leader_killed, d.rolling_restart, d.leader_stopped, d.leader_cut_off):
            await disturbance()
            await cluster.current()
        await asyncio.wait_for(racers.finish(), PATIENCE_S)
    except AssertionError as e:
        raise AssertionError(f"{e}\n{cluster.nodes.words()}") from e


async def test_the_leaders_cable_is_pulled(tmp_path: Path) -> None:
    """A partition of the network itself, clients included; only where namespaces can be made (Linux, as root)."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None or shutil.which("ip") is None:
        pytest.skip("no unshare, nsenter and ip here")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces need rights that we lack")
    command = ["unshare", "-n", sys.executable, "-m", "tests.support.namespaces", str(tmp_path / "state")]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 4 * PATIENCE_S)
    if process.returncode == CANNOT:
        pytest.skip(out.decode().strip())
    assert process.returncode == 0, out.decode()
