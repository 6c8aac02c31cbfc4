"""The bare client's ways to read and write a stream, each as well as it can be done with nats-py alone."""

import asyncio
import itertools
import secrets
from collections.abc import Sequence

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

#: Messages a request: more gained nothing, fewer lost.
BATCH = 1_000


async def _consumer(nc: Client, api: str, stream: str) -> str:
    """An ephemeral consumer from the first message on that wants no acknowledgement; its name."""
    # Named, as ours are: rights are given on the subject that carries the name.
    config = ConsumerConfig(
        name=f"bench-{secrets.token_hex(8)}",
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.ALL,
        mem_storage=True,
        inactive_threshold=60.0,
    )
    info = await nc.jetstream(prefix=api).add_consumer(stream, config)
    return info.name


async def by_callback(nc: Client, api: str, stream: str, count: int, batch: int = BATCH) -> tuple[int, int]:
    """Pull requests with a callback, the best way: (messages, bytes)."""
    name = await _consumer(nc, api, stream)
    inbox, subject = nc.new_inbox(), f"{api}.CONSUMER.MSG.NEXT.{stream}.{name}"
    request = msgspec.json.encode({"batch": batch, "expires": 5_000_000_000})
    done = asyncio.Event()
    seen, size, open_ = 0, 0, batch

    async def take(msg: Msg) -> None:
        nonlocal seen, size, open_
        if seen >= count:
            return
        if msg.headers and "Status" in msg.headers:
            open_ = 0
        else:
            seen, size, open_ = seen + 1, size + len(msg.data), open_ - 1
            if seen >= count:
                done.set()
                return
        if open_ <= batch // 2:
            # Before the last request has run out: the server always has something to send.
            open_ += batch
            await nc.publish(subject, request, reply=inbox)

    sub = await nc.subscribe(inbox, cb=take, pending_msgs_limit=4 * batch, pending_bytes_limit=-1)
    await nc.publish(subject, request, reply=inbox)
    await asyncio.wait_for(done.wait(), 600.0)
    await sub.unsubscribe()
    return seen, size


async def by_fetch(nc: Client, api: str, stream: str, count: int, batch: int = BATCH) -> tuple[int, int]:
    """The loop that the client's own documentation shows."""
    js = nc.jetstream(prefix=api)
    name = await _consumer(nc, api, stream)
    sub = await js.pull_subscribe_bind(consumer=name, stream=stream)
    seen = size = 0
    while seen < count:
        for msg in await sub.fetch(min(batch, count - seen), timeout=5):
            seen, size = seen + 1, size + len(msg.data)
    await sub.unsubscribe()
    return seen, size


async def publish_singly(nc: Client, messages: Sequence[tuple[str, bytes, str]]) -> None:
    """Each acknowledged before the next is sent; (subject, payload, id)."""
    for subject, payload, id in messages:
        reply = await nc.request(subject, payload, timeout=5.0, headers={"Nats-Msg-Id": id})
        if b'"error"' in reply.data:
            raise RuntimeError(reply.data.decode())


_batches = itertools.count()


async def publish_batch(nc: Client, messages: Sequence[tuple[str, bytes, str]]) -> None:
    """All or none, by the raw protocol that the client leaves to its users."""
    batch = f"bare-{id(nc)}-{next(_batches)}"
    last = len(messages)
    for n, (subject, payload, msg_id) in enumerate(messages, 1):
        headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(n), "Nats-Msg-Id": msg_id}
        if n < last:
            await nc.publish(subject, payload, headers=headers)
        else:
            reply = await nc.request(subject, payload, timeout=5.0, headers=headers | {"Nats-Batch-Commit": "1"})
            if b'"error"' in reply.data:
                raise RuntimeError(reply.data.decode())
