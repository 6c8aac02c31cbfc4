"""What the validator knows, derived from EVENTS alone: units, their answers, how far claims and results were read."""

from collections import Counter
from dataclasses import dataclass, field

from agents.validator.looks import Looks
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
    """`agreed_seq`: the result that the verdict rests on, once it is validated.

    Events that others of the unit name as their cause: `opened_id`, `asked_ids` of further replicas, `claim_ids` by replica
    and holder, `claimed_ids` the newest of each replica, `answered_id` of the newest answer.
    """

    id: str
    campaign: str
    index: int
    wanted: int
    entity_seq: int = 0
    opened_id: str = ""
    asked_ids: dict[int, str] = field(default_factory=dict)
    claim_ids: dict[tuple[int, str, str], str] = field(default_factory=dict)
    claimed_ids: dict[int, str] = field(default_factory=dict)
    answered_id: str = ""
    answers: list[Answer] = field(default_factory=list)
    claims: Counter[int] = field(default_factory=Counter)
    decided: bool = False
    agreed_seq: int = 0


@dataclass
class Campaign:
    """`finished_seq`: of the event that ended it, 0 while it runs; `judged`: whether anything is said about luck already."""

    id: str
    spec: CampaignSpec
    lane: str
    distinct: Distinct
    units: list[Unit] = field(default_factory=list)
    finished_seq: int = 0
    finished_id: str = ""
    judged: bool = False


class Model:
    """`claim_seq`, `result_seq`: the highest already turned into an event, so that a restart goes on from there."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self.units: dict[str, Unit] = {}
        self.discovered: set[str] = set()
        self.validated: set[str] = set()
        self.claim_seq = 0
        self.result_seq = 0
        self.looks = Looks()

    def saw(self, stored: Stored) -> None:
        """The last sequence of a unit's events counts what cannot be read too."""
        tokens = stored.subject.split(".")
        unit = self.units.get(tokens[3]) if tokens[1:3] == ["mining", "unit"] else None
        if unit is not None:
            unit.entity_seq = stored.seq

    def apply(self, stored: Stored, event: Event) -> None:
        """Fold one event in."""
        data = event.payload()
        self.looks.apply(event.subject, data, self.campaigns)
        if isinstance(data, ev.CampaignOpened):
            campaign = Campaign(event.subject, data.spec, data.lane, data.distinct)
            self.campaigns[event.subject] = campaign
            for i in range(unit_count(data.spec)):
                uid = unit_id(event.subject, i)
                unit = self.units.setdefault(uid, Unit(uid, event.subject, i, data.spec.replicas))
                campaign.units.append(unit)
        elif isinstance(data, ev.CampaignFinished | ev.CampaignJudged):
            self._close(stored.seq, event, data)
        elif isinstance(data, ev.StrategyDiscovered):
            self.discovered.add(event.subject)
        elif isinstance(data, ev.StrategyValidated):
            self.validated.add(event.subject)
        elif event.type.startswith("mining.unit.") and event.subject in self.units:
            self._apply_to_unit(self.units[event.subject], event, data)

    def to_judge(self) -> list[Campaign]:
        """Finished campaigns that nothing is said about yet, in the order in which they finished."""
        waiting = [c for c in self.campaigns.values() if c.finished_seq and not c.judged]
        return sorted(waiting, key=lambda c: c.finished_seq)

    def _close(self, seq: int, event: Event, data: ev.CampaignFinished | ev.CampaignJudged) -> None:
        campaign = self.campaigns.get(event.subject)
        if campaign is None:
            return
        if isinstance(data, ev.CampaignJudged):
            campaign.judged = True
        elif not campaign.finished_seq:
            campaign.finished_seq, campaign.finished_id = seq, event.id

    def _apply_to_unit(self, unit: Unit, event: Event, data: ev.EventData) -> None:
        if isinstance(data, ev.UnitOpened):
            unit.opened_id = event.id
        elif isinstance(data, ev.ReplicaClaimed | ev.ReplicaReleased):
            self.claim_seq = max(self.claim_seq, data.claim_seq)
            unit.claims[data.replica] += 1 if isinstance(data, ev.ReplicaClaimed) else -1
            if isinstance(data, ev.ReplicaClaimed):
                unit.claim_ids[data.replica, data.host, data.slot] = unit.claimed_ids[data.replica] = event.id
        elif isinstance(data, ev.ReplicaAnswered):
            self.result_seq = max(self.result_seq, data.result_seq)
            if all(a.result_seq != data.result_seq for a in unit.answers):
                unit.answers.append(Answer(data.replica, data.owner, data.digest, data.result_seq, data.counts))
                unit.answered_id = event.id
        elif isinstance(data, ev.ReplicaRequested):
            unit.wanted = max(unit.wanted, data.replica + 1)
            unit.asked_ids[data.replica] = event.id
        elif isinstance(data, ev.UnitValidated | ev.UnitInconclusive | ev.UnitParked):
            if isinstance(data, ev.UnitValidated) and not unit.decided:
                agreed = [a.result_seq for a in unit.answers if a.counts and a.digest == data.digest]
                unit.agreed_seq = min(agreed, default=0)
            unit.decided = True
            unit.answers, unit.asked_ids, unit.claim_ids, unit.claimed_ids = [], {}, {}, {}
