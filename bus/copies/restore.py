"""Make a state of a copy: the same messages at the same sequences, read back and compared before anybody may use them.

Only the set-up user writes here, in a server without agents: at run time nobody can fill or alter a stream.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bus.accounts import load_accounts
from bus.bounded import read_until
from bus.chain import GENESIS, chain_hash
from bus.client import Bus, Credentials, Stored
from bus.copies import marker
from bus.copies.manifest import COPIED, CopiedStream, Manifest, require_manifest
from bus.copies.publish import NotRestored, publish_stream, seal_config, while_restored
from bus.copies.read import read_stream
from bus.copies.records import leaf
from bus.copies.sealed import Watch, keep_given, sealed_before
from bus.copies.target import Target
from bus.seals.common import Common
from bus.seals.files import places
from bus.server import Server, free_port
from bus.settings import StateDir
from bus.setup import create_stream, create_streams
from bus.streams import StreamSpec, in_memory, stream_specs
from domain.errors import BadInput

Progress = Callable[[str], None]


class Restored(NamedTuple):
    """`bus`: the set-up user's connection. `common`: the last event that the copy shares with all seals; `epoch` begins."""

    bus: Bus
    manifest: Manifest
    common: Common
    epoch: int
    seals_go_on: bool


@dataclass
class _Kept:
    """What a stream must hold in the end: the newest messages of each subject, as its limit says."""

    most: int
    by_subject: dict[str, deque[tuple[int, bytes]]] = field(default_factory=dict)

    def over(self, messages: Iterable[Stored]) -> Iterator[Stored]:
        for stored in messages:
            self.by_subject.setdefault(stored.subject, deque(maxlen=self.most)).append((stored.seq, leaf(stored)))
            yield stored

    def leaves(self) -> dict[int, bytes]:
        return {seq: hash for kept in self.by_subject.values() for seq, hash in kept}


@asynccontextmanager
async def restored(
    source: Target, state: StateDir, now: str, *, seals: Path | None = None, progress: Progress = lambda _: None
) -> AsyncIterator[Restored]:
    """The restored log with what is to be added to it within; afterwards the state is ready for use.

    `seals`: a seal file that was kept elsewhere. Raises BadInput (no whole copy, a state that is not empty, seals without
    their key), CopyDamaged, NotRestored, Unreachable: from the first write on the state stays marked as half restored
    then. The caller holds the lock of the state.
    """
    manifest = await asyncio.to_thread(require_manifest, source)
    specs = {str(s.config.name): s for s in stream_specs() if not in_memory(s)}
    unknown = sorted({s.name for s in manifest.streams} - specs.keys())
    if unknown:
        raise BadInput(f"the copy at {source.where} holds {', '.join(unknown)}, which this version does not know")
    settings = state.settings()
    at = places(state, settings)
    before = await sealed_before(source, manifest, at, seals)
    await asyncio.to_thread(marker.begin, state, source.where, now)
    accounts = load_accounts(state.root / "accounts.json", [settings.host_name()])
    server = Server(state, accounts, settings, free_port())
    await server.start(setup=True)
    try:
        bus = await Bus.connect(Credentials(server.url, "setup", "setup", accounts.setup, ca=server.ca), "restore")
        try:
            watch = Watch(before, at)
            for stream in manifest.streams:
                if stream.name != "AUDIT" or before.go_on:
                    progress(f"{stream.name}: {stream.messages:,} messages")
                    await _fill(bus, source, specs[stream.name], stream, watch)
            await create_streams(bus, tuple(specs.values()))
            if before.go_on:
                await asyncio.to_thread(keep_given, seals, at)
            yield Restored(bus, manifest, watch.finder.result, before.epoch, before.go_on)
        finally:
            await bus.close()
    finally:
        await server.stop(timeout_s=30.0)
    marker.finish(state)


async def _fill(bus: Bus, source: Target, spec: StreamSpec, stream: CopiedStream, watch: Watch) -> None:
    whole = next(k.whole for k in COPIED if k.stream == stream.name)
    kept = _Kept(max(1, spec.config.max_msgs_per_subject or 1))
    messages: Iterable[Stored] = read_stream(source, stream)
    if stream.name == "EVENTS":
        messages = watch.over(messages)
    if not whole:
        messages = kept.over(messages)
    await create_stream(bus, StreamSpec(while_restored(spec.config), spec.purpose))
    await publish_stream(bus, spec.config, messages, stream.last)
    await seal_config(bus, spec.config)
    await (_compare_whole(bus, stream) if whole else _compare_kept(bus, stream, kept))


async def _compare_whole(bus: Bus, stream: CopiedStream) -> None:
    """The chain over what the server holds says at once that every sequence, subject, id and byte is that of the copy."""
    chain, seq = GENESIS, 0
    async for batch in read_until(bus, stream.name, 1, stream.last):
        for stored in batch:
            chain, seq = chain_hash(chain, leaf(stored)), stored.seq
    last, messages, _ = await bus.stream_state(stream.name)
    if (last, messages, seq, chain.hex()) != (stream.last, stream.messages, stream.last, stream.chain):
        raise NotRestored(f"{stream.name}: what the server holds after the restore is not what the copy holds")


async def _compare_kept(bus: Bus, stream: CopiedStream, kept: _Kept) -> None:
    wanted = kept.leaves()
    held = {s.seq: leaf(s) async for batch in read_until(bus, stream.name, 1, stream.last) for s in batch}
    last = await bus.last_seq(stream.name)
    if held != wanted or last != stream.last:
        raise NotRestored(f"{stream.name}: what the server holds after the restore is not what the copy holds")
