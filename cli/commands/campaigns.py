"""`sluice campaigns | units`."""

import argparse

from cli import common
from projections import queries


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("campaigns", parents=[common.options()], help="all campaigns, newest first")
    p.set_defaults(run=campaigns)
    p = sub.add_parser("units", parents=[common.options()], help="units of work and their verdicts")
    p.add_argument("--campaign", default="")
    p.add_argument("--unit-state", default="", choices=("", *queries.UNIT_STATES), metavar="STATE")
    p.set_defaults(run=units)


def campaigns(args: common.Args) -> int:
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
    rows = [[r.get(c) for c in columns] for r in found]
    common.print_table("Campaigns", columns, rows, "No campaign yet: `sluice mine --dataset …` opens one.")
    for r in found:
        if r["proven"]:
            print(
                f"Campaign {r['id']}: strategy {r['proven']['strategy'][:12]} is the proven best of "
                f"{r['proven']['best_of']:,} (grammar {r['grammar']}), {common.percent(r['proven']['objective'])} on the "
                "fitness windows."
            )
    return 0


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
