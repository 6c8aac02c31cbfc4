"""`sluice why ID`: the chain of causes of anything in the log, down to dataset, seed, kernel version, miners and replicas."""

import argparse
import contextlib
import sqlite3
from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from bus.bounded import skim
from bus.settings import StateDir
from cli import common
from domain.errors import BadInput, Unreachable
from projections import files, queries
from projections.lineage.resolve import resolve
from projections.lineage.walk import MOST, Lineage, Node, Why

_NAMES = {"lane": "kernel version"}


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("why", parents=[common.options()], help="what anything in the log was caused by and rests on")
    p.add_argument(
        "id", metavar="ID",
        help="a sequence of the log, or 8 or more first signs of the id of a strategy, unit, campaign, dataset, agent or event",
    )  # fmt: skip
    p.add_argument("--dot", action="store_true", help="print a graph for Graphviz")
    p.add_argument("--all", action="store_true", help=f"follow more than {MOST} events of one kind")
    p.set_defaults(run=why)


async def why(args: common.Args) -> int:
    if args.dot and args.json:
        raise BadInput("--dot and --json are two answers to one question; choose one")
    async with common.admin(args) as bus:
        last = await bus.last_seq("EVENTS")
        lineage = Lineage(bus, lambda: skim(bus, "EVENTS"), 0 if args.all else MOST)
        with _views(args) as con, _looking(last) as progress:
            position = queries.position(con) if con is not None else None
            start = await resolve(lineage, bus, con, args.id, progress)
        found = await lineage.why(*start)
    if args.json:
        common.print_json(_json(found, position, last))
    elif args.dot:
        print(dot(found))
    else:
        _print(found)
    if position is None or position < last:
        at = "cannot be read" if position is None else f"stand at event {position:,} of {last:,}"
        _say(f"The read models {at}; this answer comes from the log itself and has everything up to its end.")
    return 0 if found.complete else 1


@contextlib.contextmanager
def _views(args: common.Args) -> Iterator[sqlite3.Connection | None]:
    """The read models, which only help to find; None where there are none that can be read."""
    try:
        con = files.open_reader(StateDir(args.state).views)
    except Unreachable:
        yield None
        return
    try:
        with files.snapshot(con):
            yield con
    finally:
        con.close()


@contextlib.contextmanager
def _looking(last: int):  # type: ignore[no-untyped-def]
    """Says how far a walk through a long log has come, on a terminal only."""
    console = Console(stderr=True)
    with console.status("looking", spinner="dots") as status:
        yield lambda seq: status.update(f"no index knows it: looking through the log, {seq:,} of {last:,} events")


def _say(line: str) -> None:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def _json(found: Why, position: int | None, last: int) -> dict[str, object]:
    shown = msgspec.to_builtins(found)
    return {**shown, "complete": found.complete, "read_models": position, "last_seq": last}


def printable(text: str) -> str:
    """Names are other people's words: a sign that moves a cursor or ends a line stands there as `�`."""
    return "".join(c if c.isprintable() else "�" for c in text)


# -- for people -------------------------------------------------------------------------------------------------------


def _print(found: Why) -> None:
    console = common.console()
    nodes = {n.seq: n for n in found.nodes}
    what = f"event {found.start}" if found.kind == "event" else f"{found.kind} {found.entity}"
    tree = Tree(Text(f"Why {printable(what)}", style="bold"))
    seen: set[int] = set()
    # A stack of our own: a chain may be longer than Python recurses.
    waiting = [(tree, nodes[found.start])]
    while waiting:
        branch, node = waiting.pop()
        if node.seq in seen:
            branch.add(_line(node, again=True))
            continue
        seen.add(node.seq)
        own = branch.add(_line(node))
        if node.left_out:
            own.add(Text(f"… and {node.left_out:,} more of the kind of the last one (--all follows them)", style="dim"))
        # Added in the order in which they are taken from the stack: the cause first.
        waiting += [(own, nodes[seq]) for seq in reversed(node.causes)]
    console.print(tree)
    rests = {_NAMES.get(name, name): values for name, values in found.rests_on.items() if values}
    for name, values in rests.items():
        shown = ", ".join(values[:MOST]) + (f" and {len(values) - MOST:,} more" if len(values) > MOST else "")
        console.print(Text(f"{name:<15}{printable(shown)}"), soft_wrap=True)
    for line in found.missing:
        console.print(Text(f"missing        {printable(line)}", style="bold"), soft_wrap=True)


def _line(node: Node, again: bool = False) -> Text:
    line = Text(f"{node.seq} ", style="bold")
    line.append(printable(node.words), style="" if not again else "dim")
    return line.append("  (above)" if again else f"  {node.time} {node.source}", style="dim")


# -- for Graphviz -----------------------------------------------------------------------------------------------------


def label(text: str) -> str:
    """A quoted string of the DOT language: what is in it is shown as it is."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def dot(found: Why) -> str:
    """Effects point to their causes; what everything rests on are boxes of their own."""
    lines = ["digraph why {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    origins: dict[tuple[str, str], str] = {}
    for node in found.nodes:
        style = ", style=bold" if node.seq == found.start else ""
        lines.append(f"  e{node.seq} [label={label(f'{node.seq} {node.words}')}{style}];")
        lines += [f"  e{node.seq} -> e{seq};" for seq in node.causes]
        for name, value in node.origin.items():
            name_ = origins.setdefault((name, value), f"o{len(origins)}")
            lines.append(f"  e{node.seq} -> {name_} [style=dashed];")
    for (name, value), id in origins.items():
        lines.append(f"  {id} [label={label(f'{_NAMES.get(name, name)} {value}')}, shape=ellipse];")
    return "\n".join([*lines, "}"])
