"""What the projector says when the log is not whole, or not the one that the read models are of: pure."""

from bus.messages import DAMAGED_DO
from domain.errors import SluiceError


class Broken(SluiceError):
    """The log is damaged, or another one than the read models are of: nothing new is served from it."""


def gone(first: int, count: int = 1) -> str:
    """Words for a log that lacks events."""
    what = f"event {first} is" if count == 1 else f"{count} events, the first of them {first}, are"
    return f"halted: {what} gone from the log or cannot be read; the read models stay as they are; {DAMAGED_DO}"


def other(why: str) -> str:
    """Words for a log that is not the one that the read models are of."""
    return (
        f"halted: {why}; the read models stay as they are; {DAMAGED_DO}; if this log is the right one, stop, delete "
        "views.sqlite and start again"
    )
