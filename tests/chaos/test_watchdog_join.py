"""Another machine joins with one command: its miners count as another owner, and its log is read in the first place."""

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bus import events as ev
from tests.support.campaign import Mine, facts
from tests.support.instance import ROOT, until
from tests.support.running import PATIENCE_S, Running, sluice

pytestmark = pytest.mark.slow
#: Nobody is stopped here: who gets no processor for seconds is neither gone nor taken for stopped.
CALM = {"silent_s": 60.0, "presence_ttl_s": 60.0}


async def test_a_second_host_joins_validates_and_is_heard(tmp_path: Path) -> None:
    first = Running(tmp_path / "first", "alpha", "tls = true\n", **CALM)
    second = Running(tmp_path / "second", "elsewhere", **CALM)
    followed = tmp_path / "logs.jsonl"
    follower: subprocess.Popen[bytes] | None = None
    try:
        first.start("up", "--nats-port", "0", "--miners", "1", "--empty")
        await first.alive("dispatcher", "validator", "projector", "miner-1")
        creds = tmp_path / "beta.json"
        before = first.pid("nats-server")
        made = sluice(first.state.root, "creds", "add", "miner", "beta", "--out", str(creds), "--json")
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout) == {"host": "beta", "file": str(creds), "active": True}
        assert stat.S_IMODE(creds.stat().st_mode) == 0o600
        assert first.pid("nats-server") == before
        with followed.open("wb") as out:
            command = [sys.executable, "-m", "cli", "logs", "-f", "--json", "--state", str(first.state.root)]
            follower = subprocess.Popen(command, stdout=out, cwd=ROOT)
        run = first.run()
        assert run is not None
        second.start("join", run.nats_url, "--miners", "1", "--creds", str(creds))
        mine = await Mine.on(first)  # type: ignore[arg-type]

        async def both() -> bool:
            done = await asyncio.to_thread(sluice, first.state.root, "workers", "--json")
            found = json.loads(done.stdout) if done.returncode == 0 else []
            return {w["host"] for w in found if w["state"] == "alive"} == {"alpha", "beta"}

        await until("workers of two hosts", both, PATIENCE_S, every_s=0.5)
        campaign, end = await mine.mine(4)
        assert end.validated == 4
        verdicts = [f.data for f in await mine.of(campaign, ev.UnitValidated)]
        assert {(v.distinct, v.owners) for v in verdicts} == {("host", ("alpha", "beta"))}  # type: ignore[attr-defined]

        def heard() -> set[str]:
            whole = followed.read_text().rpartition("\n")[0]
            lines = [json.loads(line) for line in whole.splitlines()]
            return {f"{line['host']}.{line['agent']}" for line in lines}

        async def hears_both() -> bool:
            return {"alpha.validator", "alpha.watchdog", "beta.miner-1", "beta.watchdog"} <= heard()

        killed = second.signal("miner-1", 9)
        await until("the joined miner's restart is an event", lambda: restarted(mine), PATIENCE_S)
        await second.replaced("miner-1", killed)
        first.signal("validator", 9)
        await until("log lines of both hosts", hears_both, PATIENCE_S)
        follower.kill()
        follower.wait(PATIENCE_S)
        shown = sluice(first.state.root, "logs", "beta")
        assert "beta.miner-1" in shown.stdout
        assert "miner-1 (process" in shown.stdout, "what the watchdog of the machine that joined says of its miner"
        assert "alpha" not in shown.stdout

        async def exactly_one_of_each() -> bool:
            return second.scan() == ["join", "miner-1", "watchdog"]

        await until("exactly one of each on the machine that joined", exactly_one_of_each, PATIENCE_S)
        await second.down()
        gone = sluice(first.state.root, "creds", "revoke", "miner", "beta", "--json")
        assert json.loads(gone.stdout) == {"host": "beta", "active": True}
        listed = sluice(first.state.root, "creds", "list", "--json")
        assert {"miner-alpha", "admin"} <= {u["user"] for u in json.loads(listed.stdout)} - {"miner-beta"}
        again = sluice(second.state.root, "join", run.nats_url, "--miners", "1", "--creds", str(creds))
        assert (again.returncode, again.stderr.count("\n")) == (3, 1), again.stderr
        assert "refuses the credentials of miner-beta; they were revoked" in again.stderr
        await first.down()
    finally:
        if follower is not None:
            follower.kill()
            follower.wait(PATIENCE_S)
        await second.close()
        await first.close()


async def restarted(mine: Mine) -> bool:
    """Reported by the machine that joined, stored in its name by the first one's watchdog, once."""
    told = [f for f in await facts(mine.bus) if f.event.subject == "beta_miner-1"]
    kinds = [type(f.data) for f in told]
    whole = [ev.AgentStarted, ev.AgentStopped, ev.AgentStarted]
    assert kinds == whole[: len(kinds)]
    return len(kinds) == 3
