"""`sluice bench NAME`: what we compute against a baseline, side by side in one run."""

import argparse
import importlib

from cli import common

NAMES = ("kernel", "indicators")


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("bench", parents=[common.options()], help="measure against a baseline in the same run")
    p.add_argument("name", choices=NAMES)
    p.add_argument("--quick", action="store_true", help="fewer and smaller cases, below half a minute")
    p.set_defaults(run=bench)


def bench(args: common.Args) -> int:
    """Exit status 1 when a result differs from its baseline where it must not."""
    module = importlib.import_module(f"bench.{args.name}")
    rows = module.run(quick=args.quick)
    if args.json:
        common.print_json(rows)
    else:
        common.print_table(module.TITLE, module.COLUMNS, [[r[c] for c in module.COLUMNS] for r in rows], "Nothing ran.")
    return 0 if all(r.get("identical", True) for r in rows) else 1
