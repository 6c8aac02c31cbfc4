"""`python -m agents.dispatcher --state DIR`: the dispatcher alone under any supervisor."""

import sys

from agents.dispatcher.agent import run
from bus.runtime import run_agent

if __name__ == "__main__":
    sys.exit(run_agent("dispatcher", run))
