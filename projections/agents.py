"""What watchdogs recorded of agents: starts, ends, stalls. Who is alive now is a live view, not this.

`crashes` counts ends that nobody asked for (`stalls` of them because the agent stood still): as many restarts followed,
unless the watchdog gave up.
"""

from bus.events import AgentGaveUp, AgentStalled, AgentStarted, AgentStopped
from projections.schema import Fact, Put, ReadModel, Table, Value, View, number, trace

TABLE = Table(
    "agents",
    ("id",),
    (
        *trace("text", "id", "kind", "host", "version", "state", "reason", "started_time", "stopped_time"),
        *trace("int", "pid", "exit", "wanted", "starts", "crashes", "stalls", "last_seq"),
    ),
)
#: What `exit` is when nobody saw how the process ended.
UNKNOWN_EXIT = -1000


def _put(seq: int, event: Fact, values: dict[str, Value]) -> list[Put]:
    return [
        Put("agents", (event.subject,), {"kind": event.data.kind, "host": event.data.host, "last_seq": seq} | values)
    ]


def _started(view: View, seq: int, event: Fact) -> list[Put]:
    d: AgentStarted = event.data
    starts = number(view.get("agents", (event.subject,)), "starts") + 1
    return _put(
        seq,
        event,
        {
            "pid": d.pid,
            "version": d.version,
            "state": "started",
            "reason": "",
            "started_time": event.time,
            "starts": starts,
        },
    )


def _stopped(view: View, seq: int, event: Fact) -> list[Put]:
    d: AgentStopped = event.data
    crashes = number(view.get("agents", (event.subject,)), "crashes") + (not d.wanted)
    return _put(
        seq,
        event,
        {
            "pid": d.pid,
            "state": "stopped",
            "stopped_time": event.time,
            "exit": UNKNOWN_EXIT if d.exit is None else d.exit,
            "wanted": d.wanted,
            "crashes": crashes,
        },
    )


def _stalled(view: View, seq: int, event: Fact) -> list[Put]:
    d: AgentStalled = event.data
    stalls = number(view.get("agents", (event.subject,)), "stalls") + 1
    return _put(seq, event, {"pid": d.pid, "state": "stalled", "reason": d.reason, "stalls": stalls})


def _gave_up(view: View, seq: int, event: Fact) -> list[Put]:
    d: AgentGaveUp = event.data
    again = f"tried again after {d.retry_s:g} s" if d.retry_s else "not restarted"
    return _put(seq, event, {"state": "gave up", "reason": f"ended {d.deaths} times within {d.window_s:g} s, {again}"})


MODEL = ReadModel(
    TABLE,
    {
        "ops.agent.started": _started,
        "ops.agent.stopped": _stopped,
        "ops.agent.stalled": _stalled,
        "ops.agent.gave_up": _gave_up,
    },
)
apply = MODEL.apply
