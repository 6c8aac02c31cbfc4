"""Strategies by id: the same find twice is one row, and a validated row keeps the figures of its first validation.

Which campaign was first depends on time, so the figures here are trace. The find is that of `unit` in `finds`.
"""

from bus.events import StrategyDiscovered, StrategyValidated
from domain.errors import BadInput
from domain.hashing import canonical
from domain.judgement import Judgement
from domain.results import Find, mean_return
from domain.specs import SearchSpec, strategy_id
from projections.decoding import canonical_text, find_of
from projections.schema import Fact, Put, ReadModel, Table, Value, View, number, outcome, trace, words

TABLE = Table(
    "strategies",
    ("id",),
    (
        *outcome("text", "id", "genome_id", "genome", "venue", "symbol", "stage"),
        *outcome("int", "granularity_s"),
        *trace("text", "dataset", "search", "campaign", "unit"),
        *trace("real", "fitness_return", "fitness_pnl", "walk_forward_return", "benchmark_return"),
        *trace("int", "enough_trades", "discoveries", "validations"),
        *trace("int", "discovered_seq", "validated_seq"),
        *trace("text", "discovered_time", "validated_time"),
        # Of the newest judgement: as more is tried on the same candles, the bar only rises.
        *trace("real", "dsr", "pbo", "p_value"),
        *trace("int", "passed", "judged_seq"),
        *trace("text", "judgement", "judged_by"),
    ),
    outcome_if="stage = 'validated'",
    indexes=(
        ("stage", "enough_trades", "walk_forward_return"),
        ("stage", "enough_trades", "fitness_return"),
        ("campaign",),
    ),
    wide=True,
)


def checked_id(event: Fact) -> str:
    """The strategy's id; BadInput when the content is another strategy than the one that the event is filed under."""
    d: StrategyDiscovered | StrategyValidated = event.data
    sid = strategy_id(d.genome_id, d.search)
    if sid != event.subject:
        raise BadInput(f"filed under strategy {event.subject[:12]}, the content is strategy {sid[:12]}")
    return sid


def fitness_pnl(find: Find) -> float | None:
    """Net PnL in quote currency summed over the fitness windows; null when there is one without a trade."""
    parts = [w.tier1.get("net_pnl") for w in find.fitness]
    known = [float(p) for p in parts if p is not None]
    return sum(known) if known and len(known) == len(parts) else None


def figures(find: Find, search: SearchSpec) -> dict[str, Value]:
    """Of the strategy's own market, whatever else it was searched on: its fitness return is that market's part of the
    objective; the walk-forward return and its benchmark span the same candles."""
    return {
        "dataset": search.dataset,
        "search": canonical_text(search),
        "fitness_return": find.objective if not find.also else mean_return(find.fitness),
        "fitness_pnl": fitness_pnl(find),
        "walk_forward_return": find.daily_walk.get("total_return"),
        "benchmark_return": find.hold_walk.get("total_return"),
        "enough_trades": find.enough_trades,
    }


def _new(event: Fact) -> dict[str, Value]:
    d: StrategyDiscovered | StrategyValidated = event.data
    return {
        "genome_id": d.genome_id,
        "genome": canonical_text(d.genome),
        "venue": d.search.venue,
        "symbol": d.search.symbol,
        "granularity_s": d.search.granularity_s,
    }


def _find(view: View, d: StrategyDiscovered | StrategyValidated) -> Find:
    """As the event has it, or as the verdict of its unit had it."""
    if d.find is not None:
        return d.find
    row = view.get("finds", (d.unit, d.genome_id))
    if row is None or not row["validated"]:
        raise BadInput(f"no verdict before it has a find of genome {d.genome_id[:12]} in unit {d.unit}")
    return find_of(words(row, "find"))


def _discovered(view: View, seq: int, event: Fact) -> list[Put]:
    sid = checked_id(event)
    d: StrategyDiscovered = event.data
    row = view.get("strategies", (sid,))
    values: dict[str, Value] = {"discoveries": number(row, "discoveries") + 1}
    if row is None:
        values |= _new(event) | figures(_find(view, d), d.search)
        values |= {"stage": "discovered", "campaign": d.campaign, "unit": d.unit}
    if not number(row, "discovered_seq"):
        values |= {"discovered_seq": seq, "discovered_time": event.time}
    return [Put("strategies", (sid,), values)]


def _validated(view: View, seq: int, event: Fact) -> list[Put]:
    sid = checked_id(event)
    d: StrategyValidated = event.data
    row = view.get("strategies", (sid,))
    values: dict[str, Value] = {"validations": number(row, "validations") + 1}
    if words(row, "stage") != "validated":
        values |= _new(event) | figures(_find(view, d), d.search)
        values |= {"stage": "validated", "campaign": d.campaign, "unit": d.unit}
        values |= {"validated_seq": seq, "validated_time": event.time}
    return [Put("strategies", (sid,), values)]


def _judged(view: View, seq: int, event: Fact) -> list[Put]:
    """Only strategies that are known: a judgement names what was validated before."""
    j: Judgement = event.data.judgement
    out = []
    for s in {s.strategy: s for s in j.strategies}.values():
        if view.get("strategies", (s.strategy,)) is None:
            continue
        values: dict[str, Value] = {"dsr": s.dsr, "pbo": j.pbo, "p_value": s.p_value, "passed": s.passed}
        values |= {"judgement": canonical(s).decode(), "judged_by": event.subject, "judged_seq": seq}
        out.append(Put("strategies", (s.strategy,), values))
    return out


MODEL = ReadModel(
    TABLE,
    {
        "strategy.strategy.discovered": _discovered,
        "strategy.strategy.validated": _validated,
        "mining.campaign.judged": _judged,
    },
)
apply = MODEL.apply
