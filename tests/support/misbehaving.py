"""A miner that does what no miner should, as a real process: `SLUICE_TEST_MISBEHAVE=lie | garble | crash:INDEX | pace:MS`.

Everything else is the real agent. `pace` rests so long before each generation, so that checkpoints fall into a unit on any
machine; and it holds units of the index that is in the file `SLUICE_TEST_HOLD`, or a higher one, in the middle for as long
as that file is there: the same search, and nobody can be too late to disturb it.
"""

import os
import sys
import time
from pathlib import Path

import msgspec

from agents.miner import __main__ as real
from agents.miner import agent
from agents.miner.work import Job, Work
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


#: Late enough for a checkpoint after generation 5 at a pace of 50 ms, early enough for the shortest search of a test.
HELD_AT = 12
HOLD = Path(os.environ.get("SLUICE_TEST_HOLD", "nowhere"))


def held(index: int) -> bool:
    try:
        return index >= int(HOLD.read_text())
    except (FileNotFoundError, ValueError):
        return False


class PacedJob(Job):
    """Where the kernel of a fast machine is done before a test has looked."""

    def _work(self, state: bytes) -> Work:
        work = super()._work(state)
        if not isinstance(work, Search):
            return work
        real_step = work.step

        def step() -> None:
            time.sleep(int(ARGUMENT) / 1000)
            while work.generation >= HELD_AT and held(self.item.index) and not self.cancel.is_set():
                time.sleep(0.02)
            real_step()

        work.step = step  # type: ignore[method-assign]
        return work


if HOW == "lie":
    agent.Job = LyingJob  # type: ignore[misc]
elif HOW == "crash":
    agent.Job = CrashingJob  # type: ignore[misc]
elif HOW == "garble":
    agent.Miner._answer = garbled_answer  # type: ignore[method-assign]
elif HOW == "pace":
    agent.Job = PacedJob  # type: ignore[misc]
else:
    raise SystemExit(f"there is no misbehaviour {HOW!r}")

if __name__ == "__main__":
    sys.exit(real.main())
