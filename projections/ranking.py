"""Strategies as people see them: ranked, in words, each figure with its out-of-sample twin and its benchmark."""

import sqlite3
from typing import Any, Literal

import msgspec

from domain.errors import BadInput
from domain.genome import Genome
from domain.judgement import Judgement, StrategyJudgement
from domain.judgement_rows import beside_rows, gate_rows
from domain.judgement_words import strategy_words
from domain.markets import granularity_label
from domain.results import Find, WindowFigures, mean_return
from domain.specs import SearchSpec
from domain.words import genome_words
from projections.files import snapshot
from projections.queries import MAX_ROWS, Json, rows

Order = Literal["walk_forward", "fitness"]
_COLUMN = {"walk_forward": "walk_forward_return", "fitness": "fitness_return"}
#: Trials on the same candles, of all campaigns and not only of the one that found it: the distinct genomes of finished
#: ones, and what the validated units of running ones evaluated. A genome tried by two campaigns counts twice.
_SELECT = (
    "SELECT s.*, f.find, (SELECT nullif(sum(CASE WHEN k.state = 'finished' THEN k.trials ELSE k.evaluated END), 0)"
    " FROM campaigns k WHERE k.dataset = s.dataset OR instr(k.also, s.dataset) > 0) AS tried, c.lane,"
    " p.id AS proven_by, p.trials AS proven_of, p.grammar AS proven_grammar"
    " FROM strategies s LEFT JOIN campaigns c ON c.id = s.campaign"
    " LEFT JOIN finds f ON f.unit = s.unit AND f.genome_id = s.genome_id"
    # Nothing of the grammar was left out, and nobody doubts a part of it: there is none better on its fitness windows.
    " LEFT JOIN campaigns p ON p.id = (SELECT k.id FROM campaigns k WHERE k.best = s.id AND k.state = 'finished'"
    " AND k.validated = k.units ORDER BY k.trials DESC, k.id LIMIT 1)"
)

_EVIDENCE = (
    "SELECT e.*, f.find FROM evidence e JOIN finds f ON f.unit = e.unit AND f.genome_id = e.genome_id"
    " WHERE e.strategy = ? ORDER BY e.seq"
)


def _order_by(order: str, table: str = "s") -> str:
    """`stage DESC` puts validated before discovered, and null is the smallest in SQLite: the index gives this order."""
    if order not in _COLUMN:
        raise BadInput(f"strategies are ordered by {' or '.join(_COLUMN)}, not {order}")
    t = table
    return f" ORDER BY {t}.stage DESC, {t}.enough_trades DESC, {t}.{_COLUMN[order]} DESC, {t}.id"


def _ranked(order: str, where: str = "") -> str:
    """Rows in order, chosen by the index alone before any of the large columns is read; takes LIMIT and OFFSET."""
    picked = f"SELECT k.id FROM strategies k{where}{_order_by(order, 'k')} LIMIT ? OFFSET ?"
    return _SELECT + f" WHERE s.id IN ({picked})" + _order_by(order)


def _windows(windows: tuple[WindowFigures, ...]) -> list[Json]:
    return [{"start": w.start, "stop": w.stop, **w.tier1} for w in windows]


def shape(row: Json) -> Json:
    """One strategy of the JSON contract. Returns are fractions, PnL in quote currency; what is not known is null.

    `metrics` holds the fitness figures (those of the closed trades at the top when there is one fitness window),
    `walk_forward` the same genome on candles that the search never saw, `benchmark` buy & hold over both ranges
    (`fitness_return`, and `return` over the walk-forward range). `objective` is what the search ranked it by: of a search
    over several datasets the mean over all of them, the others' figures stand in `also`. `proven`: an exhaustive campaign of
    which this is the best.
    """
    find = msgspec.json.decode(row["find"], type=Find)
    fitness, walks = _windows(find.fitness), _windows(find.walk_forward)
    top: dict[str, Any] = dict(find.fitness[0].tier1) if len(find.fitness) == 1 else {}
    return {
        "id": row["id"],
        "genome": msgspec.json.decode(row["genome"]),
        "stage": row["stage"],
        "rules": genome_words(msgspec.json.decode(row["genome"], type=Genome)),
        "metrics": {
            **top,
            "return": row["fitness_return"],
            "pnl": row["fitness_pnl"],
            "enough_trades": bool(row["enough_trades"]),
            "windows": fitness,
            "daily": find.daily_fitness,
        },
        "walk_forward": {"return": row["walk_forward_return"], "windows": walks, "daily": find.daily_walk},
        "benchmark": {
            "fitness_return": find.hold_fitness["total_return"],
            "return": row["benchmark_return"],
            "fitness": find.hold_fitness,
            "walk_forward": find.hold_walk,
        },
        "objective": find.objective,
        "also": _also(find, msgspec.json.decode(row["search"], type=SearchSpec)),
        "dsr": row["dsr"],
        "pbo": row["pbo"],
        "p_value": row["p_value"],
        "passed": bool(row["passed"]) if row["judged_seq"] else None,
        "trials": row["tried"],
        "proven": {"best_of": row["proven_of"], "grammar": row["proven_grammar"], "campaign": row["proven_by"]}
        if row["proven_by"]
        else None,
        "genome_id": row["genome_id"],
        "venue": row["venue"],
        "symbol": row["symbol"],
        "granularity": granularity_label(row["granularity_s"]),
        "dataset": row["dataset"],
        "campaign": row["campaign"],
        "unit": row["unit"],
        "discovered_seq": row["discovered_seq"] or None,
        "validated_seq": row["validated_seq"] or None,
    }


def _also(find: Find, search: SearchSpec) -> list[Json]:
    """The figures on each further dataset, in the shape of the strategy's own."""
    of = {m.dataset: m for m in find.also}
    return [
        {
            "dataset": market.dataset,
            "venue": market.venue,
            "symbol": market.symbol,
            "granularity": granularity_label(market.granularity_s),
            "metrics": {
                "return": mean_return(there.fitness),
                "windows": _windows(there.fitness),
                "daily": there.daily_fitness,
            },
            "walk_forward": {
                "return": there.daily_walk.get("total_return"),
                "windows": _windows(there.walk_forward),
                "daily": there.daily_walk,
            },
            "benchmark": {
                "fitness_return": there.hold_fitness.get("total_return"),
                "return": there.hold_walk.get("total_return"),
                "fitness": there.hold_fitness,
                "walk_forward": there.hold_walk,
            },
        }
        for market in search.also
        if (there := of.get(market.dataset)) is not None
    ]


def luck_of(campaign: str, strategy: str) -> Json:
    """What a judgement says of one strategy: `luck` in sentences, `gates` and what is known `beside` them as tables; empty
    while there is no judgement."""
    if not campaign or not strategy:
        return {"luck": [], "gates": [], "beside": []}
    j, s = msgspec.json.decode(campaign, type=Judgement), msgspec.json.decode(strategy, type=StrategyJudgement)
    rows = {"gates": gate_rows(j, s), "beside": beside_rows(j, s)}
    return {"luck": strategy_words(j, s)} | {name: msgspec.to_builtins(r) for name, r in rows.items()}


def strategies(
    con: sqlite3.Connection, order: Order = "fitness", stage: str = "", limit: int = MAX_ROWS, offset: int = 0
) -> list[Json]:
    """Validated first, then those with enough trades, then by `order`; a null figure ranks last, ties by id.

    The default is fitness: whoever picks by walk-forward figures has used them to choose.
    """
    where, args = (" WHERE k.stage = ?", (stage,)) if stage else ("", ())
    return [shape(r) for r in rows(con, _ranked(order, where), (*args, limit, offset))]


def of_campaign(con: sqlite3.Connection, campaign: str, limit: int) -> list[Json]:
    """The best of those that this campaign was the first to find; they are few enough to sort."""
    sql = _SELECT + " WHERE s.campaign = ?" + _order_by("fitness") + " LIMIT ?"
    return [shape(r) for r in rows(con, sql, (campaign, limit))]


def strategy_count(con: sqlite3.Connection, stage: str = "") -> int:
    where, args = (" WHERE stage = ?", (stage,)) if stage else ("", ())
    return int(con.execute(f"SELECT count(*) FROM strategies{where}", args).fetchone()[0])


def strategy(con: sqlite3.Connection, id: str) -> Json | None:
    """One strategy by id or by a beginning of it (8 signs or more), with its search and every piece of evidence."""
    if len(id) < 8:
        return None
    with snapshot(con):
        found = rows(con, _SELECT + " WHERE s.id BETWEEN ? AND ? LIMIT 2", (id, id + "g"))
        if not found:
            return None
        if len(found) > 1:
            raise BadInput(f"more than one strategy begins with {id}; give more of its id")
        sid = found[0]["id"]
        evidence = rows(con, _EVIDENCE, (sid,))
        judged_by = rows(con, "SELECT judgement FROM campaigns WHERE id = ?", (found[0]["judged_by"],))
    return shape(found[0]) | {
        "judgement": msgspec.json.decode(found[0]["judgement"]) if found[0]["judgement"] else None,
        "judged_by": found[0]["judged_by"] or None,
        **luck_of(judged_by[0]["judgement"] if judged_by else "", found[0]["judgement"]),
        "search": msgspec.json.decode(found[0]["search"]),
        "evidence": [e | {"find": msgspec.json.decode(e["find"])} for e in evidence],
    }


def best(con: sqlite3.Connection, order: Order = "fitness") -> Json | None:
    """The first of the ranking, as `status` shows it: `pnl` is the fitness net PnL in quote currency.

    Unvalidated only while nothing is validated, and marked so; a strategy that never traded is never the best.
    """
    found = rows(con, _ranked(order, f" WHERE k.{_COLUMN[order]} IS NOT NULL"), (1, 0))
    if not found:
        return None
    r = found[0]
    find = msgspec.json.decode(r["find"], type=Find)
    return {
        "strategy": r["id"],
        "pnl": r["fitness_pnl"],
        "validated": r["stage"] == "validated",
        "fitness_return": r["fitness_return"],
        "walk_forward_return": r["walk_forward_return"],
        "benchmark_fitness_return": find.hold_fitness["total_return"],
        "benchmark_return": r["benchmark_return"],
    }
