"""`sluice bench indicators`: all indicators of the classic grammar once over the bundled candles, against pandas where installed.

`figure` and `baseline` are milliseconds for all of them; without pandas the baseline is the reference in numpy.
"""

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.population import bundled_candles
from domain.candles import Candles
from domain.genome import Operand
from domain.grammar import load_grammar
from kernels.indicators import compute_feature
from kernels.reference_rules import feature

TITLE = "Indicators: milliseconds for all of the classic grammar, once over the bundled candles"
COLUMNS = ("case", "candles", "figure", "baseline", "ratio", "identical")


def run(quick: bool = False) -> list[dict[str, Any]]:
    candles = bundled_candles()
    kinds = ("sma", "ema", "rsi", "volume_sma")
    operands = [Operand(k, p) for k in kinds for p in load_grammar("classic").periods]  # type: ignore[arg-type]
    out = np.empty((len(operands), len(candles)))
    _compiled(candles, operands, out)
    rows = [_row("24 indicators against numpy", candles, operands, out, lambda: _numpy(candles, operands), quick)]
    if importlib.util.find_spec("pandas"):
        rows.append(
            _row(
                "24 indicators against pandas", candles, operands, out, lambda: _pandas(candles, operands), quick, _near
            )
        )
    return rows


def _row(
    case: str,
    candles: Candles,
    operands: list[Operand],
    out: np.ndarray[Any, Any],
    baseline: Callable[[], list[np.ndarray[Any, Any]]],
    quick: bool,
    same: Callable[[Any, Any], bool] = lambda a, b: np.array_equal(a, b, equal_nan=True),
) -> dict[str, Any]:
    ours, theirs, expected = [], [], []
    for _ in range(3 if quick else 9):
        began = time.perf_counter()
        expected = baseline()
        middle = time.perf_counter()
        _compiled(candles, operands, out)
        theirs.append(middle - began)
        ours.append(time.perf_counter() - middle)
    return {
        "case": case,
        "candles": len(candles),
        "figure": round(statistics.median(ours) * 1e3, 3),
        "baseline": round(statistics.median(theirs) * 1e3, 3),
        "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
        "identical": all(same(a, b) for a, b in zip(out, expected, strict=True)),
    }


def _near(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Float sums drift; they are near where both are known."""
    known = np.isfinite(a) & np.isfinite(b)
    return bool(np.allclose(a[known], b[known], rtol=1e-6, atol=1e-6))


def _compiled(candles: Candles, operands: list[Operand], out: np.ndarray[Any, Any]) -> None:
    for operand, row in zip(operands, out, strict=True):
        compute_feature(candles, operand, row)


def _numpy(candles: Candles, operands: list[Operand]) -> list[np.ndarray[Any, Any]]:
    return [feature(candles, o) for o in operands]


def _pandas(candles: Candles, operands: list[Operand]) -> list[np.ndarray[Any, Any]]:
    """The usual one-liners; float sums, so that they are near ours and not the same."""
    pandas: Any = importlib.import_module("pandas")

    close, volume = pandas.Series(candles.close), pandas.Series(candles.volume)
    change = close.diff()
    found = []
    for o in operands:
        if o.kind == "sma":
            series = close.rolling(o.period).mean()
        elif o.kind == "volume_sma":
            series = volume.rolling(o.period).mean()
        elif o.kind == "ema":
            series = close.ewm(span=o.period, adjust=False).mean()
        else:
            gains = change.clip(lower=0).rolling(o.period).mean()
            losses = (-change.clip(upper=0)).rolling(o.period).mean()
            series = 100 * gains / (gains + losses)
        found.append(series.to_numpy())
    return found
