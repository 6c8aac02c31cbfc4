"""What a person can ask for, as events: register a dataset, find one, follow a campaign to its end."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bus import events as ev
from bus.artifacts import put_artifact
from bus.client import Bus, Expect
from bus.envelope import Event, decode_event, make_event, now_rfc3339, read_event
from bus.tail import Tail
from domain.candles import Candles, DatasetInfo
from domain.errors import BadInput
from domain.hashing import derived_id
from market.store import DatasetStore


async def register_dataset(bus: Bus, store: DatasetStore, candles: Candles, source: str, host: str) -> str:
    """Keep it locally, put it on the bus, and say so once; returns its hash."""
    digest = store.put(candles)
    data = candles.to_bytes()
    header = await put_artifact(bus, host, data, "dataset")
    event = make_event(
        ev.DatasetImported(digest, candles.info, source, header.parts, len(data)),
        id=derived_id("DatasetImported", digest),
        source="cli",
        subject=digest,
        time=now_rfc3339(),
    )
    await bus.append(event, Expect(event.nats_subject(), 0))
    return digest


async def find_dataset(bus: Bus, wanted: str) -> tuple[str, DatasetInfo]:
    """By hash, start of a hash, or `venue_SYMBOL_GRANULARITY` as files are named; BadInput when none or several fit."""
    from market.granularity import market_of

    fits: dict[str, DatasetInfo] = {}
    async for stored in bus.read("EVENTS", 1, "ev.data.dataset.*.imported"):
        try:
            data = read_event(stored.subject, stored.data).payload()
        except BadInput:
            continue  # parked by those whose work it is
        assert isinstance(data, ev.DatasetImported)
        try:
            named = market_of(Path(f"{wanted}.parquet")) == (data.info.venue, data.info.symbol, data.info.granularity_s)
        except BadInput:
            named = False
        by_hash = len(wanted) >= 4 and data.hash.startswith(wanted)
        if named or by_hash or wanted == data.info.symbol:
            fits[data.hash] = data.info
    if not fits:
        raise BadInput(
            f"no dataset {wanted!r} is registered; `sluice data list` shows them, `sluice data import` adds one"
        )
    if len(fits) > 1:
        raise BadInput(f"{wanted!r} fits {len(fits)} datasets ({', '.join(h[:12] for h in fits)}); name one by its id")
    return fits.popitem()


async def follow_campaign(bus: Bus, campaign: str, tick: Callable[[], None] | None = None) -> AsyncIterator[Event]:
    """Every event of the campaign from its beginning until it is finished or refused; `tick` at least twice a second."""
    tail = Tail(bus, "EVENTS", 0, "ev.mining.>")
    try:
        while True:
            for stored in await tail.next(0.5):
                try:
                    event = decode_event(stored.data)
                except BadInput:
                    continue  # parked by those whose work it is
                if event.correlationid != campaign:
                    continue
                yield event
                if event.type in ("mining.campaign.finished", "mining.campaign.refused"):
                    return
            if tick is not None:
                tick()
    finally:
        await tail.close()
