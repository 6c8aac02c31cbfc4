"""A miner that does what no miner should, as a real process: `SLUICE_TEST_MISBEHAVE=lie | garble | crash:INDEX | pace:MS`.

Everything else is the real agent. `pace` rests so long before each generation: the same search, and on any machine long
enough to be disturbed in the middle.
"""

import os
import sys
import time

import msgspec

from agents.miner import __main__ as real
from agents.miner import agent
from agents.miner.work import Job
from bus import subjects
from domain.results import UnitOutcome
from domain.tasks import WorkItem
from kernels.evolution.search import Search

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


real_step = Search.step


def paced_step(self: Search) -> None:
    """Where the kernel of a fast machine is done before a test has looked."""
    time.sleep(int(ARGUMENT) / 1000)
    real_step(self)


if HOW == "lie":
    agent.Job = LyingJob  # type: ignore[misc]
elif HOW == "crash":
    agent.Job = CrashingJob  # type: ignore[misc]
elif HOW == "garble":
    agent.Miner._answer = garbled_answer  # type: ignore[method-assign]
elif HOW == "pace":
    Search.step = paced_step  # type: ignore[method-assign]
else:
    raise SystemExit(f"there is no misbehaviour {HOW!r}")

if __name__ == "__main__":
    sys.exit(real.main())
