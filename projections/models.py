"""The list of all read models, and the fingerprint of what they are."""

from bus.events import REGISTRY
from domain.hashing import content_hash
from projections import agents, campaigns, datasets, evidence, finds, gathered, replicas, strategies, units
from projections.schema import ReadModel, Table, trace

#: Raised whenever a handler gives other rows, or the position another chain, for the same events.
VERSION = 3

#: Events that no read model could take. Their reasons depend on the program's version, so they are kept outside.
REJECTED = Table(
    "rejected",
    ("seq",),
    (*trace("int", "seq"), *trace("text", "subject", "event_id")),
)
MODELS: tuple[ReadModel, ...] = (
    campaigns.MODEL,
    units.MODEL,
    gathered.MODEL,
    finds.MODEL,
    replicas.MODEL,
    strategies.MODEL,
    evidence.MODEL,
    datasets.MODEL,
    agents.MODEL,
)
TABLES: dict[str, Table] = {t.name: t for t in (*(m.table for m in MODELS), REJECTED)}


def fingerprint() -> str:
    """Changes with the tables, the handlers' version and the events we can read: another one means build anew."""
    tables = [[t.name, t.key, t.columns, t.outcome_if, t.indexes, t.wide] for t in TABLES.values()]
    events = [[name, entry.version] for name, entry in sorted(REGISTRY.items())]
    return content_hash([VERSION, tables, events])
