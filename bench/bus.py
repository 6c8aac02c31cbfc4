"""`sluice bench bus`: publishing and consuming against the bare nats-py client, on the same server in the same run.

Ours and the bare client take turns; `figure` and `baseline` are medians of messages a second, `ratio` the median of
the rounds' own ratios, so that a machine that gets busier meets both. The events are small ones (some 400 bytes), where what the
client does by itself weighs most; both publish what the codec made of the same events, both read the same stream.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from bench import reading
from bench.log_server import log_server
from bus import events as ev
from bus.client import Bus
from bus.envelope import Event, encode_event, make_event
from bus.tail import Tail
from domain.hashing import derived_id

TITLE = "The bus against the bare client"
COLUMNS = ("case", "messages", "figure", "baseline", "ratio", "at least", "identical")
ROUNDS = 7
SINGLE, BATCHES, BATCH, CONSUMED = 500, 20, 500, 60_000
WITHIN, TIMES_FETCH = 0.9, 3.0


class Case(NamedTuple):
    """Two ways to the same end; each returns what it did, which has to be the same."""

    name: str
    messages: int
    at_least: float
    ours: Callable[[int], Awaitable[Any]]
    bare: Callable[[int], Awaitable[Any]]


def run(quick: bool = False, rounds: int = 0, consumed: int = 0) -> list[dict[str, Any]]:
    return asyncio.run(_run(rounds or (3 if quick else ROUNDS), consumed or (20_000 if quick else CONSUMED)))


async def _run(rounds: int, consumed: int) -> list[dict[str, Any]]:
    async with log_server() as server:
        bus = await server.bus()
        nc, api = await server.bare()
        try:
            cases = [_single(bus, nc), _batches(bus, nc)]
            rows = [await _contest(case, rounds) for case in cases]
            while await bus.last_seq("EVENTS") < consumed:
                await bus.append_batch([(e, None) for e in _events("filler", await bus.last_seq("EVENTS"), 1_000)])
            for case in _consuming(bus, nc, api, consumed):
                rows.append(await _contest(case, rounds))
            return rows
        finally:
            await nc.close()
            await bus.close()


async def _contest(case: Case, rounds: int) -> dict[str, Any]:
    ours: list[float] = []
    bare: list[float] = []
    same = True
    for n in range(rounds + 1):
        # The one who begins has a cold server before it: by turns, and the first round warms up.
        did = {}
        for who in (("ours", "bare"), ("bare", "ours"))[n % 2]:
            began = time.perf_counter()
            did[who] = await getattr(case, who)(n)
            took = time.perf_counter() - began
            if n:
                (ours if who == "ours" else bare).append(case.messages / took)
        same = same and did["ours"] == did["bare"]
    ratio = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    return {
        "case": case.name, "messages": case.messages, "figure": round(statistics.median(ours)),
        "baseline": round(statistics.median(bare)), "ratio": round(ratio, 3), "at least": case.at_least, "identical": same,
    }  # fmt: skip


def _events(who: str, turn: int, count: int) -> list[Event]:
    unit = derived_id("bench bus", who, turn)
    return [
        make_event(
            ev.ReplicaClaimed(unit, n % 2, "box", str(n % 16), n, "", 0), id=derived_id(unit, n), source="bench",
            subject=unit, time="2026-01-01T00:00:00.000Z", correlation=unit,
        )
        for n in range(count)
    ]  # fmt: skip


def _messages(events: list[Event]) -> list[tuple[str, bytes, str]]:
    return [(e.nats_subject(), encode_event(e), e.id) for e in events]


def _single(bus: Bus, nc: Any) -> Case:
    async def ours(turn: int) -> int:
        for e in _events("ours", turn, SINGLE):
            await bus.publish(e.nats_subject(), encode_event(e), id=e.id)
        return SINGLE

    async def bare(turn: int) -> int:
        await reading.publish_singly(nc, _messages(_events("bare", turn, SINGLE)))
        return SINGLE

    return Case("publish, each acknowledged", SINGLE, WITHIN, ours, bare)


def _batches(bus: Bus, nc: Any) -> Case:
    async def ours(turn: int) -> int:
        for n in range(BATCHES):
            await bus.append_batch([(e, None) for e in _events("ours b", turn * BATCHES + n, BATCH)])
        return BATCHES

    async def bare(turn: int) -> int:
        for n in range(BATCHES):
            await reading.publish_batch(nc, _messages(_events("bare b", turn * BATCHES + n, BATCH)))
        return BATCHES

    return Case(f"publish, atomic batches of {BATCH}", BATCHES * BATCH, WITHIN, ours, bare)


def _consuming(bus: Bus, nc: Any, api: str, count: int) -> list[Case]:
    async def ours(turn: int) -> tuple[int, int]:
        tail = Tail(bus, "EVENTS", batch=reading.BATCH)
        seen = size = 0
        while seen < count:
            for stored in (await tail.next(5.0))[: count - seen]:
                seen, size = seen + 1, size + len(stored.data)
        await tail.close()
        return seen, size

    async def callback(turn: int) -> tuple[int, int]:
        return await reading.by_callback(nc, api, "EVENTS", count)

    async def fetch(turn: int) -> tuple[int, int]:
        return await reading.by_fetch(nc, api, "EVENTS", count)

    return [
        Case("consume in order, against callback pull", count, WITHIN, ours, callback),
        Case("consume in order, against fetch", count, TIMES_FETCH, ours, fetch),
    ]
