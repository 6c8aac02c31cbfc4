"""`sluice mine`: ask for a campaign and, with --wait, watch it to its end."""

import argparse
import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bus import events as ev
from bus.campaigns import campaign_spec, further_markets, request_campaign
from bus.client import Bus
from bus.presence import judged_state, read_presence
from bus.settings import StateDir
from cli import common
from cli.actions import find_dataset, follow_campaign
from domain.candles import DatasetInfo
from domain.errors import BadInput, SluiceError
from domain.grammar import grammar_names
from domain.markets import Timed, fitted_on_the_future, timed
from domain.risk import RISK_LEVELS
from domain.schemes import SCHEMES, fold_windows
from domain.specs import SELECTS, CampaignSpec, Market, Windows, split_windows
from domain.tasks import unit_count
from projections.estimate import estimate

_DEFAULTS = {"units": 8, "population": 60, "generations": 20}


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("mine", parents=[common.options()], help="search for strategies on a dataset")
    p.add_argument("--dataset", required=True, help="id, start of an id, or venue_SYMBOL_5m")
    p.add_argument(
        "--also", action="append", default=None, metavar="DATASET",
        help="search for what holds up on this dataset too: all have the same weight in the objective (may be repeated)",
    )  # fmt: skip
    p.add_argument("--units", type=int, default=None, help="searches with seeds of their own (default 8)")
    p.add_argument("--population", type=int, default=None, help="default 60")
    p.add_argument("--generations", type=int, default=None, help="default 20")
    p.add_argument("--patience", type=int, default=8, help="end a unit after so many generations without a better best")
    p.add_argument(
        "--restart-after", type=int, default=0, metavar="N",
        help="give a population up that got no better for N generations (0 = never); N below --patience",
    )  # fmt: skip
    p.add_argument(
        "--select", default="return", choices=SELECTS,
        help="what survives: the highest net return, or the Pareto front of return, Sharpe ratio, drawdown and trades",
    )  # fmt: skip
    p.add_argument("--risk", default="MEDIUM", choices=list(RISK_LEVELS))
    p.add_argument("--replicas", type=int, default=2, help="distinct owners that must agree on each unit")
    p.add_argument("--candles", type=int, default=0, metavar="N", help="the dataset's last N candles (0 = all)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--grammar", default="full", choices=grammar_names())
    p.add_argument(
        "--nulls", type=int, default=0, metavar="N",
        help="repeat the whole search on N series without a message: what luck finds (19 for a 5 %% test; each costs as much"
        " as the campaign itself)",
    )  # fmt: skip
    p.add_argument(
        "--scheme", default="split", choices=SCHEMES,
        help="split: one fitness range; anchored, rolling: a campaign for each fold, fitted on all or as much before it",
    )  # fmt: skip
    p.add_argument("--folds", type=int, default=4, metavar="N", help="folds of an anchored or rolling scheme")
    p.add_argument(
        "--purge", type=int, default=None, metavar="N",
        help="candles left out between fitness and walk-forward (default: 200, at most a tenth of the walk)",
    )  # fmt: skip
    p.add_argument("--embargo", type=int, default=0, metavar="N", help="candles left out behind walk-forward")
    p.add_argument(
        "--exhaustive",
        action="store_true",
        help="evaluate every strategy of the grammar instead of searching: a unit for each stop and target",
    )
    p.add_argument("--name", default="")
    p.add_argument("--wait", action="store_true", help="stay until every unit has a verdict")
    p.add_argument(
        "--estimate", action="store_true", help="only say what it would cost, from the last answers' timings"
    )
    p.set_defaults(run=mine)


async def mine(args: common.Args) -> int:
    async with common.admin(args) as bus:
        digest, info = await find_dataset(bus, args.dataset)
        further = [await find_dataset(bus, name) for name in args.also or ()]
        times = [await _times(bus, d, args) for d in (digest, *(d for d, _ in further))] if further else []
        specs = [_spec(digest, info, args, windows, name, further, times) for name, windows in _folds(info, args)]
        if args.estimate:
            return await _estimate(bus, specs[0], len(specs), args)
        asked = [(await request_campaign(bus, spec, "cli"), spec) for spec in specs]
        if not args.wait:
            if args.json:
                common.print_json([{"campaign": c} for c, _ in asked] if len(asked) > 1 else {"campaign": asked[0][0]})
            else:
                for campaign, spec in asked:
                    print(f"asked for campaign {campaign} {spec.name}; `sluice campaigns` shows how it goes")
            return 0
        results = [await _follow(bus, campaign, spec, args) for campaign, spec in asked]
    if args.json:
        common.print_json(results if len(results) > 1 else results[0])
    else:
        for result in results:
            _show(result)
    return 0 if all(r["validated"] == r["units"] for r in results) else 1


def _folds(info: DatasetInfo, args: common.Args) -> list[tuple[str, Windows]]:
    """A campaign each: its name and its windows."""
    if args.scheme == "split":
        return [(args.name, split_windows(info.candles, args.candles, purge=args.purge, embargo=args.embargo))]
    folds = fold_windows(info.candles, args.scheme, args.folds, args.candles, args.purge, args.embargo)
    name = f"{args.name or args.scheme} fold"
    return [(f"{name} {i} of {len(folds)}", windows) for i, windows in enumerate(folds, 1)]


async def _times(bus: Bus, digest: str, args: common.Args) -> Timed:
    """When a dataset's candles open: what is searched together is split at the same times, and headers know no gaps."""
    from agents.datasets import load_dataset
    from market.store import DatasetStore

    return timed(await load_dataset(bus, DatasetStore(StateDir(args.state).cache), digest))


def _spec(
    digest: str, info: DatasetInfo, args: common.Args, windows: Windows, name: str,
    further: list[tuple[str, DatasetInfo]], times: list[Timed],
) -> CampaignSpec:  # fmt: skip
    also: tuple[Market, ...] = ()
    if further:
        others = [(d, i, t) for (d, i), t in zip(further, times[1:], strict=True)]
        also = further_markets(windows, times[0], others, args.purge, args.embargo)
    spec = campaign_spec(
        digest, info, **_sizes(args), replicas=args.replicas, seed=args.seed, risk=args.risk, grammar=args.grammar,
        candles=args.candles, name=name, patience=args.patience, restart_after=args.restart_after,
        select=args.select, exhaustive=args.exhaustive, nulls=args.nulls, windows=windows, also=also,
    )  # fmt: skip
    reason = fitted_on_the_future(spec.search, times) if further else ""
    if reason:
        raise BadInput(reason)
    return spec


async def _follow(bus: Bus, campaign: str, spec: CampaignSpec, args: common.Args) -> dict[str, Any]:
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=common.console(), disable=args.json, transient=True) as bar:
        task = bar.add_task("units decided", total=unit_count(spec))
        finished = await _watch(follow_campaign(bus, campaign), lambda: bar.advance(task))
    return {
        "campaign": campaign,
        "units": unit_count(spec),
        "validated": finished.validated,
        "inconclusive": finished.inconclusive,
        "parked": finished.parked,
        "trials": finished.trials,
        "seconds": round(time.monotonic() - started, 2),
        "digest": finished.digest,
    }


def _sizes(args: common.Args) -> dict[str, int]:
    """Units, population and generations; BadInput where an exhaustive search would have to ignore them."""
    given = {name: getattr(args, name) for name in _DEFAULTS}
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if args.exhaustive and named:
        raise BadInput(f"{', '.join(named)}: an exhaustive search takes all strategies of the grammar, once each")
    return {name: _DEFAULTS[name] if value is None else value for name, value in given.items()}


async def _estimate(bus: Bus, spec: CampaignSpec, campaigns: int, args: common.Args) -> int:
    """Trials, time and storage with the miners that live now; nothing is asked for."""
    alive = sum(p.kind == "miner" and judged_state(p) == "alive" for p in await read_presence(bus))
    with common.views(args) as con:
        found = estimate(con, spec, alive, campaigns)
    if args.json:
        common.print_json(found)
        return 0
    sets = f", on {len(spec.search.markets)} datasets" if spec.search.also else ""
    nulls = f", and all of it again on {spec.nulls} series without a message" if spec.nulls else ""
    print(f"{found.trials:,} trials in {spec.units * campaigns} units, each mined {spec.replicas} times{sets}{nulls}")
    if found.seconds is None:
        print("no answer has been given yet: time and storage cannot be told")
    else:
        size = f", about {found.bytes / 1e6:.1f} MB" if found.bytes is not None else ""
        print(f"about {found.seconds:,.0f} s with {found.miners} miners{size} (from the last {found.answers} answers)")
    return 0


async def _watch(events: Any, decided: Any) -> ev.CampaignFinished:
    async for event in events:
        data = event.payload()
        if isinstance(data, ev.CampaignFinished):
            return data
        if isinstance(data, ev.CampaignRefused):
            raise SluiceError(f"the campaign was refused: {data.reason}")
        if isinstance(data, ev.UnitValidated | ev.UnitInconclusive | ev.UnitParked):
            decided()
    raise SluiceError("the log ended before the campaign did")


def _show(result: dict[str, Any]) -> None:
    print(
        f"campaign {result['campaign']}: {result['validated']} of {result['units']} units validated, "
        f"{result['inconclusive']} inconclusive, {result['parked']} parked, "
        f"{result['trials']:,} trials in {result['seconds']:g} s"
    )
    print(f"digest {result['digest']}")
    print(f"whether anything found is better than luck: sluice campaigns show {result['campaign'][:8]}")
