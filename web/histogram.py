"""Where all strategies of an exhaustive campaign came out, as a picture: what `_results.html` draws as inline SVG."""

import math
from typing import Any, NamedTuple

from domain.results import HIGHEST_BIN, LOWEST_BIN
from web.words import number, percent

#: Bars at most; widths of a bar in bins of 0.1 %.
MOST_BARS = 48
STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200)
#: In units of the picture: the plot's left edge and width, and the most that a bar goes up or down from the middle.
LEFT, WIDTH, TALL = 34.0, 280.0, 62.0


class Bar(NamedTuple):
    """Counts of strategies with low <= objective < high; null: without that bound. `words` name the range."""

    low: float | None
    high: float | None
    enough: int
    few: int
    words: str


class Drawing(NamedTuple):
    """`rects`: (x, width, up, down, index of the bar); `decades`: (distance from the middle, label); `ticks`: (x, label);
    `zero`, `hold`, `best`: where these returns lie, null where that is outside or not known."""

    bars: list[Bar]
    rects: list[tuple[float, float, float, float, int]]
    decades: list[tuple[float, str]]
    ticks: list[tuple[float, str]]
    zero: float | None
    hold: float | None
    best: float | None


def bars_of(distribution: dict[str, Any]) -> list[Bar]:
    """At most `MOST_BARS`, without holes, exact counts; none where nothing has an objective."""
    counts: dict[int, list[int]] = {}
    for side, name in enumerate(("enough", "few")):
        histogram = distribution[name]
        for at, count in enumerate(histogram["counts"], histogram["first"]):
            if count:
                counts.setdefault(at, [0, 0])[side] += count
    if not counts:
        return []
    low, high = min(counts), max(counts)
    step = next((s for s in STEPS if high // s - low // s < MOST_BARS), STEPS[-1])
    sums: dict[int, list[int]] = {group: [0, 0] for group in range(low // step, high // step + 1)}
    for at, (enough, few) in counts.items():
        sums[at // step][0] += enough
        sums[at // step][1] += few
    return [_bar(group * step, step, *both) for group, both in sums.items()]


def earning(distribution: dict[str, Any]) -> int:
    """Strategies with enough trades and a return of 0.1 % or more: bins of 0.1 % tell no less from nothing."""
    enough = distribution["enough"]
    return sum(count for at, count in enumerate(enough["counts"], enough["first"]) if at > 0)


def _bar(first: int, step: int, enough: int, few: int) -> Bar:
    low = None if first <= LOWEST_BIN else first / 1000
    high = None if first + step > HIGHEST_BIN else (first + step) / 1000
    words = f"{percent(low, 1)} to {percent(high, 1)}"
    if low is None:
        words = f"below {percent(high, 1)}"
    elif high is None:
        words = f"from {percent(low, 1)}"
    return Bar(low, high, enough, few, words)


def drawing(distribution: dict[str, Any], hold: float | None, best: float | None) -> Drawing | None:
    """Heights are logarithmic, log10(1 + count): a handful at the end of the tail is what one looks for beside millions."""
    bars = bars_of(distribution)
    if not bars:
        return None
    most = max(max(b.enough, b.few) for b in bars)
    scale = TALL / math.log10(1 + most)
    wide = WIDTH / len(bars)

    def height(count: int) -> float:
        return round(math.log10(1 + count) * scale, 2)

    rects = [
        (round(LEFT + i * wide, 2), round(wide * 0.86, 2), height(b.enough), height(b.few), i)
        for i, b in enumerate(bars)
    ]
    # A bar without a bound stands where one of ordinary width would.
    step = next((b.high - b.low for b in bars if b.low is not None and b.high is not None), 0.001)
    first = bars[0].low if bars[0].low is not None else (bars[0].high or 0.0) - step

    def place(value: float | None) -> float | None:
        x = None if value is None else LEFT + (value - first) / step * wide
        return round(x, 2) if x is not None and LEFT <= x <= LEFT + WIDTH + 0.01 else None

    decades = [(height(10**k), number(10**k)) for k in range(0, 12) if 10**k <= most]
    every = max(1, len(decades) // 3)
    ends = [(LEFT, percent(first, 1)), (LEFT + WIDTH, percent(first + step * len(bars), 1))]
    zero = place(0.0)
    if zero is not None and LEFT + 60 < zero < LEFT + WIDTH - 60:
        ends.insert(1, (zero, percent(0.0, 0, False)))
    return Drawing(bars, rects, decades[::every], ends, zero, place(hold), place(best))
