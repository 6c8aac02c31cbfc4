"""Units of mining: where each stands on its way to a verdict, and the verdict."""

from bus.events import UnitInconclusive, UnitOpened, UnitParked, UnitValidated
from domain.hashing import canonical
from projections import replicas
from projections.schema import Fact, Put, ReadModel, Table, Value, View, number, outcome, trace, words

VERDICTS = ("validated", "inconclusive", "parked")
#: queued (to be mined), waiting (for an eligible owner), running, then a verdict. Counts are of its replicas, by state.
TABLE = Table(
    "units",
    ("id",),
    (
        *trace("text", "id", "campaign"),
        *outcome("int", "idx"),
        # The seed is an unsigned 64-bit number, more than an SQL integer holds.
        *outcome("text", "task", "seed", "state", "digest", "tried_sha256"),
        *outcome("int", "evaluated", "finds"),
        *trace("text", "owners", "outvoted", "distinct_by", "reason"),
        *trace("int", "kernel_flagged", "parked_replica"),
        *trace("int", "queued", "withheld", "running", "answered"),
        *trace("text", "opened_time", "verdict_time"),
        *trace("int", "opened_seq", "verdict_seq"),
    ),
    outcome_if="state IN ('validated', 'inconclusive', 'parked')",
    indexes=(("campaign", "idx"), ("state",)),
)
_COUNTER = {
    "requested": "queued",
    "queued": "queued",
    "withheld": "withheld",
    "running": "running",
    "answered": "answered",
}


def _open_state(counts: dict[str, int], wanted: int) -> str:
    """Somebody works on it, or it lies in WORK, or it lacks an owner; with all answers in, its verdict is being made."""
    if counts["running"]:
        return "running"
    if counts["queued"]:
        return "queued"
    if counts["withheld"]:
        return "waiting"
    return "running" if counts["answered"] >= max(wanted, 1) else "queued"


def _opened(view: View, seq: int, event: Fact) -> list[Put]:
    row = view.get("units", (event.subject,))
    if number(row, "opened_seq"):
        return []
    d: UnitOpened = event.data
    values: dict[str, Value] = {
        "campaign": d.campaign,
        "idx": d.index,
        "task": canonical(d.task).decode(),
        "seed": str(d.seed),
        "state": words(row, "state") or "queued",
        "opened_time": event.time,
        "opened_seq": seq,
    }
    return [Put("units", (event.subject,), values)]


def _replica(view: View, seq: int, event: Fact) -> list[Put]:
    """Count the replica's change of state, and with it the unit's."""
    replica = view.get("replicas", (event.subject, event.data.replica))
    before, after = words(replica, "state"), replicas.next_state(replica, event.data)
    if before == after:
        return []
    row = view.get("units", (event.subject,))
    counts = {name: number(row, name) for name in ("queued", "withheld", "running", "answered")}
    if before:
        counts[_COUNTER[before]] -= 1
    counts[_COUNTER[after]] += 1
    values: dict[str, Value] = {**counts}
    if row is None:
        values["campaign"] = event.data.campaign
    if words(row, "state") not in VERDICTS:
        values["state"] = _open_state(counts, number(view.get("campaigns", (event.data.campaign,)), "replicas"))
    return [Put("units", (event.subject,), values)]


def _verdict(view: View, seq: int, event: Fact) -> list[Put]:
    row = view.get("units", (event.subject,))
    if words(row, "state") in VERDICTS:
        return []
    d = event.data
    values: dict[str, Value] = {
        "campaign": d.campaign,
        "idx": d.index,
        "state": event.type.rpartition(".")[2],
        "verdict_time": event.time,
        "verdict_seq": seq,
    }
    match d:
        case UnitValidated():
            values |= {
                "digest": d.digest,
                "tried_sha256": d.tried_sha256,
                "evaluated": d.evaluated,
                "finds": len(d.finds),
                "owners": canonical(d.owners).decode(),
                "outvoted": canonical(d.outvoted).decode(),
                "distinct_by": d.distinct,
            }
        case UnitInconclusive():
            values |= {"reason": d.reason, "kernel_flagged": d.kernel_flagged}
        case UnitParked():
            values |= {"reason": d.reason, "parked_replica": d.replica}
    return [Put("units", (event.subject,), values)]


MODEL = ReadModel(
    TABLE,
    {
        "mining.unit.opened": _opened,
        "mining.unit.validated": _verdict,
        "mining.unit.inconclusive": _verdict,
        "mining.unit.parked": _verdict,
        **dict.fromkeys(replicas.EVENTS, _replica),
    },
)
apply = MODEL.apply
