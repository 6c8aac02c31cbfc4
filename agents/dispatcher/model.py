"""What the dispatcher knows, derived from EVENTS alone: campaigns, their units, what is queued and answered."""

from dataclasses import dataclass, field
from typing import Literal

from bus import events as ev
from bus.client import Stored
from bus.envelope import Event
from domain.candles import DatasetInfo
from domain.specs import CampaignSpec, Distinct, unit_id
from domain.tasks import unit_count

Verdict = Literal["validated", "inconclusive", "parked"]
Queue = Literal["queued", "withheld"]


@dataclass
class Unit:
    """`wanted` replicas so far; `queue`: what the log last said of each; `queue_seq`: last sequence of the queue entity.

    `holders`: replica -> (host, slot) of its newest claim; `owners`: who has answered, whether it counts or not.
    `opened_id`, `asked_ids`: the events that asked for it and, by replica, for more than it began with.
    """

    id: str
    campaign: str
    index: int
    wanted: int
    opened_id: str = ""
    asked_ids: dict[int, str] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    owners: set[str] = field(default_factory=set)
    holders: dict[int, tuple[str, str]] = field(default_factory=dict)
    queue: dict[int, Queue] = field(default_factory=dict)
    queue_seq: int = 0
    verdict: Verdict | None = None
    digest: str = ""
    tried_sha256: str = ""

    @property
    def opened(self) -> bool:
        return bool(self.opened_id)

    def open_replicas(self) -> list[int]:
        return [r for r in range(self.wanted) if r not in self.answered]


@dataclass
class Campaign:
    """`cause`: the event that opened it; `verdict_id`: of the newest verdict on a unit."""

    id: str
    spec: CampaignSpec
    lane: str
    distinct: Distinct
    cause: str
    units: list[Unit]
    verdict_id: str = ""
    finished: bool = False

    def undecided(self) -> list[Unit]:
        return [u for u in self.units if u.verdict is None]


@dataclass
class Request:
    """A campaign asked for and neither opened nor refused."""

    id: str
    event_id: str
    data: ev.CampaignRequested


class Model:
    """`answers`: the last sequence under each campaign's own subjects."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self.units: dict[str, Unit] = {}
        self.requests: dict[str, Request] = {}
        self.answers: dict[str, int] = {}
        self.refused: set[str] = set()
        self.datasets: dict[str, DatasetInfo] = {}

    def saw(self, stored: Stored) -> None:
        """The last sequences of queues and of requests' answers count what cannot be read too."""
        tokens = stored.subject.split(".")
        if tokens[1:3] == ["mining", "queue"] and tokens[3] in self.units:
            self.units[tokens[3]].queue_seq = stored.seq
        elif tokens[1:3] == ["mining", "campaign"]:
            self.answers[tokens[3]] = stored.seq

    def apply(self, stored: Stored, event: Event) -> None:
        """Fold one event in; events that do not concern work change nothing."""
        data = event.payload()
        if isinstance(data, ev.DatasetImported):
            self.datasets[data.hash] = data.info
        elif isinstance(data, ev.CampaignRequested):
            if event.subject not in self.campaigns and event.subject not in self.refused:
                self.requests[event.subject] = Request(event.subject, event.id, data)
        elif isinstance(data, ev.CampaignRefused):
            self.requests.pop(event.subject, None)
            self.refused.add(event.subject)
        elif isinstance(data, ev.CampaignOpened):
            self._open(event, data)
        elif isinstance(data, ev.CampaignFinished):
            self._finish(event.subject)
        elif event.subject in self.units:
            self._apply_to_unit(self.units[event.subject], event.id, data)

    def _open(self, event: Event, data: ev.CampaignOpened) -> None:
        self.requests.pop(event.subject, None)
        if event.subject in self.campaigns:
            return
        units = [
            Unit(unit_id(event.subject, i), event.subject, i, data.spec.replicas) for i in range(unit_count(data.spec))
        ]
        self.campaigns[event.subject] = Campaign(event.subject, data.spec, data.lane, data.distinct, event.id, units)
        self.units.update((u.id, u) for u in units)

    def _finish(self, campaign: str) -> None:
        """A finished campaign's units are no longer ours to care for."""
        c = self.campaigns.get(campaign)
        if c is not None:
            c.finished = True
            for u in c.units:
                self.units.pop(u.id, None)
            c.units = []

    def _apply_to_unit(self, unit: Unit, event_id: str, data: ev.EventData) -> None:
        if isinstance(data, ev.UnitOpened):
            unit.opened_id = event_id
        elif isinstance(data, ev.ReplicaQueued):
            unit.queue[data.replica] = "queued"
        elif isinstance(data, ev.ReplicaWithheld):
            unit.queue[data.replica] = "withheld"
        elif isinstance(data, ev.ReplicaAnswered):
            unit.answered.add(data.replica)
            unit.owners.add(data.owner)
        elif isinstance(data, ev.ReplicaClaimed):
            unit.holders[data.replica] = (data.host, data.slot)
        elif isinstance(data, ev.ReplicaReleased):
            unit.holders.pop(data.replica, None)
        elif isinstance(data, ev.ReplicaRequested):
            unit.wanted = max(unit.wanted, data.replica + 1)
            unit.asked_ids[data.replica] = event_id
        elif isinstance(data, ev.UnitValidated | ev.UnitInconclusive | ev.UnitParked):
            self._decide(unit, event_id, data)

    def _decide(self, unit: Unit, event_id: str, data: ev.UnitValidated | ev.UnitInconclusive | ev.UnitParked) -> None:
        self.campaigns[unit.campaign].verdict_id = event_id
        if isinstance(data, ev.UnitValidated):
            unit.verdict, unit.digest, unit.tried_sha256 = "validated", data.digest, data.tried_sha256
        else:
            unit.verdict = "inconclusive" if isinstance(data, ev.UnitInconclusive) else "parked"

    def open_campaigns(self) -> list[Campaign]:
        return [c for c in self.campaigns.values() if not c.finished]
