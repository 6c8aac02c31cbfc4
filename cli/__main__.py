"""`sluice`: parse, run, and turn every error a person can cause into one clear line and an exit status.

0 done · 1 the answer is no · 2 wrong use · 3 cannot reach what it needs.
"""

import argparse
import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Sequence

from bus.runtime import VERSION
from bus.settings import StateDir
from cli.commands import (
    audit,
    backtest,
    backup,
    bench,
    campaigns,
    cluster,
    creds,
    data,
    events,
    instance,
    logs,
    mine,
    replay,
    restore,
    strategies,
    why,
)
from domain.errors import BadInput, SluiceError, Unreachable


def build_parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="sluice", description="Mine, prove and inspect trading strategies.")
    p.add_argument("--version", action="version", version=f"sluice {VERSION}")
    sub = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (
        instance,
        creds,
        logs,
        data,
        mine,
        campaigns,
        strategies,
        backtest,
        events,
        why,
        audit,
        replay,
        backup,
        restore,
        cluster,
        bench,
    ):
        module.add(sub)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=os.environ.get("SLUICE_LOG", "ERROR"), stream=sys.stderr, format="%(name)s: %(message)s")
    # What the bus client says of a lost connection is said by the command itself, in one line.
    logging.getLogger("sluice.bus").setLevel(os.environ.get("SLUICE_LOG", "CRITICAL"))
    try:
        return run(args)
    except BadInput as e:
        print(f"sluice: {e}", file=sys.stderr)
        return 2
    except Unreachable as e:
        print(f"sluice: {e}{StateDir(args.state).full() if 'state' in args else ''}", file=sys.stderr)
        return 3
    except SluiceError as e:
        print(f"sluice: {e}", file=sys.stderr)
        return 1
    except TimeoutError:
        full = StateDir(args.state).full()
        print(f"sluice: not done within {args.timeout:g} s; what was started goes on{full}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader of our output is gone
        return 0
    except KeyboardInterrupt:
        return 130


def run(args: argparse.Namespace) -> int:
    result = args.run(args)
    if not inspect.isawaitable(result):
        return int(result)

    async def bounded() -> int:
        return int(await asyncio.wait_for(result, args.timeout or None))

    return asyncio.run(bounded())


if __name__ == "__main__":
    sys.exit(main())
