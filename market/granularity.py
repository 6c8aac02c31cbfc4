"""Granularities by name, and the market that a file name speaks of."""

import re
from pathlib import Path
from typing import NamedTuple

from domain.errors import BadInput

#: Names in use at the venues that we read, in seconds.
GRANULARITIES: dict[str, int] = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1_800,
    "1h": 3_600,
    "2h": 7_200,
    "4h": 14_400,
    "6h": 21_600,
    "12h": 43_200,
    "1d": 86_400,
}
_NAMES = {seconds: name for name, seconds in GRANULARITIES.items()}
# Both become parts of file names and subjects: no dot, space, slash or wildcard.
_VENUE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SYMBOL = re.compile(r"[A-Z0-9]+(-[A-Z0-9]+)*")
_FILE_NAME = re.compile(r"(?P<venue>[^_]+)_(?P<symbol>[^_]+)_(?P<granularity>[^_]+)")


class Market(NamedTuple):
    """Whose candles these are; `granularity_s` in seconds."""

    venue: str
    symbol: str
    granularity_s: int


def parse_granularity(text: str | int) -> int:
    """Seconds of `5m`, `300` or 300; BadInput when we do not know that granularity."""
    word = str(text).strip().lower()
    if word in GRANULARITIES:
        return GRANULARITIES[word]
    if word.isascii() and word.isdigit() and len(word) < 10 and int(word) in _NAMES:
        return int(word)
    raise BadInput(f"granularity {word[:40]!r} is unknown: use one of {', '.join(GRANULARITIES)}")


def granularity_name(seconds: int) -> str:
    """`5m` for 300; seconds such as `7s` for one that has no name."""
    return _NAMES.get(seconds, f"{seconds}s")


def _part(kind: str, value: str, pattern: re.Pattern[str], example: str) -> str:
    if not value:
        raise BadInput(f"the {kind} is missing: give it, or name the file like coinbase_BTC-USD_5m.csv")
    if len(value) > 32 or not pattern.fullmatch(value):
        raise BadInput(f"{kind} {value[:40]!r} is not one: use letters, digits and hyphens, such as {example}")
    return value


def market_of(path: Path, venue: str = "", symbol: str = "", granularity: str | int = "") -> Market:
    """What the arguments say, and where they say nothing the file name (`coinbase_BTC-USD_5m.parquet`).

    Venues are lower case, symbols upper case. BadInput when a part is missing or unknown.
    """
    match = _FILE_NAME.fullmatch(path.stem)
    named = match.groupdict() if match else {"venue": "", "symbol": "", "granularity": ""}
    wanted = granularity or named["granularity"]
    if not wanted:
        raise BadInput("the granularity is missing: give it, or name the file like coinbase_BTC-USD_5m.csv")
    return Market(
        _part("venue", (venue or named["venue"]).lower(), _VENUE, "coinbase"),
        _part("symbol", (symbol or named["symbol"]).upper(), _SYMBOL, "BTC-USD"),
        parse_granularity(wanted),
    )
