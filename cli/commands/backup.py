"""`sluice backup`: a copy of the log in a folder or an object store, and whether a copy is as it was written."""

import argparse
import asyncio
import time

from bus.copies.backup import Report, backup
from bus.copies.read import verify_copy
from bus.copies.target import FolderTarget, Target, open_target
from bus.envelope import now_rfc3339
from bus.runtime import VERSION
from bus.seals.files import places
from bus.settings import StateDir
from bus.streams import in_memory, stream_specs
from cli import common
from domain.errors import BadInput


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("backup", parents=[common.options()], help="copy the log while it runs, or verify a copy")
    p.add_argument("verb", nargs="?", choices=("verify",), help="check a copy against its manifest, whatever runs")
    p.add_argument("target", metavar="TARGET", help="a folder, or s3://BUCKET/PATH; a copy there is brought up to date")
    p.set_defaults(run=backup_)


async def backup_(args: common.Args) -> int:
    target = open_target(args.target)
    if args.verb == "verify":
        return await _verify(args, target)
    state = StateDir(args.state)
    if isinstance(target, FolderTarget) and target.root.absolute().resolve().is_relative_to(state.root.resolve()):
        raise BadInput(f"{target.root} lies in the state that it is to be a copy of; name a place elsewhere")
    began = time.monotonic()
    streams = {str(s.config.name) for s in stream_specs() if not in_memory(s)}
    public = places(state, state.settings()).public_key
    key = public.read_text() if public.exists() else ""
    async with common.admin(args) as bus:
        report = await backup(
            bus, target, product=VERSION, now=now_rfc3339(), streams=streams, auditor_key=key
        )  # fmt: skip
    _say_copied(args, target, report, time.monotonic() - began)
    return 0


def _say_copied(args: common.Args, target: Target, report: Report, seconds: float) -> None:
    if args.json:
        common.print_json(report._asdict() | {"target": target.where, "seconds": round(seconds, 3)})
        return
    what = "added to" if report.incremental else "copied to"
    parts = ", ".join(f"{count:,} in {name}" for name, count in report.messages.items() if count) or "nothing new"
    print(f"{what} {target.where}: {parts}; it holds the events 1 to {report.seq:,} now")
    print(f"{report.files} files, {report.bytes / 1e6:.1f} MB, {seconds:.1f} s; no key and no sluice.toml is in it")


async def _verify(args: common.Args, target: Target) -> int:
    """Exit status 1 when a file is not what the manifest says."""
    checked = await asyncio.to_thread(verify_copy, target)
    ok = not checked.problems
    if args.json:
        said = checked._asdict() | {"problems": [p._asdict() for p in checked.problems]}
        common.print_json({"ok": ok} | said)
        return 0 if ok else 1
    for problem in checked.problems:
        print(f"DAMAGED  {problem.detail}")
    size = f"{checked.files} files, {checked.messages:,} messages, {checked.bytes / 1e6:.1f} MB"
    size += f", events 1 to {checked.seq:,}"
    print(f"every file is as it was written: {size}" if ok else f"the copy cannot be restored as it is ({size})")
    return 0 if ok else 1
