"""A node that is behind answers: what it does not show yet is no evidence of a lost race."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from agents.miner.claims import publish_claim, still_holds
from bus import events as ev
from bus.client import Bus, Expect
from bus.envelope import Event, make_event
from bus.lease import Lease
from bus.messages import Claim
from domain.errors import Conflict
from domain.tasks import WorkItem
from tests.support.campaign import stored_in
from tests.support.instance import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instance(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    root: Path = tmp_path_factory.mktemp("behind")
    instance = Instance(root / "state", lease_ttl_s=60)
    try:
        yield await instance.start()
    finally:
        await instance.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bus(instance: Instance) -> Bus:
    return await instance.bus("admin")


def refused(campaign: str) -> Event:
    data = ev.CampaignRefused("why")
    return make_event(data, id=uuid4().hex, source="test", subject=campaign, time="2026-01-01T00:00:00Z")


def anew() -> str:
    return uuid4().hex


class Behind(Bus):
    """As if a node that is behind answered first: so many reads show nothing."""

    clustered = True  # type: ignore[assignment]
    stale = 0

    async def request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None, timeout_s: float = 2.0
    ) -> Msg:
        msg = await super().request(subject, payload, headers, timeout_s)
        if self.stale and "STREAM.MSG.GET" in subject:
            self.stale -= 1
            msg.data = b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
        return msg


async def behind(instance: Instance, stale: int) -> Behind:
    bus = Behind((await instance.bus("admin")).nc, instance.credentials("admin"))
    bus.stale = stale
    return bus


async def test_a_stale_read_is_no_lost_race(instance: Instance, bus: Bus) -> None:
    event = refused(anew())
    expect = Expect(f"ev.mining.campaign.{event.subject}.>", 0)
    seq = await bus.append(event, expect)  # and its confirmation is lost
    assert await (await behind(instance, 3)).append(event, expect) == seq
    with pytest.raises(Conflict):
        await (await behind(instance, 3)).append(refused(event.subject), expect)


async def test_a_claim_that_a_stale_read_does_not_show_still_holds(instance: Instance, bus: Bus) -> None:
    unit = anew()
    claim = Claim("id", "c", unit, 0, "alpha", "1", 0, 1)
    late = await behind(instance, 0)
    seq = await publish_claim(bus, claim, 0)
    late.stale = 2
    assert await publish_claim(late, claim, 0) == seq, "our own earlier try"
    late.stale = 2
    item = SimpleNamespace(unit=unit, replica=0)
    assert await still_holds(late, cast(WorkItem, item), seq)
    await publish_claim(bus, msgspec.structs.replace(claim, id="other", slot="2"), seq)
    late.stale = 2
    assert not await still_holds(late, cast(WorkItem, item), seq)
    with pytest.raises(Conflict):
        await publish_claim(late, msgspec.structs.replace(claim, id="third"), seq)


async def test_a_lease_is_not_held_by_a_stale_read(instance: Instance, bus: Bus) -> None:
    kind = anew()
    assert await Lease(bus, kind, "other", 60.0).hold()
    late = await behind(instance, 1)
    assert not await Lease(late, kind, "me", 60.0).hold()


async def test_reading_goes_to_the_end_that_the_leader_knows(instance: Instance, bus: Bus) -> None:
    unit = anew()
    for n in range(3):
        await bus.publish(f"claim.{unit}.{n}.alpha.1", b"x")
    late = await behind(instance, 0)
    assert [s.seq async for s in late.read("CLAIM", 1, f"claim.{unit}.>")] == [
        s.seq for s in await stored_in(bus, "CLAIM", f"claim.{unit}.>")
    ]
