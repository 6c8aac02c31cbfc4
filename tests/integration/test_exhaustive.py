"""Exhaustive campaigns with all agents as real processes on a real server: every strategy once, and the best of them proven."""

import asyncio

import msgspec
import pytest

from bus import events as ev
from bus.artifacts import get_artifact
from bus.campaigns import request_campaign
from cli.actions import register_dataset
from domain.candles import Candles
from domain.hashing import canonical, sha256_hex
from domain.results import UnitOutcome
from domain.risk import Level
from domain.specs import CampaignSpec
from domain.tasks import Sweep, pairs, space_of, unit_seed, unit_task
from domain.tried import read_tried
from kernels.evaluator import CompiledEvaluator
from kernels.exhaustive import ExhaustiveSearch
from market.store import DatasetStore
from tests.support.campaign import Mine, Saved, digest_of
from tests.support.instance import Instance, until
from tests.support.market import small_market, spec_for


def sweep_spec(candles: Candles, grammar: str, risk: Level = "MEDIUM") -> CampaignSpec:
    spec = spec_for(candles, 1)
    search = msgspec.structs.replace(spec.search, grammar=grammar, risk=risk, method="sweep")
    space = space_of(search)
    search = msgspec.structs.replace(search, generations=len(space.rules))
    return msgspec.structs.replace(spec, search=search, units=len(pairs(space)))


def swept(candles: Candles, spec: CampaignSpec, index: int, evaluator: CompiledEvaluator) -> UnitOutcome:
    """A unit computed here and now, in one go."""
    task = unit_task(spec, index)
    assert isinstance(task, Sweep)
    search = ExhaustiveSearch(spec.search, unit_seed(spec, index), task, evaluator)
    while not search.done:
        search.step()
    return search.outcome()


async def test_every_strategy_is_evaluated_once_and_the_distribution_kept(instance: Instance, mine: Mine) -> None:
    instance.miners(2)
    spec = sweep_spec(mine.candles, "primer")
    campaign = await request_campaign(mine.bus, spec, "test")
    end = await mine.finished(campaign)
    assert (end.validated, end.inconclusive, end.parked) == (9, 0, 0)
    # The ledger counts the union of nine descriptors, two replicas of each: every strategy of the grammar, once.
    assert end.trials == space_of(spec.search).size() == 20_916
    verdicts = [f.data for f in await mine.of(campaign, ev.UnitValidated)]
    evaluator = CompiledEvaluator(mine.candles, spec.search.execution)
    for v in verdicts:
        assert isinstance(v, ev.UnitValidated)
        expected = await asyncio.to_thread(swept, mine.candles, spec, v.index, evaluator)
        assert (v.digest, v.finds, v.distribution) == (expected.digest(), expected.finds, expected.distribution)
        assert v.distribution is not None
        assert v.distribution.adds_up()
        assert v.evaluated == 2_324
        assert v.finds, "nothing was found, so that nothing was compared with the reference"
        descriptor = await get_artifact(mine.bus, v.tried_sha256)
        assert len(descriptor) < 500
        tried = read_tried(descriptor)
        assert tried is not None
        assert tried.count == v.evaluated
    assert end.digest == digest_of(verdicts)
    await mine.check_log(campaign)
    instance.assert_all_alive()


async def test_what_cannot_be_swept_is_refused(instance: Instance, mine: Mine) -> None:
    good = sweep_spec(mine.candles, "primer")
    replace = msgspec.structs.replace
    for spec, reason in (
        (replace(good, search=replace(good.search, grammar="full")), "leaves open"),
        (replace(good, units=8), "units must be 9"),
        (replace(good, search=replace(good.search, generations=20)), "generations must be 24"),
        (replace(good, nulls=1), "no null repetitions"),
    ):
        campaign = await request_campaign(mine.bus, spec, "test")
        refused = (await mine.seen(campaign, ev.CampaignRefused)).data
        assert isinstance(refused, ev.CampaignRefused)
        assert reason in refused.reason


@pytest.mark.slow
async def test_a_miner_killed_in_the_middle_of_a_unit_takes_it_up_again_and_the_bits_stay(
    instance: Instance, mine: Mine
) -> None:
    candles = small_market(20_000)  # so that a unit lasts longer than a checkpoint takes
    await register_dataset(mine.bus, DatasetStore(instance.state.cache), candles, "test", instance.hosts[0])
    # One owner is enough and there is one miner: whoever takes a replica up again has the checkpoint of it.
    miners = {m.slot: m for m in instance.miners(1)}
    spec = msgspec.structs.replace(sweep_spec(candles, "classic", "LOW"), replicas=1)
    campaign = await request_campaign(mine.bus, spec, "test")

    async def killed_within_a_unit() -> Saved | None:
        """Kill a miner whose checkpoint is of a replica that nobody has answered yet."""
        saved = await mine.checkpoint_beyond(0)
        victim = miners[saved.slot]
        victim.pause()
        if await mine.bus.last("RESULT", f"result.{campaign}.{saved.unit}.{saved.replica}.>") is not None:
            victim.resume()
            return None
        victim.kill()
        miners[saved.slot] = instance.agent("miner", int(saved.slot))
        return saved

    resumed = False
    for _ in range(5):  # an answer may have been on its way when the miner was stopped
        saved = await until("a miner is killed within a unit", killed_within_a_unit, 120.0, every_s=0.02)
        assert saved is not None

        async def taken_up(unit: str = saved.unit, replica: int = saved.replica) -> str:
            claims = [f.data for f in await mine.of(campaign, ev.ReplicaClaimed) if f.event.subject == unit]
            again = [c for c in claims if isinstance(c, ev.ReplicaClaimed) and c.replica == replica]
            if any(c.generation > 0 for c in again):
                return "resumed"
            done = await mine.bus.last("RESULT", f"result.{campaign}.{unit}.{replica}.>")
            return "answered" if done is not None else ""

        try:
            how = await until("the replica is taken up again", taken_up, 120.0)
        except AssertionError as e:
            raise AssertionError(f"{e}: {saved}\n{await mine.story(campaign)}\n{instance.words()}") from e
        if how == "resumed":
            resumed = True
            break
    assert resumed
    end = await mine.finished(campaign, 300.0)
    assert (end.validated, end.trials) == (25, 25 * 1_679_796)
    evaluator = CompiledEvaluator(candles, spec.search.execution)
    rows = []
    for index in range(spec.units):
        outcome = await asyncio.to_thread(swept, candles, spec, index, evaluator)
        rows.append([index, "validated", outcome.digest()])
    assert end.digest == sha256_hex(b"".join(canonical(r) + b"\n" for r in rows))
    await mine.check_log(campaign)
