"""Datasets by content hash: which candles are registered."""

from bus.events import DatasetImported
from projections.schema import Fact, Put, ReadModel, Table, View, outcome, trace

TABLE = Table(
    "datasets",
    ("id",),
    (
        *outcome("text", "id", "venue", "symbol"),
        *outcome(
            "int", "granularity_s", "candles", "first_ms", "last_ms", "price_decimals", "volume_decimals", "bytes"
        ),
        *trace("text", "source", "imported_time"),
        *trace("int", "parts", "imported_seq"),
    ),
)


def _imported(view: View, seq: int, event: Fact) -> list[Put]:
    d: DatasetImported = event.data
    if view.get("datasets", (d.hash,)) is not None:
        return []
    i = d.info
    return [
        Put(
            "datasets",
            (d.hash,),
            {
                "venue": i.venue,
                "symbol": i.symbol,
                "granularity_s": i.granularity_s,
                "candles": i.candles,
                "first_ms": i.first_ms,
                "last_ms": i.last_ms,
                "price_decimals": i.price_decimals,
                "volume_decimals": i.volume_decimals,
                "bytes": d.bytes,
                "source": d.source,
                "imported_time": event.time,
                "parts": d.parts,
                "imported_seq": seq,
            },
        )
    ]


MODEL = ReadModel(TABLE, {"data.dataset.imported": _imported})
apply = MODEL.apply
