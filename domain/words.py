"""A genome in plain words, for pages, reports and the command line."""

from msgspec import UNSET

from domain.genome import Genome, Operand, Risk, Rule, Sizing

_FIELD = {"open": "the open", "high": "the high", "low": "the low", "close": "the close", "volume": "the volume"}
_INDICATOR = {"sma": "SMA", "ema": "EMA", "rsi": "RSI", "volume_sma": "volume SMA"}
_OP = {">": "is above", "<": "is below", "crosses_above": "crosses above", "crosses_below": "crosses below"}


def operand_words(o: Operand) -> str:
    if o.kind == "const":
        return f"{o.value:g}"
    return _FIELD.get(o.kind) or f"{_INDICATOR[o.kind]}({o.period})"


def rule_words(rule: Rule) -> str:
    return f"{operand_words(rule.left)} {_OP[rule.op]} {operand_words(rule.right)}"


def _percent(bps: int) -> str:
    return f"{bps / 100:g} %"


def sizing_words(s: Sizing) -> str:
    if s.kelly is not UNSET:
        k = s.kelly
        part = "Kelly's fraction" if k.multiplier_bps == 10_000 else f"{_percent(k.multiplier_bps)} of Kelly's fraction"
        return (
            f"size {part} from its closed trades (no entry without an edge, at most {_percent(s.fraction_bps)} of equity, "
            f"{_percent(k.base_bps)} until {k.min_trades} trades are closed)"
        )
    if s.volatility is not UNSET:
        v = s.volatility
        return (
            f"size for equity to move by {v.target_ppm / 10_000:g} % a candle, after the volatility of the last {v.period} "
            f"candles (at most {_percent(s.fraction_bps)} of equity)"
        )
    return f"size {_percent(s.fraction_bps)} of equity" if s.mode == "fraction" else f"size {s.amount:g} a trade"


def risk_words(risk: Risk) -> str:
    """One clause for each protection that is on, then size and leverage."""
    parts = []
    if risk.stop_bps:
        parts.append(f"stop {_percent(risk.stop_bps)}")
    if risk.target_bps:
        parts.append(f"target {_percent(risk.target_bps)}")
    if risk.trailing_bps:
        parts.append(f"trailing stop {_percent(risk.trailing_bps)}")
    if risk.max_hold:
        parts.append(f"out after {risk.max_hold} candles")
    parts.append(sizing_words(risk.sizing))
    if risk.leverage > 1:
        parts.append(f"leverage {risk.leverage}x")
    return ", ".join(parts)


def genome_words(genome: Genome) -> list[str]:
    """Lines such as `Buy when RSI(14) is below 30 and the close is above SMA(200).`"""
    lines = []
    for side, opens, closes in (("long", "Buy", "Sell"), ("short", "Sell short", "Buy back")):
        rules = getattr(genome, side)
        if rules.entry:
            lines.append(f"{opens} when {' and '.join(map(rule_words, rules.entry))}.")
        if rules.exit:
            lines.append(f"{closes} when {' or '.join(map(rule_words, rules.exit))}.")
    text = risk_words(genome.risk)
    return [*lines, text[0].upper() + text[1:] + "."]
