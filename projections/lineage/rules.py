"""What each event type says in words, what it tells of its origin, and which events it rests on beside its cause.

A new kind of entity is one entry in KINDS; its events may do without a rule: then they are told by their type, and their
cause is the only thing they rest on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bus import events as ev
from bus.envelope import Event
from domain.markets import granularity_label
from domain.specs import CampaignSpec, SearchSpec, unit_id
from domain.tasks import Null, Sweep

VERDICTS = ("mining.unit.validated", "mining.unit.inconclusive", "mining.unit.parked")
#: What every find has to come from, in the order in which it is shown.
ORIGIN = ("dataset", "seed", "lane", "miner", "replica")


class Kind(NamedTuple):
    """An entity that can be asked about: the first two parts of its events' types, the read model that knows its ids, and
    the events that say most about it, best first (the newest one where none of them is there)."""

    name: str
    group: str
    table: str
    verbs: tuple[str, ...] = ()


KINDS = (
    Kind("strategy", "strategy.strategy", "strategies", ("validated", "discovered")),
    Kind("unit", "mining.unit", "units", ("validated", "inconclusive", "parked")),
    Kind("campaign", "mining.campaign", "campaigns", ("judged", "finished", "refused", "opened")),
    Kind("dataset", "data.dataset", "datasets", ("imported",)),
    Kind("agent", "ops.agent", "agents"),
)


class Rest(NamedTuple):
    """Earlier events of these types about `entity` that an event rests on: those that are `wanted`, or only the newest."""

    types: tuple[str, ...]
    entity: str
    wanted: Callable[[Any], bool] = lambda _: True
    newest: bool = False


@dataclass(frozen=True)
class Told:
    """`near`: entities under which the cause is filed, if not under the event's own."""

    words: str
    origin: dict[str, str] = field(default_factory=dict)
    rests: tuple[Rest, ...] = ()
    near: tuple[str, ...] = ()


def tell(event: Event, data: Any) -> Told:
    """The event in words; `data` is its payload."""
    rule = RULES.get(event.type)
    near = tuple(v for n in ("unit", "campaign") if isinstance(v := getattr(data, n, ""), str) and v)
    if rule is None:
        told = Told(f"{_kind_of(event.type)} {short(event.subject)}: {event.type.rpartition('.')[2].replace('_', ' ')}")
    else:
        told = rule(event, data)
    return Told(told.words, told.origin, told.rests, (*near, event.correlationid) if event.correlationid else near)


def short(id: str) -> str:
    return id[:12]


def _kind_of(type_: str) -> str:
    group = type_.rpartition(".")[0]
    return next((k.name for k in KINDS if k.group == group), group.rpartition(".")[2])


# -- data and campaigns -----------------------------------------------------------------------------------------------


def _imported(event: Event, d: ev.DatasetImported) -> Told:
    i = d.info
    market = f"{i.venue} {i.symbol} {granularity_label(i.granularity_s)}"
    return Told(
        f"dataset {short(d.hash)} imported from {d.source}: {i.candles:,} candles of {market}", {"dataset": d.hash}
    )


def _looked(event: Event, d: ev.HoldOutLooked | ev.WalkForwardLooked) -> Told:
    which = "hold-out" if isinstance(d, ev.HoldOutLooked) else "walk-forward"
    rest = Rest(("data.dataset.imported",), d.dataset)
    return Told(f"{which} candles of dataset {short(d.dataset)} looked at: {d.reason}", {"dataset": d.dataset}, (rest,))


def _search(s: SearchSpec) -> str:
    how = "goes through all rules" if s.method == "sweep" else f"searches with {s.population} rules at a time"
    return f"{how} of grammar {s.grammar}, risk {s.risk}"


def _requested(event: Event, d: ev.CampaignRequested) -> Told:
    s: CampaignSpec = d.spec
    name = f" {s.name!r}" if s.name else ""
    what = f"{s.units} units, each mined {s.replicas} times, seed {s.seed}: {_search(s.search)}"
    return Told(f"campaign{name} asked for by {d.by}: {what}")


def _opened(event: Event, d: ev.CampaignOpened) -> Told:
    datasets = [m.dataset for m in d.spec.search.markets]
    words = (
        f"campaign {short(event.subject)} opened on dataset {', '.join(map(short, datasets))}: kernel version {d.lane}, "
        f"an owner is a {d.distinct}"
    )
    return Told(words, {"lane": d.lane}, tuple(Rest(("data.dataset.imported",), h) for h in datasets))


def _refused(event: Event, d: ev.CampaignRefused) -> Told:
    return Told(f"campaign {short(event.subject)} refused: {d.reason}")


def _finished(event: Event, d: ev.CampaignFinished) -> Told:
    """Its digest is over the verdicts on all units."""
    units = range(d.validated + d.inconclusive + d.parked)
    rests = tuple(Rest(VERDICTS, unit_id(event.subject, i)) for i in units)
    counts = f"{d.validated} units validated, {d.inconclusive} inconclusive, {d.parked} parked"
    return Told(
        f"campaign {short(event.subject)} finished: {counts}, {d.trials:,} rules tried, digest {short(d.digest)}",
        {},
        rests,
    )


def _judged(event: Event, d: ev.CampaignJudged) -> Told:
    passed, of = sum(s.passed for s in d.judgement.strategies), len(d.judgement.strategies)
    return Told(f"campaign {short(event.subject)} judged: {passed} of {of} finds are better than luck")


# -- units ------------------------------------------------------------------------------------------------------------


def _unit(event: Event, d: ev.UnitOpened) -> Told:
    match d.task:
        case Sweep(stop, target):
            what = f"all rules with a stop of {stop / 100:g} % and a target of {target / 100:g} %"
        case Null():
            what = "the search once more on a series without a message"
        case _:
            what = "a search"
    words = f"unit {d.index} of campaign {short(d.campaign)} opened: {what}, seed {d.seed}"
    return Told(words, {"seed": str(d.seed)})


def _queued(event: Event, d: ev.ReplicaQueued) -> Told:
    return Told(f"replica {d.replica} put into the queue", {"replica": str(d.replica)})


def _withheld(event: Event, d: ev.ReplicaWithheld | ev.ReplicaRequested) -> Told:
    what = "waits" if isinstance(d, ev.ReplicaWithheld) else "asked for beside the others"
    return Told(f"replica {d.replica} {what}: {d.reason}", {"replica": str(d.replica)})


def _by(d: Any) -> dict[str, str]:
    return {"miner": f"{d.host}.{d.slot}", "replica": str(d.replica)}


def _claimed(event: Event, d: ev.ReplicaClaimed) -> Told:
    """A claim that goes on from a checkpoint rests on the claim of whoever wrote that: the same owner's one before it."""
    words = f"replica {d.replica} claimed by miner {d.host}.{d.slot}"
    words += f", taken over from {d.takeover_from}" if d.takeover_from else ""
    words += f", from generation {d.generation} on" if d.generation else ""

    def before(other: ev.ReplicaClaimed) -> bool:
        return (other.replica, other.host) == (d.replica, d.host)

    rests = (Rest(("mining.unit.replica_claimed",), event.subject, before, newest=True),) if d.generation else ()
    return Told(words, _by(d), rests)


def _released(event: Event, d: ev.ReplicaReleased) -> Told:
    return Told(f"replica {d.replica} given back by miner {d.host}.{d.slot}", _by(d))


def _answered(event: Event, d: ev.ReplicaAnswered) -> Told:
    words = f"replica {d.replica} answered by miner {d.host}.{d.slot}: "
    words += f"{d.evaluated:,} rules evaluated, digest {short(d.digest)}" if d.digest else "nothing that can be read"
    words += "" if d.counts else " (does not count)"

    def held(claim: ev.ReplicaClaimed) -> bool:
        return (claim.replica, claim.host, claim.slot) == (d.replica, d.host, d.slot)

    return Told(words, _by(d), (Rest(("mining.unit.replica_claimed",), event.subject, held, newest=True),))


def _validated(event: Event, d: ev.UnitValidated) -> Told:
    """What it rests on are the answers of the owners that agreed."""
    words = (
        f"unit {d.index} of campaign {short(d.campaign)} validated: {' and '.join(d.owners)} gave the same bits "
        f"(digest {short(d.digest)}), and the reference agreed"
    )

    def agreed(a: ev.ReplicaAnswered) -> bool:
        return a.counts and a.digest == d.digest and a.owner in d.owners

    return Told(words, {}, (Rest(("mining.unit.replica_answered",), event.subject, agreed),))


def _inconclusive(event: Event, d: ev.UnitInconclusive) -> Told:
    rest = Rest(("mining.unit.replica_answered",), event.subject)
    return Told(f"unit {d.index} of campaign {short(d.campaign)} inconclusive: {d.reason}", {}, (rest,))


def _parked(event: Event, d: ev.UnitParked) -> Told:
    rest = Rest(("mining.unit.replica_claimed",), event.subject, lambda c: bool(c.replica == d.replica))
    return Told(f"unit {d.index} of campaign {short(d.campaign)} set aside: {d.reason}", {}, (rest,))


# -- strategies and operation -----------------------------------------------------------------------------------------


def _strategy(event: Event, d: ev.StrategyDiscovered | ev.StrategyValidated) -> Told:
    stage = event.type.rpartition(".")[2]
    s = d.search
    market = f"{s.venue} {s.symbol} {granularity_label(s.granularity_s)}"
    return Told(f"strategy {short(event.subject)} {stage}: a find of unit {short(d.unit)} for {market}")


def _flagged(event: Event, d: ev.KernelFlagged) -> Told:
    return Told(f"kernel version {d.lane} flagged: {d.detail}", {"lane": d.lane})


def _agent(event: Event, d: Any) -> Told:
    how = {
        "started": lambda: f"started as process {d.pid}, version {d.version}",
        "stopped": lambda: (
            f"ended with status {'unknown' if d.exit is None else d.exit}{', as wanted' if d.wanted else ''}"
        ),
        "stalled": lambda: f"stalled: {d.reason}",
        "gave_up": lambda: f"left alone after {d.deaths} ends within {d.window_s:g} s",
    }[event.type.rpartition(".")[2]]()
    return Told(f"{d.kind} {event.subject} {how}")


RULES: dict[str, Callable[[Event, Any], Told]] = {
    "data.dataset.imported": _imported,
    "data.holdout.looked": _looked,
    "data.walk_forward.looked": _looked,
    "cmd.campaign.requested": _requested,
    "mining.campaign.refused": _refused,
    "mining.campaign.opened": _opened,
    "mining.campaign.finished": _finished,
    "mining.campaign.judged": _judged,
    "mining.unit.opened": _unit,
    "mining.queue.replica_queued": _queued,
    "mining.queue.replica_withheld": _withheld,
    "mining.unit.replica_requested": _withheld,
    "mining.unit.replica_claimed": _claimed,
    "mining.unit.replica_released": _released,
    "mining.unit.replica_answered": _answered,
    "mining.unit.validated": _validated,
    "mining.unit.inconclusive": _inconclusive,
    "mining.unit.parked": _parked,
    "strategy.strategy.discovered": _strategy,
    "strategy.strategy.validated": _strategy,
    "ops.agent.started": _agent,
    "ops.agent.stopped": _agent,
    "ops.agent.stalled": _agent,
    "ops.agent.gave_up": _agent,
    "ops.kernel.flagged": _flagged,
}
