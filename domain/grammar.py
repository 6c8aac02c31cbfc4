"""What a search may write: the rules and choices of a grammar file, narrowed by risk level and venue.

A grammar is a TOML file in `domain/grammars`. Its rules are enumerated once, in canonical form and order, so that a
sorted tuple of them is already the canonical side of a genome.
"""

import math
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources

import msgspec

from domain.errors import BadInput
from domain.genome import INDICATORS, Direction, Genome, Kind, Op, Operand, Rule, RuleSet, canonical_rule
from domain.risk import RISK_LEVELS, STOP_STEP_BPS, TARGET_STEP_BPS, TRAILING_STEP_BPS, Level

#: Venues with margin, where a search may go short and borrow. Everything else is taken as spot: long only, 1x;
#: a venue that nobody entered here must not yield strategies that cannot be traded there.
SHORT_VENUES = frozenset(("kraken",))
_FOLDER = resources.files("domain") / "grammars"


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every `left` against every `right` operand, indicators at every period, and against every constant."""

    left: tuple[Kind, ...]
    right: tuple[Kind, ...] = ()
    constants: tuple[float, ...] = ()


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A grammar file as written. Counts are inclusive bounds; a risk list left out means: all the risk level allows."""

    name: str
    periods: tuple[int, ...]
    operators: tuple[Op, ...]
    entry_rules: tuple[int, int]
    exit_rules: tuple[int, int]
    directions: tuple[Direction, ...]
    families: tuple[Family, ...]
    max_hold: tuple[int, ...]
    size_bps: tuple[int, ...]
    stop_bps: tuple[int, ...] | None = None
    target_bps: tuple[int, ...] | None = None
    trailing_bps: tuple[int, ...] | None = None
    leverage: tuple[int, ...] | None = None

    def rules(self) -> tuple[Rule, ...]:
        """All rules of all families: canonical, distinct, in canonical order (`Rule.key`)."""
        found = {rule.key(): rule for family in self.families for rule in self._rules_of(family)}
        return tuple(found[key] for key in sorted(found))

    def _rules_of(self, family: Family) -> Iterator[Rule]:
        constants = [Operand("const", value=value) for value in family.constants]
        for left in self._operands(family.left):
            for right in (*self._operands(family.right), *constants):
                if left != right:
                    yield from (canonical_rule(Rule(left, op, right)) for op in self.operators)

    def _operands(self, kinds: tuple[Kind, ...]) -> list[Operand]:
        return [Operand(k, p) for k in kinds for p in (self.periods if k in INDICATORS else (0,))]


class Space(msgspec.Struct, frozen=True, eq=False):
    """A grammar under one risk level at one venue: for each gene the tuple of its choices, ascending.

    `position` gives a rule's place in `rules`; `alike` the rules that compare the same kinds (itself included).
    """

    rules: tuple[Rule, ...]
    position: dict[Rule, int]
    alike: dict[Rule, tuple[Rule, ...]]
    entry_rules: tuple[int, int]
    exit_rules: tuple[int, int]
    directions: tuple[Direction, ...]
    stop_bps: tuple[int, ...]
    target_bps: tuple[int, ...]
    trailing_bps: tuple[int, ...]
    max_hold: tuple[int, ...]
    size_bps: tuple[int, ...]
    leverage: tuple[int, ...]

    def size(self) -> int:
        """How many distinct genomes there are."""
        side = math.prod(
            sum(math.comb(len(self.rules), k) for k in range(low, high + 1))
            for low, high in (self.entry_rules, self.exit_rules)
        )
        sides = sum(side * side if d == "both" else side for d in self.directions)
        genes = (self.stop_bps, self.target_bps, self.trailing_bps, self.max_hold, self.size_bps, self.leverage)
        return sides * math.prod(map(len, genes))

    def contains(self, genome: Genome) -> bool:
        """Whether the search could have written this canonical genome."""
        risk = genome.risk
        return (
            genome.direction in self.directions
            and all(self._side(getattr(genome, d), genome.direction in (d, "both")) for d in ("long", "short"))
            and risk.sizing.mode == "fraction"
            and risk.sizing.fraction_bps in self.size_bps
            and all(getattr(risk, g) in getattr(self, g) for g in ("stop_bps", "target_bps", "trailing_bps"))
            and risk.max_hold in self.max_hold
            and risk.leverage in self.leverage
        )

    def _side(self, rules: RuleSet, wanted: bool) -> bool:
        if not wanted:
            return rules == RuleSet()
        return all(
            low <= len(part) <= high and all(r in self.position for r in part)
            for part, (low, high) in ((rules.entry, self.entry_rules), (rules.exit, self.exit_rules))
        )


def may_short(venue: str) -> bool:
    """Whether a search for this venue may go short and use leverage."""
    return venue in SHORT_VENUES


def grammar_names() -> tuple[str, ...]:
    return tuple(sorted(f.name.removesuffix(".toml") for f in _FOLDER.iterdir() if f.name.endswith(".toml")))


@cache
def load_grammar(name: str) -> Grammar:
    """The grammar of that name; raises BadInput for an unknown one."""
    if name not in grammar_names():
        raise BadInput(f"grammar must be one of {', '.join(grammar_names())}, not {name}")
    return parse_grammar((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def parse_grammar(text: str) -> Grammar:
    """Decode and check a grammar file; raises BadInput with one clear line."""
    try:
        grammar = msgspec.convert(tomllib.loads(text), Grammar)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as e:
        raise BadInput(f"the grammar cannot be read: {e}") from e
    (low, high), (exit_low, exit_high) = grammar.entry_rules, grammar.exit_rules
    if not (1 <= low <= high <= 8 and 0 <= exit_low <= exit_high <= 8):
        raise BadInput(f"grammar {grammar.name}: a side has 1 to 8 entry rules and 0 to 8 exit rules")
    if len(grammar.rules()) < max(high, exit_high):
        raise BadInput(f"grammar {grammar.name} has too few rules for sets of {max(high, exit_high)}")
    return grammar


@cache
def search_space(name: str, level: Level, venue: str) -> Space:
    """The space of a search; raises BadInput when grammar, level and venue leave nothing to choose from."""
    return narrow(load_grammar(name), level, venue)


def narrow(grammar: Grammar, level: Level, venue: str) -> Space:
    """What is left of a grammar within the ranges of a risk level and the directions of a venue."""
    bounds, short = RISK_LEVELS[level], may_short(venue)
    leverage_max = bounds.leverage_max if short else 1
    rules = grammar.rules()
    groups: dict[tuple[Kind, Kind], list[Rule]] = {}
    for rule in rules:
        groups.setdefault((rule.left.kind, rule.right.kind), []).append(rule)
    space = Space(
        rules=rules,
        position={rule: i for i, rule in enumerate(rules)},
        alike={rule: group for group in map(tuple, groups.values()) for rule in group},
        entry_rules=grammar.entry_rules,
        exit_rules=grammar.exit_rules,
        directions=tuple(d for d in grammar.directions if d == "long" or short),
        stop_bps=_within(grammar.stop_bps, *bounds.stop_bps, STOP_STEP_BPS),
        target_bps=_within(grammar.target_bps, *bounds.target_bps, TARGET_STEP_BPS),
        trailing_bps=_within(grammar.trailing_bps, 0, bounds.trailing_max_bps, TRAILING_STEP_BPS),
        max_hold=tuple(sorted(set(grammar.max_hold))),
        size_bps=_within(grammar.size_bps, 1, bounds.size_max_bps, 1),
        leverage=_within(grammar.leverage, 1, leverage_max, 1),
    )
    if not space.size():
        raise BadInput(f"grammar {grammar.name} leaves nothing to search at risk {level} on {venue}")
    return space


def _within(choices: tuple[int, ...] | None, low: int, high: int, step: int) -> tuple[int, ...]:
    """The file's choices inside the inclusive bounds, or every step of them where the file names none."""
    return tuple(v for v in sorted(set(choices or range(low, high + 1, step))) if low <= v <= high)
