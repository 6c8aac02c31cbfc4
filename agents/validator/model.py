"""What the validator knows, derived from EVENTS alone: units, their answers, how far claims and results were read."""

from collections import Counter
from dataclasses import dataclass, field

from bus import events as ev
from bus.client import Stored
from bus.envelope import Event
from domain.specs import CampaignSpec, Distinct, unit_id
from domain.tasks import unit_count


@dataclass(frozen=True)
class Answer:
    """One stored result. `counts`: it can be read, was asked for, and is its owner's first for the unit."""

    replica: int
    owner: str
    digest: str
    result_seq: int
    counts: bool


@dataclass
class Unit:
    id: str
    campaign: str
    index: int
    wanted: int
    entity_seq: int = 0
    opened_id: str = ""
    answers: list[Answer] = field(default_factory=list)
    claims: Counter[int] = field(default_factory=Counter)
    decided: bool = False


@dataclass(frozen=True)
class Campaign:
    id: str
    spec: CampaignSpec
    lane: str
    distinct: Distinct


class Model:
    """`claim_seq`, `result_seq`: the highest already turned into an event, so that a restart goes on from there."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self.units: dict[str, Unit] = {}
        self.discovered: set[str] = set()
        self.validated: set[str] = set()
        self.claim_seq = 0
        self.result_seq = 0

    def saw(self, stored: Stored) -> None:
        """The last sequence of a unit's events counts what cannot be read too."""
        tokens = stored.subject.split(".")
        unit = self.units.get(tokens[3]) if tokens[1:3] == ["mining", "unit"] else None
        if unit is not None:
            unit.entity_seq = stored.seq

    def apply(self, stored: Stored, event: Event) -> None:
        """Fold one event in."""
        data = event.payload()
        if isinstance(data, ev.CampaignOpened):
            campaign = Campaign(event.subject, data.spec, data.lane, data.distinct)
            self.campaigns[event.subject] = campaign
            for i in range(unit_count(data.spec)):
                uid = unit_id(event.subject, i)
                self.units.setdefault(uid, Unit(uid, event.subject, i, data.spec.replicas))
        elif isinstance(data, ev.StrategyDiscovered):
            self.discovered.add(event.subject)
        elif isinstance(data, ev.StrategyValidated):
            self.validated.add(event.subject)
        elif event.type.startswith("mining.unit.") and event.subject in self.units:
            self._apply_to_unit(self.units[event.subject], event, data)

    def _apply_to_unit(self, unit: Unit, event: Event, data: ev.EventData) -> None:
        if isinstance(data, ev.UnitOpened):
            unit.opened_id = event.id
        elif isinstance(data, ev.ReplicaClaimed | ev.ReplicaReleased):
            self.claim_seq = max(self.claim_seq, data.claim_seq)
            unit.claims[data.replica] += 1 if isinstance(data, ev.ReplicaClaimed) else -1
        elif isinstance(data, ev.ReplicaAnswered):
            self.result_seq = max(self.result_seq, data.result_seq)
            if all(a.result_seq != data.result_seq for a in unit.answers):
                unit.answers.append(Answer(data.replica, data.owner, data.digest, data.result_seq, data.counts))
        elif isinstance(data, ev.ReplicaRequested):
            unit.wanted = max(unit.wanted, data.replica + 1)
        elif isinstance(data, ev.UnitValidated | ev.UnitInconclusive | ev.UnitParked):
            unit.decided = True
            unit.answers = []
