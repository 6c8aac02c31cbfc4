"""`python -m agents.miner --state DIR --slot N`: one miner under any supervisor."""

import sys

from bus.runtime import Context, run_agent


async def body(context: Context) -> None:
    # Numba takes a second to import: only once we are connected and have said "starting".
    from agents.miner.agent import Miner

    await Miner(context).run()


def main() -> int:
    from kernels.version import lane

    return run_agent("miner", body, slotted=True, lane=lane())


if __name__ == "__main__":
    sys.exit(main())
