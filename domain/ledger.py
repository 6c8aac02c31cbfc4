"""Who looked where: candles are known by asset and time, across venues, granularities and versions of a dataset.

One appended candle makes no candle fresh, and neither does another venue's recording of the same market.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from domain.candles import DatasetInfo
from domain.specs import Market, SearchSpec, Window

_ALIASES = {"XBT": "BTC", "XXBT": "BTC", "XETH": "ETH", "XDG": "DOGE"}


class Span(msgspec.Struct, frozen=True):
    """Candles of one asset that open from `first_ms` to `last_ms`, both included."""

    asset: str
    first_ms: int
    last_ms: int

    def overlaps(self, other: "Span") -> bool:
        return self.asset == other.asset and self.first_ms <= other.last_ms and other.first_ms <= self.last_ms


def asset_of(symbol: str) -> str:
    """What is bought, whatever it is paid with: BTC for BTC-USD, BTC/EUR and XBT/USD."""
    base = re.split(r"[-/_:]", symbol.strip().upper(), maxsplit=1)[0]
    return _ALIASES.get(base, base)


def span_of(info: DatasetInfo, windows: Sequence[Window]) -> Span:
    """When the candles of `windows` lie at most. Gaps are not known from the header alone: candles can only lie
    later than counted from the first one, and earlier than counted from the last one."""
    step = info.granularity_s * 1_000
    first = info.first_ms + min(w.start for w in windows) * step
    last = info.last_ms - (info.candles - max(w.stop for w in windows)) * step
    return Span(asset_of(info.symbol), first, max(first, last))


def fitness_span(info: DatasetInfo, search: SearchSpec | Market) -> Span:
    return span_of(info, search.windows.fitness)


def walk_span(info: DatasetInfo, search: SearchSpec | Market) -> Span:
    return span_of(info, search.windows.walk_forward)


def hold_out_span(info: DatasetInfo, search: SearchSpec | Market) -> Span:
    return span_of(info, (search.windows.hold_out,))


class Ledger:
    """What was evaluated where, by name: the same thing on overlapping candles counts once."""

    def __init__(self) -> None:
        self._entries: dict[Span, set[str]] = {}

    def add(self, span: Span, names: Iterable[str]) -> None:
        self._entries.setdefault(span, set()).update(names)

    def names(self, span: Span) -> frozenset[str]:
        """Everything evaluated on candles of this span, if only on one of them."""
        return frozenset().union(*(names for s, names in self._entries.items() if s.overlaps(span)))
