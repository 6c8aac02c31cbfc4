"""The parts of pages that change by themselves: what each shows, and from what. Pages and the live stream render the same."""

import sqlite3
import statistics
from collections.abc import Callable
from typing import NamedTuple

from domain.errors import BadInput
from projections import queries, ranking
from projections.live import agent_rows, halted, worker_rows
from projections.progress import answered_of, campaign_counts, open_campaigns, work_of
from projections.queries import Json
from web.histogram import drawing, earning
from web.live import Now

Params = dict[str, str]
UNITS_A_PAGE, STRATEGIES_A_PAGE, CAMPAIGNS_A_PAGE, MAP_UNITS = 100, 25, 50, 600
FRONT_SHOWN, FRONT_MOST = 12, 60


class Fragment(NamedTuple):
    """`context` reads what the template `_NAME.html` shows; `live`: whether it also depends on heartbeats and progress."""

    context: Callable[[sqlite3.Connection, Now, Params], Json]
    live: bool = False


def page_number(params: Params) -> int:
    """From 1 on; BadInput for what is no number."""
    text = params.get("page", "") or "1"
    if not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise BadInput(f"{text[:20]!r} is no page number")
    return int(text)


def paging(params: Params, count: int, size: int) -> Json:
    page, pages = page_number(params), max(1, -(-count // size))
    return {
        "page": min(page, pages),
        "pages": pages,
        "count": count,
        "offset": (min(page, pages) - 1) * size,
        "size": size,
    }


def alarm(now: Now) -> Json:
    """What stands on every page: agents that halted, one line for each reason."""
    found = halted(now.presences) if now.connected else []
    reasons = {a["detail"]: [b["id"] for b in found if b["detail"] == a["detail"]] for a in found}
    return {"reasons": reasons, "position": now.position}


def _alarm(con: sqlite3.Connection, now: Now, _: Params) -> Json:
    return alarm(now)


def _tiles(con: sqlite3.Connection, now: Now, _: Params) -> Json:
    miners = now.miners()
    known = worker_rows(queries.workers(con), now.presences, queries.agents(con, "miner"))
    return {
        "units": queries.unit_counts(con),
        "alive": len(miners),
        "hosts": len({p.host for p in miners}),
        "silent": sum(w["state"] in ("dead", "stalled") for w in known),
        "connected": now.connected,
        "trials": queries.trials(con),
        "rate": now.rate if now.connected else None,
        "strategies": ranking.strategy_count(con),
        "validated": ranking.strategy_count(con, "validated"),
    }


def progress_of(con: sqlite3.Connection, now: Now, c: Json) -> Json:
    """Share done and seconds left, from this campaign's own timings; null where nothing is known yet."""
    units = c["units_by_state"]
    decided = sum(units[s] for s in ("validated", "inconclusive", "parked"))
    work = work_of(con, c["id"])
    # A replica whose answer is in the log is done and no longer under way, whatever was heard of it last.
    mine = {(p.unit, p.replica): p for p in now.of_campaign(c["id"])}
    for key in answered_of(con, list(mine)):
        del mine[key]
    under_way = sum(min(1.0, p.generation / max(1, p.generations)) for p in mine.values())
    wanted = max(1, c["units"] * c["replicas"])
    answers = min(wanted, decided * c["replicas"] + work.open_answers)
    done = min(1.0, (answers + under_way) / wanted)
    miners = len(now.miners())
    left = None
    if now.connected and work.answered and miners and decided < c["units"]:
        left = max(0.0, wanted - answers - under_way) * work.seconds / work.answered / miners
    done = 1.0 if c["state"] == "finished" else done
    return {"decided": decided, "done": done, "left_s": left, "miners": miners, "connected": now.connected}


def _running(con: sqlite3.Connection, now: Now, _: Params) -> Json:
    found = open_campaigns(con, 5)
    return {
        "campaigns": [c | progress_of(con, now, c) for c in found],
        "recent": _lately(con, 4 - min(3, len(found))),
    }


def _lately(con: sqlite3.Connection, limit: int) -> list[Json]:
    """The newest campaigns that are over."""
    newest = queries.campaigns(con, limit + 5)
    return [c for c in newest if c["state"] in ("finished", "refused")][:limit]


def _best(con: sqlite3.Connection, now: Now, _: Params) -> Json:
    top = ranking.strategies(con, limit=1)
    return {"s": top[0] if top and top[0]["metrics"]["return"] is not None else None}


def _top(con: sqlite3.Connection, now: Now, _: Params) -> Json:
    return {"strategies": ranking.strategies(con, limit=5), "count": ranking.strategy_count(con), "first": 1}


def _workers(con: sqlite3.Connection, now: Now, _: Params) -> Json:
    """Miners by host, and the other agents beside them. While the bus is away no state is known, good or bad."""
    recorded = queries.agents(con)
    rows = worker_rows(queries.workers(con), now.presences, [a for a in recorded if a["kind"] == "miner"])
    ended = {a["id"]: a["crashes"] for a in recorded}
    pids = {(p.host, p.agent): p.pid for p in now.presences}
    by_host: dict[str, list[Json]] = {}
    at_work = {(p.host, p.slot): p for _, p in now.progress.values()}
    for r in rows:
        name = f"miner-{r['slot']}"
        by_host.setdefault(r["host"], []).append(
            r
            | {
                "pid": pids.get((r["host"], name)),
                "job": at_work.get((r["host"], r["slot"])),
                "restarts": ended.get(f"{r['host']}_{name}", 0),
            }
        )
    others = [
        a | {"pid": pids.get((a["host"], a["id"]))} for a in agent_rows(now.presences, recorded) if a["kind"] != "miner"
    ]
    if not now.connected:
        for row in [*others, *(r for of_host in by_host.values() for r in of_host)]:
            row["state"] = "unknown"
    return {"hosts": by_host, "agents": others, "connected": now.connected}


def _campaigns(con: sqlite3.Connection, now: Now, params: Params) -> Json:
    count = sum(campaign_counts(con).values())
    at = paging(params, count, CAMPAIGNS_A_PAGE)
    found = queries.campaigns(con, CAMPAIGNS_A_PAGE, at["offset"])
    for c in found:
        c["units_by_state"] = queries.unit_counts(con, c["id"])
        c |= progress_of(con, now, c) if c["state"] == "open" else {"done": None, "left_s": None}
    return {"campaigns": found, "paging": at}


def _campaign(con: sqlite3.Connection, now: Now, params: Params) -> Json:
    c = queries.campaign(con, params["id"])
    if c is None:
        return {"c": None}
    return {"c": c | progress_of(con, now, c), "map": _unit_map(con, params["id"])}


def _results(con: sqlite3.Connection, now: Now, params: Params) -> Json:
    """What the campaign found, and what that is worth; `hold` is buy & hold over its fitness candles."""
    c = queries.campaign(con, params["id"])
    best = ranking.of_campaign(con, params["id"], 5)
    proven = ranking.strategy(con, c["proven"]["strategy"]) if c and c["proven"] else None
    measured = proven or (best[0] if best else None)
    hold = measured["benchmark"]["fitness_return"] if measured else None
    found = c["distribution"] if c else None
    return {
        "c": c,
        "best": best,
        "hold": hold,
        "shown": FRONT_SHOWN,
        "most": FRONT_MOST,
        "picture": drawing(found, hold, c["proven"]["objective"] if c and c["proven"] else None) if found else None,
        "earning": earning(found) if found else 0,
    }


def _unit_map(con: sqlite3.Connection, campaign: str) -> list[tuple[int, str]]:
    """(index, state) of the first units: a picture, no table."""
    sql = "SELECT idx, state FROM units WHERE campaign = ? ORDER BY idx LIMIT ?"
    return [(int(i), str(s)) for i, s in con.execute(sql, (campaign, MAP_UNITS))]


def _units(con: sqlite3.Connection, now: Now, params: Params) -> Json:
    counts = queries.unit_counts(con, params["id"])
    at = paging(params, sum(counts.values()), UNITS_A_PAGE)
    found = queries.units(con, params["id"], "", UNITS_A_PAGE, at["offset"])
    for u in found:
        parts = [p.generation / max(1, p.generations) for p in now.of_unit(u["id"])]
        u["under_way"] = statistics.fmean(parts) if parts else None
        u["miners"] = [f"{p.host}.{p.slot}" for p in now.of_unit(u["id"])]
    method = con.execute("SELECT method FROM campaigns WHERE id = ?", (params["id"],)).fetchone()
    return {"units": found, "paging": at, "id": params["id"], "sweep": bool(method) and method[0] == "sweep"}


def _leaders(con: sqlite3.Connection, now: Now, params: Params) -> Json:
    by: ranking.Order = "walk_forward" if params.get("by") == "walk_forward" else "fitness"
    at = paging(params, ranking.strategy_count(con), STRATEGIES_A_PAGE)
    return {
        "strategies": ranking.strategies(con, by, "", STRATEGIES_A_PAGE, at["offset"]),
        "paging": at,
        "by": by,
        "first": at["offset"] + 1,
        "validated": ranking.strategy_count(con, "validated"),
    }


def _ten(con: sqlite3.Connection, now: Now, params: Params) -> Json:
    by: ranking.Order = "walk_forward" if params.get("by") == "walk_forward" else "fitness"
    return {"strategies": ranking.strategies(con, by, "", 10), "first": 1, "by": by}


def _stage(con: sqlite3.Connection, now: Now, params: Params) -> Json:
    """Standing and proof: the unit that decided it, with the owners that agreed."""
    s = ranking.strategy(con, params["id"])
    if s is None:
        return {"s": None}
    proof = queries.unit(con, s["unit"])
    found = queries.campaign(con, s["campaign"])
    return {"s": s, "proof": proof, "lane": found["lane"] if found else ""}


FRAGMENTS: dict[str, Fragment] = {
    "alarm": Fragment(_alarm, live=True),
    "tiles": Fragment(_tiles, live=True),
    "running": Fragment(_running, live=True),
    "best": Fragment(_best),
    "top": Fragment(_top),
    "workers": Fragment(_workers, live=True),
    "campaigns": Fragment(_campaigns, live=True),
    "campaign": Fragment(_campaign, live=True),
    "results": Fragment(_results),
    "units": Fragment(_units, live=True),
    "ten": Fragment(_ten),
    "leaders": Fragment(_leaders),
    "stage": Fragment(_stage),
}
#: Which fragments a page has; its template is `NAME.html`.
PAGES: dict[str, tuple[str, ...]] = {
    "overview": ("alarm", "tiles", "running", "best", "top"),
    "workers": (
        "alarm",
        "workers",
    ),
    "campaigns": (
        "alarm",
        "campaigns",
    ),
    "campaign": ("alarm", "campaign", "results", "units"),
    "leaderboard": ("alarm", "ten", "leaders"),
    "strategy": (
        "alarm",
        "stage",
    ),
    "form": ("alarm",),
}
