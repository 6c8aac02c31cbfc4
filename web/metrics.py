"""Prometheus text: what an operator wants to see on a graph."""

import sqlite3
from collections import Counter

from domain.errors import Unreachable
from projections import queries, ranking
from projections.live import agent_rows
from projections.queries import Json
from web.services import Services


def _counts(con: sqlite3.Connection) -> Json:
    answers, evaluated, seconds = queries.answered(con)
    found, validated = ranking.strategy_count(con), ranking.strategy_count(con, "validated")
    return {
        "units": queries.unit_counts(con),
        "trials": queries.trials(con),
        "answers": answers,
        "evaluated": evaluated,
        "seconds": seconds,
        "strategies": {"validated": validated, "discovered": found - validated},
        "position": queries.position(con),
    }


def family(name: str, kind: str, text: str, values: list[tuple[dict[str, str], float]]) -> list[str]:
    """One metric with its samples; label values are words of ours or host names, escaped all the same."""
    lines = [f"# HELP sluice_{name} {text}", f"# TYPE sluice_{name} {kind}"]
    for labels, value in values:
        inner = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items())
        lines.append(f"sluice_{name}{{{inner}}} {value:g}" if inner else f"sluice_{name} {value:.15g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


async def exposition(s: Services) -> str:
    """All metrics; those of the read models are left out while there are none."""
    now = s.hub.now
    try:
        recorded, c = await s.views.read(lambda con: (queries.agents(con), _counts(con)))
    except Unreachable:
        recorded, c = [], None
    rows = agent_rows(now.presences, recorded)
    agents = Counter((a["kind"], a["host"], a["state"]) for a in rows)
    out = family("bus_connected", "gauge", "Whether the bus answers.", [({}, float(now.connected))])
    out += family("log_last_sequence", "gauge", "Last sequence of the event log.", [({}, now.last_seq)])
    out += family(
        "agents", "gauge", "Agents that should be there, by state; without a heartbeat they are dead.",
        [({"kind": k, "host": h, "state": st}, n) for (k, h, st), n in sorted(agents.items())],
    )  # fmt: skip
    out += family(
        "agent_restarts_total", "counter", "Ends of agents that nobody asked for.",
        [({"agent": a["id"], "host": a["host"]}, a["restarts"]) for a in rows],
    )  # fmt: skip
    out += family("trials_per_second", "gauge", "Genomes evaluated a second, all miners.", [({}, now.rate or 0.0)])
    out += family("web_open_pages", "gauge", "Pages with a live stream.", [({}, s.hub.clients)])
    out += family("web_fragments_rendered_total", "counter", "Fragments rendered.", [({}, s.renderer.rendered)])
    if c is None:
        return "\n".join(out) + "\n"
    out += family("units", "gauge", "Units by state.", [({"state": k}, v) for k, v in c["units"].items()])
    out += family("trials_total", "counter", "Distinct rules tried.", [({}, c["trials"])])
    out += family("answers_total", "counter", "Replicas answered.", [({}, c["answers"])])
    out += family("evaluated_total", "counter", "Genomes evaluated, repeats included.", [({}, c["evaluated"])])
    out += family("mining_seconds_total", "counter", "Seconds that miners worked.", [({}, c["seconds"])])
    out += family(
        "strategies", "gauge", "Strategies by stage.", [({"stage": k}, v) for k, v in c["strategies"].items()]
    )
    out += family("view_position", "gauge", "Sequence that the read models have reached.", [({}, c["position"])])
    return "\n".join(out) + "\n"
