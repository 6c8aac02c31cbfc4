"""`sluice backup | restore`: a copy of the log in a folder or an object store, and a new state made of one."""

import argparse
import asyncio
import time

from bus import events as ev
from bus.artifacts import get_artifact
from bus.client import Bus, Expect
from bus.copies.backup import Report, backup
from bus.copies.manifest import Manifest, require_manifest
from bus.copies.read import verify_copy
from bus.copies.restore import restored
from bus.copies.target import FolderTarget, Target, open_target
from bus.envelope import make_event, now_rfc3339, read_event
from bus.run_file import take_lock
from bus.runtime import VERSION
from bus.settings import StateDir
from bus.streams import in_memory, stream_specs
from cli import common
from domain.errors import BadInput, SluiceError
from domain.hashing import derived_id
from market.store import DatasetStore


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("backup", parents=[common.options()], help="copy the log while it runs, or verify a copy")
    p.add_argument("verb", nargs="?", choices=("verify",), help="check a copy against its manifest, whatever runs")
    p.add_argument("target", metavar="TARGET", help="a folder, or s3://BUCKET/PATH; a copy there is brought up to date")
    p.set_defaults(run=backup_)
    p = sub.add_parser("restore", parents=[common.options()], help="make the log of an empty state from a copy")
    p.add_argument("source", metavar="SOURCE", help="where `sluice backup` put the copy")
    p.set_defaults(run=restore_)


async def backup_(args: common.Args) -> int:
    target = open_target(args.target)
    if args.verb == "verify":
        return await _verify(args, target)
    state = StateDir(args.state)
    if isinstance(target, FolderTarget) and target.root.absolute().resolve().is_relative_to(state.root.resolve()):
        raise BadInput(f"{target.root} lies in the state that it is to be a copy of; name a place elsewhere")
    began = time.monotonic()
    async with common.admin(args) as bus:
        streams = {str(s.config.name) for s in stream_specs() if not in_memory(s)}
        report = await backup(bus, target, product=VERSION, now=now_rfc3339(), streams=streams)
    _say_copied(args, target, report, time.monotonic() - began)
    return 0


def _say_copied(args: common.Args, target: Target, report: Report, seconds: float) -> None:
    if args.json:
        said = report._asdict() | {"target": target.where, "seconds": round(seconds, 3)}
        common.print_json(said)
        return
    what = "added to" if report.incremental else "copied to"
    parts = ", ".join(f"{count:,} in {name}" for name, count in report.messages.items() if count) or "nothing new"
    print(f"{what} {target.where}: {parts}; it holds the events 1 to {report.seq:,} now")
    print(
        f"{report.files} files, {report.bytes / 1e6:.1f} MB, {seconds:.1f} s; passwords, keys and sluice.toml are not in it"
    )


async def _verify(args: common.Args, target: Target) -> int:
    """Exit status 1 when a file is not what the manifest says."""
    checked = await asyncio.to_thread(verify_copy, target)
    ok = not checked.problems
    if args.json:
        problems = [p._asdict() for p in checked.problems]
        common.print_json(
            {"ok": ok, "seq": checked.seq, "messages": checked.messages, "files": checked.files, "bytes": checked.bytes,
             "problems": problems}
        )  # fmt: skip
        return 0 if ok else 1
    for problem in checked.problems:
        print(f"DAMAGED  {problem.detail}")
    size = f"{checked.files} files, {checked.messages:,} messages, {checked.bytes / 1e6:.1f} MB, events 1 to {checked.seq:,}"
    print(f"every file is as it was written: {size}" if ok else f"the copy cannot be restored as it is ({size})")
    return 0 if ok else 1


async def restore_(args: common.Args) -> int:
    state, source = StateDir(args.state), open_target(args.source)
    began = time.monotonic()
    await asyncio.to_thread(require_manifest, source)  # before anything is made
    state.create()
    lock = take_lock(state)
    try:
        progress = (lambda _: None) if args.json else print
        async with restored(source, state, now_rfc3339(), progress) as (bus, manifest):
            datasets = await _fill_cache(bus, DatasetStore(state.cache))
            epoch = await _open_epoch(bus, manifest, source)
    finally:
        lock.close()
    _say_restored(args, state, manifest, epoch, datasets, time.monotonic() - began)
    return 0


async def _fill_cache(bus: Bus, store: DatasetStore) -> int:
    """Commands read datasets from the local cache; a fresh state has none."""
    count = 0
    async for stored in bus.read("EVENTS", 1, "ev.data.dataset.*.imported"):
        try:
            event = read_event(stored.subject, stored.data)
        except BadInput:
            continue  # parked by those whose work it is
        try:
            data = await get_artifact(bus, event.subject)
        except SluiceError as e:
            raise SluiceError(f"the copy lacks the candles of dataset {event.subject[:12]}: {e}") from e
        await asyncio.to_thread(store.put_bytes, data)
        count += 1
    return count


async def _open_epoch(bus: Bus, manifest: Manifest, source: Target) -> ev.EpochOpened:
    """The first event after the copied ones: from here on the log may differ from what was sealed before."""
    before = await bus.last("EVENTS", "ev.audit.epoch.*.opened")
    known = read_event(before.subject, before.data).payload() if before is not None else None
    number = (getattr(known, "epoch", 1) if known is not None else 1) + 1
    events = manifest.events
    what = f"copy of {manifest.time} at {source.where}"
    opened = ev.EpochOpened(number, events.last, events.chain, what, "sluice restore")
    event = make_event(
        opened,
        id=derived_id("EpochOpened", number, events.last, events.chain),
        source="cli",
        subject=str(number),
        time=now_rfc3339(),
    )
    await bus.append(event, Expect(event.nats_subject(), 0))
    return opened


def _say_restored(
    args: common.Args, state: StateDir, manifest: Manifest, epoch: ev.EpochOpened, datasets: int, seconds: float
) -> None:
    messages = {s.name: s.messages for s in manifest.streams}
    if args.json:
        common.print_json(
            {"state": str(state.root), "messages": messages, "last_seq": epoch.last_seq, "chain": epoch.chain,
             "epoch": epoch.epoch, "datasets": datasets, "seconds": round(seconds, 3)}
        )  # fmt: skip
        return
    done = f"restored {epoch.last_seq:,} events and {datasets} datasets into {state.root} in {seconds:.1f} s"
    print(f"{done}; epoch {epoch.epoch} begins")
    print(
        "`sluice up` goes on from here; machines that joined the old instance need new credentials (`sluice creds add`)"
    )
