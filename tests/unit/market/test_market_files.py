"""Files that are no table, damaged, cut, huge or oddly named: refused in one line, and this process goes on."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from domain.errors import BadInput
from market.checks import MIN_IMPORT_CANDLES
from market.importer import import_file


def table() -> dict[str, list[float]]:
    rows = range(MIN_IMPORT_CANDLES)
    prices = {"open": 1.5, "high": 2.0, "low": 1.0, "close": 1.25}
    columns = {name: [price for _ in rows] for name, price in prices.items()}
    return {"time": [1_750_000_200 + i * 300 for i in rows], **columns, "volume": [i / 8 for i in rows]}


def csv_file(path: Path) -> Path:
    pl.DataFrame(table()).with_columns(pl.col("time").cast(pl.Int64)).write_csv(path)
    return path


@pytest.mark.parametrize("name", ["coinbase_BTC-USD_5m[1].csv", "*_?.csv", "two words.csv"])
def test_a_file_name_is_no_pattern(name: str, tmp_path: Path) -> None:
    path = csv_file(tmp_path / name)
    assert import_file(path, "coinbase", "BTC-USD", "5m").info.candles == MIN_IMPORT_CANDLES


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"time,open,high,low,close,volume\n", "it holds no candles"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither CSV text nor Parquet"),
        (b"PAR1 and then nothing of the kind", "cannot be read as a table|damaged"),
        (b"just a letter to a friend\nwith two lines\n", "missing columns"),
        (b"time;open;high;low;close;volume\n1;2;3;4;5;6\n", "missing columns"),
        (b"time,open,high,low,close,volume\n\xff\xfe,1,1,1,1,1\n", "cannot be read as a table"),
        (
            b"time,open,high,low,close,volume\n300,1,1,1,1,1\n600,1,1,1,1,1,9\n",
            "row 2: it has 7 fields, the header has 6",
        ),
    ],
)
def test_a_file_that_is_no_table(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "coinbase_BTC-USD_5m.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=reason) as refused:
        import_file(path)
    assert "\n" not in str(refused.value)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "coinbase_BTC-USD_5m.csv"
    with pytest.raises(BadInput, match="there is no such file"):
        import_file(folder)
    folder.mkdir()
    with pytest.raises(BadInput, match="it is not a file"):
        import_file(folder)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "coinbase_BTC-USD_5m.csv"
    with path.open("wb") as stream:
        stream.write(b"time,open,high,low,close,volume\n")
        stream.truncate(3_000_000_000)  # sparse: takes no room on the disk
    with pytest.raises(BadInput, match="it is larger than 1000 MB"):
        import_file(path)


def test_a_small_parquet_with_too_many_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "coinbase_BTC-USD_5m.parquet"
    columns = {name: pl.repeat(1, 5_000_001, dtype=pl.Int8, eager=True) for name in table()}
    pl.DataFrame(columns).write_parquet(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(BadInput, match="more than 5000000 rows"):
        import_file(path)


def test_a_parquet_that_is_cut_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame(table()).write_parquet(whole)
    data, path = whole.read_bytes(), tmp_path / "coinbase_BTC-USD_5m.parquet"
    for length in (4, 11, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(BadInput, match=r"cannot be read|damaged"):
            import_file(path)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_parquet_ends_in_one_line_or_in_a_checked_dataset(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Damage can make the decoder panic or abort; this process must go on, and nothing but our line may be said."""
    path = tmp_path / "coinbase_BTC-USD_5m.parquet"
    pl.DataFrame(table()).write_parquet(path)
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for at in rng.integers(0, len(data), 20):
        data[at] = rng.integers(0, 256)
    path.write_bytes(b"PAR1" + data[4:])
    with pytest.raises(BadInput, match="nothing was registered") as refused:
        import_file(path)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_a_file_that_aborts_the_decoder_is_refused_and_we_go_on() -> None:
    killer = Path(__file__).resolve().parents[2] / "data" / "aborts_the_decoder.parquet"
    with pytest.raises(BadInput, match=r"aborts_the_decoder.parquet: it (is damaged|cannot be read)"):
        import_file(killer, "coinbase", "BTC-USD", "5m")


def test_a_decoder_that_dies_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -ABRT $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    path = tmp_path / "coinbase_BTC-USD_5m.parquet"
    pl.DataFrame(table()).write_parquet(path)
    with pytest.raises(BadInput, match=r"it is damaged \(reading it ended with signal 6\)"):
        import_file(path)
