"""Figures, times and states as pages write them: signs, thin spaces, units, UTC; what is not known is a dash."""

import re
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

THIN = "\u202f"
MINUS = "\u2212"
DASH = "–"
#: A shape beside each word, so that no state is told by colour alone.
SHAPES = {
    "validated": "✓",
    "finished": "✓",
    "alive": "●",
    "running": "◐",
    "open": "◐",
    "starting": "◔",
    "queued": "○",
    "requested": "○",
    "waiting": "◌",
    "discovered": "◇",
    "inconclusive": "≠",
    "stalled": "▲",
    "refused": "✕",
    "parked": "■",
    "dead": "✕",
    "stopped": "■",
    "unknown": "?",
}


def _grouped(text: str) -> str:
    return text.replace(",", THIN).replace("-", MINUS)


def number(value: float | None, digits: int = 0) -> str:
    """`12 345`, `-1.23`; a dash for what is not known."""
    return DASH if value is None else _grouped(f"{value:,.{digits}f}")


def percent(fraction: float | None, digits: int = 2, sign: bool = True) -> str:
    """`+1.23 %` of a fraction."""
    if fraction is None:
        return DASH
    return _grouped(f"{fraction * 100:{'+' if sign else ''},.{digits}f}") + THIN + "%"


def duration(seconds: float | None) -> str:
    """`8 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return DASH
    s = round(seconds)
    if s < 60:
        return f"{s}{THIN}s" if s else f"under 1{THIN}s"
    for big, small, size, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86_400, 3600)):
        if s < size * (60 if size < 3600 else 24) or big == "d":
            rest = s % size // part
            return f"{s // size}{THIN}{big}" + (f" {rest}{THIN}{small}" if rest else "")
    return DASH


def size(count: float | None) -> str:
    """`1.2 MB`, in steps of 1000."""
    if count is None:
        return DASH
    value, unit = float(count), "B"
    for name in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, name
    return f"{value:.0f}{THIN}{unit}" if unit == "B" or value >= 100 else f"{value:.1f}{THIN}{unit}"


def moment(rfc3339: str | None) -> Markup | str:
    """A time in UTC to the minute, with all of it in the title."""
    if not rfc3339:
        return DASH
    try:
        at = datetime.fromisoformat(rfc3339).astimezone(UTC)
    except ValueError:
        return rfc3339
    full = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    shown = at.strftime("%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(rfc3339, full, shown)


def moment_ms(ms: int) -> Markup | str:
    return moment(datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z"))


def day_ms(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


def ago(seconds: float | None) -> str:
    """How long since a heartbeat, without flicker for those that come in time."""
    if seconds is None:
        return "no heartbeat"
    return "now" if seconds < 5 else f"{duration(seconds)} ago"


def state(name: str) -> Markup:
    """A state as a badge: shape and word."""
    return Markup('<span class="state state-{}"><span class="shape" aria-hidden="true">{}</span>{}</span>').format(
        name, SHAPES.get(name, "·"), name
    )


def sentence(text: str) -> Markup:
    """A message of ours as a page writes it: begun with a capital, commands set apart."""
    parts = re.split(r"`([^`]+)`", text[:1].upper() + text[1:])
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def minus(text: str) -> str:
    """Text from elsewhere with the minus signs of pages; hyphens stay."""
    return re.sub(r"(?<![\w.])-(?=[\d.])", MINUS, text)


def short(id: str, signs: int = 8) -> Markup:
    """The beginning of an id, with all of it in the title."""
    return Markup('<code title="{}">{}</code>').format(id, id[:signs])


def tone(value: float | None) -> str:
    """A class beside the sign: `gain`, `loss`, or none."""
    return "" if not value else "gain" if value > 0 else "loss"


def stake(strategy: dict[str, Any]) -> str:
    """What a trade puts to work, beside buy & hold which puts in everything; "" where a trade does too.

    The fraction of equity is the size itself, or the most that a size which follows from the past may come to.
    """
    risk = strategy["genome"]["risk"]
    sizing, leverage = risk["sizing"], int(risk["leverage"])
    share = float(sizing["fraction_bps"]) / 10_000 * leverage
    less = "buy & hold all of it: smaller swings are no merit by themselves."
    if sizing["mode"] == "fixed":
        borrowed = f", {leverage} times that with its leverage" if leverage > 1 else ""
        return f"A trade puts a fixed {number(sizing['amount'], 2)} to work{borrowed}, however large the equity; {less}"
    if sizing["mode"] == "fraction":
        return f"A trade puts {percent(share, 1, False)} of the equity to work, {less}" if share < 1 else ""
    after = "its closed trades" if sizing["mode"] == "kelly" else "the volatility before it"
    return f"A trade puts to work what follows from {after}, at most {percent(share, 1, False)} of the equity; {less}"
