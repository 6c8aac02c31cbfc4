"""`sluice replay`: build the read models anew from the log and compare them with the live ones."""

import argparse
import tempfile
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bus.settings import StateDir
from cli import common
from projections.replay import compare


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("replay", parents=[common.options()], help="rebuild the read models from the log")
    p.add_argument("--until", type=int, metavar="SEQ", help="as of this sequence (default: where the live ones stand)")
    p.add_argument("--digest", action="store_true", help="print the digests and whether rebuilt equals live")
    p.add_argument("--out", type=Path, metavar="FILE", help="keep the rebuilt read models in this SQLite file")
    p.set_defaults(run=replay)


async def replay(args: common.Args) -> int:
    """Exit status 1 when rebuilt and live differ."""
    state = StateDir(args.state)
    async with common.admin(args) as bus:
        with (
            tempfile.TemporaryDirectory(prefix="sluice-replay-") as folder,
            Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                console=common.console(), disable=args.json, transient=True,
            ) as bar,
        ):  # fmt: skip
            task = bar.add_task("events", total=None)
            scratch = args.out or Path(folder) / "views.sqlite"
            report = await compare(
                bus, state.views, scratch, args.until, lambda at, end: bar.update(task, completed=at, total=end)
            )
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
