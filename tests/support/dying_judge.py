"""A validator that ends, or loses the server, between the last answer of a unit and its verdict.

`SLUICE_TEST_MISBEHAVE=die | lose`; the first time only. Everything else is the real agent.
"""

import os
import sys

from agents.validator import agent
from agents.validator.model import Unit
from bus.runtime import run_agent
from domain.errors import Conflict, Unreachable

HOW = os.environ["SLUICE_TEST_MISBEHAVE"]
TROUBLES = {"lose": [Unreachable("the server is gone"), Conflict("another was first")]}.get(HOW, [])
real_judge = agent.Validator._judge


async def judge(self: agent.Validator, unit: Unit, cause: str) -> bool:
    if len(unit.answers) > 1:
        if HOW == "die":
            os._exit(7)
        if TROUBLES:
            raise TROUBLES.pop()
    return await real_judge(self, unit, cause)


agent.Validator._judge = judge  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(run_agent("validator", agent.run))
