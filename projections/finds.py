"""What a unit found, with all its figures: each find once, wherever else it is shown.

An answer's best find is here before anybody has confirmed it (`validated` 0); the verdict of the unit has the last word.
"""

from bus.events import StrategyDiscovered, StrategyValidated, UnitValidated
from domain.errors import BadInput
from domain.results import Find
from projections.decoding import canonical_text
from projections.schema import Fact, Put, ReadModel, Table, View, number, outcome, trace, words
from projections.units import VERDICTS

TABLE = Table(
    "finds",
    ("unit", "genome_id"),
    (*trace("text", "unit"), *outcome("text", "genome_id", "find"), *trace("int", "validated")),
    outcome_if="validated = 1",
    wide=True,
)


def _put(unit: str, find: Find, validated: bool) -> Put:
    return Put("finds", (unit, find.genome_id), {"find": canonical_text(find), "validated": validated})


def _strategy(view: View, seq: int, event: Fact) -> list[Put]:
    """Of an answer without a verdict, or from elsewhere."""
    d: StrategyDiscovered | StrategyValidated = event.data
    if d.find is None or number(view.get("finds", (d.unit, d.genome_id)), "validated"):
        return []
    if d.find.genome_id != d.genome_id:
        raise BadInput(f"the find is of genome {d.find.genome_id[:12]}, the strategy of {d.genome_id[:12]}")
    return [_put(d.unit, d.find, isinstance(d, StrategyValidated))]


def _validated(view: View, seq: int, event: Fact) -> list[Put]:
    """A unit's first verdict counts, as in the units themselves."""
    if words(view.get("units", (event.subject,)), "state") in VERDICTS:
        return []
    d: UnitValidated = event.data
    return [_put(event.subject, find, True) for find in d.finds]


MODEL = ReadModel(
    TABLE,
    {
        "strategy.strategy.discovered": _strategy,
        "strategy.strategy.validated": _strategy,
        "mining.unit.validated": _validated,
    },
)
apply = MODEL.apply
