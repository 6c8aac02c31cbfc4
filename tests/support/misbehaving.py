"""A miner that does what no miner should, as a real process: `SLUICE_TEST_MISBEHAVE=lie | garble | crash:INDEX`.

Everything else is the real agent.
"""

import os
import sys

import msgspec

from agents.miner import __main__ as real
from agents.miner import agent
from agents.miner.work import Job
from bus import subjects
from domain.results import UnitOutcome
from domain.tasks import WorkItem

HOW, _, ARGUMENT = os.environ["SLUICE_TEST_MISBEHAVE"].partition(":")


class LyingJob(Job):
    """Tells of one genome more than it evaluated; the digest of the answer is that of the lie."""

    def run(self) -> tuple[UnitOutcome, bytes] | None:
        answer = super().run()
        if answer is None:
            return None
        outcome, tried = answer
        return msgspec.structs.replace(outcome, evaluated=outcome.evaluated + 1), tried


class CrashingJob(Job):
    """The process is gone in the middle of one unit, as after a fault in compiled code."""

    def run(self) -> tuple[UnitOutcome, bytes] | None:
        if self.item.index == int(ARGUMENT):
            os._exit(7)
        return super().run()


async def garbled_answer(
    self: agent.Miner, item: WorkItem, claim_seq: int, job: Job, outcome: UnitOutcome, tried: bytes
) -> None:
    """Something under the right subject that is no result."""
    c = self.context
    where = subjects.result(item.campaign, item.unit, item.replica, c.host, c.slot)
    await self.bus.publish(where, b'{"campaign": "' + item.campaign.encode() + b'", "digest": 1}')


if HOW == "lie":
    agent.Job = LyingJob  # type: ignore[misc]
elif HOW == "crash":
    agent.Job = CrashingJob  # type: ignore[misc]
elif HOW == "garble":
    agent.Miner._answer = garbled_answer  # type: ignore[method-assign]
else:
    raise SystemExit(f"there is no misbehaviour {HOW!r}")

if __name__ == "__main__":
    sys.exit(real.main())
