"""`python -m agents.validator --state DIR`: the validator alone under any supervisor."""

import sys

from agents.validator.agent import run
from bus.runtime import run_agent

if __name__ == "__main__":
    sys.exit(run_agent("validator", run))
