"""Whatever is killed or stopped comes back, exactly once, and what was mined has the digest of a calm run."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from bus import events as ev
from domain.errors import Unreachable
from projections import files, queries
from tests.support.campaign import Mine, facts, undisturbed
from tests.support.instance import until
from tests.support.running import PATIENCE_S, Running

#: Nobody is stopped where this is set: who gets no processor for seconds is not taken for it.
NO_STALLS = {"silent_s": 60.0}
LIGHT_ONES = ("dispatcher", "validator", "projector", "watchdog", "web")


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Running]:
    """An instance without miners."""
    instance = Running(tmp_path / "state", "alpha", **NO_STALLS)
    try:
        instance.start()
        await instance.alive(*LIGHT_ONES)
        yield instance
    finally:
        await instance.close()


def processes(miners: int = 0) -> list[str]:
    """What must run, once each."""
    miners_ = [f"miner-{i + 1}" for i in range(miners)]
    return sorted(["up", "light", "nats-server", "projector", "validator", "watchdog", "web", *miners_])


async def exactly_one_of_each(instance: Running, miners: int = 0) -> None:
    """By the command lines of this machine, and by run.json."""

    async def look() -> bool:
        run = instance.run()
        named = sorted(["up", "watchdog", *(p.name for p in run.processes)]) if run is not None else []
        return instance.scan() == named == processes(miners)

    try:
        await until("exactly one of each", look, PATIENCE_S)
    except AssertionError as e:
        raise AssertionError(f"{e}: {instance.scan()}, {instance.run()}\n{instance.words()}") from e


async def test_a_killed_watchdog_is_followed_by_one_that_takes_the_running_agents_over(small: Running) -> None:
    names = ("nats-server", "light", "validator", "projector")
    before = {n: small.pid(n) for n in names}
    old = small.signal("watchdog", signal.SIGKILL)
    await small.replaced("watchdog", old)
    killed = small.signal("projector", signal.SIGKILL)
    await small.replaced("projector", killed)
    await exactly_one_of_each(small)
    assert {n: small.pid(n) for n in names if n != "projector"} == {n: p for n, p in before.items() if n != "projector"}
    await small.down()


@pytest.mark.slow
async def test_every_process_killed_and_stopped_in_turn_while_campaigns_run(tmp_path: Path) -> None:
    instance = Running(tmp_path / "state", "alpha")
    try:
        instance.start("up", "--nats-port", "0", "--miners", "2", "--empty")
        await instance.alive(*LIGHT_ONES, "miner-1", "miner-2")
        mine = await Mine.on(instance)  # type: ignore[arg-type]
        spec = mine.spec(6, population=30, generations=8)
        calm = await undisturbed(mine.candles, spec)
        ended, digests = asyncio.Event(), []

        async def mine_on() -> None:
            while not ended.is_set():
                digests.append(await campaign(mine))

        mining = asyncio.create_task(mine_on())
        took = {}
        for sig in (signal.SIGKILL, signal.SIGSTOP):
            for name in ("light", "validator", "projector", "web", "miner-1", "nats-server", "watchdog"):
                old = instance.signal(name, sig)
                # A killed process is seen at the next look; a stopped one after silent_s, and a moment to stop by itself.
                took[name, sig.name] = await instance.replaced(name, old)
                # All of them, not only the new one: who is stopped before its watchdog has heard it waits for start_s.
                await instance.alive(*LIGHT_ONES, "miner-1", "miner-2")
                await exactly_one_of_each(instance, miners=2)
                assert not mining.done(), mining.exception()
        ended.set()
        await asyncio.wait_for(mining, 2 * PATIENCE_S)
        print(took, len(digests))
        assert set(digests) == {calm}
        await restarts_are_recorded(instance, mine)
        await instance.down()
    finally:
        await instance.close()


async def campaign(mine: Mine) -> str:
    """The digest of one campaign, read through whatever outages there are."""
    id = await mine.request(6, population=30, generations=8)
    while True:
        try:
            return (await mine.finished(id, 2 * PATIENCE_S)).digest
        except Unreachable:
            await asyncio.sleep(0.5)


async def restarts_are_recorded(instance: Running, mine: Mine) -> None:
    """Two unwanted ends of each, one of them a stall; `sluice status` says so."""
    log = [f.data for f in await facts(mine.bus)]
    for agent in ("dispatcher", "validator", "projector", "web", "nats-server", "miner-1"):
        kind = agent.removesuffix("-1")
        ends = [d for d in log if isinstance(d, ev.AgentStopped) and d.kind == kind and not d.wanted]
        stalls = [d for d in log if isinstance(d, ev.AgentStalled) and d.kind == kind]
        assert len(ends) >= 2, (kind, ends)
        assert len(stalls) >= 1, (kind, stalls)
        if kind != "nats-server":
            assert (await instance.agents())[agent]["restarts"] >= 2


@pytest.mark.slow
async def test_who_ends_too_often_is_left_alone_and_tried_again_after_the_cooldown(tmp_path: Path) -> None:
    never = '[agents.validator]\nrestart = "never"\n'
    limits = {"restart_limit": 1, "cooldown_s": 4.0, "restart_window_s": 600.0}
    instance = Running(tmp_path / "state", "alpha", never, **limits, **NO_STALLS)
    try:
        instance.start()
        await instance.alive(*LIGHT_ONES)
        old = instance.signal("projector", signal.SIGKILL)
        await instance.replaced("projector", old)
        instance.signal("projector", signal.SIGKILL)
        instance.signal("validator", signal.SIGKILL)

        async def said() -> bool:
            text = instance.output()
            return "left alone for 4 s" in text and 'stays so (restart = "never")' in text

        await until("given up", said, PATIENCE_S)
        await instance.alive("projector")
        assert instance.pid("validator") == 0
        log = [f for f in await facts(await instance.bus()) if f.event.type.startswith("ops.agent")]
        gave_up = [f.data for f in log if isinstance(f.data, ev.AgentGaveUp)]
        assert {(d.kind, d.deaths, d.retry_s) for d in gave_up} == {("projector", 2, 4.0), ("validator", 1, 0.0)}
        (left,) = [f for f in log if isinstance(f.data, ev.AgentGaveUp) and f.data.kind == "projector"]
        again = [
            f for f in log if isinstance(f.data, ev.AgentStarted) and f.data.kind == "projector" and f.seq > left.seq
        ]
        (waited,) = [seconds_between(left.event.time, f.event.time) for f in again]
        assert waited >= 3.9, "it was left alone for the cooldown, by the watchdog's own clock"
        validators = [f for f in log if isinstance(f.data, ev.AgentStarted) and f.data.kind == "validator"]
        assert len(validators) == 1, "never means never"

        async def shown() -> bool:
            con = files.open_reader(instance.state.views)
            try:
                (row,) = queries.agents(con, kind="validator")
            finally:
                con.close()
            state = (await instance.agents()).get("validator", {}).get("state")
            return (row["crashes"], row["state"]) == (1, "gave up") and state in ("dead", "stalled")

        await until("the pages' read model and `sluice status` say so", shown, PATIENCE_S)
    finally:
        await instance.close()


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


@pytest.mark.slow
async def test_when_all_owners_die_at_once_nothing_runs_for_ever(small: Running) -> None:
    assert small.up is not None
    small.signal("watchdog", signal.SIGSTOP)  # so that it cannot stop anything in good order
    small.up.kill()
    small.up.wait(PATIENCE_S)
    small.signal("watchdog", signal.SIGKILL)
    await small.nothing_left()
    small.start()
    await small.alive(*LIGHT_ONES)
    await small.down()


@pytest.mark.slow
async def test_a_killed_command_leaves_a_watchdog_that_stops_everything(small: Running) -> None:
    assert small.up is not None
    small.up.kill()
    small.up.wait(PATIENCE_S)
    await small.nothing_left()
