"""A log as campaigns leave it behind, of any length: real finds in the order in which dispatcher and validator write.

The finds and fronts come from searches that run here, on the bundled candles. Each campaign has the same ones in another order,
with another stop: as many bytes, another id. A campaign of 100 units on a real instance (1,411 events) had the same types in the
same shares and the same sizes: 6 KB an event, 28 KB a verdict, and every one of its 300 finds was new to the log.
"""

import itertools
import random
from collections.abc import Iterator

import msgspec

from bench.population import bundled_candles
from bus import events as ev
from bus.campaigns import campaign_spec
from bus.envelope import Event, make_event
from domain.genome import genome_id
from domain.hashing import derived_id
from domain.results import Find, UnitOutcome
from domain.specs import CampaignSpec, strategy_id, unit_id
from domain.tasks import unit_seed, unit_task
from kernels import evaluator
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.search import Search

#: Of a campaign: as many searches run here, so that each of its units has a front of its own.
UNITS = 100
#: Units under way at the same time: their events come mixed.
UNDER_WAY = 4
_TIME = "2026-01-01T00:00:00.000Z"


def outcomes(searches: int = UNITS) -> tuple[CampaignSpec, list[UnitOutcome]]:
    """What the units of `sluice mine --units 100` find; half a minute."""
    candles = bundled_candles()
    evaluator.warm_up()
    spec = campaign_spec(
        candles.hash(), candles.info, units=UNITS, replicas=2, seed=1, risk="MEDIUM", population=60, generations=20,
        candles=0, grammar="full", name="bench",
    )  # fmt: skip
    compiled = CompiledEvaluator(candles, spec.search.execution)
    found = []
    for index in range(searches):
        search = Search(spec.search, unit_seed(spec, index), compiled)
        while not search.done:
            search.step()
        found.append(search.outcome())
    return spec, found


class MadeLog:
    """Endless events, the same for the same seed."""

    def __init__(self, spec: CampaignSpec, found: list[UnitOutcome], seed: int = 1) -> None:
        self._spec, self._found = spec, found
        self._random = random.Random(seed)
        self._campaigns = 0
        self._seq = 0

    def events(self) -> Iterator[Event]:
        for agent in ("projector", "validator", "miner-1", "miner-2"):
            yield self._event(
                ev.AgentStarted(agent.partition("-")[0], "box", 4711, "0.1.0"), f"box_{agent}", "watchdog"
            )
        for n in itertools.count():
            self._campaigns = n
            yield from self._campaign(f"{derived_id('bench', n)}", msgspec.structs.replace(self._spec, seed=n + 1))

    def _event(self, data: ev.EventData, subject: str, source: str, campaign: str = "", cause: str = "") -> Event:
        self._seq += 1
        return make_event(
            data, id=derived_id("bench", self._seq), source=source, subject=subject, time=_TIME, correlation=campaign,
            causation=cause,
        )  # fmt: skip

    def _campaign(self, id: str, spec: CampaignSpec) -> Iterator[Event]:
        asked = self._event(ev.CampaignRequested(spec, "2026-01-01T01:00:00.000Z", "bench"), id, "cli", id)
        yield asked
        yield self._event(ev.CampaignOpened(spec, "9" * 16, "slot"), id, "dispatcher", id, asked.id)
        opened = []
        for index in range(spec.units):
            data = ev.UnitOpened(id, index, unit_seed(spec, index), unit_task(spec, index))
            opened.append(self._event(data, unit_id(id, index), "dispatcher", id, asked.id))
            yield opened[-1]
        found = self._random.sample(self._found, len(self._found))
        waiting = [
            self._unit(id, spec, index, opened[index].id, found[index % len(found)]) for index in range(spec.units)
        ]
        under_way = waiting[:UNDER_WAY]
        rest = iter(waiting[UNDER_WAY:])
        while under_way:
            unit = self._random.choice(under_way)
            try:
                yield from next(unit)
            except StopIteration:
                under_way.remove(unit)
                under_way += itertools.islice(rest, 1)
        yield self._event(
            ev.CampaignFinished("0" * 64, spec.units, 0, 0, spec.units * 1_000), id, "dispatcher", id, opened[-1].id
        )

    def _unit(self, id: str, spec: CampaignSpec, index: int, cause: str, outcome: UnitOutcome) -> Iterator[list[Event]]:
        """The steps of a unit; the events of one step lie together in the log."""
        unit = unit_id(id, index)
        finds = tuple(self._new(f) for f in outcome.finds)
        for replica in range(spec.replicas):
            yield [self._event(ev.ReplicaQueued(id, replica), unit, "dispatcher", id, cause)]
        for replica in range(spec.replicas):
            slot = str(replica + 1)
            data: ev.EventData = ev.ReplicaClaimed(id, replica, "box", slot, self._seq, "", 0)
            yield [self._event(data, unit, "validator", id, cause)]
        for replica in range(spec.replicas):
            slot = str(replica + 1)
            data = ev.ReplicaAnswered(
                id, replica, "box", slot, f"box.{slot}", self._seq, "a" * 64, True, outcome.evaluated, outcome.generations,
                1.25, finds[0].objective,
            )  # fmt: skip
            step = [self._event(data, unit, "validator", id, cause)]
            if replica == 0 and finds[0].enough_trades:
                step.append(self._strategy(ev.StrategyDiscovered, finds[0], finds[0], spec, id, unit, step[0].id))
            yield step
        validated = ev.UnitValidated(
            id, index, "a" * 64, "slot", ("box.1", "box.2"), (), outcome.evaluated, outcome.tried_sha256, finds, None,
            outcome.front,
        )  # fmt: skip
        step = [self._event(validated, unit, "validator", id, cause)]
        for n, find in enumerate(finds):
            if n or not find.enough_trades:
                step.append(self._strategy(ev.StrategyDiscovered, find, None, spec, id, unit, step[0].id))
            step.append(self._strategy(ev.StrategyValidated, find, None, spec, id, unit, step[0].id))
        yield step

    def _strategy(
        self, kind: type[ev.StrategyDiscovered] | type[ev.StrategyValidated], find: Find, whole: Find | None,
        spec: CampaignSpec, id: str, unit: str, cause: str,
    ) -> Event:  # fmt: skip
        data = kind(find.genome, find.genome_id, spec.search, whole, id, unit)
        return self._event(data, strategy_id(find.genome_id, spec.search), "validator", id, cause)

    def _new(self, find: Find) -> Find:
        """One that the log does not have yet: the find, with a stop a little further from each campaign to the next."""
        risk = msgspec.structs.replace(find.genome.risk, stop_bps=find.genome.risk.stop_bps + self._campaigns)
        genome = msgspec.structs.replace(find.genome, risk=risk)
        return msgspec.structs.replace(find, genome=genome, genome_id=genome_id(genome))
