"""What can be searched exhaustively: every rule set of a grammar under every pair of stop and target, nothing left out."""

import math

from domain.errors import BadInput
from domain.genome import Genome, Risk, RuleSet, Sizing
from domain.grammar import Space

MOST_RULES = 500
MOST_IN_A_SET = 3
MOST_STRATEGIES = 2_000_000_000


def set_count(space: Space) -> int:
    """Rule sets of the entry side: strategies a pair of stop and target."""
    low, high = space.entry_rules
    return sum(math.comb(len(space.rules), k) for k in range(low, high + 1))


def check_sweep(name: str, space: Space) -> None:
    """Raise BadInput unless rules, stop and target are the only free choices and their number is within reach."""
    free = [
        word
        for word, choices in (
            ("direction", space.directions),
            ("trailing stop", space.trailing_bps),
            ("holding limit", space.max_hold),
            ("size", space.size_bps),
            ("leverage", space.leverage),
        )
        if len(choices) > 1
    ]
    free += ["exit rules"] if space.exit_rules != (0, 0) else []
    if free:
        raise BadInput(
            f"grammar {name} cannot be searched exhaustively: it leaves open {', '.join(free)}; "
            "only entry rules, stop and target may be (as in classic)"
        )
    if space.directions == ("both",):
        raise BadInput(f"grammar {name} cannot be searched exhaustively: long and short at once are two rule sets")
    if space.entry_rules[1] > MOST_IN_A_SET or len(space.rules) > MOST_RULES:
        raise BadInput(
            f"grammar {name} cannot be searched exhaustively: {len(space.rules)} rules in sets of up to "
            f"{space.entry_rules[1]}, at most {MOST_RULES} in sets of up to {MOST_IN_A_SET} can be"
        )
    if space.size() > MOST_STRATEGIES:
        raise BadInput(
            f"grammar {name} cannot be searched exhaustively: {space.size():,} strategies, at most {MOST_STRATEGIES:,} can be"
        )


def swept_genome(space: Space, stop_bps: int, target_bps: int, rules: tuple[int, ...]) -> Genome:
    """The canonical genome of ascending positions in `space.rules`."""
    side = RuleSet(tuple(space.rules[r] for r in rules))
    risk = Risk(
        stop_bps,
        target_bps,
        space.trailing_bps[0],
        space.max_hold[0],
        Sizing(fraction_bps=space.size_bps[0]),
        space.leverage[0],
    )
    direction = space.directions[0]
    return Genome(direction, risk, side) if direction == "long" else Genome(direction, risk, RuleSet(), side)
