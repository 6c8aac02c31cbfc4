"""Why: every strategy of a real campaign comes down to dataset, seed, kernel version, miners and replicas."""

import asyncio
import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

import msgspec
import pytest

from bus import events as ev
from bus.bounded import skim
from bus.processes import this_process
from bus.run_file import RunFile, write_run_file
from kernels.version import lane
from projections.lineage.resolve import resolve
from projections.lineage.walk import Lineage, Why
from projections.replay import replay
from tests.support.campaign import Fact, Mine, check_causes, facts
from tests.support.instance import PATIENCE_S, ROOT


@pytest.fixture
async def mined(mine: Mine) -> Mine:
    """Two campaigns: in one a miner is killed and goes on from its checkpoint."""
    mine.instance.miners(2, pace_ms=60)
    mine.instance.hold()
    campaign = await mine.request(1, generations=30)
    await mine.killed_and_resumed(campaign, pace_ms=10)
    await mine.mine(3, seed=2)
    for f in [f for f in await facts(mine.bus) if isinstance(f.data, ev.CampaignFinished)]:
        await mine.seen(f.event.subject, ev.CampaignJudged)
    return mine


def of(log: list[Fact], kind: type[Any]) -> list[Fact]:
    return [f for f in log if isinstance(f.data, kind)]


async def why(mine: Mine, lineage: Lineage, wanted: str) -> Why:
    return await lineage.why(*await resolve(lineage, mine.bus, None, wanted))


@pytest.mark.slow
async def test_all_strategies_and_events_of_real_campaigns_resolve(mined: Mine) -> None:
    log = await facts(mined.bus)
    check_causes(log)
    units = {f.event.subject: f.data for f in of(log, ev.UnitValidated)}
    seeds = {f.event.subject: str(f.data.seed) for f in of(log, ev.UnitOpened)}
    replicas = {
        (f.event.subject, f.data.digest, f.data.owner): str(f.data.replica) for f in of(log, ev.ReplicaAnswered) if f.data.counts
    }  # fmt: skip
    (dataset,) = {f.data.hash for f in of(log, ev.DatasetImported)}
    lineage = Lineage(mined.bus, partial(skim, mined.bus, "EVENTS"))
    strategies = of(log, ev.StrategyValidated)
    assert len(strategies) >= 5
    for f in strategies:
        found = await why(mined, lineage, f.event.subject)
        unit = units[f.data.unit]
        assert (found.kind, found.entity, found.start) == ("strategy", f.event.subject, f.seq)
        assert found.missing == ()
        assert found.rests_on == {
            "dataset": (dataset,),
            "seed": (seeds[f.data.unit],),
            "lane": (lane(),),
            "miner": tuple(sorted(unit.owners)),
            "replica": tuple(sorted(replicas[f.data.unit, unit.digest, o] for o in unit.owners)),
        }
        roots = [n.type for n in found.nodes if not n.causes]
        assert sorted(set(roots)) == ["cmd.campaign.requested", "data.dataset.imported"]
        assert all(cause < n.seq for n in found.nodes for cause in n.causes)
    # Whatever else is in the log: no chain breaks off, and a claim that went on from a checkpoint names the one before.
    whole = Lineage(mined.bus, partial(skim, mined.bus, "EVENTS"), most=0)
    for f in log:
        assert (await why(mined, whole, str(f.seq))).missing == (), f
    resumed = next(f for f in of(log, ev.ReplicaClaimed) if f.data.generation)
    assert any(n.type == "mining.unit.replica_claimed" and n.seq != resumed.seq
               for n in (await why(mined, whole, str(resumed.seq))).nodes)  # fmt: skip
    for unit_id in units:
        assert (await why(mined, lineage, unit_id)).rests_on["seed"] == (seeds[unit_id],)
    for f in of(log, ev.CampaignFinished):
        judged = await why(mined, whole, f.event.subject)
        assert {n.entity for n in judged.nodes if n.type == "mining.unit.validated"} == {
            u for u, d in units.items() if d.campaign == f.event.subject
        }
    await the_command_says_the_same(mined, log)


async def the_command_says_the_same(mined: Mine, log: list[Fact]) -> None:
    """Also while the read models are behind, or nowhere."""
    instance = mined.instance
    me = this_process("up")
    write_run_file(instance.state, RunFile(me, me, "up", instance.server.url))

    async def sluice(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli", "why", *args, "--state", str(instance.state.root)]
        return await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S, env=dict(os.environ)
        )  # type: ignore[return-value]

    f = of(log, ev.StrategyValidated)[-1]
    in_process = await why(mined, Lineage(mined.bus, partial(skim, mined.bus, "EVENTS")), f.event.subject)
    without = await sluice(f.event.subject[:16], "--json")
    assert without.returncode == 0, without.stderr
    assert json.loads(without.stdout)["nodes"] == json.loads(msgspec.json.encode(in_process.nodes))
    assert "read models cannot be read" in without.stderr
    (await replay(mined.bus, instance.state.views, until_seq=3)).close()
    behind = await sluice(f.event.subject[:16])
    assert behind.returncode == 0
    assert "stand at event 3 of" in behind.stderr
    rests = in_process.rests_on
    for part in (
        f"Why strategy {f.event.subject}",
        "kernel version",
        *rests["miner"],
        *rests["dataset"],
    ):
        assert part in behind.stdout
    by_event = await sluice(f.event.id, "--json")
    assert json.loads(by_event.stdout)["start"] == f.seq
    dot = (await sluice(f.event.subject, "--dot")).stdout
    assert dot.startswith("digraph why {")
    assert f"e{f.seq} -> e" in dot
    unknown = await sluice("ffffffff-ffff")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1), unknown.stderr
    assert "nothing in the log has the id 'ffffffff-ffff'" in unknown.stderr
    assert (await sluice("12")).returncode == 0
    assert (await sluice("abc")).returncode == 2
    assert (await sluice("999999999")).returncode == 1
    assert (await sluice("12", "--dot", "--json")).returncode == 2
