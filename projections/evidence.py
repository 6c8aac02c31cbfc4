"""What was measured of a validated strategy: one row for each search and kernel that found it, whatever came first.

The find is that of `unit` in `finds`.
"""

from bus.events import StrategyValidated
from domain.hashing import content_hash
from projections.schema import Fact, Put, ReadModel, Table, View, outcome, trace, words
from projections.strategies import checked_id

TABLE = Table(
    "evidence",
    ("strategy", "search_id", "lane"),
    (
        *outcome("text", "strategy", "search_id", "lane", "dataset", "genome_id"),
        *trace("text", "campaign", "unit", "time"),
        *trace("int", "seq"),
    ),
    wide=True,
)


def _validated(view: View, seq: int, event: Fact) -> list[Put]:
    sid = checked_id(event)
    d: StrategyValidated = event.data
    lane = words(view.get("campaigns", (d.campaign,)), "lane")
    key = (sid, content_hash(d.search), lane)
    if view.get("evidence", key) is not None:
        return []
    return [
        Put(
            "evidence",
            key,
            {
                "dataset": d.search.dataset,
                "genome_id": d.genome_id,
                "campaign": d.campaign,
                "unit": d.unit,
                "time": event.time,
                "seq": seq,
            },
        )
    ]


MODEL = ReadModel(TABLE, {"strategy.strategy.validated": _validated})
apply = MODEL.apply
