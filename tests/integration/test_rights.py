"""What credentials cannot do, tried against a real server: nobody writes for another, nobody touches the record."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import nats.errors
import pytest
import pytest_asyncio
from nats.js.api import AckPolicy, ConsumerConfig

from bus import subjects
from bus.accounts import new_seed
from bus.client import Bus, Credentials, Expect
from bus.rights import ROLES
from bus.setup import StreamsDiffer, create_streams, missing_streams
from bus.streams import in_memory, stream_specs
from domain.errors import Unreachable
from tests.support.campaign import stored_in
from tests.support.instance import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")
STREAMS = (
    "EVENTS",
    "WORK",
    "CLAIM",
    "RESULT",
    "CKPT",
    "ARTIFACTS",
    "TELEM",
    "PARKED",
    "AUDIT",
    "KV_PRESENCE",
    "KV_LEASE",
)
RECORD = ("EVENTS", "RESULT", "PARKED", "CLAIM", "ARTIFACTS", "AUDIT")
OTHERS = (
    subjects.claim("unit", 0, "beta", "1"),
    subjects.result("campaign", "unit", 0, "beta", "1"),
    subjects.checkpoint("unit", 0, "beta", "1"),
    subjects.artifact("beta", "a" * 64, 0),
    subjects.progress("beta", "miner-1"),
    "presence.beta.miner-1",
    "$KV.PRESENCE.beta.miner-1",
)
FORBIDDEN_TO_MINERS = (
    *OTHERS,
    "ev.mining.unit.x.validated",
    "ev.cmd.campaign.x.requested",
    "work.lane.campaign.unit.0",
    "$KV.LEASE.validator",
    "parked.validator.EVENTS.1",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instance(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    root: Path = tmp_path_factory.mktemp("rights")
    instance = Instance(root / "state", hosts=("alpha", "beta"), presence_ttl_s=600, lease_ttl_s=600)
    try:
        await instance.start()
        admin = await instance.bus("admin")
        await admin.publish("ev.data.dataset.x.imported", b"a fact")
        await admin.publish("work.lane.campaign.unit.7", b"{}")
        await admin.publish("$KV.LEASE.empty", b"")
        config = ConsumerConfig(durable_name="miners-lane", ack_policy=AckPolicy.EXPLICIT, ack_wait=1)
        await admin.js.add_consumer("WORK", config)
        yield instance
    finally:
        await instance.close()


async def contents(instance: Instance) -> dict[str, list[tuple[int, str, bytes]]]:
    admin = await instance.bus("admin")
    return {s: [(m.seq, m.subject, m.data) for m in await stored_in(admin, s)] for s in STREAMS}


async def settle(bus: Bus) -> None:
    """Until the server has handled what was sent on this connection, and what follows from it."""
    await bus.nc.flush()
    await asyncio.sleep(0.15)


async def test_a_miner_writes_under_its_own_host(instance: Instance) -> None:
    miner = await instance.bus("miner-alpha")
    for subject in OTHERS[:4]:
        assert await miner.publish(subject.replace("beta", "alpha"), b"mine", patience_s=0) > 0
    there = await contents(instance)
    assert [m[1] for m in there["CLAIM"]] == [subjects.claim("unit", 0, "alpha", "1")]


@pytest.mark.parametrize("subject", FORBIDDEN_TO_MINERS)
async def test_a_miner_writes_nothing_else(instance: Instance, subject: str) -> None:
    miner = await instance.bus("miner-alpha")
    before = await contents(instance)
    with pytest.raises(nats.errors.Error):
        await miner.nc.request(subject, b"forged", timeout=0.15)
    assert await contents(instance) == before


async def test_a_miner_writes_nothing_for_another_by_a_reply_subject(instance: Instance) -> None:
    """The answer to a request goes where its sender says: nowhere that matters."""
    miner = await instance.bus("miner-alpha")
    before = await contents(instance)
    pull = msgspec.json.encode({"batch": 1, "expires": 20_000_000})
    for target in (*FORBIDDEN_TO_MINERS, "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.PURGE.CLAIM"):
        await miner.nc.publish("sluice.api.STREAM.MSG.GET.CLAIM", b'{"last_by_subj": "claim.>"}', reply=target)
        await miner.nc.publish("sluice.api.CONSUMER.MSG.NEXT.WORK.miners-lane", pull, reply=target)
        await miner.nc.publish(subjects.progress("alpha", "miner-1"), b"x", reply=target)
        await miner.nc.publish(subjects.checkpoint("unit", 0, "alpha", "1"), b"x", reply=target)
    # Requests that found nothing end a moment later, with an answer too.
    await asyncio.sleep(0.3)
    await settle(miner)
    after = await contents(instance)
    for stream in ("EVENTS", "WORK", "CLAIM", "RESULT", "ARTIFACTS", "PARKED", "KV_LEASE"):
        assert after[stream] == before[stream], stream
    for stream in ("CKPT", "TELEM", "KV_PRESENCE"):
        assert not [m for m in after[stream] if "beta" in m[1]], stream


@pytest.mark.parametrize("user", [*ROLES, "miner-alpha"])
async def test_nobody_can_delete_purge_update_or_restore_the_record(instance: Instance, user: str) -> None:
    bus = await instance.bus(user)
    admin = await instance.bus("admin")
    before = await contents(instance)
    infos = {s: await admin.stream_state(s) for s in RECORD}
    emptied = msgspec.json.encode({"name": "EVENTS", "subjects": ["ev.>"], "max_msgs": 1})
    requests = {"DELETE": b"", "PURGE": b"", "UPDATE": emptied, "RESTORE": emptied, "MSG.DELETE": b'{"seq": 1}'}
    for api in ("$JS.API", "sluice.api"):
        for stream in RECORD:
            for verb, payload in requests.items():
                await bus.nc.publish(f"{api}.STREAM.{verb}.{stream}", payload, reply=bus.nc.new_inbox())
    await settle(bus)
    assert await contents(instance) == before
    assert {s: await admin.stream_state(s) for s in RECORD} == infos


@pytest.mark.parametrize("user", ROLES)
async def test_nobody_can_do_so_by_a_reply_subject_or_a_consumer(instance: Instance, user: str) -> None:
    """An empty message read to the subject of a delete request would be that request."""
    bus = await instance.bus(user)
    before = await contents(instance)
    pull = msgspec.json.encode({"batch": 1, "expires": 20_000_000, "no_wait": True})
    targets = [f"{api}.STREAM.{v}.EVENTS" for api in ("$JS.API", "sluice.api") for v in ("DELETE", "PURGE")]
    for n, target in enumerate([*targets, "ev.mining.unit.x.validated", "claim.unit.0.beta.1"]):
        await bus.nc.publish("sluice.api.DIRECT.GET.KV_LEASE.$KV.LEASE.empty", b"", reply=target)
        await bus.nc.publish("sluice.api.CONSUMER.MSG.NEXT.WORK.miners-lane", pull, reply=target)
        push = {"name": f"push-{user}-{n}", "ack_policy": "none", "deliver_policy": "all", "deliver_subject": target}
        payload = msgspec.json.encode({"stream_name": "KV_LEASE", "action": "create", "config": push})
        await bus.nc.publish(f"sluice.api.CONSUMER.CREATE.KV_LEASE.{push['name']}", payload, reply=bus.nc.new_inbox())
    await settle(bus)
    assert await contents(instance) == before


async def test_roles_write_their_own_subjects_only(instance: Instance) -> None:
    before = await contents(instance)
    for user, subject in (
        ("web", "ev.mining.unit.x.validated"),
        ("web", "work.lane.campaign.unit.0"),
        ("projector", "ev.mining.unit.x.validated"),
        ("dispatcher", "ev.mining.unit.x.validated"),
        ("validator", "ev.mining.campaign.x.opened"),
        ("validator", "result.campaign.unit.0.beta.1"),
        ("watchdog", "ev.cmd.campaign.x.requested"),
        ("auditor", "ev.audit.epoch.x.opened"),
        ("auditor", "parked.auditor.EVENTS.1"),
        ("projector", "audit.finding"),
        ("dispatcher", "audit.seal.1.9"),
    ):
        bus = await instance.bus(user)
        with pytest.raises(nats.errors.Error):
            await bus.nc.request(subject, b"forged", timeout=0.15)
    assert await contents(instance) == before


async def test_nobody_gets_in_without_a_key_that_is_known(instance: Instance) -> None:
    good = instance.credentials("admin")
    for user, seed in (("admin", new_seed()), ("setup", instance.accounts.setup), ("", "")):
        bad = Credentials(good.url, "admin", user, seed, good.wire)
        with pytest.raises(Unreachable, match="refuses the credentials"):
            await Bus.connect(bad, "intruder", timeout_s=30.0)


async def test_credentials_are_private_files(instance: Instance) -> None:
    files = [*instance.state.creds.iterdir(), instance.state.root / "accounts.json", instance.state.server_conf]
    assert len(files) > len(ROLES)
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in files)


async def test_a_header_does_not_roll_a_stream_up(instance: Instance) -> None:
    admin, miner = await instance.bus("admin"), await instance.bus("miner-alpha")
    before = (await contents(instance))["EVENTS"]
    for bus, subject in ((admin, "ev.data.dataset.x.imported"), (miner, subjects.claim("unit", 0, "alpha", "1"))):
        for how in ("all", "sub"):
            reply = await bus.request(subject, b"x", {"Nats-Rollup": how})
            assert b"rollup not permitted" in reply.data
    assert (await contents(instance))["EVENTS"] == before


async def test_streams_with_other_settings_are_reported_and_not_changed(instance: Instance) -> None:
    admin = await instance.bus("admin")
    ours = stream_specs(instance.settings.presence_ttl_s, instance.settings.lease_ttl_s)
    assert await missing_streams(admin, ours) == []
    others = stream_specs(instance.settings.presence_ttl_s + 1, instance.settings.lease_ttl_s)
    before = {s: (await admin.js.stream_info(s)).config for s in STREAMS}
    with pytest.raises(StreamsDiffer, match=r"KV_PRESENCE: max_age: on the server 600\.0, expected 601"):
        await create_streams(admin, others)
    with pytest.raises(StreamsDiffer, match="nothing was changed"):
        await missing_streams(admin, others)
    assert {s: (await admin.js.stream_info(s)).config for s in STREAMS} == before
    assert sum(in_memory(s) for s in ours) == 2


async def test_expectations_hold_across_the_border_of_accounts(instance: Instance) -> None:
    miner = await instance.bus("miner-alpha")
    subject = subjects.claim("other", 0, "alpha", "1")
    seq = await miner.publish(subject, b"1", expect=Expect(subjects.claims_of_unit("other"), 0))
    assert await miner.publish(subject, b"2", expect=Expect(subjects.claims_of_unit("other"), seq)) > seq
