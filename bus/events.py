"""All event types: a frozen struct for the data of each, and the registry `context.entity.verb` -> struct and version.

Past tense, immutable. Any change of a struct, or of one inside it, is a new version with an upcaster (`bus.upcast`); a
test compares what each version looks like with `tests/contract/golden_schemas`.
"""

from typing import Any, NamedTuple

import msgspec

from domain.candles import DatasetInfo
from domain.genome import Genome
from domain.judgement import Judgement
from domain.results import Distribution, Find, FrontPoint
from domain.specs import CampaignSpec, Distinct, SearchSpec
from domain.tasks import Task


class EventData(msgspec.Struct, frozen=True):
    """Base of all event data."""


# -- data ---------------------------------------------------------------------------------------------------------


class DatasetImported(EventData, frozen=True):
    """A dataset is registered under its content hash; its bytes lie in ARTIFACTS in `parts` chunks."""

    hash: str
    info: DatasetInfo
    source: str
    parts: int
    bytes: int


class HoldOutLooked(EventData, frozen=True):
    """Someone evaluated a genome on hold-out candles: a look, counted for ever.

    A campaign whose fitness candles are another split's hold-out looks at it with all its genomes (`genome_id` empty).
    """

    dataset: str
    symbol: str
    first_ms: int
    last_ms: int
    genome_id: str
    reason: str


class WalkForwardLooked(EventData, frozen=True):
    """A person evaluated a genome on walk-forward candles: one more candidate there, from now on."""

    dataset: str
    symbol: str
    first_ms: int
    last_ms: int
    genome_id: str
    reason: str


# -- mining -------------------------------------------------------------------------------------------------------


class CampaignRequested(EventData, frozen=True):
    """A command: mine this. `valid_until` (RFC 3339): after it nobody opens the campaign."""

    spec: CampaignSpec
    valid_until: str
    by: str


class CampaignRefused(EventData, frozen=True):
    """The answer to a request that cannot be fulfilled; nothing was queued."""

    reason: str


class CampaignOpened(EventData, frozen=True):
    """The spec as frozen, the kernel version that mines it, and who counts as a different owner."""

    spec: CampaignSpec
    lane: str
    distinct: Distinct


class CampaignFinished(EventData, frozen=True):
    """Every unit has a verdict. `digest`: SHA-256 over (index, verdict, result digest) in order; `trials`: distinct genomes."""

    digest: str
    validated: int
    inconclusive: int
    parked: int
    trials: int


class CampaignJudged(EventData, frozen=True):
    """Whether anything that the campaign found is better than luck, with every figure behind it."""

    judgement: Judgement


class UnitOpened(EventData, frozen=True):
    """One unit of the campaign: what it does, and the seed that its outcome depends on."""

    campaign: str
    index: int
    seed: int
    task: Task


class ReplicaQueued(EventData, frozen=True):
    """The replica lies in WORK: an owner is eligible for it."""

    campaign: str
    replica: int


class ReplicaWithheld(EventData, frozen=True):
    """The replica waits: no live owner is eligible for it."""

    campaign: str
    replica: int
    reason: str


class ReplicaClaimed(EventData, frozen=True):
    """A miner took the replica; `takeover_from` (host.slot) when another held it; `generation` it starts from."""

    campaign: str
    replica: int
    host: str
    slot: str
    claim_seq: int
    takeover_from: str
    generation: int


class ReplicaReleased(EventData, frozen=True):
    """The holder stopped in good order and gave the replica back."""

    campaign: str
    replica: int
    host: str
    slot: str
    claim_seq: int


class ReplicaAnswered(EventData, frozen=True):
    """A result was stored; `best_objective` is of its best find and not validated by anybody, null when nothing was found.

    `counts` is false for a second answer of one owner, one not asked for, and one that cannot be read (digest empty).
    """

    campaign: str
    replica: int
    host: str
    slot: str
    owner: str
    result_seq: int
    digest: str
    counts: bool
    evaluated: int
    generations: int
    seconds: float
    best_objective: float | None


class ReplicaRequested(EventData, frozen=True):
    """Owners disagree: one more independent answer is asked for."""

    campaign: str
    replica: int
    reason: str


class UnitValidated(EventData, frozen=True):
    """`owners` gave bit-equal outcomes and the independent reference agreed on the finds.

    `distribution`: of all genomes of an exhaustive unit, null for any other. `front`: what no other genome of the unit
    dominates in return, Sharpe ratio, drawdown and trades; empty for all but searches.
    """

    campaign: str
    index: int
    digest: str
    distinct: Distinct
    owners: tuple[str, ...]
    outvoted: tuple[str, ...]
    evaluated: int
    tried_sha256: str
    finds: tuple[Find, ...]
    distribution: Distribution | None = None
    front: tuple[FrontPoint, ...] = ()


class UnitInconclusive(EventData, frozen=True):
    """No quorum within the limit of replicas, or the reference disagreed with equal digests (`kernel_flagged`)."""

    campaign: str
    index: int
    reason: str
    kernel_flagged: bool


class UnitParked(EventData, frozen=True):
    """The unit brought every claimant down without progress; it is set aside with its reason."""

    campaign: str
    index: int
    replica: int
    reason: str


# -- strategy -----------------------------------------------------------------------------------------------------


class StrategyDiscovered(EventData, frozen=True):
    """First seen, in an answer that nobody has confirmed yet or in a verdict.

    `find`: as the answer had it; null when the verdict of `unit`, which lies before it in the log, has it.
    """

    genome: Genome
    genome_id: str
    search: SearchSpec
    find: Find | None
    campaign: str
    unit: str


class StrategyValidated(EventData, frozen=True):
    """Bit-equal at distinct owners and by the reference; says nothing yet about the future.

    `find`: null when the verdict of `unit`, which lies before it in the log, has it.
    """

    genome: Genome
    genome_id: str
    search: SearchSpec
    find: Find | None
    campaign: str
    unit: str


# -- ops ----------------------------------------------------------------------------------------------------------


class AgentStarted(EventData, frozen=True):
    """The watchdog of `host` started an agent."""

    kind: str
    host: str
    pid: int
    version: str


class AgentStopped(EventData, frozen=True):
    """An agent ended with status `exit` (negative: a signal; null: nobody saw it); `wanted`: the instance was stopping."""

    kind: str
    host: str
    pid: int
    exit: int | None
    wanted: bool


class AgentStalled(EventData, frozen=True):
    """The agent runs, but shows no sign of life or of progress; the watchdog ends and replaces it."""

    kind: str
    host: str
    pid: int
    reason: str


class AgentGaveUp(EventData, frozen=True):
    """The agent ended `deaths` times within `window_s`: left alone for `retry_s` (0: until someone starts it)."""

    kind: str
    host: str
    deaths: int
    window_s: float
    retry_s: float


class KernelFlagged(EventData, frozen=True):
    """The kernel of `lane` and the reference gave different bits: its finds are not to be trusted."""

    lane: str
    unit: str
    detail: str


# -- audit --------------------------------------------------------------------------------------------------------


class EpochOpened(EventData, frozen=True):
    """The log was restored from a copy: what earlier epochs held after `last_seq` is lost, and nobody tampered with it.

    `last_seq` and `chain` (hex) name the last event in common and the hash chain up to it; `epoch` counts from 2 (the
    first one needs no event); `source` says in words what was restored, `by` who did it.
    """

    epoch: int
    last_seq: int
    chain: str
    source: str
    by: str


class EventType(NamedTuple):
    struct: type[EventData]
    version: int


REGISTRY: dict[str, EventType] = {
    "data.dataset.imported": EventType(DatasetImported, 1),
    "data.holdout.looked": EventType(HoldOutLooked, 1),
    "data.walk_forward.looked": EventType(WalkForwardLooked, 1),
    "cmd.campaign.requested": EventType(CampaignRequested, 1),
    "mining.campaign.refused": EventType(CampaignRefused, 1),
    "mining.campaign.opened": EventType(CampaignOpened, 1),
    "mining.campaign.finished": EventType(CampaignFinished, 1),
    "mining.campaign.judged": EventType(CampaignJudged, 1),
    "mining.unit.opened": EventType(UnitOpened, 1),
    "mining.queue.replica_queued": EventType(ReplicaQueued, 1),
    "mining.queue.replica_withheld": EventType(ReplicaWithheld, 1),
    "mining.unit.replica_claimed": EventType(ReplicaClaimed, 1),
    "mining.unit.replica_released": EventType(ReplicaReleased, 1),
    "mining.unit.replica_answered": EventType(ReplicaAnswered, 2),
    "mining.unit.replica_requested": EventType(ReplicaRequested, 1),
    "mining.unit.validated": EventType(UnitValidated, 1),
    "mining.unit.inconclusive": EventType(UnitInconclusive, 1),
    "mining.unit.parked": EventType(UnitParked, 1),
    "strategy.strategy.discovered": EventType(StrategyDiscovered, 2),
    "strategy.strategy.validated": EventType(StrategyValidated, 2),
    "ops.agent.started": EventType(AgentStarted, 1),
    "ops.agent.stopped": EventType(AgentStopped, 2),
    "ops.agent.stalled": EventType(AgentStalled, 1),
    "ops.agent.gave_up": EventType(AgentGaveUp, 1),
    "ops.kernel.flagged": EventType(KernelFlagged, 1),
    "audit.epoch.opened": EventType(EpochOpened, 1),
}
_NAMES: dict[type[Any], str] = {entry.struct: name for name, entry in REGISTRY.items()}


def type_of(data: EventData) -> str:
    return _NAMES[type(data)]
