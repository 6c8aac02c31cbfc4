"""`sluice events`: the log as it is."""

import argparse
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bus.client import Bus, Stored
from bus.records import event_filter, event_record
from bus.tail import Tail
from cli import common


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("events", parents=[common.options()], help="the event log")
    p.add_argument("--type", default="", help="such as mining.unit.validated, or a beginning: mining.unit")
    p.add_argument("--entity", default="", help="id of a campaign, unit, strategy …")
    p.add_argument("--since", type=int, default=1, metavar="SEQ", help="from this sequence on")
    p.add_argument("--limit", type=int, default=0, help="at most this many (0 = all)")
    p.add_argument("-f", "--follow", action="store_true", help="stay and print what comes (JSON lines with --json)")
    p.set_defaults(run=events)


async def _read(bus: Bus, args: common.Args) -> AsyncIterator[Stored]:
    wanted = event_filter(args.type, args.entity)
    if not args.follow:
        async for stored in bus.read("EVENTS", max(1, args.since), wanted):
            yield stored
        return
    tail = Tail(bus, "EVENTS", max(0, args.since - 1), wanted)
    while True:
        for stored in await tail.next(1.0):
            yield stored


async def events(args: common.Args) -> int:
    shown = 0
    collected: list[dict[str, Any]] = []
    async with common.admin(args) as bus:
        async for stored in _read(bus, args):
            record = event_record(stored)
            if args.json and not args.follow:
                collected.append(record)
            elif args.json:
                common.print_line(record)
            else:
                data = msgspec.json.encode(record["data"]).decode()
                print(
                    f"{record['seq']:>7} {record['time']} {record['type']:<28} {record['subject']} {data[:160]}",
                    flush=True,
                )
            shown += 1
            if args.limit and shown >= args.limit:
                break
    if args.json and not args.follow:
        common.print_json(collected)
    return 0
