"""From one node to three as a person does it: interrupted, run again, and mining goes on where it was."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.campaigns import request_campaign
from bus.client import Bus
from bus.cluster import read_plan
from bus.events import CampaignFinished, ReplicaAnswered
from bus.server import free_port
from cli.actions import register_dataset
from market.store import DatasetStore
from tests.support.campaign import Fact, facts
from tests.support.cluster import NAMES, Nodes
from tests.support.instance import ROOT, until
from tests.support.market import small_market, spec_for
from tests.support.running import PATIENCE_S, Running, sluice

pytestmark = pytest.mark.slow
#: So many that they are still under way when the instance is told to go down, however late that is.
UNITS = 16


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(tmp_path / "state", "alpha", presence_ttl_s=15, lease_ttl_s=5, ack_wait_s=10, silent_s=30)
    try:
        yield running
    finally:
        await running.close()


async def connected(running: Running) -> Bus:
    async def ready() -> bool:
        return "miners start" in running.output().rpartition("stopped in")[2]

    await until("the instance is up", ready, PATIENCE_S)
    return await running.bus()


async def wait_for(bus: Bus, kind: type, campaign: str) -> list[Fact]:
    async def there() -> list[Fact]:
        log = await facts(bus)
        return log if any(isinstance(f.data, kind) and f.event.correlationid == campaign for f in log) else []

    return await until(f"a {kind.__name__}", there, PATIENCE_S)


async def grow_killed_in_the_middle(state: Path) -> None:
    command = [sys.executable, "-m", "cli", "cluster", "grow", "--state", str(state)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    while not (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).startswith(b"EVENTS"):
        assert process.returncode is None
    process.kill()
    await process.communicate()


async def test_one_node_grows_to_three_and_mining_goes_on(running: Running, tmp_path: Path) -> None:
    state = running.state.root
    running.start("up", "--nats-port", "0", "--miners", "2", "--empty")
    bus = await connected(running)
    candles = small_market()
    await register_dataset(bus, DatasetStore(running.state.cache), candles, "test", "alpha")
    campaign = await request_campaign(bus, spec_for(candles, UNITS, population=100, generations=900), "test")
    before = await wait_for(bus, ReplicaAnswered, campaign)
    await running.down()

    where = [f"--node={name}=127.0.0.1:{free_port()}:{free_port()}" for name in NAMES]
    out = tmp_path / "nodes"
    done = await asyncio.to_thread(sluice, state, "cluster", "config", *where, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert {p.stat().st_mode & 0o777 for p in out.glob("*/*.conf")} == {0o600}
    done = await asyncio.to_thread(sluice, state, "cluster", "grow")
    assert (done.returncode, "cluster serve" in done.stderr) == (3, True), done.stderr

    plan = read_plan(running.state)
    assert plan is not None
    nodes = Nodes(plan)
    try:
        nodes.start(setup=True)
        await nodes.answering()
        await grow_killed_in_the_middle(state)
        done = await asyncio.to_thread(sluice, state, "cluster", "grow")
        assert done.returncode == 0, done.stderr + nodes.words()
        assert "ended nats-server" in done.stdout
        assert "EVENTS: kept" in done.stdout
        assert "WORK: copied" in done.stdout
        assert "WORK: copied, 0 messages" not in done.stdout, "the campaign was not under way any more"

        # Nobody is let in at run time who may change a stream: the set-up configuration is another one.
        done = await asyncio.to_thread(sluice, state, "cluster", "status")
        assert done.returncode == 3, done.stdout
        nodes.stop()
        nodes.start()
        await nodes.answering()
        refused = await asyncio.to_thread(sluice, state, "up", "--nats-port", "0")
        assert refused.returncode == 2, refused.stderr
        running.start("up", "--miners", "2", "--empty")
        bus = await connected(running)
        log = await wait_for(bus, CampaignFinished, campaign)
        assert [(f.seq, f.event) for f in log[: len(before)]] == [(f.seq, f.event) for f in before]
        (end,) = [f.data for f in log if isinstance(f.data, CampaignFinished)]
        assert end.validated == UNITS

        done = await asyncio.to_thread(sluice, state, "cluster", "status", "--json")
        assert done.returncode == 0, done.stdout
        found = json.loads(done.stdout)
        assert {len(s["replicas"]) for s in found["streams"]} == {3}
        nodes.kill("c")
        done = await asyncio.to_thread(sluice, state, "cluster", "status", "--json")
        assert done.returncode == 1, done.stdout
        assert [n["name"] for n in json.loads(done.stdout)["nodes"] if n["reachable"]] == ["a", "b"]
        done = await asyncio.to_thread(sluice, state, "replay", "--digest", "--json")
        assert json.loads(done.stdout)["equal"], done.stdout
        # The nodes' log was made later than the one that was sealed: the event that says so is all it takes.
        done = await asyncio.to_thread(sluice, state, "audit", "verify", "--json")
        assert (done.returncode, json.loads(done.stdout)["problems"]) == (0, []), done.stdout
        done = await asyncio.to_thread(sluice, state, "status", "--json")
        assert "halted" not in done.stdout
        await running.down()
    except AssertionError as e:
        raise AssertionError(f"{e}\n{running.words()}\n{nodes.words()}") from e
    finally:
        await running.close()
        nodes.close()
