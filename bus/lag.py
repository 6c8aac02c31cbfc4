"""How far each reader of each stream is behind: the consumers as the server has them."""

import msgspec

from bus.client import Bus
from bus.streams import stream_specs
from domain.errors import Unreachable


class Lag(msgspec.Struct, frozen=True):
    """One consumer. `delivered`: the last sequence of the stream handed to it; `waiting`: messages it was not given yet;
    `unacked`: given and not acknowledged (work in hand); `redelivered`: of these, given more than once."""

    stream: str
    consumer: str
    delivered: int
    waiting: int
    unacked: int
    redelivered: int


class _Sequence(msgspec.Struct):
    stream_seq: int = 0


class _Info(msgspec.Struct):
    stream_name: str
    name: str
    delivered: _Sequence
    num_pending: int = 0
    num_ack_pending: int = 0
    num_redelivered: int = 0


class _Error(msgspec.Struct):
    code: int = 0
    description: str = ""


class _Page(msgspec.Struct):
    total: int = 0
    consumers: list[_Info] = []
    error: _Error | None = None


async def read_lag(bus: Bus) -> list[Lag]:
    """All consumers of our streams, those with most waiting first; Unreachable when the server does not tell."""
    out: list[Lag] = []
    for spec in stream_specs():
        stream, seen = str(spec.config.name), 0
        while True:
            query = msgspec.json.encode({"offset": seen})
            reply = await bus.request(f"{bus.wire.api}.CONSUMER.LIST.{stream}", query, timeout_s=5.0)
            page = msgspec.json.decode(reply.data, type=_Page)
            if page.error is not None:
                raise Unreachable(f"consumers of {stream}: {page.error.description}")
            out += [
                Lag(stream, c.name, c.delivered.stream_seq, c.num_pending, c.num_ack_pending, c.num_redelivered)
                for c in page.consumers
            ]
            seen += len(page.consumers)
            if seen >= page.total or not page.consumers:
                break
    return sorted(out, key=lambda c: (-c.waiting, c.stream, c.consumer))
