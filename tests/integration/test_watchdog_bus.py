"""What the watchdog reads and writes on a real server: claims of poison, facts once, reports of other machines, logs."""

import asyncio
from pathlib import Path

import msgspec

from agents.watchdog.observe import Observer
from agents.watchdog.record import Recorder, Reports
from bus import events as ev
from bus.envelope import now_rfc3339
from bus.messages import Claim, LogLine
from bus.subjects import claim as claim_subject
from tests.support.campaign import facts, stored_in
from tests.support.instance import Instance, until


async def claimed(instance: Instance, attempts: int, *, poisoned: bool = False) -> None:
    bus = await instance.bus("miner-alpha")
    claim = Claim("c", "camp", "unit", 0, "alpha", "1", 0, attempts, poisoned=poisoned)
    await bus.publish(claim_subject("unit", 0, "alpha", "1"), msgspec.json.encode(claim))


async def test_a_replica_that_brings_everybody_down_is_to_blame(instance: Instance) -> None:
    observer = Observer(await instance.bus("watchdog"), "alpha", [], 0.1)
    await claimed(instance, 1)
    assert not await observer.poisoned("unit.0")
    assert not await observer.poisoned("other.0")
    await claimed(instance, 3)
    assert await observer.poisoned("unit.0")


async def test_the_watchdog_of_a_joined_machine_sees_its_own_agents(instance: Instance) -> None:
    miner = instance.agent("miner", 1, "beta")
    observer = Observer(await instance.bus("miner-beta"), "beta", ["miner-1", "miner-2"], 0.1)

    async def beats() -> bool:
        await observer.look()
        return "miner-1" in observer.presences

    await until("a heartbeat", beats)
    assert observer.presences["miner-1"].pid == miner.process.pid
    assert set(observer.presences) == {"miner-1"}


async def told(instance: Instance) -> list[tuple[str, str]]:
    log = await facts(await instance.bus("admin"))
    return [(f.event.subject, f.event.type.rpartition(".")[2]) for f in log if f.event.type.startswith("ops.agent")]


async def test_a_fact_is_stored_once_however_often_it_is_told(instance: Instance, tmp_path: Path) -> None:
    bus, untold = await instance.bus("watchdog"), tmp_path / "untold.jsonl"
    for _ in range(2):
        recorder = Recorder(bus, "alpha", "up", untold, now_rfc3339)
        for pid in (1, 2):
            recorder.started("miner-1", pid, f"mark{pid}")
            recorder.stopped("miner-1", pid, f"mark{pid}", None, wanted=False)
        running = asyncio.create_task(recorder.run())
        await recorder.flush(60.0)
        running.cancel()
    assert await told(instance) == [("alpha_miner-1", "started"), ("alpha_miner-1", "stopped")] * 2
    assert not untold.exists()


async def test_a_joined_machine_reports_and_the_first_one_records(instance: Instance, tmp_path: Path) -> None:
    beta = Recorder(await instance.bus("miner-beta"), "beta", "join", tmp_path / "untold.jsonl", now_rfc3339)
    beta.started("miner-1", 5, "mark")
    beta.stopped("miner-1", 5, "mark", -9, wanted=False)
    bus = await instance.bus("watchdog")
    # Twice: a first watchdog that starts again reads all reports again.
    tasks = [asyncio.create_task(beta.run()), asyncio.create_task(Reports(bus).run())]
    await until("recorded", lambda: two(instance))
    tasks.append(asyncio.create_task(Reports(bus).run()))
    beta.started("miner-1", 6, "mark2")

    async def three() -> bool:
        return len(await told(instance)) == 3

    await until("recorded", three)
    assert await told(instance) == [("beta_miner-1", w) for w in ("started", "stopped", "started")]
    for task in tasks:
        task.cancel()


async def two(instance: Instance) -> bool:
    return len(await told(instance)) == 2


async def test_a_machine_writes_no_log_and_no_event_in_anothers_name(instance: Instance) -> None:
    miner = await instance.bus("miner-beta")
    line = msgspec.json.encode(LogLine("t", "INFO", "miner-1", "alpha", "I am alpha"))
    await miner.nc.publish("log.alpha.miner-1", line)
    await miner.nc.publish("telem.alpha.watchdog.ops", line)
    event = ev.AgentStarted("miner", "beta", 1, "0")
    await miner.nc.publish("ev.ops.agent.beta_miner-1.started", msgspec.json.encode(event))
    await miner.nc.publish("log.beta.miner-1", line)
    await miner.nc.flush()
    admin = await instance.bus("admin")

    async def arrived() -> bool:
        return bool(await stored_in(admin, "LOGS", "log.beta.*"))

    await until("the line in its own name", arrived)
    assert await stored_in(admin, "LOGS", "log.alpha.*") == []
    assert await stored_in(admin, "TELEM", "telem.alpha.*.ops") == []
    assert await facts(admin) == []
