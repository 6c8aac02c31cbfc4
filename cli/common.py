"""What all commands share: options, connecting, reading the views, printing for people and for scripts."""

import argparse
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bus.accounts import read_credentials
from bus.client import Bus
from bus.run_file import require_running
from bus.settings import StateDir, default_state_dir, http_address
from bus.urls import server_urls
from domain.errors import BadInput, Unreachable
from projections import files

Args = argparse.Namespace
Command = Callable[[Args], int | Awaitable[int]]


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argument type: a whole number within bounds, refused by the parser otherwise."""

    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {low} to {high}, not {text}")
        return value

    return number


def seconds(text: str) -> float:
    """An argument type: 0 or more."""
    value = float(text)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"must be 0 or more seconds, not {text}")
    return value


def http(text: str) -> str:
    """An argument type: the address of the pages, as text."""
    try:
        http_address(text)
    except BadInput as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    return text


def nats(text: str) -> str:
    """An argument type: one NATS server or several, separated by commas, as whole URLs."""
    try:
        return ",".join(server_urls(text))
    except BadInput as e:
        raise argparse.ArgumentTypeError(str(e)) from e


PORT = whole(0, 65_535)
MINERS = whole(0, 1_024)


def options() -> argparse.ArgumentParser:
    """Options that every command takes."""
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument(
        "--state", type=Path, default=default_state_dir(), help="state directory ($SLUICE_STATE, else .sluice)"
    )
    p.add_argument("--json", action="store_true", help="print JSON for scripts")
    p.add_argument("--timeout", type=seconds, default=0.0, metavar="S", help="give up after S seconds (0 = never)")
    return p


def console() -> Console:
    # Through a pipe nothing is folded: what reads it decides.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=10_000)


def print_json(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_line(value: Any) -> None:
    """One JSON line, at once: for `-f`."""
    print(msgspec.json.encode(value).decode(), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """A table for people; `empty` says what to do when there is nothing yet."""
    if not rows:
        print(empty)
        return
    numeric = [all(isinstance(r[i], int | float) or r[i] is None for r in rows) for i in range(len(columns))]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("–" if v is None else f"{v:,}" if isinstance(v, int) else str(v) for v in row))
    console().print(table)


def percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{fraction * 100:+.2f} %"


def share(fraction: float | None) -> str:
    """As `percent`, for what has no sign."""
    return "–" if fraction is None else f"{fraction * 100:.2f} %"


def decimals(value: float | None) -> str:
    """A whole number as it is, any other with two decimals."""
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


@asynccontextmanager
async def admin(args: Args) -> AsyncIterator[Bus]:
    """A connection with the admin's rights to the instance that runs on --state."""
    state = StateDir(args.state)
    if require_running(state).mode == "join":
        raise Unreachable(f"{state.root} only mines for an instance elsewhere; ask on the machine of that one")
    creds = read_credentials(state.creds / "admin.json")
    # Among several nodes an election may be under way, which takes seconds.
    patience_s = 20.0 if "," in creds.url else 5.0
    bus = await Bus.connect(creds, "cli", timeout_s=5.0, patience_s=patience_s)
    try:
        yield bus
    finally:
        await bus.close()


@contextmanager
def views(args: Args) -> Iterator[sqlite3.Connection]:
    """The read models, read-only; they can be read while nothing runs."""
    state = StateDir(args.state)
    if not state.views.exists():
        raise Unreachable(
            f"there are no read models in {state.root} yet; is `sluice up` running, or is --state another?"
        )
    con = files.open_reader(state.views)
    try:
        yield con
    finally:
        con.close()
