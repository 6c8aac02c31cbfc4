"""The records in which genomes, rules, costs and trades reach the compiled kernels.

A rule's operand is a row of the feature matrix, or a constant when its row is -1. A genome's rules are four spans of the
chunk's one rule table: `long_entry` to `long_exit` to `short_entry` to `short_exit` to `end`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from domain.genome import OPS, Operand, Rule, Sizing
from kernels.terms import Costs
from kernels.trade import REASONS, Trade

RULE = np.dtype([("left", "i8"), ("right", "i8"), ("op", "i8"), ("left_value", "f8"), ("right_value", "f8")])
GENOME = np.dtype(
    [
        ("long_entry", "i8"),
        ("long_exit", "i8"),
        ("short_entry", "i8"),
        ("short_exit", "i8"),
        ("end", "i8"),
        ("max_hold", "i8"),
        ("stop_frac", "f8"),
        ("target_frac", "f8"),
        ("trailing_frac", "f8"),
        ("amount", "f8"),
        ("fraction", "f8"),
        ("leverage", "f8"),
        # How the fraction follows from the past: one of three, then min_trades or period, base_bps, multiplier or target.
        ("sizing", "i8"),
        ("lookback", "i8"),
        ("base", "f8"),
        ("aim", "f8"),
    ]
)
#: `sizing`: as given (an amount or a fraction), Kelly, volatility target.
GIVEN, KELLY, VOLATILITY = range(3)
_FLOAT_COSTS = tuple(n for n in Costs.__struct_fields__ if n not in ("granularity_ms", "max_missing"))
COSTS = np.dtype([(n, "f8") for n in _FLOAT_COSTS] + [("granularity_ms", "i8"), ("max_missing", "i8")])
TRADE = np.dtype(
    [
        ("entry_index", "i8"),
        ("exit_index", "i8"),
        ("side", "i8"),
        ("margin", "i8"),
        ("reason", "i8"),
        ("candles_held", "i8"),
        ("lots", "f8"),
        ("entry_price", "f8"),
        ("exit_price", "f8"),
        ("entry_notional", "f8"),
        ("exit_notional", "f8"),
        ("entry_costs", "f8"),
        ("fees", "f8"),
        ("pnl", "f8"),
        ("equity_before", "f8"),
        ("equity_after", "f8"),
    ]
)


def operands_of(rules: Iterable[Rule]) -> list[Operand]:
    """Every operand that needs a row of the feature matrix (constants do not), repeats included."""
    return [o for r in rules for o in (r.left, r.right) if o.kind != "const"]


def encode_costs(costs: Costs) -> NDArray[np.void]:
    """Shape (1,), dtype COSTS."""
    return np.array([tuple(getattr(costs, n) for n in Costs.__struct_fields__)], dtype=COSTS)


def rule_records(rules: Iterable[Rule], rows: Mapping[Operand, int]) -> NDArray[np.void]:
    """Records of dtype RULE; `rows` holds the feature row of every operand but the constants."""
    return np.array(
        [(rows.get(r.left, -1), rows.get(r.right, -1), OPS.index(r.op), r.left.value, r.right.value) for r in rules],
        dtype=RULE,
    )


def sizing_fields(s: Sizing) -> tuple[int, int, float, float]:
    """`sizing`, `lookback`, `base` and `aim` of GENOME."""
    if s.kelly is not UNSET:
        return KELLY, s.kelly.min_trades, s.kelly.base_bps / 10_000.0, s.kelly.multiplier_bps / 10_000.0
    if s.volatility is not UNSET:
        return VOLATILITY, s.volatility.period, 0.0, s.volatility.target_ppm / 1_000_000.0
    return GIVEN, 0, 0.0, 0.0


def decode_trade(record: np.void) -> Trade:
    return Trade(
        entry_index=int(record["entry_index"]),
        exit_index=int(record["exit_index"]),
        side=int(record["side"]),
        lots=int(record["lots"]),
        entry_price=float(record["entry_price"]),
        exit_price=float(record["exit_price"]),
        fees=float(record["fees"]),
        pnl=float(record["pnl"]),
        reason=REASONS[int(record["reason"])],
    )
