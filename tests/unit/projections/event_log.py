"""Event logs made up for tests: what a dispatcher and a validator would write, in a random but valid order."""

import random
from dataclasses import dataclass, field

from bus.client import Stored
from bus.envelope import encode_event, make_event
from bus.events import (
    AgentGaveUp,
    AgentStalled,
    AgentStarted,
    AgentStopped,
    CampaignFinished,
    CampaignOpened,
    CampaignRefused,
    CampaignRequested,
    DatasetImported,
    EventData,
    ReplicaAnswered,
    ReplicaClaimed,
    ReplicaQueued,
    ReplicaReleased,
    ReplicaRequested,
    ReplicaWithheld,
    StrategyDiscovered,
    StrategyValidated,
    UnitInconclusive,
    UnitOpened,
    UnitParked,
    UnitValidated,
)
from domain.candles import DatasetInfo
from domain.execution import ExecutionModel
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, genome_id
from domain.hashing import derived_id, sha256_hex
from domain.results import Distribution, Find, FrontPoint, WindowFigures
from domain.specs import CampaignSpec, SearchSpec, split_windows, strategy_id, unit_id
from domain.tasks import unit_count, unit_seed, unit_task

TIME = "2026-01-01T00:00:00.000Z"
CREATED = "2026-01-01T00:00:00Z"


def genome(threshold: int) -> Genome:
    rule = Rule(Operand("rsi", 14), "<", Operand("const", value=float(threshold)))
    return Genome(direction="long", risk=Risk(stop_bps=200, target_bps=400), long=RuleSet((rule,), ()))


def search(symbol: str = "BTC-USD", population: int = 60) -> SearchSpec:
    return SearchSpec("d" * 64, "coinbase", symbol, 300, split_windows(4000), ExecutionModel(), population=population)


def find(threshold: int, objective: float | None, walk: float | None = 0.01, enough: bool = True) -> Find:
    g = genome(threshold)
    pnl = None if objective is None else objective * 10_000
    w = split_windows(4000)
    return Find(
        genome=g,
        genome_id=genome_id(g),
        objective=objective,
        enough_trades=enough,
        fitness=tuple(WindowFigures(x.start, x.stop, {"trades": 70, "net_pnl": pnl}) for x in w.fitness),
        walk_forward=tuple(WindowFigures(x.start, x.stop, {"trades": 9, "net_pnl": 1.5}) for x in w.walk_forward),
        daily_fitness={"total_return": objective},
        daily_walk={"total_return": walk},
        hold_fitness={"total_return": 0.5},
        hold_walk={"total_return": 0.25},
    )


@dataclass
class EventLog:
    """A stream in memory; `made` are its messages, sequences from 1."""

    made: list[Stored] = field(default_factory=list)
    time: str = TIME

    def add(self, data: EventData, entity: str, source: str = "test") -> Stored:
        seq = len(self.made) + 1
        event = make_event(
            data, id=derived_id("test", seq, entity), source=source, subject=entity, time=self.time, correlation="c"
        )
        return self.raw(event.nats_subject(), encode_event(event), event.id)

    def raw(self, subject: str, payload: bytes, id: str = "") -> Stored:
        stored = Stored(subject, len(self.made) + 1, payload, {"Nats-Msg-Id": id} if id else {}, "")
        self.made.append(stored)
        return stored


def spec(units: int = 2, replicas: int = 2, seed: int = 1, population: int = 60) -> CampaignSpec:
    return CampaignSpec(search(population=population), units, replicas, seed, name=f"run {seed}")


def open_campaign(log: EventLog, id: str, s: CampaignSpec, distinct: str = "slot") -> list[str]:
    """Request, open, all units opened; returns the unit ids."""
    log.add(CampaignRequested(s, "2030-01-01T00:00:00Z", "test"), id)
    log.add(CampaignOpened(s, "abc-np2-nb0", distinct), id)  # type: ignore[arg-type]
    units = [unit_id(id, i) for i in range(unit_count(s))]
    for i, unit in enumerate(units):
        log.add(UnitOpened(id, i, unit_seed(s, i), unit_task(s, i)), unit)
    return units


def queue(log: EventLog, campaign: str, unit: str, replica: int) -> None:
    log.add(ReplicaQueued(campaign, replica), unit)


def claim(log: EventLog, campaign: str, unit: str, replica: int, slot: str, seq: int, taken_from: str = "") -> None:
    log.add(ReplicaClaimed(campaign, replica, "box", slot, seq, taken_from, 0), unit)


def answer(log: EventLog, campaign: str, unit: str, replica: int, slot: str, digest: str, counts: bool = True) -> None:
    log.add(ReplicaAnswered(campaign, replica, "box", slot, f"box.{slot}", 1, digest, counts, 100, 5, 1.25, None), unit)


def point(
    threshold: int, objective: float, sharpe: float | None = 0.1, drawdown: float = 0.2, trades: int = 50
) -> FrontPoint:
    g = genome(threshold)
    return FrontPoint(g, genome_id(g), objective, sharpe, drawdown, trades)


def validate(
    log: EventLog,
    campaign: str,
    s: CampaignSpec,
    index: int,
    finds: tuple[Find, ...],
    front: tuple[FrontPoint, ...] = (),
    distribution: Distribution | None = None,
) -> str:
    """The verdict and its strategies; the digest depends on the spec alone."""
    digest = sha256_hex(f"{s.seed}/{index}".encode())
    unit = unit_id(campaign, index)
    owners = ("box.1", "box.2")
    data = UnitValidated(campaign, index, digest, "slot", owners, (), 500 + index, digest, finds, distribution, front)
    log.add(data, unit)
    for f in finds:
        found = StrategyValidated(f.genome, f.genome_id, s.search, None, campaign, unit)
        log.add(found, strategy_id(f.genome_id, s.search))
    return digest


def discover(log: EventLog, campaign: str, unit: str, f: Find, where: SearchSpec) -> str:
    sid = strategy_id(f.genome_id, where)
    log.add(StrategyDiscovered(f.genome, f.genome_id, where, f, campaign, unit), sid)
    return sid


def dataset(log: EventLog, hash: str = "d" * 64) -> None:
    info = DatasetInfo("coinbase", "BTC-USD", 300, 2, 8, 4000, 1_700_000_100_000, 1_701_199_800_000)
    log.add(DatasetImported(hash, info, "bundled", 3, 192_000), hash)


def _junk(log: EventLog, r: random.Random) -> None:
    good = log.made[-1]
    match r.randrange(4):
        case 0:
            log.raw("ev.mining.unit.x.validated", b"{not json")
        case 1:
            log.raw("ev.mining.unit.x.exploded", good.data.replace(b"mining.", b"mined."))
        case 2:
            log.raw("ev.cmd.campaign.forged.requested", good.data)
        case _:
            log.add(ReplicaQueued("c", 2**70), "u")


def _unit(log: EventLog, r: random.Random, campaign: str, unit: str, index: int, s: CampaignSpec) -> None:
    """The next thing that happens to a unit."""
    replica, slot = r.randrange(s.replicas + 1), str(r.randrange(1, 4))
    seq = len(log.made) + r.randrange(-3, 4)
    match r.randrange(9):
        case 0 | 1:
            queue(log, campaign, unit, replica)
        case 2:
            log.add(ReplicaWithheld(campaign, replica, "no second owner"), unit)
        case 3 | 4:
            claim(log, campaign, unit, replica, slot, seq, "box.9" if r.random() < 0.3 else "")
        case 5:
            log.add(ReplicaReleased(campaign, replica, "box", slot, seq), unit)
        case 6:
            answer(log, campaign, unit, replica, slot, "ab" * 32, r.random() < 0.8)
            discover(log, campaign, unit, find(r.randrange(20, 30), r.random()), s.search)
        case 7:
            log.add(ReplicaRequested(campaign, s.replicas, "owners disagree"), unit)
        case _:
            match r.randrange(4):
                case 0:
                    log.add(UnitInconclusive(campaign, index, "no quorum", r.random() < 0.5), unit)
                case 1:
                    log.add(UnitParked(campaign, index, replica, "three claims without progress"), unit)
                case _:
                    front = (point(r.randrange(20, 30), r.random(), r.random()), point(30, r.random(), None))
                    validate(log, campaign, s, index, (find(r.randrange(20, 30), r.random()),), front)


def _trouble(log: EventLog, r: random.Random, agent: str) -> None:
    log.add(AgentStopped("miner", "box", r.randrange(9), r.choice((-9, 0, None)), r.random() < 0.5), agent)
    if r.random() < 0.3:
        log.add(AgentStalled("miner", "box", r.randrange(9), "no heartbeat"), agent)
    if r.random() < 0.2:
        log.add(AgentGaveUp("miner", "box", 4, 300.0, r.choice((0.0, 300.0))), agent)


def story(r: random.Random, events: int) -> EventLog:
    """A log of about `events` events: a few campaigns, agents, junk, interleaved."""
    log = EventLog()
    dataset(log)
    campaigns: list[tuple[str, CampaignSpec, list[str]]] = []
    while len(log.made) < events:
        what = r.randrange(20)
        if what == 0 or not campaigns:
            id, s = f"camp{len(campaigns)}", spec(r.randrange(1, 4), r.randrange(1, 3), len(campaigns))
            campaigns.append((id, s, open_campaign(log, id, s)))
        elif what == 1:
            log.add(AgentStarted("miner", "box", r.randrange(9), "0.1.0"), f"miner-{r.randrange(3)}")
        elif what == 2:
            _trouble(log, r, f"miner-{r.randrange(3)}")
        elif what == 3:
            _junk(log, r)
        elif what == 4:
            log.add(CampaignRefused("no such dataset"), f"refused{r.randrange(3)}")
        elif what == 5:
            id, s, _ = r.choice(campaigns)
            log.add(CampaignFinished("cd" * 32, s.units, 0, 0, 77), id)
        else:
            id, s, units = r.choice(campaigns)
            index = r.randrange(len(units))
            _unit(log, r, id, units[index], index, s)
    return log
