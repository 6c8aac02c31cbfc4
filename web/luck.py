"""What the number of trials means for the best of them, in a sentence."""

import math
from statistics import NormalDist
from typing import Any

from web.words import number

_EULER = 0.5772156649015329
_YEAR = 365.0


def expected_best(trials: int) -> float:
    """Expected largest of `trials` independent standard normal draws.

    Approximation of Bailey and López de Prado: (1 - g) z(1 - 1/N) + g z(1 - 1/(N e)), g Euler's constant; 0 below 2.
    """
    if trials < 2:
        return 0.0
    z = NormalDist().inv_cdf
    return (1.0 - _EULER) * z(1.0 - 1.0 / trials) + _EULER * z(1.0 - 1.0 / (trials * math.e))


def luck_sentence(trials: int | None, daily: dict[str, Any]) -> str:
    """`daily`: tier 2 figures over the fitness range, by which the strategy was chosen."""
    if not trials:
        return "How many rules were tried to find it is not known yet: its campaign is still running."
    days, sharpe = daily.get("days"), daily.get("sharpe")
    first = f"It was chosen as one of the best of {number(trials)} different rules tried on the same candles."
    if not days or days < 2 or sharpe is None or trials < 2:
        return first + " The best of many looks good by luck alone."
    luck = expected_best(trials) * math.sqrt(_YEAR / days)
    compared = "less than" if sharpe < luck else "more than"
    return (
        f"{first} If none of them had any edge, the best of as many independent tries would still be expected to show a "
        f"yearly Sharpe ratio of about {number(luck, 1)} over {number(days)} days by luck alone; this one shows "
        f"{number(sharpe, 1)}, which is {compared} that. Rules of one search resemble each other, so that the true bar lies "
        f"somewhat lower; what counts is walk-forward."
    )
