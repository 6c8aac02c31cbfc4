"""What was evaluated where, as the log tells it: trials of fitness, candidates of walk-forward, looks at hold-outs."""

from collections.abc import Mapping
from typing import Protocol

from bus import events as ev
from domain.candles import DatasetInfo
from domain.ledger import Ledger, Span, asset_of, fitness_span, hold_out_span, walk_span
from domain.specs import CampaignSpec, SearchSpec, strategy_id


class HasSpec(Protocol):
    @property
    def spec(self) -> CampaignSpec: ...


class Looks:
    """Folded from the log. A genome under other costs or on another market is another candidate, on the same candles."""

    def __init__(self) -> None:
        self._datasets: dict[str, DatasetInfo] = {}
        self._candidates = Ledger()
        self._trials: dict[str, tuple[list[Span], int]] = {}
        self._hold_outs: list[Span] = []

    def apply(self, entity: str, data: ev.EventData, campaigns: Mapping[str, HasSpec]) -> None:
        """Fold one event in; `campaigns` as known before it."""
        if isinstance(data, ev.DatasetImported):
            self._datasets[data.hash] = data.info
        elif isinstance(data, ev.HoldOutLooked):
            self._hold_outs.append(Span(asset_of(data.symbol), data.first_ms, data.last_ms))
        elif isinstance(data, ev.WalkForwardLooked):
            self._candidates.add(Span(asset_of(data.symbol), data.first_ms, data.last_ms), [data.genome_id])
        elif isinstance(data, ev.StrategyDiscovered):
            self._candidate(data.search, [data.genome_id])
        elif isinstance(data, ev.UnitValidated) and data.campaign in campaigns:
            self._candidate(campaigns[data.campaign].spec.search, [f.genome_id for f in data.finds])
        elif isinstance(data, ev.CampaignFinished) and entity in campaigns:
            markets = campaigns[entity].spec.search.markets
            spans = [fitness_span(self._datasets[m.dataset], m) for m in markets if m.dataset in self._datasets]
            self._trials[entity] = spans, data.trials

    def _candidate(self, search: SearchSpec, genomes: list[str]) -> None:
        """What was found on several datasets at once is a candidate on the walk-forward candles of each."""
        for market in search.markets:
            info = self._datasets.get(market.dataset)
            if info is not None and market.windows.walk_forward:
                self._candidates.add(walk_span(info, market), [strategy_id(g, market) for g in genomes])

    def trials(self, search: SearchSpec) -> int:
        """Genomes tried by finished campaigns on the first dataset's fitness candles, alone or with others; one tried by two
        campaigns counts twice."""
        info = self._datasets.get(search.dataset)
        if info is None:
            return 0
        span = fitness_span(info, search)
        return sum(n for spans, n in self._trials.values() if any(s.overlaps(span) for s in spans))

    def candidates(self, search: SearchSpec) -> int:
        """Strategies ever evaluated on these walk-forward candles."""
        info = self._datasets.get(search.dataset)
        return len(self._candidates.names(walk_span(info, search))) if info and search.windows.walk_forward else 0

    def hold_out_looks(self, search: SearchSpec) -> int:
        """How often anybody looked at candles of this hold-out."""
        info = self._datasets.get(search.dataset)
        return sum(s.overlaps(hold_out_span(info, search)) for s in self._hold_outs) if info else 0
