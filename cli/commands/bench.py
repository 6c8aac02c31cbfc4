"""`sluice bench web`: figures of this machine beside what they must keep to."""

import argparse
import importlib

from cli import common

CASES = {"web": "pages: time to answer, weight, from an event to the page that shows it"}


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("bench", help="measure this machine")
    cases = p.add_subparsers(dest="case", required=True, metavar="CASE")
    for name, text in CASES.items():
        v = cases.add_parser(name, parents=[common.options()], help=text)
        v.set_defaults(run=bench)


def bench(args: common.Args) -> int:
    """Exit status 1 when a figure misses its target. Each benchmark brings its own instance; --state is left alone."""
    found = importlib.import_module(f"bench.{args.case}").run()
    if args.json:
        common.print_json(found)
    else:
        rows = [(r.case, r.figure, r.baseline, r.ratio) for r in found]
        common.print_table("Measured here", ("case", "figure", "target", "ratio"), rows, "")
    return 0 if all(r.ratio <= 1.0 for r in found) else 1
