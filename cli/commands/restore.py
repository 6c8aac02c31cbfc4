"""`sluice restore`: the log of an empty state, made from a copy; a new epoch begins."""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

from bus.artifacts import get_artifact
from bus.client import Bus
from bus.copies.manifest import require_manifest
from bus.copies.restore import restored
from bus.copies.target import Target, open_target
from bus.envelope import now_rfc3339, read_event
from bus.run_file import take_lock
from bus.settings import StateDir
from cli import common
from cli.epochs import open_epoch
from domain.errors import BadInput, SluiceError
from market.store import DatasetStore


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("restore", parents=[common.options()], help="make the log of an empty state from a copy")
    p.add_argument("source", metavar="SOURCE", help="where `sluice backup` put the copy")
    p.add_argument("--seals", type=Path, metavar="FILE", help="a seal file that was kept outside of the lost state")
    p.set_defaults(run=restore)


async def restore(args: common.Args) -> int:
    state, source = StateDir(args.state), open_target(args.source)
    began = time.monotonic()
    await asyncio.to_thread(require_manifest, source)  # before anything is made
    state.create()
    lock = take_lock(state)
    try:
        progress = (lambda _: None) if args.json else print
        async with restored(source, state, now_rfc3339(), seals=args.seals, progress=progress) as done:
            datasets = await _fill_cache(done.bus, DatasetStore(state.cache))
            what = f"the copy of {done.manifest.time} at {source.where}"
            await open_epoch(done.bus, done.common, what, "sluice restore", done.epoch - 1)
    finally:
        lock.close()
    said: dict[str, Any] = {
        "state": str(state.root),
        "messages": {s.name: s.messages for s in done.manifest.streams if s.name != "AUDIT" or done.seals_go_on},
        "last_seq": done.manifest.events.last,
        "chain": done.manifest.events.chain,
        "epoch": done.epoch,
        "common_seq": done.common.seq,
        "seals_go_on": done.seals_go_on,
        "datasets": datasets,
        "seconds": round(time.monotonic() - began, 3),
    }
    common.print_json(said) if args.json else _say(said, source)
    return 0


def _say(said: dict[str, Any], source: Target) -> None:
    done = f"restored {said['last_seq']:,} events and {said['datasets']} datasets into {said['state']}"
    print(f"{done} in {said['seconds']:.1f} s; epoch {said['epoch']} begins")
    if said["common_seq"] < said["last_seq"]:
        print(f"the seals vouch for events 1 to {said['common_seq']:,} of them, and for none after that")
    if not said["seals_go_on"]:
        print(
            "the key that sealed the old log is not here: a new one begins. `sluice audit verify --copy "
            f"{source.where}` checks the old seals"
        )
    print(
        "`sluice up` goes on from here; machines that joined the old instance need new credentials (`sluice creds add`)"
    )


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
