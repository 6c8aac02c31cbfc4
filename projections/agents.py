"""Starts and stops of agents, as their supervisors recorded them. Who is alive now is a live view, not this."""

from bus.events import AgentStarted, AgentStopped
from projections.schema import Fact, Put, ReadModel, Table, View, number, trace

TABLE = Table(
    "agents",
    ("id",),
    (
        *trace("text", "id", "kind", "host", "version", "state", "started_time", "stopped_time"),
        *trace("int", "pid", "exit", "wanted", "starts", "crashes", "last_seq"),
    ),
)


def _started(view: View, seq: int, event: Fact) -> list[Put]:
    d: AgentStarted = event.data
    row = view.get("agents", (event.subject,))
    return [
        Put(
            "agents",
            (event.subject,),
            {
                "kind": d.kind,
                "host": d.host,
                "pid": d.pid,
                "version": d.version,
                "state": "started",
                "started_time": event.time,
                "starts": number(row, "starts") + 1,
                "last_seq": seq,
            },
        )
    ]


def _stopped(view: View, seq: int, event: Fact) -> list[Put]:
    d: AgentStopped = event.data
    row = view.get("agents", (event.subject,))
    return [
        Put(
            "agents",
            (event.subject,),
            {
                "kind": d.kind,
                "host": d.host,
                "pid": d.pid,
                "state": "stopped",
                "stopped_time": event.time,
                "exit": d.exit,
                "wanted": d.wanted,
                "crashes": number(row, "crashes") + (not d.wanted),
                "last_seq": seq,
            },
        )
    ]


MODEL = ReadModel(TABLE, {"ops.agent.started": _started, "ops.agent.stopped": _stopped})
apply = MODEL.apply
