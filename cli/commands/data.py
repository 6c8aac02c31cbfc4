"""`sluice data list | import | verify`."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from bus.settings import StateDir
from cli import common
from cli.actions import find_dataset, register_dataset
from domain.candles import Candles
from market.granularity import granularity_name
from market.reconcile import reconcile
from market.store import DatasetStore
from market.verify import Problem, verify
from projections import queries


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("data", help="datasets: list, import, verify")
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    v = verbs.add_parser("list", parents=[common.options()], help="registered datasets")
    v.set_defaults(run=list_)
    v = verbs.add_parser(
        "import", parents=[common.options()], help="check a CSV or Parquet file and register its candles"
    )
    v.add_argument("file", type=Path, help="columns time, open, high, low, close, volume")
    v.add_argument("--venue", default="", help="such as coinbase (default: from a name like coinbase_BTC-USD_5m.csv)")
    v.add_argument("--symbol", default="", help="such as BTC-USD (default: from the name)")
    v.add_argument("--granularity", default="", help="such as 5m, 1h or FIVE_MINUTE")
    v.set_defaults(run=import_)
    v = verbs.add_parser("verify", parents=[common.options()], help="gaps, odd candles, granularities that disagree")
    v.add_argument("dataset", nargs="*", help="id, start of an id, or venue_SYMBOL_5m (default: all)")
    v.set_defaults(run=verify_)


def list_(args: common.Args) -> int:
    with common.views(args) as con:
        found = queries.datasets(con)
    if args.json:
        common.print_json(found)
        return 0
    columns = ("id", "venue", "symbol", "granularity", "candles", "first", "last")
    rows = [[r[c] if c != "id" else r[c][:12] for c in columns] for r in found]
    common.print_table("Datasets", columns, rows, "No dataset yet: `sluice data import FILE` adds one.")
    return 0


async def import_(args: common.Args) -> int:
    """Everything is checked before anything is registered."""
    from market.importer import import_file  # half a second of polars that no other command needs

    state = StateDir(args.state)
    candles = await asyncio.to_thread(
        import_file, args.file, venue=args.venue, symbol=args.symbol, granularity=args.granularity
    )
    async with common.admin(args) as bus:
        store = DatasetStore(state.cache)
        digest = await register_dataset(bus, store, candles, args.file.name, state.settings().host_name())
    info = candles.info
    if args.json:
        common.print_json({"id": digest, "candles": info.candles})
    else:
        name = f"{info.venue} {info.symbol} {granularity_name(info.granularity_s)}"
        print(f"registered {digest[:12]}: {info.candles:,} candles of {name}")
    return 0


async def verify_(args: common.Args) -> int:
    """Exit status 1 when something is wrong; a gap or an empty candle is said, and wrong only when it is."""
    store = DatasetStore(StateDir(args.state).cache)
    names = args.dataset
    if not names:
        with common.views(args) as con:
            names = [r["id"] for r in queries.datasets(con)]
    loaded: dict[str, Candles] = {}
    async with common.admin(args) as bus:
        for name in names:
            digest, _ = await find_dataset(bus, name)
            loaded[digest] = store.get(digest)
    problems = [_named(p, digest) for digest, candles in loaded.items() for p in verify(candles)]
    problems += _disagreements(loaded)
    if args.json:
        common.print_json({"ok": not problems, "problems": problems})
    else:
        rows = [(p["kind"], p["dataset"][:12], p["count"], p["detail"]) for p in problems]
        common.print_table("Found", ("kind", "dataset", "count", "detail"), rows, "Nothing found.")
    return 1 if problems else 0


def _named(problem: Problem, dataset: str) -> dict[str, Any]:
    return {"kind": problem.kind, "dataset": dataset, "count": problem.count, "detail": problem.detail}


def _disagreements(loaded: dict[str, Candles]) -> list[dict[str, Any]]:
    """Every two granularities of one market against each other; said of the coarser one."""
    out = []
    for fine in loaded.values():
        for digest, coarse in loaded.items():
            a, b = fine.info, coarse.info
            same = (a.venue, a.symbol) == (b.venue, b.symbol)
            if same and a.granularity_s < b.granularity_s and b.granularity_s % a.granularity_s == 0:
                out += [_named(p, digest) for p in reconcile(fine, coarse)]
    return out
