"""A genome: when to enter, when to leave, how much to risk. Canonical form, validation and hash.

Entry rules of a side are joined by AND, exit rules by OR: a position opens when all entry rules hold
and closes when any exit rule does (or a stop, target, trailing stop, holding limit or liquidation).
"""

from math import copysign
from typing import Literal

import msgspec

from domain.errors import BadInput
from domain.hashing import content_hash, same_spelling

Kind = Literal["open", "high", "low", "close", "volume", "sma", "ema", "rsi", "volume_sma", "const"]
Op = Literal[">", "<", "crosses_above", "crosses_below"]
Direction = Literal["long", "short", "both"]

KINDS: tuple[Kind, ...] = ("open", "high", "low", "close", "volume", "sma", "ema", "rsi", "volume_sma", "const")
OPS: tuple[Op, ...] = (">", "<", "crosses_above", "crosses_below")
FIELDS = frozenset(KINDS[:5])
INDICATORS = frozenset(("sma", "ema", "rsi", "volume_sma"))
#: What may be compared with what; a constant fits every family.
FAMILY = {k: "price" for k in ("open", "high", "low", "close", "sma", "ema")} | {
    "volume": "volume",
    "volume_sma": "volume",
    "rsi": "rsi",
    "const": "const",
}
MAX_PERIOD = 1000
MAX_RULES = 8
MIRROR: dict[Op, Op] = {">": "<", "<": ">", "crosses_above": "crosses_below", "crosses_below": "crosses_above"}


# gc=False: they hold no cycles, and reading a log makes millions of them, which the collector would visit again and again.
class Operand(msgspec.Struct, frozen=True, gc=False):
    """A field of the candle, an indicator of `period` candles, or a constant `value`."""

    kind: Kind
    period: int = 0
    value: float = 0.0

    def __post_init__(self) -> None:
        # Nearly always it is spelled so already, and a log has millions of operands.
        value = self.value
        if type(value) is not float or (value == 0.0 and copysign(1.0, value) < 0.0):
            same_spelling(self, "value")

    def key(self) -> tuple[int, int, float]:
        return (KINDS.index(self.kind), self.period, self.value)


class Rule(msgspec.Struct, frozen=True, gc=False):
    """`left op right`, decided at a candle's close; false while either side is NaN."""

    left: Operand
    op: Op
    right: Operand

    def key(self) -> tuple[object, ...]:
        return (*self.left.key(), OPS.index(self.op), *self.right.key())


class RuleSet(msgspec.Struct, frozen=True, gc=False):
    """The rules of one side: all of `entry` to open, any of `exit` to close."""

    entry: tuple[Rule, ...] = ()
    exit: tuple[Rule, ...] = ()


class Kelly(msgspec.Struct, frozen=True):
    """`multiplier_bps` of Kelly's fraction (10000 = full) once `min_trades` have closed, `base_bps` of equity until then."""

    multiplier_bps: int
    base_bps: int
    min_trades: int = 30


class VolatilityTarget(msgspec.Struct, frozen=True):
    """A position as large as lets equity deviate by `target_ppm` (millionths) a candle, after the last `period` candles."""

    target_ppm: int
    period: int = 50


class Sizing(msgspec.Struct, frozen=True):
    """How much a trade may cost, entry fee included: a fixed `amount` of quote currency, or `fraction_bps` of equity.

    With `kelly` and `volatility` the fraction follows from what happened before the entry, and `fraction_bps` is the most.
    A part that is not set is not written: genomes without it keep their bytes, and UNSET has one spelling.
    """

    mode: Literal["fixed", "fraction", "kelly", "volatility"] = "fraction"
    fraction_bps: int = 0
    amount: float = 0.0
    kelly: Kelly | msgspec.UnsetType = msgspec.UNSET
    volatility: VolatilityTarget | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        same_spelling(self, "amount")


class Risk(msgspec.Struct, frozen=True, gc=False):
    """Distances from the entry open in basis points (0 = off), holding limit in candles (0 = off), size, leverage 1-3."""

    stop_bps: int
    target_bps: int
    trailing_bps: int = 0
    max_hold: int = 0
    sizing: Sizing = Sizing(fraction_bps=1000)
    leverage: int = 1


class Genome(msgspec.Struct, frozen=True, gc=False):
    """One candidate strategy, without market or costs. Use `canonical_genome` before hashing or storing."""

    direction: Direction
    risk: Risk
    long: RuleSet = RuleSet()
    short: RuleSet = RuleSet()


def canonical_rule(rule: Rule) -> Rule:
    """The same rule written one way: operands in a fixed order (`a > b` and `b < a` are one rule)."""
    if rule.left.key() <= rule.right.key():
        return rule
    return Rule(rule.right, MIRROR[rule.op], rule.left)


def _canonical_rules(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    unique = {r.key(): r for r in map(canonical_rule, rules)}
    return tuple(unique[k] for k in sorted(unique))


def canonical_genome(genome: Genome) -> Genome:
    """Rules mirrored, sorted, without repeats: equal behaviour by construction has one hash. Idempotent."""
    sides = {
        side: RuleSet(_canonical_rules(getattr(genome, side).entry), _canonical_rules(getattr(genome, side).exit))
        for side in ("long", "short")
    }
    return msgspec.structs.replace(genome, **sides)


def genome_id(genome: Genome) -> str:
    """SHA-256 of the canonical genome (64 hex digits)."""
    return content_hash(canonical_genome(genome))


def _check_operand(o: Operand) -> None:
    if o.kind in INDICATORS:
        if not 2 <= o.period <= MAX_PERIOD:
            raise BadInput(f"{o.kind} needs a period of 2 to {MAX_PERIOD}, not {o.period}")
    elif o.period:
        raise BadInput(f"{o.kind} takes no period, got {o.period}")
    if o.kind == "const":
        if not -1e15 < o.value < 1e15:  # also refuses NaN
            raise BadInput(f"a constant must be a finite number, not {o.value}")
    elif o.value:
        raise BadInput(f"{o.kind} takes no value, got {o.value}")


def _check_rule(rule: Rule) -> None:
    _check_operand(rule.left)
    _check_operand(rule.right)
    left, right = FAMILY[rule.left.kind], FAMILY[rule.right.kind]
    if rule.left == rule.right or left == right == "const":
        raise BadInput("a rule must compare two different things, at least one of them not a constant")
    if "const" not in (left, right) and left != right:
        raise BadInput(f"a rule cannot compare {rule.left.kind} ({left}) with {rule.right.kind} ({right})")


def _check_side(name: str, rules: RuleSet, wanted: bool) -> None:
    if not wanted:
        if rules.entry or rules.exit:
            raise BadInput(f"the direction leaves the {name} side out, yet it has rules")
        return
    if not 1 <= len(rules.entry) <= MAX_RULES or len(rules.exit) > MAX_RULES:
        raise BadInput(f"the {name} side needs 1 to {MAX_RULES} entry rules and at most {MAX_RULES} exit rules")
    for rule in (*rules.entry, *rules.exit):
        _check_rule(rule)


def _check_risk(r: Risk) -> None:
    for name in ("stop_bps", "target_bps", "trailing_bps"):
        if not 0 <= getattr(r, name) < 10_000:
            raise BadInput(f"{name} must be 0 (off) to 9999, not {getattr(r, name)}")
    if not 0 <= r.max_hold <= 1_000_000:
        raise BadInput(f"max_hold must be 0 (off) to 1000000 candles, not {r.max_hold}")
    if not 1 <= r.leverage <= 3:
        raise BadInput(f"leverage must be 1, 2 or 3, not {r.leverage}")
    _check_sizing(r.sizing)


def _check_sizing(s: Sizing) -> None:
    if s.mode == "fixed":
        if not (0 < s.amount <= 1e12 and s.fraction_bps == 0):
            raise BadInput(f"a fixed amount must be positive quote currency, not {s.amount}")
    elif not (0 < s.fraction_bps <= 10_000 and s.amount == 0.0):
        raise BadInput(f"a fraction of equity must be 1 to 10000 bps, not {s.fraction_bps}")
    for name, part in (("kelly", s.kelly), ("volatility", s.volatility)):
        if (s.mode == name) != (part is not msgspec.UNSET):
            raise BadInput(f"sizing has a part `{name}` when, and only when, its mode is {name}")
    if s.kelly is not msgspec.UNSET:
        k = s.kelly
        if not 0 < k.multiplier_bps <= 10_000:
            raise BadInput(
                f"multiplier_bps must be 1 to 10000 (more than Kelly's fraction only adds risk), not {k.multiplier_bps}"
            )
        if not 0 < k.base_bps <= s.fraction_bps:
            raise BadInput(f"base_bps must be 1 to fraction_bps ({s.fraction_bps}), not {k.base_bps}")
        if not 2 <= k.min_trades <= 10_000:
            raise BadInput(f"min_trades must be 2 to 10000, not {k.min_trades}")
    if s.volatility is not msgspec.UNSET:
        v = s.volatility
        if not 0 < v.target_ppm <= 1_000_000:
            raise BadInput(f"target_ppm must be 1 to 1000000 millionths of equity a candle, not {v.target_ppm}")
        if not 2 <= v.period <= MAX_PERIOD:
            raise BadInput(f"a volatility needs a period of 2 to {MAX_PERIOD} candles, not {v.period}")


def validate_genome(genome: Genome) -> None:
    """Raise BadInput with one clear line unless every part is in range and the sides fit the direction."""
    _check_side("long", genome.long, genome.direction in ("long", "both"))
    _check_side("short", genome.short, genome.direction in ("short", "both"))
    _check_risk(genome.risk)
