"""The gates that a find has to pass, and nothing else: rates, p-value, decision.

Two gates, each with its declared rate. The max-statistic null asks whether the very same search finds as much where there
is nothing to be found; among campaigns without anything to find, at most ALPHA have a find that passes it (Davison,
Hinkley 1997, "Bootstrap methods", 4.2: p = (1 + exceedances) / (1 + repetitions)). The deflated Sharpe ratio asks whether
candles that the search never saw confirm it. Both, and a clean look-ahead check, are needed.
"""

from collections.abc import Sequence

from domain.judgement import GATE_DSR, GATE_LOOK_AHEAD, GATE_NULLS
from domain.results import Find, NullOutcome

ALPHA = 0.05
DSR_WANTED = 1.0 - ALPHA

Standing = tuple[int, float]


def standing_of(objective: float | None, enough_trades: bool) -> Standing:
    """Smaller is better, as `kernels.evolution.ranking.standing` for those within the safety limits."""
    if objective is None:
        return 2, 0.0
    return int(not enough_trades), -objective


def find_standing(find: Find) -> Standing:
    return standing_of(find.objective, find.enough_trades)


def null_standing(null: NullOutcome) -> Standing:
    return standing_of(null.objective, null.enough_trades)


def p_value(standing: Standing, nulls: Sequence[Standing]) -> float | None:
    """(1 + nulls at least as good) / (1 + nulls); null without any. Equals count against the find."""
    if not nulls:
        return None
    return (1 + sum(n <= standing for n in nulls)) / (1 + len(nulls))


def failed_gates(p: float | None, dsr: float | None, look_ahead: str) -> tuple[str, ...]:
    """A gate whose figure is not known is not passed."""
    failed = []
    if p is None or p > ALPHA:
        failed.append(GATE_NULLS)
    if dsr is None or not dsr >= DSR_WANTED:
        failed.append(GATE_DSR)
    if look_ahead:
        failed.append(GATE_LOOK_AHEAD)
    return tuple(failed)
