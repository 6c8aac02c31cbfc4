"""`sluice logs`: what all agents on all machines say, in one place."""

import argparse
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bus.client import Bus, Stored
from bus.messages import LogLine
from bus.tail import Tail
from cli import common

#: How far back the last lines of one agent are looked for.
LOOK_BACK = 50_000


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("logs", parents=[common.options()], help="logs of all agents from all machines")
    p.add_argument("agent", nargs="?", default="", metavar="AGENT", help="such as miner-2, miner, host or host.miner-2")
    p.add_argument("-n", "--lines", type=int, default=100, help="how many lines to begin with (0 = none)")
    p.add_argument("-f", "--follow", action="store_true", help="stay and print what comes (JSON lines with --json)")
    p.set_defaults(run=logs)


def wanted(line: LogLine, agent: str) -> bool:
    """By agent, kind of agent, host, or host.agent."""
    kind, _, slot = line.agent.rpartition("-")
    kind = kind if slot.isdigit() else line.agent
    return agent in ("", line.agent, kind, line.host, f"{line.host}.{line.agent}")


def _line(stored: Stored) -> LogLine | None:
    """A line whose sender is the one that the subject names; None for anything else."""
    try:
        line = msgspec.json.decode(stored.data, type=LogLine)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return line if stored.subject == f"log.{line.host}.{line.agent}" else None


async def logs(args: common.Args) -> int:
    async with common.admin(args) as bus:
        end = await bus.last_seq("LOGS")
        last: deque[LogLine] = deque(maxlen=max(0, args.lines))
        async for line in _read(bus, max(1, end - LOOK_BACK), end, args.agent):
            last.append(line)
        if args.json and not args.follow:
            common.print_json(list(last))
            return 0
        for line in last:
            _show(line, args)
        if not last and not args.follow:
            print("no lines" + (f" of {args.agent}" if args.agent else "") + " on the bus yet")
        if args.follow:
            tail = Tail(bus, "LOGS", end)
            while True:
                for stored in await tail.next(1.0):
                    new = _line(stored)
                    if new is not None and wanted(new, args.agent):
                        _show(new, args)
    return 0


async def _read(bus: Bus, start: int, end: int, agent: str) -> AsyncIterator[LogLine]:
    async for stored in bus.read("LOGS", start):
        if stored.seq > end:
            return
        line = _line(stored)
        if line is not None and wanted(line, agent):
            yield line


def _printable(text: str) -> str:
    """Without control characters: a line of another machine must not steer this terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def _show(line: LogLine, args: common.Args) -> None:
    if args.json:
        common.print_line(line)
        return
    fields: tuple[Any, ...] = (line.time, f"{line.host}.{line.agent}", line.level, line.message)
    print("{} {:<24} {:<7} {}".format(*(_printable(str(f)) for f in fields)), flush=True)
