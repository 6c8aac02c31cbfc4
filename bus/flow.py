"""The dataflow as data: every event, its subject, who publishes it, who acts on it; and every other stream.

`python -m bus.flow` prints docs/flow.md; tests fail on a missing event, an undeclared publisher or consumer, a stale page.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from bus.causes import causes_of, may_be_root
from bus.events import REGISTRY
from bus.streams import stream_specs


class Flow(NamedTuple):
    """`publishers` and `consumers` are agents, or `cli`; the projector reads every event besides."""

    publishers: tuple[str, ...]
    consumers: tuple[str, ...] = ()


FLOW: dict[str, Flow] = {
    "data.dataset.imported": Flow(("cli",), ("cli", "dispatcher", "validator")),
    "data.holdout.looked": Flow(("cli", "dispatcher"), ("cli", "validator")),
    "data.walk_forward.looked": Flow(("cli",), ("validator",)),
    "cmd.campaign.requested": Flow(("cli", "web"), ("dispatcher",)),
    "mining.campaign.refused": Flow(("dispatcher",), ("cli", "dispatcher")),
    "mining.campaign.opened": Flow(("dispatcher",), ("dispatcher", "validator")),
    "mining.campaign.finished": Flow(("dispatcher",), ("cli", "dispatcher", "validator")),
    "mining.campaign.judged": Flow(("validator",), ("validator",)),
    "mining.unit.opened": Flow(("dispatcher",), ("dispatcher", "validator")),
    "mining.queue.replica_queued": Flow(("dispatcher",), ("dispatcher",)),
    "mining.queue.replica_withheld": Flow(("dispatcher",), ("dispatcher",)),
    "mining.unit.replica_claimed": Flow(("validator",), ("dispatcher", "validator")),
    "mining.unit.replica_released": Flow(("validator",), ("dispatcher", "validator")),
    "mining.unit.replica_answered": Flow(("validator",), ("dispatcher", "validator")),
    "mining.unit.replica_requested": Flow(("validator",), ("dispatcher", "validator")),
    "mining.unit.validated": Flow(("validator",), ("cli", "dispatcher", "validator")),
    "mining.unit.inconclusive": Flow(("validator",), ("cli", "dispatcher", "validator")),
    "mining.unit.parked": Flow(("validator",), ("cli", "dispatcher", "validator")),
    "strategy.strategy.discovered": Flow(("validator",), ("validator",)),
    "strategy.strategy.validated": Flow(("validator",), ("validator",)),
    "ops.agent.started": Flow(("watchdog",), ("watchdog",)),
    "ops.agent.stopped": Flow(("watchdog",), ("watchdog",)),
    "ops.agent.stalled": Flow(("watchdog",), ("watchdog",)),
    "ops.agent.gave_up": Flow(("watchdog",), ("watchdog",)),
    "ops.kernel.flagged": Flow(("validator",)),
    "audit.epoch.opened": Flow(("cli",), ("auditor", "cli", "projector")),
}

#: Streams beside EVENTS: who writes, who reads.
STREAM_FLOW: dict[str, Flow] = {
    "EVENTS": Flow(
        ("cli", "dispatcher", "validator", "watchdog", "web"),
        ("auditor", "cli", "dispatcher", "projector", "validator", "watchdog", "web"),
    ),
    "WORK": Flow(("dispatcher",), ("miner",)),
    "CLAIM": Flow(("miner",), ("cli", "miner", "validator", "watchdog")),
    "RESULT": Flow(("miner",), ("cli", "miner", "validator")),
    "CKPT": Flow(("miner",), ("miner",)),
    "ARTIFACTS": Flow(("cli", "miner"), ("cli", "dispatcher", "miner", "validator", "web")),
    "TELEM": Flow(("miner", "watchdog"), ("watchdog", "web")),
    "LOGS": Flow(("auditor", "dispatcher", "miner", "projector", "validator", "watchdog", "web"), ("cli",)),
    "PARKED": Flow(("dispatcher", "miner", "projector", "validator"), ("cli",)),
    "KV_PRESENCE": Flow(
        ("auditor", "dispatcher", "miner", "projector", "validator", "watchdog", "web"),
        ("cli", "dispatcher", "watchdog", "web"),
    ),
    "AUDIT": Flow(("auditor",), ("auditor", "cli", "projector")),
    "KV_LEASE": Flow(("auditor", "dispatcher", "validator"), ("auditor", "dispatcher", "validator")),
}


def subject_pattern(event_type: str) -> str:
    context, kind, verb = event_type.split(".")
    return f"ev.{context}.{kind}.<id>.{verb}"


def page() -> str:
    """docs/flow.md as it should be."""
    lines = [
        "# Who says what to whom",
        "",
        "Generated from `bus/flow.py` by `python -m bus.flow > docs/flow.md`; a test keeps it fresh.",
        "The projector reads every event besides the consumers named here.",
        "",
        "## Events",
        "",
        "Caused by: the types that an event's `causationid` may name (`bus/causes.py`); – tells of something outside the log.",
        "",
        "| subject | version | published by | caused by | acted on by | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in REGISTRY.items():
        flow = FLOW[name]
        meaning = (entry.struct.__doc__ or "").strip().split("\n")[0] or "–"
        # A struct without a docstring of its own shows the signature that msgspec makes up: say nothing then.
        meaning = "–" if meaning.startswith(entry.struct.__name__ + "(") else meaning
        who = ", ".join(flow.publishers), ", ".join(flow.consumers) or "–"
        why = ", ".join(f"`{c.partition('.')[2]}`" for c in causes_of(name)) or "–"
        why += " or –" if causes_of(name) and may_be_root(name) else ""
        lines.append(f"| `{subject_pattern(name)}` | {entry.version} | {who[0]} | {why} | {who[1]} | {meaning} |")
    lines += [
        "",
        "## Streams and buckets",
        "",
        "| stream | subjects | written by | read by | holds |",
        "|---|---|---|---|---|",
    ]
    for spec in stream_specs():
        flow = STREAM_FLOW[str(spec.config.name)]
        subjects = ", ".join(f"`{s}`" for s in spec.config.subjects or [])
        who = ", ".join(flow.publishers), ", ".join(flow.consumers) or "–"
        lines.append(f"| {spec.config.name} | {subjects} | {who[0]} | {who[1]} | {spec.purpose} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page())
    else:
        sys.stdout.write(page())
