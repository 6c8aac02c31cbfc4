"""All streams and buckets, once. Created by the set-up user; verified, never silently changed, at every start."""

from dataclasses import dataclass, field, replace
from typing import Any

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig

DAY = 86_400.0
GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True)
class StreamSpec:
    """A stream's settings and what it is for (the text stands in docs/flow.md)."""

    config: StreamConfig
    purpose: str
    check: tuple[str, ...] = field(
        default=(
            "subjects",
            "retention",
            "storage",
            "max_msgs_per_subject",
            "max_age",
            "discard",
            "discard_new_per_subject",
            "deny_delete",
            "deny_purge",
            "allow_rollup_hdrs",
            "allow_atomic",
            "allow_direct",
            "num_replicas",
        )
    )


def _stream(name: str, subjects: list[str], purpose: str, **settings: Any) -> StreamSpec:
    defaults: dict[str, Any] = {
        "retention": RetentionPolicy.LIMITS,
        "storage": StorageType.FILE,
        "compression": StoreCompression.S2 if settings.get("storage") != StorageType.MEMORY else StoreCompression.NONE,
        "discard": DiscardPolicy.OLD,
        "max_msgs_per_subject": -1,
        "max_age": 0.0,
        "discard_new_per_subject": False,
        "deny_delete": False,
        "deny_purge": False,
        "allow_rollup_hdrs": False,
        "allow_atomic": False,
        "allow_direct": True,
        "duplicate_window": 120.0,
        "num_replicas": 1,
    }
    return StreamSpec(StreamConfig(name=name, subjects=subjects, **(defaults | settings)), purpose)


def _bucket(name: str, ttl_s: float, purpose: str, storage: StorageType = StorageType.MEMORY) -> StreamSpec:
    """A KV bucket, readable by any KV client; rollup stays denied so that no writer can wipe it by a header."""
    return _stream(
        f"KV_{name}",
        [f"$KV.{name}.>"],
        purpose,
        storage=storage,
        max_msgs_per_subject=1,
        max_age=ttl_s,
        discard=DiscardPolicy.NEW,
        duplicate_window=min(120.0, ttl_s) if ttl_s else 120.0,
    )


def stream_specs(presence_ttl_s: float = 30.0, lease_ttl_s: float = 10.0, replicas: int = 1) -> tuple[StreamSpec, ...]:
    """The whole table; the two TTLs come from the settings because tests live faster. `replicas`: 3 on a cluster.

    There the buckets lie on disk like everything else (ADR 0019).
    """
    table = _table(presence_ttl_s, lease_ttl_s)
    if replicas == 1:
        return table
    on_disk = {True: {"storage": StorageType.FILE}, False: {}}
    return tuple(replace(s, config=s.config.evolve(num_replicas=replicas, **on_disk[in_memory(s)])) for s in table)


def _table(presence_ttl_s: float, lease_ttl_s: float) -> tuple[StreamSpec, ...]:
    forever = {"deny_delete": True, "deny_purge": True, "discard": DiscardPolicy.NEW}
    return (
        _stream("EVENTS", ["ev.>"], "all domain events, for ever", allow_atomic=True, **forever),
        _stream(
            "WORK",
            ["work.>"],
            "replicas that miners pull; one message a subject",
            retention=RetentionPolicy.WORK_QUEUE,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
        ),
        _stream("CLAIM", ["claim.>"], "who works on what; compare-and-set over the unit", max_msgs_per_subject=16),
        _stream(
            "RESULT",
            ["result.>"],
            "answers; the first write of an owner's slot wins",
            max_msgs_per_subject=1,
            discard_new_per_subject=True,
            **forever,
        ),
        _stream("CKPT", ["ckpt.>"], "last checkpoint of each holder", max_msgs_per_subject=1, max_age=30 * DAY),
        _stream(
            "ARTIFACTS", ["art.>"], "datasets and sets of tried genomes, in chunks, by SHA-256", max_msgs_per_subject=1
        ),
        _stream("TELEM", ["telem.>"], "progress of miners", max_age=DAY, max_bytes=64 * MIB),
        _stream("LOGS", ["log.>"], "logs of all agents of all machines", max_age=7 * DAY, max_bytes=64 * MIB),
        _stream("PARKED", ["parked.>"], "messages that could not be handled, with the reason", **forever),
        _stream("AUDIT", ["audit.>"], "seals of the log, and what the auditor found", **forever),
        _bucket("PRESENCE", presence_ttl_s, "heartbeats of all agents"),
        _bucket("LEASE", lease_ttl_s, "which agent of a kind is the active one"),
    )


def stream_config(info: dict[str, Any]) -> StreamConfig:
    """The settings in what a server says of a stream."""
    config: StreamConfig = StreamConfig.from_response(info["config"])
    return config


def in_memory(spec: StreamSpec) -> bool:
    """A bucket: on a single server gone after every restart, and made (anew) by whoever owns the instance."""
    return (spec.config.name or "").startswith("KV_")


def difference(spec: StreamSpec, actual: StreamConfig) -> list[str]:
    """Settings in which the stream on the server is another one than ours, as `name: here X, expected Y`."""

    def plain(value: Any) -> Any:
        value = getattr(value, "value", value)
        return sorted(value) if isinstance(value, list) else value or 0

    out = []
    for name in spec.check:
        here, wanted = plain(getattr(actual, name)), plain(getattr(spec.config, name))
        if here != wanted and not {here, wanted} <= {0, -1}:
            out.append(f"{name}: on the server {here}, expected {wanted}")
    return out
