"""`sluice bench CASE`: figures of this machine beside what they must keep to, or beside a baseline in the same run."""

import argparse
import importlib

from cli import common

CASES = {
    "web": "pages: time to answer, weight, from an event to the page that shows it",
    "kernel": "backtests: the fast path against the plain compiled loop",
    "indicators": "indicators, all at once, against numpy",
    "search": "the genetic search: time against the plain loop, finds against a proven optimum",
    "exhaustive": "every strategy of the classic grammar: seconds of one core, against the plain loop",
    "audit": "a million sealed events: verify them, beside a bare client that only reads them",
    "mine": "a campaign through the whole system against the bare kernel on two cores",
    "bus": "publish and consume against the bare nats-py client on the same server",
    "replay": "rebuild the read models from a million events, jump into them by snapshots; minutes",
}
#: Those against a baseline: `run(quick)` gives rows of COLUMNS; a bit that differs is a failure, a ratio is not.
COMPARED = ("kernel", "indicators", "search", "exhaustive", "audit", "mine", "bus", "replay")


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("bench", help="measure this machine")
    cases = p.add_subparsers(dest="case", required=True, metavar="CASE")
    for name, text in CASES.items():
        v = cases.add_parser(name, parents=[common.options()], help=text)
        v.set_defaults(run=bench)
        if name in COMPARED:
            v.add_argument("--quick", action="store_true", help="fewer and smaller cases")
            v.set_defaults(run=compare)


def bench(args: common.Args) -> int:
    """Exit status 1 when a figure misses its target. Each benchmark brings its own instance; --state is left alone."""
    found = importlib.import_module(f"bench.{args.case}").run()
    if args.json:
        common.print_json(found)
    else:
        rows = [(r.case, r.figure, r.baseline, r.ratio) for r in found]
        common.print_table("Measured here", ("case", "figure", "target", "ratio"), rows, "")
    return 0 if all(r.ratio <= 1.0 for r in found) else 1


def compare(args: common.Args) -> int:
    """Exit status 1 when a result differs from its baseline by a bit. Needs no instance."""
    module = importlib.import_module(f"bench.{args.case}")
    rows = module.run(quick=args.quick)
    if args.json:
        common.print_json(rows)
    else:
        cells = [[("yes" if r[c] else "NO") if c == "identical" else r[c] for c in module.COLUMNS] for r in rows]
        common.print_table(module.TITLE, module.COLUMNS, cells, "")
    return 0 if all(r["identical"] for r in rows) else 1
