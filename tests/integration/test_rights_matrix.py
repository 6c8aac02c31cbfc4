"""Every pair of role and request that docs/rights.md does not allow, tried against a real server: refused, nothing changed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from bus.client import Bus
from bus.matrix import HOSTS, READ, STREAMS, Probe, account, probes, requests, users, writes
from bus.rights import API, allowed, local_name
from tests.support.campaign import stored_in
from tests.support.instance import Instance, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
USERS = users()
FORBIDDEN = {user: [p for p in probes() if not allowed(user, p.subject)] for user in USERS}
#: What a request carries that would do harm if it got through.
HARM = {
    "update": {"max_msgs": 1},
    "create": {"max_msgs": 1},
    "delete a message": {"seq": 1, "no_erase": False},
    "restore": {"config": {"max_msgs": 1}, "state": {}},
    "snapshot": {"deliver_subject": "_INBOX.admin.snapshot"},
    "make a consumer": {"ack_policy": "none"},
    "make a filtered consumer": {"ack_policy": "none"},
    "make a durable consumer": {"ack_policy": "explicit"},
    "pause a consumer": {"pause_until": "2099-01-01T00:00:00Z"},
    "pull": {"batch": 1, "expires": 20_000_000},
    "get a message (leader)": {"seq": 1},
}
#: One subject of each stream, so that there is something that could be lost.
FILLED = {p.subject.split(".")[0]: p.subject for p in writes() if not p.subject.startswith("$KV")}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of violations are what this is about."""
    logger = logging.getLogger("sluice.bus")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instance(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    root: Path = tmp_path_factory.mktemp("matrix")
    instance = Instance(root / "state", hosts=HOSTS, presence_ttl_s=900, lease_ttl_s=900)
    try:
        await instance.start()
        admin = await instance.bus("admin")
        for subject in (*FILLED.values(), "$KV.LEASE.empty", "$KV.PRESENCE.gamma.miner-1"):
            await admin.publish(subject.replace("probe", "before"), b"")
        # Consumers that a forbidden request could delete, pause, or take messages from.
        config = ConsumerConfig(durable_name="probe", ack_policy=AckPolicy.EXPLICIT, ack_wait=3600)
        await admin.js.add_consumer("WORK", config)
        yield instance
    finally:
        await instance.close()


def payload(probe: Probe) -> bytes:
    """A request as its sender would mean it; nothing where the empty one does the most."""
    harm = HARM.get(probe.verb)
    if probe.verb == "write":
        return b"forged"
    if harm is None:
        return b""
    if "consumer" in probe.verb and probe.verb.startswith("make"):
        durable = {"durable_name": "probe"} if "durable" in probe.verb else {"name": "probe"}
        return msgspec.json.encode({"stream_name": probe.what, "action": "create", "config": harm | durable})
    return msgspec.json.encode(
        {"name": probe.what, "subjects": []} | harm if probe.verb in ("update", "create") else harm
    )


def names(user: str, subject: str) -> list[str]:
    """All names under which a user might reach it: its own, the account's, and those of the other accounts."""
    found = {subject, local_name(user, subject) or subject}
    if subject.startswith("$JS.API."):
        found.add(subject.replace("$JS.API", API))
    if subject.startswith("$KV.PRESENCE."):
        found.add(subject.replace("$KV.PRESENCE", "presence"))
    return sorted(found)


async def picture(instance: Instance, own: str = "") -> dict[str, Any]:
    """All that could have changed: messages, settings, what was ever deleted, consumers and what they were given."""
    admin = await instance.bus("admin")
    found: dict[str, Any] = {}
    for s in STREAMS:
        info = msgspec.json.decode((await admin.request(f"{API}.STREAM.INFO.{s}", b"")).data)
        consumers = msgspec.json.decode((await admin.request(f"{API}.CONSUMER.LIST.{s}", b"{}")).data)["consumers"]
        kept = [(m.seq, m.subject, m.data) for m in await stored_in(admin, s) if m.subject != own]
        state = {
            k: info["state"].get(k)
            for k in ("first_seq", "num_deleted", *(() if own and s == "KV_PRESENCE" else ("last_seq",)))
        }
        given = [(c["name"], c["config"], c["delivered"]["consumer_seq"], c.get("paused")) for c in consumers or ()]
        found[s] = (info["config"], state if s != "KV_PRESENCE" else {}, kept, given)
    return found


class Attempts:
    """Requests sent without waiting, and what became of each: an answer, or a violation that the server complained of."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.sent: list[str] = []
        self.answers: dict[int, bytes] = {}
        self.violated: set[str] = set()
        self._inbox = bus.nc.new_inbox()

    async def __aenter__(self) -> "Attempts":
        async def on_error(error: Exception) -> None:
            text = str(error)
            if "permissions violation" in text:
                self.violated.add(text.partition('"')[2].rpartition('"')[0])

        async def on_answer(msg: Msg) -> None:
            status = (msg.headers or {}).get("Status", "")
            self.answers.setdefault(int(msg.subject.rpartition(".")[2]), status.encode() or msg.data)

        self._before, self.bus.nc._error_cb = self.bus.nc._error_cb, on_error
        self._sub = await self.bus.nc.subscribe(f"{self._inbox}.*", cb=on_answer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sub.unsubscribe()
        self.bus.nc._error_cb = self._before

    async def send(self, subject: str, data: bytes) -> None:
        await self.bus.nc.publish(subject, data, reply=f"{self._inbox}.{len(self.sent)}")
        self.sent.append(subject)

    def open(self) -> list[str]:
        """Those of which nothing was heard yet. An account without streams does not answer to every name of their API."""
        silent = "$JS.API." if self.bus.credentials.role == "admin" else "-"
        heard = self.violated
        return [
            s
            for n, s in enumerate(self.sent)
            if n not in self.answers and s.lower() not in heard and not s.startswith(silent)
        ]

    async def settled(self) -> None:
        async def done() -> bool:
            await self.bus.nc.flush(30)
            return not self.open()

        try:
            await until("an answer or a violation for each", done)
        except AssertionError as e:
            raise AssertionError(f"{len(self.open())} were neither refused nor answered: {self.open()[:8]}") from e

    def succeeded(self) -> list[tuple[str, bytes]]:
        refused = (b"503", b"404", b"408", b"409")
        return [
            (self.sent[n], got) for n, got in self.answers.items() if got not in refused and b'"error":{' not in got
        ]


@pytest.mark.parametrize("user", USERS)
async def test_what_is_not_allowed_is_refused(instance: Instance, user: str) -> None:
    """Directly, under every name: the server says no to each, and nothing is stored or changed."""
    bus = await instance.bus(user)
    before = await picture(instance)
    async with Attempts(bus) as attempts:
        for probe in FORBIDDEN[user]:
            for name in names(user, probe.subject):
                await attempts.send(name, payload(probe))
        await attempts.settled()
        assert attempts.succeeded() == []
    assert len(attempts.sent) > 150
    assert await picture(instance) == before


@pytest.mark.parametrize("user", USERS)
async def test_what_is_not_allowed_does_not_come_about_as_a_reply(instance: Instance, user: str) -> None:
    """The answer to a request goes where its sender says: each forbidden subject is named, in every kind of request."""
    bus = await instance.bus(user)
    own = local_name(user, f"$KV.PRESENCE.{HOSTS[0]}.{'miner-1' if user.startswith('miner-') else user}")
    carriers: list[tuple[str, bytes]] = [(own, b"alive")]
    # Empty messages above all: an empty request is what deletes and purges.
    wanted = {
        "get a message (leader)": b'{"seq": 1}',
        "get messages (any node)": b'{"seq": 1}',
        "look at": b"",
        "list consumers": b"{}",
        "pull": payload(Probe("pull", "", "")),
    }
    for probe in (*requests({v: READ[v] for v in wanted}), *account()):
        if allowed(user, probe.subject) and probe.what in ("", "EVENTS", "WORK", "KV_LEASE", "CLAIM"):
            carriers.append((local_name(user, probe.subject), wanted.get(probe.verb, b"")))
    if allowed(user, "$JS.API.DIRECT.GET.KV_LEASE.$KV.LEASE.empty"):
        carriers.append((local_name(user, "$JS.API.DIRECT.GET.KV_LEASE.$KV.LEASE.empty"), b""))
    kept = own.replace("presence.", "$KV.PRESENCE.")
    before = await picture(instance, kept)
    targets = sorted({name for probe in FORBIDDEN[user] for name in names(user, probe.subject)})
    async with Attempts(bus) as attempts:
        for target in targets:
            for subject, data in carriers:
                await bus.nc.publish(subject, data, reply=target)
        # Answered after all of those: the server handles what one connection sends in order.
        await bus.nc.flush(60)
        await attempts.send(carriers[1][0], carriers[1][1])
        await attempts.settled()
    await settle(instance, before, kept)
    assert len(carriers) >= 3
    assert sorted(p.verb for p in FORBIDDEN[user] if p.what == "EVENTS").count("delete") == 1
    after = await picture(instance, kept)
    if allowed(user, "$JS.API.CONSUMER.MSG.NEXT.WORK.probe"):
        # A pull in good order takes the one message that waits: that is no change to the record.
        before, after = ({s: p[:3] for s, p in picture_.items()} for picture_ in (before, after))
    changed = {
        s: (before[s][n], after[s][n]) for s in before for n in range(len(before[s])) if before[s][n] != after[s][n]
    }
    assert changed == {}


async def settle(instance: Instance, before: dict[str, Any], own: str) -> None:
    """Pulls that find nothing end after 20 ms, with an answer too: look again until two looks are the same."""
    admin, last = await instance.bus("admin"), before
    for _ in range(3):
        await asyncio.sleep(0.05)
        await admin.nc.flush(30)
        now = await picture(instance, own)
        if now == last:
            return
        last = now


@pytest.mark.parametrize("user", [u for u in USERS if u != "admin"])
async def test_nobody_listens_to_others(instance: Instance, user: str) -> None:
    bus, admin = await instance.bus(user), await instance.bus("admin")
    heard: list[str] = []
    violated: set[str] = set()

    async def on_error(error: Exception) -> None:
        if "subscription" in str(error):
            violated.add(str(error).partition('"')[2].rpartition('"')[0])

    async def on_message(msg: Msg) -> None:
        heard.append(msg.subject)

    before, bus.nc._error_cb = bus.nc._error_cb, on_error
    subjects = {name for p in probes() for name in names(user, p.subject)} | {
        ">",
        "*.>",
        "_INBOX.>",
        "_INBOX.admin.>",
        "$SYS.>",
    }
    subs = [await bus.nc.subscribe(s, cb=on_message) for s in subjects]

    async def all_refused() -> bool:
        await bus.nc.flush(30)
        return violated >= {s.lower() for s in subjects}

    await until("each subscription is refused", all_refused)
    await admin.publish(f"telem.{HOSTS[0]}.probe.heard", b"said")
    miner = await instance.bus(USERS[-1])
    await miner.publish(f"telem.{HOSTS[0]}.probe.heard", b"said")
    await bus.nc.flush(30)
    assert heard == []
    for sub in subs:
        await sub.unsubscribe()
    bus.nc._error_cb = before


@pytest.mark.parametrize("user", USERS)
async def test_what_is_allowed_is_answered(instance: Instance, user: str) -> None:
    """The other half of the page: what it calls a right is one."""
    bus = await instance.bus(user)
    rights = [p for p in (*writes(), *requests(READ), *account()) if allowed(user, p.subject)]
    async with Attempts(bus) as attempts:
        for probe in rights:
            # A pull that finds nothing is not answered, and what was made would be in the way of what is forbidden.
            if probe.verb not in ("make a consumer", "make a filtered consumer", "pull"):
                await attempts.send(local_name(user, probe.subject), payload(probe))
        await attempts.settled()
    assert not attempts.violated
    unserved = [attempts.sent[n] for n, got in attempts.answers.items() if got == b"503" or b'"err_code":10039,' in got]
    assert unserved == []
