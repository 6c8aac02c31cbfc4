"""`python -m agents.projector` runs the projector alone, under any supervisor."""

import sys

from agents.projector.agent import run
from bus.runtime import run_agent

if __name__ == "__main__":
    sys.exit(run_agent("projector", run))
