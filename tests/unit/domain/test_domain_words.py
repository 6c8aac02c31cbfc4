"""Genomes in plain words, and figures as JSON."""

import math

import pytest

from domain.genome import Genome, Kelly, Operand, Risk, Rule, RuleSet, Sizing, VolatilityTarget
from domain.grammar import load_grammar
from domain.metrics import T1, T2, TIER1, TIER2, figures
from domain.results import UnitOutcome
from domain.words import genome_words, risk_words, rule_words

DIP = Rule(Operand("rsi", 14), "<", Operand("const", value=30.0))
TREND = Rule(Operand("close"), ">", Operand("sma", 200))
CROSS = Rule(Operand("ema", 10), "crosses_below", Operand("ema", 50))


def test_a_genome_reads_as_sentences() -> None:
    risk = Risk(150, 600, 100, 48, Sizing(fraction_bps=2500), 2)
    genome = Genome("both", risk, RuleSet((DIP, TREND), (CROSS,)), RuleSet((CROSS,), (DIP, TREND)))
    assert genome_words(genome) == [
        "Buy when RSI(14) is below 30 and the close is above SMA(200).",
        "Sell when EMA(10) crosses below EMA(50).",
        "Sell short when EMA(10) crosses below EMA(50).",
        "Buy back when RSI(14) is below 30 or the close is above SMA(200).",
        "Stop 1.5 %, target 6 %, trailing stop 1 %, out after 48 candles, size 25 % of equity, leverage 2x.",
    ]


def test_sizes_that_follow_from_the_past_say_from_what_and_how_far() -> None:
    half = Sizing("kelly", 2_500, kelly=Kelly(5_000, 500, 20))
    assert risk_words(Risk(100, 0, sizing=half)) == (
        "stop 1 %, size 50 % of Kelly's fraction from its closed trades (no entry without an edge, at most 25 % of equity, "
        "5 % until 20 trades are closed)"
    )
    full = Sizing("kelly", 10_000, kelly=Kelly(10_000, 100))
    assert risk_words(Risk(0, 0, sizing=full)).startswith("size Kelly's fraction from its closed trades")
    steady = Sizing("volatility", 5_000, volatility=VolatilityTarget(250, 48))
    assert risk_words(Risk(0, 0, sizing=steady)) == (
        "size for equity to move by 0.025 % a candle, after the volatility of the last 48 candles (at most 50 % of equity)"
    )


def test_what_is_off_is_not_mentioned() -> None:
    assert risk_words(Risk(0, 0, sizing=Sizing("fixed", 0, 250.0))) == "size 250 a trade"
    assert genome_words(Genome("long", Risk(0, 0), RuleSet((DIP,)))) == [
        "Buy when RSI(14) is below 30.",
        "Size 10 % of equity.",
    ]


@pytest.mark.parametrize("name", ["classic", "full"])
def test_no_two_rules_of_a_grammar_read_the_same(name: str) -> None:
    rules = load_grammar(name).rules()
    assert len({rule_words(r) for r in rules}) == len(rules)


def test_figures_are_counts_numbers_or_null() -> None:
    row = [1.5] * len(TIER1)
    row[T1["trades"]], row[T1["sharpe"]], row[T1["flags"]] = 3.0, math.nan, 0.0
    out = figures(TIER1, row)
    assert list(out) == list(TIER1)
    assert (out["trades"], out["sharpe"], out["return_frac"], out["flags"]) == (3, None, 1.5, 0)
    assert type(out["trades"]) is int
    assert figures(TIER2, [math.nan] * len(TIER2))["days"] is None
    assert [T2[name] for name in TIER2] == list(range(len(TIER2)))
    with pytest.raises(ValueError, match="zip"):
        figures(TIER1, row[:-1])


def test_the_digest_of_an_outcome_holds_what_was_found_and_nothing_else() -> None:
    outcome = UnitOutcome("d", 1, 2, 3, "t", ())
    assert outcome.digest() == UnitOutcome("d", 1, 2, 3, "t", ()).digest()
    others = [
        UnitOutcome("e", 1, 2, 3, "t", ()),
        UnitOutcome("d", 2, 2, 3, "t", ()),
        UnitOutcome("d", 1, 2, 4, "t", ()),
    ]
    assert len({o.digest() for o in [outcome, *others]}) == 4
