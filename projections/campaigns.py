"""Campaigns: what was asked for, whether it runs, what came of it."""

from bus.events import CampaignFinished, CampaignJudged, CampaignOpened, CampaignRefused, CampaignRequested
from domain.hashing import canonical
from domain.specs import CampaignSpec
from domain.tasks import unit_count
from projections.schema import Fact, Put, ReadModel, Table, Value, View, number, outcome, trace, words
from projections.units import VERDICTS

#: requested -> open -> finished, or requested -> refused.
TABLE = Table(
    "campaigns",
    ("id",),
    (
        *trace("text", "id"),
        *outcome("text", "name", "spec", "dataset", "venue", "symbol", "risk", "grammar", "lane", "state", "digest"),
        *outcome("int", "granularity_s", "units", "nulls", "replicas"),
        *outcome("int", "validated", "inconclusive", "parked", "trials"),
        # A campaign's seed is below 2**63, but what a command says is checked by the dispatcher, not here.
        *outcome("text", "seed"),
        *trace("text", "distinct_by", "requested_by", "reason", "requested_time", "opened_time", "finished_time"),
        *trace("int", "requested_seq", "opened_seq", "finished_seq", "evaluated"),
        # What is said about luck rests on logarithms and distributions: trace, not outcome.
        *trace("text", "judgement"),
        *trace("int", "judged_seq", "passed"),
    ),
    outcome_if="state = 'finished'",
)


def _spec(spec: CampaignSpec) -> dict[str, Value]:
    s = spec.search
    return {
        "name": spec.name,
        "spec": canonical(spec).decode(),
        "dataset": s.dataset,
        "venue": s.venue,
        "symbol": s.symbol,
        "granularity_s": s.granularity_s,
        "risk": s.risk,
        "grammar": s.grammar,
        "units": unit_count(spec),
        "nulls": spec.nulls,
        "replicas": spec.replicas,
        "seed": str(spec.seed),
    }


def _requested(view: View, seq: int, event: Fact) -> list[Put]:
    if view.get("campaigns", (event.subject,)) is not None:
        return []
    d: CampaignRequested = event.data
    values = _spec(d.spec) | {
        "state": "requested",
        "requested_by": d.by,
        "requested_time": event.time,
        "requested_seq": seq,
    }
    return [Put("campaigns", (event.subject,), values)]


def _refused(view: View, seq: int, event: Fact) -> list[Put]:
    if words(view.get("campaigns", (event.subject,)), "state") in ("open", "finished", "refused"):
        return []
    d: CampaignRefused = event.data
    values: dict[str, Value] = {
        "state": "refused",
        "reason": d.reason,
        "finished_time": event.time,
        "finished_seq": seq,
    }
    return [Put("campaigns", (event.subject,), values)]


def _opened(view: View, seq: int, event: Fact) -> list[Put]:
    if words(view.get("campaigns", (event.subject,)), "state") in ("open", "finished", "refused"):
        return []
    d: CampaignOpened = event.data
    values = _spec(d.spec) | {
        "state": "open",
        "lane": d.lane,
        "distinct_by": d.distinct,
        "opened_time": event.time,
        "opened_seq": seq,
    }
    return [Put("campaigns", (event.subject,), values)]


def _verdict(view: View, seq: int, event: Fact) -> list[Put]:
    """A unit's first verdict counts, as in the units themselves."""
    if words(view.get("units", (event.subject,)), "state") in VERDICTS:
        return []
    campaign: str = event.data.campaign
    row = view.get("campaigns", (campaign,))
    verdict = event.type.rpartition(".")[2]
    values: dict[str, Value] = {verdict: number(row, verdict) + 1}
    # What null repetitions try is no trial of the dataset.
    if verdict == "validated" and event.data.index < number(row, "units") - number(row, "nulls"):
        values["evaluated"] = number(row, "evaluated") + event.data.evaluated
    return [Put("campaigns", (campaign,), values)]


def _finished(view: View, seq: int, event: Fact) -> list[Put]:
    if words(view.get("campaigns", (event.subject,)), "state") in ("finished", "refused"):
        return []
    d: CampaignFinished = event.data
    values: dict[str, Value] = {
        "state": "finished",
        "digest": d.digest,
        "trials": d.trials,
        "finished_time": event.time,
        "finished_seq": seq,
    }
    return [Put("campaigns", (event.subject,), values)]


def _judged(view: View, seq: int, event: Fact) -> list[Put]:
    row = view.get("campaigns", (event.subject,))
    if row is None or number(row, "judged_seq"):
        return []
    d: CampaignJudged = event.data
    values: dict[str, Value] = {
        "judgement": canonical(d.judgement).decode(),
        "judged_seq": seq,
        "passed": sum(s.passed for s in d.judgement.strategies),
    }
    return [Put("campaigns", (event.subject,), values)]


MODEL = ReadModel(
    TABLE,
    {
        "cmd.campaign.requested": _requested,
        "mining.campaign.refused": _refused,
        "mining.campaign.opened": _opened,
        "mining.campaign.finished": _finished,
        "mining.campaign.judged": _judged,
        "mining.unit.validated": _verdict,
        "mining.unit.inconclusive": _verdict,
        "mining.unit.parked": _verdict,
    },
)
apply = MODEL.apply
