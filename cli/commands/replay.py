"""`sluice replay`: build the read models anew from the log and compare them with the live ones, or as of an earlier moment."""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from bus.client import Bus
from bus.settings import StateDir
from cli import common
from projections import files, queries, ranking
from projections.progress import campaign_counts
from projections.replay import Progress, compare
from projections.replay import replay as rebuild
from projections.snapshots import Snapshots
from projections.when import sequence_of


class Then(msgspec.Struct, frozen=True):
    """What stood in the read models as of `seq`; `from_seq`: the snapshot that was begun with, 0 for none."""

    seq: int
    from_seq: int
    seconds: float
    units: dict[str, int]
    campaigns: dict[str, int]
    strategies: dict[str, int]
    out: str | None


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("replay", parents=[common.options()], help="rebuild the read models from the log")
    p.add_argument(
        "--until",
        default="",
        metavar="SEQ|TIME",
        help="as of this sequence, or of the last event stored by that time, such as 2026-01-31T12:00:00Z"
        " (default: where the live ones stand)",
    )
    p.add_argument("--digest", action="store_true", help="print the digests and whether rebuilt equals live")
    p.add_argument("--whole", action="store_true", help="with --until: from the first event on, without snapshots")
    p.add_argument("--out", type=Path, metavar="FILE", help="keep the rebuilt read models in this SQLite file")
    p.set_defaults(run=replay)


async def replay(args: common.Args) -> int:
    """Exit status 1 when rebuilt and live differ."""
    state = StateDir(args.state)
    async with common.admin(args) as bus:
        until = await sequence_of(bus, args.until, time.time_ns()) if args.until else None
        with tempfile.TemporaryDirectory(prefix="sluice-replay-") as folder, _bar(args) as progress:
            scratch = args.out or Path(folder) / "views.sqlite"
            if until is not None and not args.digest:
                snapshots = None if args.whole else Snapshots(state.past / "every")
                return _tell(args, await _as_of(bus, scratch, until, progress, snapshots, args.out))
            report = await compare(bus, state.views, scratch, until, progress)
    if args.json:
        common.print_json(report)
    else:
        print(f"rebuilt to sequence {report.seq}")
        if args.digest:
            print(f"digest {report.digest}\noutcome digest {report.outcome_digest}")
        verdict = {
            True: "equal to the live read models",
            False: "NOT equal to the live read models",
            None: "nothing live to compare",
        }
        print(verdict[report.equal])
    return 1 if report.equal is False else 0


@contextlib.contextmanager
def _bar(args: common.Args) -> Iterator[Progress]:
    with Bar(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        console=common.console(), disable=args.json, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("events", total=None)
        yield lambda at, end: bar.update(task, completed=at, total=end)


async def _as_of(
    bus: Bus, scratch: Path, until: int, progress: Progress, snapshots: Snapshots | None, out: Path | None
) -> Then:
    began = time.perf_counter()
    store = await rebuild(bus, scratch, until, progress, snapshots)
    seconds = time.perf_counter() - began
    store.close()
    con = files.open_past(scratch)
    try:
        found, validated = ranking.strategy_count(con), ranking.strategy_count(con, "validated")
        return Then(
            until,
            store.opened_at,
            round(seconds, 3),
            queries.unit_counts(con),
            campaign_counts(con),
            {"validated": validated, "discovered": found - validated},
            str(out) if out else None,
        )
    finally:
        con.close()


def _tell(args: common.Args, then: Then) -> int:
    if args.json:
        common.print_json(then)
        return 0
    begun = f"the snapshot at {then.from_seq}" if then.from_seq else "the first event"
    print(f"as of sequence {then.seq}, built in {then.seconds:.1f} s from {begun}")
    for name in ("campaigns", "units", "strategies"):
        counts = {state: n for state, n in getattr(then, name).items() if n}
        print(f"{name}: {', '.join(f'{n} {state}' for state, n in counts.items()) or 'none'}")
    if then.out:
        print(f"kept in {then.out}")
    return 0
