"""`sluice campaigns | units`."""

import argparse

import msgspec

from cli import common
from domain.errors import BadInput
from projections import queries


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("campaigns", parents=[common.options()], help="all campaigns, newest first")
    p.add_argument("verb", nargs="?", choices=("show",), help="show: one campaign, and if it is more than luck")
    p.add_argument("id", nargs="?", default="", help="its id, or at least the first 8 signs of it")
    p.set_defaults(run=campaigns)
    p = sub.add_parser("units", parents=[common.options()], help="units of work and their verdicts")
    p.add_argument("--campaign", default="")
    p.add_argument("--unit-state", default="", choices=("", *queries.UNIT_STATES), metavar="STATE")
    p.set_defaults(run=units)


def campaigns(args: common.Args) -> int:
    if args.verb:
        return _show(args)
    with common.views(args) as con:
        found = queries.campaigns(con)
    if args.json:
        common.print_json(found)
        return 0
    columns = (
        "id",
        "name",
        "symbol",
        "granularity",
        "risk",
        "method",
        "state",
        "units",
        "validated",
        "inconclusive",
        "parked",
        "trials",
    )
    rows = [[_symbol(r) if c == "symbol" else r.get(c) for c in columns] for r in found]
    common.print_table("Campaigns", columns, rows, "No campaign yet: `sluice mine --dataset …` opens one.")
    for r in found:
        if r["proven"]:
            print(
                f"Campaign {r['id']}: strategy {r['proven']['strategy'][:12]} is the proven best of "
                f"{r['proven']['best_of']:,} (grammar {r['grammar']}), {common.percent(r['proven']['objective'])} on the "
                "fitness windows."
            )
    return 0


def _symbol(row: queries.Json) -> str:
    return f"{row['symbol']} and {len(row['also'])} more" if row["also"] else str(row["symbol"])


def _show(args: common.Args) -> int:
    with common.views(args) as con:
        found = queries.campaign_by_prefix(con, args.id)
    if found is None:
        raise BadInput(
            f"no campaign begins with {args.id!r}; `sluice campaigns` lists them, 8 signs are needed at least"
        )
    if args.json:
        common.print_json(found | {"spec": msgspec.json.decode(found["spec"])})
        return 0
    market = f"{found['venue']} {found['symbol']} {found['granularity']}"
    print(f"Campaign {found['name'] or found['id'][:8]}: {found['state']}, {market}")
    for other in found["also"]:
        print(f"also on {other['venue']} {other['symbol']} {other['granularity']}, dataset {other['dataset'][:12]}")
    print(
        f"{found['validated']} of {found['units']} units validated ({found['nulls']} of them null repetitions), "
        f"{found['trials'] or found['evaluated']:,} rules tried"
    )
    print("\nIs what was found better than luck?")
    print("\n".join(found["luck"]) or _no_judgement(found))
    if found["gates"]:
        title = f"The gates for strategy {found['gates']['of'][:12]}"
        common.print_table(title, ("question", "figure", "wanted", "passed"), _checked(found["gates"]["rows"]), "")
    rows = [
        (
            s["strategy"][:12],
            "passed" if s["passed"] else "failed: " + ", ".join(s["failed"]),
            common.percent(s["objective"]),
            common.percent(s["walk_return"]),
            _figure(s["p_value"]),
            _figure(s["dsr"]),
        )
        for s in (found["judgement"] or {"strategies": ()})["strategies"]
    ]
    if rows:
        common.print_table("Finds judged", ("strategy", "gates", "fitness", "walk-forward", "p", "DSR"), rows, "")
    _show_distribution(found)
    _show_front(found)
    return 0


def _checked(rows: list[queries.Json]) -> list[tuple[str, ...]]:
    words = {True: "yes", False: "no", None: "–"}
    return [(r["name"], r["figure"], r["wanted"], words[r["passed"]]) for r in rows]


def _show_distribution(found: queries.Json) -> None:
    d = found["distribution"]
    if d is None:
        return
    if found["proven"]:
        p = found["proven"]
        print(
            f"\nStrategy {p['strategy'][:12]} is the proven best of {p['best_of']:,} on the fitness windows, "
            f"{common.percent(p['objective'])}: no evidence for any other candles."
        )
    rows = [
        ("enough trades", sum(d["enough"]["counts"])),
        ("too few trades", sum(d["few"]["counts"])),
        ("no trade in a window", d["without_objective"]),
        ("a safety limit broken", d["flagged"]),
    ]
    title = f"What became of all {d['evaluated']:,}"
    common.print_table(title, ("what became of them", "strategies"), rows, "")


def _show_front(found: queries.Json) -> None:
    """What no other find dominates: highest return first."""
    rows = [
        (
            common.percent(p["objective"]),
            _figure(p["sharpe"]),
            common.share(p["max_drawdown"]),
            p["trades"],
            p["strategy"][:12],
            " ".join(p["rules"]),
        )
        for p in found["front"]
    ]
    if rows:
        print(
            "\nNo other is at least as good on the fitness windows in return, Sharpe, drawdown and trades, and better in one:"
        )
        common.print_table(
            "Pareto front", ("return", "Sharpe a trade", "drawdown", "trades", "strategy", "rules"), rows, ""
        )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _no_judgement(found: queries.Json) -> str:
    if found["state"] == "finished":
        return "It is being judged; if that takes longer than minutes, `sluice logs validator` says why."
    return "Not judged yet: that happens when every unit has a verdict."


def units(args: common.Args) -> int:
    with common.views(args) as con:
        found = queries.units(con, args.campaign, args.unit_state)
    if args.json:
        common.print_json(found)
        return 0
    rows = [
        (
            u["index"],
            u["id"],
            u["state"],
            ", ".join(u["owners"]),
            u["distinct"],
            (u["digest"] or "")[:12],
            u["reason"] or "",
        )
        for u in found
    ]
    columns = ("index", "id", "state", "owners", "distinct", "digest", "reason")
    common.print_table("Units", columns, rows, "No units: no campaign is open, or none fits what was asked.")
    return 0
