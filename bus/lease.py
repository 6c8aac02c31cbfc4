"""One active agent of a kind. The lease only saves work: correctness comes from expected sequences."""

import logging
import time

from bus.client import Bus, Expect
from domain.errors import Conflict, SluiceError

log = logging.getLogger("sluice.lease")


class Lease:
    """A key in the LEASE bucket that vanishes after the bucket's TTL unless its holder renews it by compare-and-set."""

    def __init__(self, bus: Bus, kind: str, owner: str, ttl_s: float) -> None:
        self._bus, self._owner, self._ttl_s = bus, owner, ttl_s
        self._subject = f"$KV.LEASE.{kind}"
        self._seq = 0
        self._renewed = float("-inf")

    async def hold(self) -> bool:
        """Take or renew; True while we are the active one. Cheap to call: talks to the server at most every TTL/3."""
        if time.monotonic() - self._renewed < self._ttl_s / 3:
            return True
        try:
            return await self._take()
        except SluiceError as e:
            log.debug("lease not renewed: %s", e)
            return False

    async def _take(self) -> bool:
        try:
            self._seq = await self._bus.publish(
                self._subject, self._owner.encode(), expect=Expect(self._subject, self._seq), patience_s=0.0
            )
            self._renewed = time.monotonic()
            return True
        except Conflict as e:
            return await self._after_conflict(e.actual or 0)

    async def _after_conflict(self, actual: int) -> bool:
        """Ours already, free (given up by its holder: taken at the next call), or another's; `actual` is whose it is now."""
        there = await self._bus.last("KV_LEASE", self._subject, patience_s=0.0)
        if there is not None and there.seq < actual:
            there = None  # read from a node that is behind: we shall see at the next call
        mine = there is not None and there.data == self._owner.encode()
        free = there is not None and not there.data
        self._seq = there.seq if there is not None and (mine or free) else 0
        self._renewed = time.monotonic() if mine else float("-inf")
        return mine

    async def release(self) -> None:
        """Give it up now, so that the next one need not wait for the TTL; another's lease stays as it is."""
        if self._seq:
            try:
                await self._bus.publish(
                    self._subject,
                    b"",
                    expect=Expect(self._subject, self._seq),
                    headers={"KV-Operation": "DEL"},
                    patience_s=0.0,
                )
            except SluiceError as e:
                log.debug("lease not released: %s", e)
