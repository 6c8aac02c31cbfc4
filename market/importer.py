"""Import of a table of candles (CSV or Parquet) as a dataset: all of it, or a clear refusal and nothing.

Columns: time (candle open time), open, high, low, close, volume; others are left aside. Rows are counted
from 1, the first one after the header.
"""

import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl

from domain.candles import Candles, DatasetInfo
from domain.errors import BadInput
from market.checks import PRICES, VALUES, Fault, Floats, Ints, exact_ints, first_fault
from market.granularity import Market, market_of
from market.isolate import read_isolated
from market.table import is_parquet, read_columns
from market.times import times_ms


def import_file(
    path: Path | str,
    venue: str = "",
    symbol: str = "",
    granularity: str | int = "",
    now_ms: int | None = None,
    trusted: bool = False,
) -> Candles:
    """Candles from a file; what the arguments leave out is taken from a name like `coinbase_BTC-USD_5m.parquet`.

    `now_ms` (ms UTC, default: the clock) decides which candle is still forming. Parquet is decoded in a process of its
    own unless the file is `trusted` (it ships with us, or we wrote it), which saves a third of a second. Raises
    BadInput with one line that names file, row and reason when any row breaks a rule (see `checks.first_fault`).
    """
    file = Path(path)
    if not file.is_file():
        _refuse(file, Fault(None, "it is not a file" if file.exists() else "there is no such file"))
    market = market_of(file, venue, symbol, granularity)
    table = read_columns(file) if trusted or not is_parquet(file) else read_isolated(file)
    if isinstance(table, Fault):
        _refuse(file, table)
    time_ms = times_ms(table["time"])
    if isinstance(time_ms, Fault):
        _refuse(file, time_ms)
    values: dict[str, Floats] = {}
    for name in VALUES:
        column = _floats(table[name])
        if isinstance(column, Fault):
            _refuse(file, column)
        values[name] = column
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    made = build(market, time_ms, values, now)
    if isinstance(made, Fault):
        _refuse(file, made)
    return made


def build(market: Market, time_ms: Ints, values: dict[str, Floats], now_ms: int) -> Candles | Fault:
    """Candles of checked columns (shape (n,), floats in quote and base currency), or the first fault in them."""
    fault = first_fault(time_ms, values, market.granularity_s, now_ms)
    if fault:
        return fault
    prices = exact_ints({name: values[name] for name in PRICES})
    if isinstance(prices, Fault):
        return prices
    volumes = exact_ints({"volume": values["volume"]})
    if isinstance(volumes, Fault):
        return volumes
    info = DatasetInfo(
        venue=market.venue,
        symbol=market.symbol,
        granularity_s=market.granularity_s,
        price_decimals=prices[0],
        volume_decimals=volumes[0],
        candles=len(time_ms),
        first_ms=int(time_ms[0]),
        last_ms=int(time_ms[-1]),
    )
    return Candles(info, {"time_ms": time_ms, **prices[1], **volumes[1]})


def _refuse(file: Path, fault: Fault) -> NoReturn:
    where = f"{file.name} row {fault.row + 1}" if fault.row is not None else file.name
    todo = "correct the file and import it again"
    raise BadInput(f"{where}: {fault.reason}; nothing was registered: {todo}")


def _floats(column: pl.Series) -> Floats | Fault:
    """The column as float64 of shape (n,); a cell that is empty or no number is a fault, never a value."""
    kind = column.dtype
    if not (kind.is_numeric() or kind == pl.String):
        return Fault(None, f"column {column.name} holds {kind}, not numbers")
    plain = column.str.strip_chars() if kind == pl.String else column
    numbers = plain.cast(pl.Float64, strict=False)
    missing = numbers.is_null()
    if missing.any():
        row = int(missing.to_numpy().argmax())
        cell = column[row]
        said = f"is {str(cell)[:40]!r}, not a number" if cell not in (None, "") else "is missing"
        return Fault(row, f"{column.name} {said}")
    return np.ascontiguousarray(numbers.to_numpy(), dtype=np.float64)
