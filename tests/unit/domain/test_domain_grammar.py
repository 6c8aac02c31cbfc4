"""Grammar files and the spaces they leave under a risk level at a venue."""

import collections

import pytest

from domain.errors import BadInput
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing, canonical_rule, genome_id, validate_genome
from domain.grammar import grammar_names, load_grammar, may_short, narrow, parse_grammar, search_space
from domain.risk import RISK_LEVELS

LEVELS = list(RISK_LEVELS)
TINY = """
name = "tiny"
periods = [10, 20]
operators = [">", "<"]
entry_rules = [1, 2]
exit_rules = [0, 1]
directions = ["long", "both"]
stop_bps = [100, 200]
target_bps = [300]
trailing_bps = [0]
max_hold = [0, 5]
size_bps = [1000]
leverage = [1]
[[families]]
left = ["close"]
right = ["sma"]
"""


def test_classic_has_216_rules_and_136063476_strategies() -> None:
    rules = load_grammar("classic").rules()
    assert len(rules) == 216
    space = search_space("classic", "MEDIUM", "coinbase")
    assert (len(space.stop_bps), len(space.target_bps)) == (9, 9)
    assert (space.stop_bps[0], space.stop_bps[-1]) == (100, 500)
    assert (space.target_bps[0], space.target_bps[-1]) == (200, 1000)
    assert space.size() == 136_063_476


def test_classic_is_long_only_and_the_same_everywhere() -> None:
    for venue in ("coinbase", "kraken"):
        space = search_space("classic", "MEDIUM", venue)
        assert space.size() == 136_063_476
        assert (space.directions, space.leverage, space.exit_rules) == (("long",), (1,), (0, 0))


def test_classic_compares_what_the_specification_lists() -> None:
    kinds = collections.Counter((r.left.kind, r.right.kind) for r in load_grammar("classic").rules())
    assert kinds == {
        ("rsi", "const"): 120,
        ("close", "sma"): 12,
        ("close", "ema"): 12,
        ("sma", "sma"): 30,
        ("ema", "ema"): 30,
        ("volume", "volume_sma"): 12,
    }
    constants = {r.right.value for r in load_grammar("classic").rules() if r.right.kind == "const"}
    assert constants == {20, 25, 30, 35, 40, 60, 65, 70, 75, 80}


def test_full_has_every_field_indicator_period_and_operator_and_all_of_classic() -> None:
    rules = load_grammar("full").rules()
    operands = [o for r in rules for o in (r.left, r.right)]
    assert {o.kind for o in operands} == {
        "open", "high", "low", "close", "volume", "sma", "ema", "rsi", "volume_sma", "const",
    }  # fmt: skip
    for kind in ("sma", "ema", "rsi", "volume_sma"):
        assert {o.period for o in operands if o.kind == kind} == {10, 14, 20, 50, 100, 200}
    assert {r.op for r in rules} == {">", "<", "crosses_above", "crosses_below"}
    assert set(load_grammar("classic").rules()) <= set(rules)
    assert load_grammar("full").exit_rules == (0, 2)


@pytest.mark.parametrize("name", grammar_names())
def test_rules_are_canonical_distinct_in_order_and_valid(name: str) -> None:
    rules = load_grammar(name).rules()
    assert [canonical_rule(r) for r in rules] == list(rules)
    assert sorted(rules, key=Rule.key) == list(rules)
    assert len(set(rules)) == len(rules)
    for rule in rules:
        validate_genome(Genome("long", Risk(100, 200), RuleSet((rule,))))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("venue", ["coinbase", "kraken", "alpaca", "simulator"])
def test_only_a_venue_with_margin_may_short_or_borrow(level: str, venue: str) -> None:
    space = search_space("full", level, venue)
    bounds = RISK_LEVELS[level]
    assert may_short(venue) is (venue == "kraken")
    if venue == "kraken":
        assert space.directions == ("long", "short", "both")
        assert space.leverage == tuple(range(1, bounds.leverage_max + 1))
    else:
        assert space.directions == ("long",)
        assert space.leverage == (1,)


@pytest.mark.parametrize("level", LEVELS)
def test_risk_choices_are_the_level_on_its_grid(level: str) -> None:
    space, bounds = search_space("full", level, "kraken"), RISK_LEVELS[level]
    assert space.stop_bps == tuple(range(bounds.stop_bps[0], bounds.stop_bps[1] + 1, 50))
    assert space.target_bps == tuple(range(bounds.target_bps[0], bounds.target_bps[1] + 1, 100))
    assert space.trailing_bps == tuple(range(0, bounds.trailing_max_bps + 1, 50))
    assert max(space.size_bps) == bounds.size_max_bps
    assert 0 in space.max_hold
    classic = search_space("classic", level, "kraken")
    assert set(classic.stop_bps) <= set(space.stop_bps)
    assert set(classic.target_bps) <= set(space.target_bps)


def test_the_size_of_a_space_is_the_number_of_genomes_one_can_list() -> None:
    space = narrow(parse_grammar(TINY), "MEDIUM", "kraken")
    entries = [(r,) for r in space.rules] + [(a, b) for a in space.rules for b in space.rules if a.key() < b.key()]
    sides = [RuleSet(e, x) for e in entries for x in [(), *((r,) for r in space.rules)]]
    risks = [Risk(s, 300, 0, h, Sizing(fraction_bps=1000), 1) for s in (100, 200) for h in (0, 5)]
    listed = [Genome("long", k, a) for k in risks for a in sides]
    listed += [Genome("both", k, a, b) for k in risks for a in sides for b in sides]
    assert len(space.rules) == 4
    assert all(space.contains(g) for g in listed)
    assert space.size() == len(listed) == len({genome_id(g) for g in listed})


def test_a_space_does_not_contain_what_lies_outside_it() -> None:
    space = narrow(parse_grammar(TINY), "MEDIUM", "kraken")
    one, two = RuleSet(space.rules[:1]), RuleSet(space.rules[:3])
    risk = Risk(100, 300)
    foreign = RuleSet((Rule(Operand("close"), ">", Operand("ema", 10)),))
    assert space.contains(Genome("long", risk, one))
    for outside in (
        Genome("short", risk, short=one),
        Genome("long", risk, two),
        Genome("long", risk, foreign),
        Genome("long", risk, one, one),
        Genome("long", Risk(150, 300), one),
        Genome("long", Risk(100, 300, 50), one),
        Genome("long", Risk(100, 300, 0, 6), one),
        Genome("long", Risk(100, 300, leverage=2), one),
        Genome("long", Risk(100, 300, sizing=Sizing(fraction_bps=999)), one),
        Genome("long", Risk(100, 300, sizing=Sizing("fixed", 0, 5.0)), one),
    ):
        assert not space.contains(outside)


@pytest.mark.parametrize("name", ["nothing", "", "../grammars/full", "full.toml", "FULL"])
def test_an_unknown_grammar_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="classic, full"):
        load_grammar(name)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "tiny"', 'name = "tiny', "cannot be read"),
        ('name = "tiny"', 'name = "tiny"\nwild = 1', "wild"),
        ("entry_rules = [1, 2]", "entry_rules = [0, 2]", "1 to 8 entry rules"),
        ("entry_rules = [1, 2]", "entry_rules = [3, 2]", "1 to 8 entry rules"),
        ("exit_rules = [0, 1]", "exit_rules = [0, 9]", "0 to 8 exit rules"),
        ("exit_rules = [0, 1]", "exit_rules = [0, 5]", "too few rules"),
        ('operators = [">", "<"]', 'operators = [">="]', ">="),
        ('left = ["close"]', 'left = ["macd"]', "macd"),
    ],
)
def test_a_grammar_that_breaks_a_rule_is_refused(old: str, new: str, words: str) -> None:
    assert old in TINY
    with pytest.raises(BadInput, match=words):
        parse_grammar(TINY.replace(old, new))


def test_a_grammar_that_leaves_nothing_at_a_level_or_venue_is_refused() -> None:
    short = parse_grammar(TINY.replace('["long", "both"]', '["short"]'))
    assert narrow(short, "MEDIUM", "kraken").directions == ("short",)
    with pytest.raises(BadInput, match="coinbase"):
        narrow(short, "MEDIUM", "coinbase")
    with pytest.raises(BadInput, match="HIGH"):
        narrow(parse_grammar(TINY.replace("[100, 200]", "[100]")), "HIGH", "kraken")
