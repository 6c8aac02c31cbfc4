"""`python -m agents.auditor --state DIR`: the auditor alone under any supervisor."""

import sys

from agents.auditor.agent import run
from bus.runtime import run_agent

if __name__ == "__main__":
    sys.exit(run_agent("auditor", run))
