"""Datasets as tables, exactly: what is exported and imported again has the same hash."""

import io
from pathlib import Path

import polars as pl

from domain.candles import Candles
from domain.errors import BadInput
from market.checks import VALUES
from market.files import write_whole


def frame(candles: Candles) -> pl.DataFrame:
    """Columns time (UTC, ms, open time), open, high, low, close, volume (float64)."""
    time = pl.Series("time", candles.time_ms).cast(pl.Datetime("ms", "UTC"))
    return pl.DataFrame([time, *(pl.Series(name, getattr(candles, name)) for name in VALUES)])


def export_file(candles: Candles, path: Path | str) -> None:
    """Write a `.csv` (ISO 8601 times) or `.parquet` file, whole or not at all.

    Raises BadInput for another suffix, Unreachable when it cannot be written.
    """
    target = Path(path)
    table, buffer = frame(candles), io.BytesIO()
    if target.suffix == ".csv":
        table.with_columns(pl.col("time").dt.to_string("%Y-%m-%dT%H:%M:%SZ")).write_csv(buffer)
    elif target.suffix == ".parquet":
        table.write_parquet(buffer, compression="zstd")
    else:
        raise BadInput(f"{target.name}: an export ends in .csv or .parquet")
    write_whole(target, buffer.getvalue())
