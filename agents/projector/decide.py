"""Whether read models still belong to the log that we follow."""

from projections.position import doubt, event_id_of

__all__ = ["doubt", "event_id_of"]
