"""`sluice bench mine`: a campaign through the whole system against the bare kernel on two cores, in one run.

The system: an instance of its own, as `sluice up --miners 2` starts it, with queue, events, checkpoints, validator,
reference and read models; timed from the request to the end of the campaign, every replica counted. The bare kernel: the same
replicas in two processes that know of no bus, before the instance starts and after it has ended, so that a machine that gets
busier in between is seen from both sides; the mean of the two counts. Both produce the same digests (`identical`).

`ratio` of backtests a second: what is left of the bare kernel's by the clock on the wall, which means nothing on a machine
that does other work. What does: the share of the campaign's time in which both miners were at a replica (figure and baseline in
seconds), and the core seconds of the bare kernel over those that all processes of the instance took together. `ratio` of
the reference: core seconds of re-evaluating all finds over those of mining.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from bench.population import bundled_candles
from bus import events as ev
from bus.accounts import read_credentials
from bus.campaigns import campaign_spec, request_campaign
from bus.client import Bus
from bus.presence import read_presence
from cli.actions import follow_campaign, register_dataset
from domain.candles import Candles
from domain.results import Find
from domain.specs import CampaignSpec
from domain.tasks import Sweep, unit_seed, unit_task
from kernels import evaluator, exhaustive
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.finds import find_for
from kernels.evolution.search import Search
from kernels.exhaustive import ExhaustiveSearch
from kernels.reference import ReferenceEvaluator
from market.store import DatasetStore

TITLE = "Mining through the whole system against the bare kernel on two cores"
COLUMNS = ("case", "units", "unit_s", "figure", "baseline", "ratio", "identical")
CORES, UNIT_S, TRIAL_GENERATIONS = 2, 6.0, 40


class Ran(NamedTuple):
    """`trials` over all replicas, wall and core seconds, digest of each unit, seconds that miners were at a replica."""

    trials: int
    wall_s: float
    core_s: float
    digests: dict[int, str]
    mining_s: float = 0.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    candles = bundled_candles()
    evaluator.warm_up()
    exhaustive.warm_up()
    rows = _contest("searches", candles, _long_enough(candles, 2 if quick else 6))
    if not quick:
        rows += _contest("exhaustive, short units", candles, _exhaustive(candles))
    return rows


def _contest(case: str, candles: Candles, spec: CampaignSpec) -> list[dict[str, Any]]:
    before = _bare(spec)
    with _instance() as state:
        system, finds = asyncio.run(_through_the_system(candles, spec, state))
    after = _bare(spec)
    same = system.digests == before.digests == after.digests
    replicas = spec.units * spec.replicas
    bare_s = (before.core_s + after.core_s) / 2
    speed = system.trials / system.wall_s
    bare_speed = sum(b.trials / b.wall_s for b in (before, after)) / 2

    def row(name: str, figure: float, baseline: float, ratio: float) -> dict[str, Any]:
        return {
            "case": f"{case}: {name}", "units": spec.units, "unit_s": round(bare_s / replicas, 2), "figure": round(figure, 2),
            "baseline": round(baseline, 2), "ratio": round(ratio, 3), "identical": same,
        }  # fmt: skip

    checked_s = _reference_s(candles, spec, finds)
    return [
        row("backtests a second", speed, bare_speed, speed / bare_speed),
        row(
            "seconds at a replica of two miners'",
            system.mining_s,
            CORES * system.wall_s,
            system.mining_s / (CORES * system.wall_s),
        ),
        row("core seconds of everything", system.core_s, bare_s, bare_s / system.core_s),
        row("core seconds of the reference against mining", checked_s, bare_s, checked_s / bare_s),
    ]


# -- what is mined ----------------------------------------------------------------------------------------------------


def _long_enough(candles: Candles, units: int) -> CampaignSpec:
    """Searches of at least five seconds each on this machine, which never stop early."""

    def spec(generations: int) -> CampaignSpec:
        found = campaign_spec(
            candles.hash(), candles.info, units=units, replicas=2, seed=1, risk="MEDIUM", population=500,
            generations=generations, candles=0, grammar="full", name="bench",
        )  # fmt: skip
        return msgspec.structs.replace(found, search=msgspec.structs.replace(found.search, patience=10_000))

    trial = spec(TRIAL_GENERATIONS)
    compiled = CompiledEvaluator(candles, trial.search.execution)
    began = time.thread_time()
    _outcome(trial, 0, compiled)
    took = time.thread_time() - began
    return spec(min(10_000, round(TRIAL_GENERATIONS * UNIT_S / took) + 1))


def _exhaustive(candles: Candles) -> CampaignSpec:
    """Units of the classic grammar, each of about a second: what a campaign costs where units are short."""
    return campaign_spec(
        candles.hash(), candles.info, units=1, replicas=2, seed=1, risk="LOW", population=60, generations=20, candles=0,
        grammar="classic", name="bench", exhaustive=True,
    )  # fmt: skip


def _outcome(spec: CampaignSpec, index: int, compiled: CompiledEvaluator) -> tuple[int, str]:
    """(strategies evaluated, digest) of a unit, computed here."""
    task, seed = unit_task(spec, index), unit_seed(spec, index)
    work: Search | ExhaustiveSearch
    if isinstance(task, Sweep):
        work = ExhaustiveSearch(spec.search, seed, task, compiled)
    else:
        work = Search(spec.search, seed, compiled)
    while not work.done:
        work.step()
    outcome = work.outcome()
    return outcome.evaluated, outcome.digest()


# -- the bare kernel --------------------------------------------------------------------------------------------------


def _bare(spec: CampaignSpec) -> Ran:
    """Every replica of every unit in two processes, each of which mines every unit once."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        path = Path(folder) / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", "bench.mine", str(path)]
        workers = [subprocess.Popen(command, **pipes) for _ in range(CORES)]  # type: ignore[call-overload]
        try:
            for w in workers:
                _expect(w, "ready")
            began = time.perf_counter()
            # Each takes every unit once, as the two miners of the instance do, whose replicas are of different owners.
            for w in workers:
                w.stdin.write(" ".join(map(str, range(spec.units))) + "\n")
                w.stdin.flush()
            found = [json.loads(w.stdout.readline()) for w in workers]
            wall = time.perf_counter() - began
        finally:
            for w in workers:
                w.kill()
                w.wait()
    digests = {int(i): d for i, d in found[0]["digests"].items()}
    if any({int(i): d for i, d in f["digests"].items()} != digests for f in found):
        raise RuntimeError("two processes gave different outcomes for one unit")
    return Ran(sum(f["trials"] for f in found), wall, sum(f["core_s"] for f in found), digests)


def _expect(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout is not None
    if (line := worker.stdout.readline().strip()) != word:
        raise RuntimeError(f"a bare kernel said {line!r} instead of {word!r}")


def _worker(path: str) -> None:
    """A process of the bare kernel: units named on one line of its input, mined with one evaluator."""
    spec = msgspec.json.decode(Path(path).read_bytes(), type=CampaignSpec)
    candles = bundled_candles()
    evaluator.warm_up()
    exhaustive.warm_up()
    print("ready", flush=True)
    units = [int(word) for word in sys.stdin.readline().split()]
    began = time.process_time()
    compiled = CompiledEvaluator(candles, spec.search.execution)
    found = {i: _outcome(spec, i, compiled) for i in units}
    core_s = time.process_time() - began
    digests = {i: digest for i, (_, digest) in found.items()}
    print(json.dumps({"trials": sum(n for n, _ in found.values()), "core_s": core_s, "digests": digests}), flush=True)


# -- the whole system -------------------------------------------------------------------------------------------------


@contextmanager
def _instance() -> Iterator[Path]:
    """An instance of its own with two miners."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        state = Path(folder) / "state"
        state.mkdir()
        command = [sys.executable, "-m", "cli", "up", "--nats-port", "0", "--http", "127.0.0.1:0", "--empty"]
        command += ["--miners", str(CORES), "--state", str(state)]
        with (Path(folder) / "up.log").open("wb") as out:
            up = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield state
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)


async def _through_the_system(candles: Candles, spec: CampaignSpec, state: Path) -> tuple[Ran, list[Find]]:
    bus = await _ready(state)
    try:
        await register_dataset(bus, DatasetStore(state / "cache"), candles, "bench", os.uname().nodename)
        processes = _processes(state)
        before_s = {p: _core_s(p) for p in processes}
        began = time.perf_counter()
        campaign = await request_campaign(bus, spec, "bench")
        trials, mining_s = 0, 0.0
        digests: dict[int, str] = {}
        finds: list[Find] = []
        async for event in follow_campaign(bus, campaign):
            data = event.payload()
            if isinstance(data, ev.CampaignRefused):
                raise RuntimeError(f"the campaign was refused: {data.reason}")
            if isinstance(data, ev.ReplicaAnswered):
                trials += data.evaluated
                mining_s += data.seconds
            elif isinstance(data, ev.UnitValidated):
                digests[data.index] = data.digest
                finds += data.finds
        wall = time.perf_counter() - began
        core_s = sum(_core_s(p) - before_s[p] for p in processes)
    finally:
        await bus.nc.close()
    return Ran(trials, wall, core_s, digests, mining_s), finds


async def _ready(state: Path) -> Bus:
    """A connection once both miners are alive."""
    deadline = time.monotonic() + 300.0
    bus: Bus | None = None
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        if bus is None:
            if not ((state / "run.json").exists() and (state / "creds" / "admin.json").exists()):
                continue
            bus = await Bus.connect(read_credentials(state / "creds" / "admin.json"), "bench")
        miners = [p for p in await read_presence(bus) if p.kind == "miner" and p.state == "alive"]
        if len(miners) == CORES:
            return bus
    raise TimeoutError("the instance has no two living miners within five minutes")


def _processes(state: Path) -> list[psutil.Process]:
    """All of the instance, known by the state directory on their command line; its server by its configuration there."""
    found = []
    for p in psutil.process_iter(["cmdline"]):
        if p.pid != os.getpid() and any(str(state) in word for word in p.info["cmdline"] or []):
            found.append(p)
    return found


def _core_s(process: psutil.Process) -> float:
    """Core seconds of a process so far; 0 when it is gone (its time is then not counted)."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _reference_s(candles: Candles, spec: CampaignSpec, finds: list[Find]) -> float:
    """Core seconds of re-evaluating every distinct find once, as the validator does, whose memory knows the others."""
    distinct = {f.genome_id: f for f in finds}
    began = time.thread_time()
    reference = ReferenceEvaluator(candles, spec.search.execution)
    for find in distinct.values():
        if find_for(find.genome, spec.search, reference) != find:
            raise RuntimeError(f"the reference gives other figures for genome {find.genome_id[:12]}")
    return time.thread_time() - began


if __name__ == "__main__":
    _worker(sys.argv[1])
