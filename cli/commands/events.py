"""`sluice events`: the log as it is, and what could not be handled."""

import argparse
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bus.client import Bus, Stored
from bus.records import event_filter, event_record, parked_record
from bus.tail import Tail
from cli import common
from domain.errors import BadInput


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("events", parents=[common.options()], help="the event log")
    p.add_argument("--type", default="", help="such as mining.unit.validated, or a beginning: mining.unit")
    p.add_argument("--entity", default="", help="id of a campaign, unit, strategy …")
    p.add_argument("--campaign", default="", metavar="ID", help="only what belongs to it (8 signs of its id at least)")
    p.add_argument(
        "--parked", action="store_true", help="instead of events, messages that could not be handled, with the reason"
    )
    p.add_argument("--since", type=int, default=1, metavar="SEQ", help="from this sequence on")
    p.add_argument("--limit", type=int, default=0, help="at most this many (0 = all)")
    p.add_argument("-f", "--follow", action="store_true", help="stay and print what comes (JSON lines with --json)")
    p.set_defaults(run=events)


async def _read(bus: Bus, args: common.Args) -> AsyncIterator[Stored]:
    stream, wanted = ("PARKED", "parked.>") if args.parked else ("EVENTS", event_filter(args.type, args.entity))
    if not args.follow:
        async for stored in bus.read(stream, max(1, args.since), wanted):
            yield stored
        return
    tail = Tail(bus, stream, max(0, args.since - 1), wanted)
    while True:
        for stored in await tail.next(1.0):
            yield stored


def _checked(args: common.Args) -> None:
    if args.parked and (args.type or args.entity or args.campaign):
        raise BadInput("--parked lists messages of all streams; --type, --entity and --campaign choose events")
    if args.campaign and len(args.campaign) < 8:
        raise BadInput(f"{args.campaign!r} is too short: 8 signs of a campaign's id are needed at least")


def _line(record: dict[str, Any]) -> str:
    if "reason" in record and "data" not in record:
        where = f"{record['stream']} {record['stream_seq']} {record['subject']}"
        return f"{record['seq']:>7} {record['time']} {record['by']:<12} {where}: {record['reason']}"
    data = msgspec.json.encode(record["data"]).decode()
    return f"{record['seq']:>7} {record['time']} {record['type']:<28} {record['subject']} {data[:160]}"


async def events(args: common.Args) -> int:
    _checked(args)
    shown = 0
    collected: list[dict[str, Any]] = []
    async with common.admin(args) as bus:
        async for stored in _read(bus, args):
            record = parked_record(stored) if args.parked else event_record(stored)
            if args.campaign and not str(record.get("correlationid", "")).startswith(args.campaign):
                continue
            if args.json and not args.follow:
                collected.append(record)
            elif args.json:
                common.print_line(record)
            else:
                print(_line(record), flush=True)
            shown += 1
            if args.limit and shown >= args.limit:
                break
    if args.json and not args.follow:
        common.print_json(collected)
    elif not shown and args.parked:
        print("nothing is parked: every message could be handled")
    return 0
