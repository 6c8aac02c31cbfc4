"""`python -m web --state DIR --http HOST:PORT`: the web process alone, under any supervisor."""

import argparse
import sys

from bus.runtime import run_agent
from web.server import body

DEFAULT = "127.0.0.1:8765"


def address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[::1]:PORT` or `:PORT`; port 0 = any free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def main() -> int:
    """Our own option is taken out of the command line; the rest is every agent's."""
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("--http", type=address, default=address(DEFAULT), metavar="HOST:PORT")
    own, rest = p.parse_known_args()
    sys.argv[1:] = rest
    return run_agent("web", body(*own.http, supervised="--supervised" in rest))


if __name__ == "__main__":
    sys.exit(main())
