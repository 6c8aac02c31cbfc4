"""`sluice backtest ID|FILE`: one genome over a dataset, every figure beside buy & hold; a look at the hold-out is recorded."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bus import events as ev
from bus.campaigns import execution_for
from bus.client import Bus
from bus.envelope import encode_event, make_event, now_rfc3339, read_event
from bus.settings import StateDir
from cli import common
from cli.actions import find_dataset
from domain.candles import Candles
from domain.errors import BadInput
from domain.genome import Genome, canonical_genome, genome_id, validate_genome
from domain.hashing import derived_id
from domain.ledger import Span, asset_of
from domain.metrics import TIER1, TIER2, figures
from domain.shipped import SHIPPED
from domain.specs import SearchSpec, Window, split_windows
from domain.words import genome_words
from projections import ranking

#: Of `domain.metrics.PORTFOLIO`, as the table of figures names and writes them.
FIGURES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "total_return": ("return", common.percent),
    "annual_return": ("return a year", common.percent),
    "volatility": ("volatility a year", common.share),
    "sharpe": ("Sharpe", common.decimals),
    "sortino": ("Sortino", common.decimals),
    "calmar": ("Calmar", common.decimals),
    "max_drawdown": ("maximum drawdown", common.share),
    "drawdown_days": ("longest below a peak, days", common.decimals),
    "var_95": ("VaR 95 % a day", common.share),
    "cvar_95": ("CVaR 95 % a day", common.share),
    "var_99": ("VaR 99 % a day", common.share),
    "cvar_99": ("CVaR 99 % a day", common.share),
    "trades": ("trades", common.decimals),
    "win_rate": ("won", common.share),
    "profit_factor": ("profit factor", common.decimals),
    "expectancy": ("expected a trade", common.decimals),
    "exposure": ("time in the market", common.share),
    "turnover": ("turnover", common.decimals),
    "fees": ("fees", common.decimals),
}
RANGES = ("fitness", "walk-forward", "hold-out")


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("backtest", parents=[common.options()], help="simulate one strategy on a dataset")
    p.add_argument("strategy", help=f"id of a strategy, a JSON file with a genome, or {' or '.join(SHIPPED)}")
    p.add_argument("--dataset", default="", help="needed for a file or a name; default: the one it was found on")
    p.add_argument(
        "--vs", default="", metavar="STRATEGY", help="another one beside it, on the same candles at the same costs"
    )
    p.add_argument("--candles", type=int, default=0, metavar="N", help="the dataset's last N candles (0 = all)")
    p.add_argument("--range", default="", choices=("", *RANGES), help="default: fitness and walk-forward")
    p.add_argument("--trades", action="store_true", help="list every trade")
    p.set_defaults(run=backtest)


def _genome(args: common.Args, named: str) -> tuple[Genome, SearchSpec | None]:
    if named in SHIPPED:
        return SHIPPED[named], None
    path = Path(named)
    if path.suffix == ".json" or path.exists():
        try:
            genome = msgspec.json.decode(path.read_bytes(), type=Genome)
        except OSError as e:
            raise BadInput(f"{path} cannot be read: {e.strerror}") from e
        except msgspec.MsgspecError as e:
            raise BadInput(f"{path} is not a strategy: {e}") from e
        validate_genome(genome)
        return canonical_genome(genome), None
    with common.views(args) as con:
        found = ranking.strategy(con, named)
    if found is None:
        raise BadInput(f"no strategy begins with {named!r}, and there is no such file")
    return msgspec.convert(found["genome"], Genome), msgspec.convert(found["search"], SearchSpec)


async def backtest(args: common.Args) -> int:
    from kernels.evaluator import CompiledEvaluator
    from market.store import DatasetStore

    genome, search = _genome(args, args.strategy)
    if search is None and not args.dataset:
        raise BadInput("a strategy that was not found here needs --dataset")
    compared = [genome, _genome(args, args.vs)[0]] if args.vs else [genome]
    async with common.admin(args) as bus:
        digest, info = await find_dataset(bus, args.dataset or (search.dataset if search else ""))
        candles = DatasetStore(StateDir(args.state).cache).get(digest)
        same = search is not None and digest == search.dataset and not args.candles
        windows = search.windows if same and search else split_windows(len(candles), args.candles)
        spans = {
            "fitness": Window(windows.fitness[0].start, windows.fitness[-1].stop),
            "walk-forward": Window(windows.walk_forward[0].start, windows.walk_forward[-1].stop),
            "hold-out": windows.hold_out,
        }
        wanted = [args.range] if args.range else ["fitness", "walk-forward"]
        before = 0
        said = [(genome_id(g), "backtest by a person") for g in compared]
        if "hold-out" in wanted:
            span = _span(candles, spans["hold-out"])
            before = await _looks_before(bus, span)
            for words in said:
                await _record(bus, ev.HoldOutLooked(digest, candles.info.symbol, span.first_ms, span.last_ms, *words))
        elif "walk-forward" in wanted:
            span = _span(candles, spans["walk-forward"])
            # What was found by its campaign on these windows is a candidate there already.
            for words in said[1:] if same else said:
                await _record(
                    bus, ev.WalkForwardLooked(digest, candles.info.symbol, span.first_ms, span.last_ms, *words)
                )
    evaluator = CompiledEvaluator(candles, search.execution if search else execution_for(info))
    found: dict[str, Any] = {
        "genome_id": genome_id(genome),
        "dataset": digest,
        "rules": genome_words(genome),
        "ranges": {},
    }
    if "hold-out" in wanted:
        found["earlier_looks"] = before
    for name in wanted:
        found["ranges"][name] = _evaluate(evaluator, genome, spans[name], candles, args.trades)
    if args.vs:
        other = compared[1]
        ranges = {name: _evaluate(evaluator, other, spans[name], candles, args.trades) for name in wanted}
        found["vs"] = {"genome_id": genome_id(other), "rules": genome_words(other), "ranges": ranges}
    _show(found, args)
    return 0


def _span(candles: Candles, window: Window) -> Span:
    """When these candles were, to the candle."""
    times = candles.time_ms
    return Span(asset_of(candles.info.symbol), int(times[window.start]), int(times[window.stop - 1]))


async def _looks_before(bus: Bus, here: Span) -> int:
    """How often these candles of the asset were looked at, on whatever venue and in whatever dataset."""
    count = 0
    async for stored in bus.read("EVENTS", 1, "ev.data.holdout.*.looked"):
        try:
            data = read_event(stored.subject, stored.data).payload()
        except BadInput:
            continue  # parked by those whose work it is
        assert isinstance(data, ev.HoldOutLooked)
        count += here.overlaps(Span(asset_of(data.symbol), data.first_ms, data.last_ms))
    return count


async def _record(bus: Bus, data: Any) -> None:
    """Every look is an event before anything is shown: at the hold-out, or of one more candidate at walk-forward candles."""
    now = now_rfc3339()
    event = make_event(
        data,
        id=derived_id(type(data).__name__, data.dataset, data.genome_id, now),
        source="cli",
        subject=data.dataset,
        time=now,
    )
    await bus.publish(event.nats_subject(), encode_event(event), id=event.id)


def _evaluate(evaluator: Any, genome: Genome, span: Window, candles: Candles, with_trades: bool) -> dict[str, Any]:
    from kernels.portfolio import against_holding

    out: dict[str, Any] = {
        "start": span.start,
        "stop": span.stop,
        "metrics": figures(TIER1, evaluator.tier1([genome], [span])[0, 0]),
        "daily": figures(TIER2, evaluator.tier2(genome, span)),
        "buy_and_hold": figures(TIER2, evaluator.buy_and_hold(span)),
        "portfolio": dict(zip(("strategy", "buy_and_hold"), against_holding(evaluator, genome, span), strict=True)),
    }
    if with_trades:
        times = candles.time_ms
        out["trades"] = [
            msgspec.to_builtins(t) | {"entry_ms": int(times[t.entry_index]), "exit_ms": int(times[t.exit_index])}
            for t in evaluator.trades(genome, span)
        ]
    return out


def _show(found: dict[str, Any], args: common.Args) -> None:
    if args.json:
        common.print_json(found)
        return
    for line in found["rules"]:
        print(line)
    vs = found.get("vs")
    for line in ("against:", *vs["rules"]) if vs else ():
        print(line)
    if found.get("earlier_looks"):
        print(f"these hold-out candles were looked at {found['earlier_looks']} times before: they are not fresh")
    for name, r in found["ranges"].items():
        m, d, hold = r["metrics"], r["daily"], r["buy_and_hold"]
        print(
            f"{name}: {m['trades']} trades, return {common.percent(m['return_frac'])} "
            f"(buy & hold {common.percent(hold['total_return'])}), maximum drawdown {m['max_drawdown'] * 100:.2f} %, "
            f"fees {m['fees'] or 0:,.2f}, daily Sharpe (yearly) {d['sharpe'] if d['sharpe'] is None else round(d['sharpe'], 2)}"
        )
        both = r["portfolio"]
        columns = {"strategy": both["strategy"]}
        columns |= {"against": vs["ranges"][name]["portfolio"]["strategy"]} if vs else {}
        columns["buy & hold"] = both["buy_and_hold"]
        rows = [(words, *(form(c[k]) for c in columns.values())) for k, (words, form) in FIGURES.items()]
        common.print_table(f"{name}, {d['days']} days", ("figure", *columns), rows, "")
        rows = [_trade_row(t) for t in r.get("trades", ())]
        if rows:
            common.print_table("Trades", ("entry", "exit", "side", "at", "out at", "pnl", "reason"), rows, "")


def _trade_row(t: dict[str, Any]) -> tuple[Any, ...]:
    side = "long" if t["side"] > 0 else "short"
    figures = (t["entry_price"], t["exit_price"], round(t["pnl"], 2), t["reason"])
    return (_minute(t["entry_ms"]), _minute(t["exit_ms"]), side, *figures)


def _minute(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
