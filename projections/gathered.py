"""What the units of a campaign found, put together: the front of all searches, the distribution of all parts of a sweep."""

import sqlite3
from typing import Any, cast

import msgspec

from bus.events import UnitValidated
from domain.errors import BadInput
from domain.gathered import Front, merged_distribution
from domain.hashing import canonical
from domain.results import Distribution, FrontPoint
from domain.specs import SearchSpec, strategy_id
from domain.words import genome_words
from projections.schema import Fact, Put, ReadModel, Row, Table, Value, View, number, outcome, trace, words
from projections.units import VERDICTS

#: `front` and `distribution` as JSON, "" while there is none; `parts`: units that the distribution is of.
TABLE = Table(
    "gathered",
    ("campaign",),
    (*trace("text", "campaign"), *outcome("text", "front", "distribution"), *outcome("int", "parts")),
    wide=True,
    late=("front",),
)
_Front = tuple[FrontPoint, ...]


def _known(row: Row | None) -> Front:
    """The front so far: as it was left by the last unit, or from its text."""
    value: object = row["front"] if row else ""
    if isinstance(value, Front):
        return value
    return Front().joined(msgspec.json.decode(value, type=_Front) if isinstance(value, str) and value else ())


def _validated(view: View, seq: int, event: Fact) -> list[Put]:
    """A unit's first verdict counts, as in the units themselves; null repetitions find nothing of the dataset."""
    if words(view.get("units", (event.subject,)), "state") in VERDICTS:
        return []
    d: UnitValidated = event.data
    campaign, row = view.get("campaigns", (d.campaign,)), view.get("gathered", (d.campaign,))
    if d.index >= number(campaign, "units") - number(campaign, "nulls"):
        return []
    values: dict[str, Value] = {}
    if d.front:
        known = _known(row)
        if (after := known.joined(d.front)) is not known:
            values["front"] = cast(Value, after)
    if d.distribution is not None:
        if not d.distribution.adds_up():
            raise BadInput("the distribution of the unit does not add up")
        before, total = words(row, "distribution"), d.distribution
        if before:
            total = merged_distribution(msgspec.json.decode(before, type=Distribution), total)
        values |= {"distribution": canonical(total).decode(), "parts": number(row, "parts") + 1}
    return [Put("gathered", (d.campaign,), values)] if values else []


MODEL = ReadModel(TABLE, {"mining.unit.validated": _validated})
apply = MODEL.apply


def front_of(con: sqlite3.Connection, campaign: str, search: SearchSpec) -> list[dict[str, Any]]:
    """Highest return first; figures are of the fitness windows. `strategy`: its id, `stage` "" unless it was a find."""
    found = con.execute("SELECT front FROM gathered WHERE campaign = ? AND front <> ''", (campaign,)).fetchone()
    if found is None:
        return []
    out = []
    for p in msgspec.json.decode(found[0], type=_Front):
        id = strategy_id(p.genome_id, search)
        stage = con.execute("SELECT stage FROM strategies WHERE id = ?", (id,)).fetchone()
        out.append(
            {
                "strategy": id,
                "stage": stage[0] if stage else "",
                "genome_id": p.genome_id,
                "genome": msgspec.to_builtins(p.genome),
                "rules": genome_words(p.genome),
                "objective": p.objective,
                "sharpe": p.sharpe,
                "max_drawdown": p.max_drawdown,
                "trades": p.trades,
            }
        )
    return out


def distribution_of(con: sqlite3.Connection, campaign: str) -> dict[str, Any] | None:
    """Of all genomes of the validated units (`parts`) of an exhaustive campaign, in bins of 0.1 %; null for any other."""
    sql = "SELECT distribution, parts FROM gathered WHERE campaign = ? AND distribution <> ''"
    found = con.execute(sql, (campaign,)).fetchone()
    return {**msgspec.json.decode(found[0]), "parts": found[1]} if found else None
