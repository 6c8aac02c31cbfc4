"""Strategies that everybody knows, to compare finds with: nothing here was searched for on any candles."""

from domain.genome import Genome, Operand, Risk, Rule, RuleSet, Sizing, canonical_genome

_TENTH = Sizing(fraction_bps=1_000)
_STOP_BPS = 500


def _long(entry: Rule, exit: Rule) -> Genome:
    return canonical_genome(Genome("long", Risk(_STOP_BPS, 0, sizing=_TENTH), RuleSet((entry,), (exit,))))


_FAST, _SLOW, _RSI = Operand("sma", 20), Operand("sma", 50), Operand("rsi", 14)
#: A tenth of the equity a trade, a stop at 5 %, no target: they leave by their rule.
SHIPPED: dict[str, Genome] = {
    "sma-20-50": _long(Rule(_FAST, "crosses_above", _SLOW), Rule(_FAST, "crosses_below", _SLOW)),
    "rsi-momentum": _long(
        Rule(_RSI, "crosses_above", Operand("const", value=60.0)),
        Rule(_RSI, "crosses_below", Operand("const", value=40.0)),
    ),
}
