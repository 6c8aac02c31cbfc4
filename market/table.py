"""Reads the six columns of a CSV or Parquet file, whatever is wrong with it told in one line."""

import csv
from collections import Counter
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from market.checks import Fault

COLUMNS = ("time", "open", "high", "low", "close", "volume")
#: Nine years of one-minute candles; more is not one dataset, and would not fit beside its indicators.
MAX_ROWS = 5_000_000
MAX_BYTES = 1_000_000_000
_PARQUET_MAGIC = b"PAR1"


def read_columns(file: Path) -> pl.DataFrame | Fault:
    """The six columns as stored (CSV: strings), at most MAX_ROWS rows, or why the file is no such table.

    Extra columns are left aside, blank lines at the end of a CSV too; header names may differ in case.
    """
    try:
        if not file.is_file():
            return Fault(None, "it is not a file" if file.exists() else "there is no such file")
        if file.stat().st_size > MAX_BYTES:
            return Fault(None, f"it is larger than {MAX_BYTES // 1_000_000} MB: split it")
        with file.open("rb") as stream:
            head = stream.read(4096)
        return _read(file, head)
    except PolarsError as e:
        return _ragged(file) or Fault(None, f"it cannot be read as a table ({_one_line(e)})")
    except (OSError, UnicodeDecodeError) as e:
        return Fault(None, f"it cannot be read ({_one_line(e)})")
    except PanicException as e:  # not an Exception: polars' own bug on a damaged file must not end the process
        return Fault(None, f"it is damaged ({_one_line(e)})")


def is_parquet(file: Path) -> bool:
    """Whether the file starts like Parquet, whatever its name; False for what cannot be opened (reading says why)."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return stream.read(4) == _PARQUET_MAGIC
    except OSError:
        return False


def _read(file: Path, head: bytes) -> pl.DataFrame | Fault:
    parquet = head.startswith(_PARQUET_MAGIC)
    if not parquet and (b"\0" in head or file.suffix.lower() in (".parquet", ".pq")):
        return Fault(None, "it is neither CSV text nor Parquet")
    if not head.strip():
        return Fault(None, "it is empty")
    # glob: a bracket in a file's name is a bracket.
    lazy = pl.scan_parquet(file, glob=False) if parquet else pl.scan_csv(file, infer_schema=False, glob=False)
    chosen = _choose(lazy.collect_schema().names())
    if isinstance(chosen, Fault):
        return chosen
    rows = lazy.select(pl.col(chosen["time"]).len()).collect().item() if parquet else 0
    if rows <= MAX_ROWS:
        wanted = [pl.col(chosen[name]).alias(name) for name in COLUMNS]
        table = lazy.select(wanted).head(MAX_ROWS + 1).collect()
        rows = len(table)
    if rows > MAX_ROWS:
        return Fault(None, f"it has more than {MAX_ROWS} rows: split it")
    if not rows:
        return Fault(None, "it holds no candles")
    return table if parquet else _without_blank_end(table)


def _choose(names: list[str]) -> dict[str, str] | Fault:
    """Our column names to those of the file; a missing or doubled one is a fault."""
    plain = {name: name.strip().lower().removesuffix("_duplicated_0") for name in names}
    counts = Counter(plain.values())
    missing = [name for name in COLUMNS if not counts[name]]
    if missing:
        found = ", ".join(names)[:120] or "none"
        return Fault(None, f"missing columns {', '.join(missing)} (found: {found})")
    doubled = [name for name in COLUMNS if counts[name] > 1]
    if doubled:
        return Fault(None, f"columns {', '.join(doubled)} are there more than once")
    return {short: name for name, short in plain.items() if short in COLUMNS}


def _without_blank_end(table: pl.DataFrame) -> pl.DataFrame:
    last = len(table)
    while last and all(cell is None for cell in table.row(last - 1)):
        last -= 1
    return table.head(last)


def _ragged(file: Path) -> Fault | None:
    """The first row of a CSV that has more fields than the header: polars says only that there is one."""
    if file.suffix.lower() in (".parquet", ".pq"):
        return None
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream)
            width = len(next(lines, []))
            for row, cells in enumerate(lines):
                if len(cells) > width:
                    return Fault(row, f"it has {len(cells)} fields, the header has {width}")
    except (OSError, UnicodeDecodeError, csv.Error):
        return None  # the caller's own words are as good
    return None


def _one_line(e: BaseException) -> str:
    text = e.strerror if isinstance(e, OSError) and e.strerror else str(e).strip()
    return text.splitlines()[0][:160] if text else type(e).__name__
