"""Risk levels: the ranges in which the search may choose (table in docs/method.md)."""

from typing import Literal

import msgspec

Level = Literal["LOW", "MEDIUM", "HIGH"]


class RiskRange(msgspec.Struct, frozen=True):
    """Inclusive bounds in basis points on the grid steps; `trades_wanted` in the fitness windows."""

    stop_bps: tuple[int, int]
    target_bps: tuple[int, int]
    trailing_max_bps: int
    size_max_bps: int
    leverage_max: int
    trades_wanted: int


STOP_STEP_BPS = 50
TARGET_STEP_BPS = 100
TRAILING_STEP_BPS = 50
RISK_LEVELS: dict[Level, RiskRange] = {
    "LOW": RiskRange((100, 300), (200, 600), 200, 1000, 1, 100),
    "MEDIUM": RiskRange((100, 500), (200, 1000), 400, 2500, 2, 60),
    "HIGH": RiskRange((200, 800), (300, 2000), 800, 5000, 3, 30),
}
