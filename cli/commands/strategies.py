"""`sluice strategies` and `sluice strategy show ID`."""

import argparse
from typing import Any

from cli import common
from domain.errors import BadInput
from projections import ranking


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("strategies", parents=[common.options()], help="what was found, validated first")
    p.add_argument("--limit", type=int, default=10)
    p.add_argument("--stage", default="", choices=("", "discovered", "validated"))
    p.add_argument("--by", default="fitness", choices=("fitness", "walk_forward"))
    p.set_defaults(run=strategies)
    p = sub.add_parser("strategy", help="one strategy")
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    v = verbs.add_parser("show", parents=[common.options()], help="rules, figures, benchmark and evidence")
    v.add_argument("id", help="at least the first 8 signs of its id")
    v.set_defaults(run=show)


#: Of a judged strategy whether it passed every gate; nothing while nobody has judged it.
LUCK = {None: "", True: ", better than luck", False: ", not better than luck"}


def strategies(args: common.Args) -> int:
    with common.views(args) as con:
        found = ranking.strategies(con, args.by, args.stage, args.limit)
    if args.json:
        common.print_json(found)
        return 0
    if not found:
        print("Nothing found yet.")
    for i, s in enumerate(found, 1):
        few = "" if s["metrics"]["enough_trades"] else ", fewer trades than wanted"
        stage = s["stage"] + (f", proven best of {s['proven']['best_of']:,}" if s["proven"] else "") + LUCK[s["passed"]]
        print(
            f"{i:>3}  {s['id'][:12]}  {stage}{few}  {s['symbol']} {s['granularity']}  {s['metrics'].get('trades')} trades  "
            f"fitness {common.percent(s['metrics']['return'])} (buy & hold {common.percent(s['benchmark']['fitness_return'])})  "
            f"walk-forward {common.percent(s['walk_forward']['return'])} (buy & hold {common.percent(s['benchmark']['return'])})"
        )
        print(f"     {' '.join(s['rules'])}")
    return 0


def show(args: common.Args) -> int:
    with common.views(args) as con:
        found = ranking.strategy(con, args.id)
    if found is None:
        raise BadInput(
            f"no strategy begins with {args.id!r}; `sluice strategies` lists them, 8 signs are needed at least"
        )
    if args.json:
        common.print_json(found)
        return 0
    print(f"Strategy {found['id']}")
    print(
        f"{found['stage']}, {found['venue']} {found['symbol']} {found['granularity']}, dataset {found['dataset'][:12]}"
    )
    for line in found["rules"]:
        print(f"  {line}")
    if found["proven"]:
        p = found["proven"]
        print(
            f"Proven best of {p['best_of']:,}: campaign {p['campaign']} evaluated every strategy of the grammar "
            f"{p['grammar']} on its fitness windows. That is no evidence for any other candles."
        )
    own = f"{found['venue']} {found['symbol']} {found['granularity']}"
    for_market = f", {own}" if found["also"] else ""
    figures_table(found["metrics"], found["walk_forward"], found["benchmark"], f"Figures{for_market}, costs included")
    for other in found["also"]:
        name = f"{other['venue']} {other['symbol']} {other['granularity']}"
        title = f"Beside it, {name} (dataset {other['dataset'][:12]}), costs included"
        figures_table(other["metrics"], other["walk_forward"], other["benchmark"], title)
    if found["also"]:
        print(
            f"It was searched for on {1 + len(found['also'])} datasets at once: mean fitness return of all "
            f"{common.percent(found['objective'])}. It is a strategy of {own}; the others are evidence, and promote "
            "nothing there."
        )
    print(
        f"Found among {found['trials'] or 'an unknown number of'} trials on this dataset: "
        "the best of many looks good by luck alone."
    )
    for line in found["luck"] or ["Not judged yet: that happens when its campaign has finished."]:
        print(f"  {line}")
    for e in found["evidence"]:
        print(f"  event {e['seq']}: unit {e['unit']} of campaign {e['campaign']}")
    return 0


_DAILY = (
    ("total return", "total_return", True), ("Sharpe (yearly)", "sharpe", False), ("Sortino (yearly)", "sortino", False),
    ("volatility (yearly)", "volatility", True), ("maximum drawdown", "max_drawdown", True),
    ("VaR 95 %, a day", "var_95", True), ("CVaR 95 %, a day", "cvar_95", True), ("days", "days", False),
)  # fmt: skip


def figures_table(
    metrics: dict[str, Any], walk: dict[str, Any], benchmark: dict[str, Any], title: str = "Figures, costs included"
) -> None:
    """Fitness and walk-forward side by side, each beside buy & hold over the same candles."""

    def cell(figures: dict[str, Any], key: str, is_fraction: bool) -> str:
        value = figures.get(key)
        if value is None:
            return "–"
        return f"{value * 100:.2f} %" if is_fraction else f"{value:g}" if isinstance(value, int) else f"{value:.2f}"

    ranges = (metrics["daily"], benchmark["fitness"], walk["daily"], benchmark["walk_forward"])
    rows = [[label, *(cell(figures, key, frac) for figures in ranges)] for label, key, frac in _DAILY]
    windows = (metrics["windows"], walk["windows"])
    trades = [sum(w["trades"] or 0 for w in ws) for ws in windows]
    fees = [sum(w["fees"] or 0.0 for w in ws) for ws in windows]
    rows.append(["trades", str(trades[0]), "1", str(trades[1]), "1"])
    rows.append(["fees paid", f"{fees[0]:.2f}", "", f"{fees[1]:.2f}", ""])
    columns = ("", "fitness", "buy & hold", "walk-forward", "buy & hold")
    common.print_table(title, columns, rows, "")
