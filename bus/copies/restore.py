"""Make a state of a copy: the same messages at the same sequences, read back and compared before anybody may use them.

Only the set-up user writes here, in a server without agents: at run time nobody can fill or alter a stream.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bus.accounts import load_accounts
from bus.bounded import read_until
from bus.chain import GENESIS, chain_hash
from bus.client import Bus, Credentials, Stored
from bus.copies import marker
from bus.copies.manifest import COPIED, CopiedStream, Manifest, require_manifest
from bus.copies.publish import NotRestored, publish_stream, seal_config, while_restored
from bus.copies.read import read_stream
from bus.copies.records import leaf
from bus.copies.target import Target
from bus.server import Server, free_port
from bus.settings import StateDir
from bus.setup import create_streams
from bus.streams import StreamSpec, in_memory, stream_specs
from domain.errors import BadInput

Progress = Callable[[str], None]


@dataclass
class _Kept:
    """What a stream must hold in the end: the newest messages of each subject, as its limit says."""

    most: int
    messages: int = 0
    by_subject: dict[str, deque[tuple[int, bytes]]] = field(default_factory=dict)

    def watch(self, messages: Iterator[Stored]) -> Iterator[Stored]:
        for stored in messages:
            self.by_subject.setdefault(stored.subject, deque(maxlen=self.most)).append((stored.seq, leaf(stored)))
            yield stored

    def leaves(self) -> dict[int, bytes]:
        return {seq: hash for kept in self.by_subject.values() for seq, hash in kept}


@asynccontextmanager
async def restored(
    source: Target, state: StateDir, now: str, progress: Progress = lambda _: None
) -> AsyncIterator[tuple[Bus, Manifest]]:
    """The set-up user's connection to the restored log, for what is to be added; afterwards the state is ready for use.

    Raises BadInput (no whole copy, a state that is not empty), CopyDamaged, NotRestored, Unreachable: then the state
    stays marked as half restored. The caller holds the lock of the state.
    """
    manifest = await asyncio.to_thread(require_manifest, source)
    specs = tuple(s for s in stream_specs() if not in_memory(s))
    unknown = sorted({s.name for s in manifest.streams} - {str(s.config.name) for s in specs})
    if unknown:
        raise BadInput(f"the copy at {source.where} holds {', '.join(unknown)}, which this version does not know")
    settings = state.settings()
    await asyncio.to_thread(marker.begin, state, source.where, now)
    accounts = load_accounts(state.root / "accounts.json", [settings.host_name()])
    server = Server(state, accounts, settings, free_port())
    await server.start(setup=True)
    try:
        bus = await Bus.connect(Credentials(server.url, "setup", "setup", accounts.setup), "restore")
        try:
            for stream in manifest.streams:
                spec = next(s for s in specs if s.config.name == stream.name)
                progress(f"{stream.name}: {stream.messages:,} messages")
                await _fill(bus, source, spec, stream)
            await create_streams(bus, specs)
            yield bus, manifest
        finally:
            await bus.close()
    finally:
        await server.stop(timeout_s=30.0)
    marker.finish(state)


async def _fill(bus: Bus, source: Target, spec: StreamSpec, stream: CopiedStream) -> None:
    whole = next(k.whole for k in COPIED if k.stream == stream.name)
    kept = _Kept(max(1, spec.config.max_msgs_per_subject or 1))
    messages = read_stream(source, stream)
    await bus.js.add_stream(while_restored(spec.config))
    await publish_stream(bus, spec.config, messages if whole else kept.watch(messages), stream.last)
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
