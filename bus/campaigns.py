"""Asking for a campaign, from the command line as from the pages: a checked spec, and the command that carries it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec

from bus import events as ev
from bus.client import Bus, Expect
from bus.envelope import make_event, now_rfc3339
from bus.subjects import entity_filter
from domain.candles import DatasetInfo
from domain.errors import BadInput
from domain.execution import ExecutionModel, MarketRules
from domain.markets import Timed, windows_beside
from domain.risk import RISK_LEVELS, Level
from domain.specs import CampaignSpec, Market, SearchSpec, Select, Windows, split_windows, validate_campaign
from domain.tasks import pairs, space_of

#: Smallest order in quote currency that a venue takes (recorded product lists of the venues).
MIN_NOTIONAL = {"coinbase": 1.0, "kraken": 5.0}


def execution_for(info: DatasetInfo) -> ExecutionModel:
    """Default costs with the market's own increments, as found in its data."""
    rules = MarketRules(info.price_decimals, info.volume_decimals, MIN_NOTIONAL.get(info.venue, 0.0))
    return ExecutionModel(market=rules)


def further_markets(
    windows: Windows, first: Timed, further: Sequence[tuple[str, DatasetInfo, Timed]], purge: int | None, embargo: int
) -> tuple[Market, ...]:
    """Further datasets of a search whose first one has `windows`: each split at the times of those before it, where it shares
    any with them. BadInput when too little of one is left."""
    before, out = [(windows, first)], []
    for digest, info, times in further:
        try:
            found = windows_beside(before, times, purge, embargo)
        except BadInput as e:
            raise BadInput(f"{info.venue} {info.symbol} ({digest[:12]}): {e}") from e
        before.append((found, times))
        out.append(Market(digest, info.venue, info.symbol, info.granularity_s, found, execution_for(info)))
    return tuple(out)


def campaign_spec(
    digest: str, info: DatasetInfo, *, units: int, replicas: int, seed: int, risk: Level, population: int, generations: int,
    candles: int, grammar: str, name: str, patience: int = 8, restart_after: int = 0, select: Select = "return",
    exhaustive: bool = False, nulls: int = 0, windows: Windows | None = None, also: Sequence[Market] = (),
) -> CampaignSpec:  # fmt: skip
    """A validated spec over `windows`, else over the dataset's last `candles` candles (0 = all); BadInput says what does not fit.

    `exhaustive`: a unit for each stop and target of the grammar, which goes through all rules; `units`, `population` and
    `generations` mean nothing then. `also`: further datasets, with which the objective is shared.
    """
    if risk not in RISK_LEVELS:
        raise BadInput(f"risk must be one of {', '.join(RISK_LEVELS)}, not {risk}")
    search = SearchSpec(
        dataset=digest,
        venue=info.venue,
        symbol=info.symbol,
        granularity_s=info.granularity_s,
        windows=windows or split_windows(info.candles, candles),
        execution=execution_for(info),
        risk=risk,
        grammar=grammar,
        population=population,
        generations=generations,
        patience=patience,
        restart_after=restart_after,
        select=select,
        trades_wanted=RISK_LEVELS[risk].trades_wanted,
        also=tuple(also),
    )
    if exhaustive:
        space = space_of(search)
        search = msgspec.structs.replace(search, method="sweep", generations=len(space.rules))
        units = len(pairs(space))
    spec = CampaignSpec(search, units, replicas, seed, name, nulls)
    validate_campaign(spec)
    return spec


async def request_campaign(
    bus: Bus, spec: CampaignSpec, by: str, *, source: str = "cli", valid_s: float = 600.0
) -> str:
    """Publish the command in the name of `source`; returns the campaign's id. The dispatcher opens or refuses it."""
    campaign = str(uuid4())
    until = (datetime.now(UTC) + timedelta(seconds=valid_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = make_event(
        ev.CampaignRequested(spec, until, by),
        id=str(uuid4()),
        source=source,
        subject=campaign,
        time=now_rfc3339(),
        correlation=campaign,
    )
    await bus.append(event, Expect(entity_filter(event.type, campaign), 0))
    return campaign
