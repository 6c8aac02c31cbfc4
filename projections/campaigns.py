"""Campaigns: what was asked for, whether it runs, what came of it."""

import msgspec

from bus.events import (
    CampaignFinished,
    CampaignJudged,
    CampaignOpened,
    CampaignRefused,
    CampaignRequested,
    UnitValidated,
)
from domain.hashing import canonical
from domain.specs import CampaignSpec, strategy_id
from domain.tasks import unit_count
from projections.schema import Fact, Put, ReadModel, Row, Table, Value, View, number, outcome, trace, words
from projections.units import VERDICTS

#: requested -> open -> finished, or requested -> refused.
TABLE = Table(
    "campaigns",
    ("id",),
    (
        *trace("text", "id"),
        *outcome(
            "text", "name", "spec", "dataset", "venue", "symbol", "risk", "grammar", "method", "lane", "state", "digest"
        ),
        # Further datasets: their hashes, markets and granularities, as canonical JSON.
        *outcome("text", "also"),
        *outcome("int", "granularity_s", "units", "nulls", "replicas"),
        *outcome("int", "validated", "inconclusive", "parked", "trials"),
        # The best strategy of all exhaustive units so far; proven once every unit is validated.
        *outcome("text", "best", "best_genome"),
        *outcome("real", "best_objective"),
        *outcome("int", "best_enough"),
        # A campaign's seed is below 2**63, but what a command says is checked by the dispatcher, not here.
        *outcome("text", "seed"),
        *trace("text", "distinct_by", "requested_by", "reason", "requested_time", "opened_time", "finished_time"),
        *trace("int", "requested_seq", "opened_seq", "finished_seq", "evaluated"),
        # What is said about luck rests on logarithms and distributions: trace, not outcome.
        *trace("text", "judgement"),
        *trace("int", "judged_seq", "passed"),
    ),
    outcome_if="state = 'finished'",
    wide=True,
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
        "also": canonical([[m.dataset, m.venue, m.symbol, m.granularity_s] for m in s.also]).decode() if s.also else "",
        "risk": s.risk,
        "grammar": s.grammar,
        "method": s.method,
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
        values |= _best(row, event.data)
    return [Put("campaigns", (campaign,), values)]


def _best(row: Row | None, d: UnitValidated) -> dict[str, Value]:
    """The unit's best find where it beats those of the campaign's other exhaustive units, whatever their order."""
    find = d.finds[0] if d.finds else None
    if row is None or row["method"] != "sweep" or find is None or find.objective is None:
        return {}
    ours = (not find.enough_trades, -find.objective, find.genome_id)
    before = row["best_objective"]
    if isinstance(before, float) and ours > (not row["best_enough"], -before, words(row, "best_genome")):
        return {}
    search = msgspec.json.decode(words(row, "spec"), type=CampaignSpec).search
    return {
        "best": strategy_id(find.genome_id, search),
        "best_genome": find.genome_id,
        "best_objective": find.objective,
        "best_enough": find.enough_trades,
    }


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
