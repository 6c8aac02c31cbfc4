"""`sluice audit export`: events as Parquet, a row each, for whatever reads tables."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bus.bounded import read_until, rfc3339
from bus.client import Bus, Stored
from bus.envelope import decode_event
from bus.records import event_filter
from cli import common
from domain.errors import BadInput, Unreachable

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("seq", "time", "type", "subject", "source", "id", "correlationid", "causationid", "schemaver", "data")
#: What is in memory at once: so many events a row group, or fewer where they are large.
ROWS = 8_192
ROWS_BYTES = 16 * 1024**2


class Bound(NamedTuple):
    """One end of what is wanted, itself included: a sequence, a time, or neither."""

    seq: int | None = None
    time: datetime | None = None


class Wanted(NamedTuple):
    filter: str
    since: Bound
    until: Bound


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("export", parents=[common.options()], help="events as a Parquet file, a row each")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="the Parquet file to write; must not exist")
    p.add_argument("--type", default="", help="such as mining.unit.validated, or a beginning: mining.unit")
    p.add_argument("--since", type=bound, default=Bound(), metavar="SEQ|TIME", help="from this event on, or this time")
    p.add_argument("--until", type=bound, default=Bound(), metavar="SEQ|TIME", help="up to this event, or this time")
    p.set_defaults(run=export)


def bound(text: str) -> Bound:
    """An argument type: a sequence, or a time such as 2026-01-31 or 2026-01-31T12:00:00Z (UTC where no zone is said)."""
    if text.isascii() and text.isdigit():
        return Bound(seq=int(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a sequence nor a time like 2026-01-31T12:00:00Z") from e
    return Bound(time=time if time.tzinfo else time.replace(tzinfo=UTC))


async def export(args: common.Args) -> int:
    if args.out.exists():
        raise BadInput(f"{args.out} exists already; name a file that does not")
    wanted = Wanted(event_filter(args.type) if args.type else "", args.since, args.until)
    async with common.admin(args) as bus:
        count = await write_parquet(args.out, read_rows(bus, wanted))
    if args.json:
        common.print_json({"file": str(args.out), "events": count})
    else:
        print(f"wrote {count:,} events to {args.out}")
    return 0


async def read_rows(bus: Bus, wanted: Wanted) -> AsyncIterator[tuple[Any, ...]]:
    """A row for every event that is wanted, up to the log's end as it is now."""
    last = await bus.last_seq("EVENTS")
    last = last if wanted.until.seq is None else min(last, wanted.until.seq)
    start = max(1, wanted.since.seq or 1)
    if start > last:
        return
    async for batch in read_until(bus, "EVENTS", start, last, wanted.filter):
        for row in map(_row, batch):
            if _within(row[1], wanted):
                yield row


def _within(time: datetime, wanted: Wanted) -> bool:
    since, until = wanted.since.time, wanted.until.time
    return (since is None or time >= since) and (until is None or time <= until)


def _row(stored: Stored) -> tuple[Any, ...]:
    """In the order of COLUMNS. What is no event is a row too: type "malformed", its subject, and no data."""
    try:
        e = decode_event(stored.data)
    except BadInput:
        return (stored.seq, _time("", stored.time), "malformed", stored.subject, "", "", "", "", 0, None)
    when = _time(e.time, stored.time)
    ids = (e.source, e.id, e.correlationid, e.causationid)
    return (stored.seq, when, e.type, e.subject, *ids, e.schemaver, bytes(e.data).decode(errors="replace"))


def _time(said: str, stored_ns: str) -> datetime:
    """The event's own time; the server's where that is none."""
    try:
        time = datetime.fromisoformat(said)
    except ValueError:
        time = datetime.fromisoformat(rfc3339(stored_ns))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def write_parquet(out: Path, rows: AsyncIterator[tuple[Any, ...]]) -> int:
    """Write row groups as they come, in bounded memory; the file appears when it is whole. Returns the number of rows."""
    import polars as pl
    from polars.io.plugins import register_io_source

    types: list[Any] = [pl.Int64, pl.Datetime("us", "UTC"), *[pl.String] * 6, pl.Int32, pl.String]
    schema = dict(zip(COLUMNS, types, strict=True))
    loop = asyncio.get_running_loop()
    count, failed = 0, []

    def frames(*_: Any) -> "Iterator[pl.DataFrame]":
        """Called from a thread of polars: the rows come from our loop, a group at a time."""
        nonlocal count
        while True:
            try:
                group = asyncio.run_coroutine_threadsafe(_group(rows), loop).result()
            except (Exception, CancelledError) as e:
                failed.append(e)
                raise
            if not group:
                return
            count += len(group)
            yield pl.DataFrame(group, schema=schema, orient="row")

    part = out.with_name(out.name + ".part")
    try:
        lazy = register_io_source(frames, schema=schema)
        await asyncio.to_thread(lazy.sink_parquet, part, compression="zstd", row_group_size=ROWS)
        part.replace(out)
    except OSError as e:
        raise Unreachable(f"{out} cannot be written: {e.strerror or e}") from e
    except pl.exceptions.PolarsError as e:
        if failed:
            raise failed[0] from e
        raise Unreachable(f"{out} cannot be written: {e}") from e
    finally:
        part.unlink(missing_ok=True)
    return count


async def _group(rows: AsyncIterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    group: list[tuple[Any, ...]] = []
    size = 0
    async for row in rows:
        group.append(row)
        size += len(row[-1] or "")
        if len(group) >= ROWS or size >= ROWS_BYTES:
            break
    return group
