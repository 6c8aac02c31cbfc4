"""Import: what is sound comes in exactly and hashes alike from every format; what is not is refused with its row."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.candles import Candles, candles_from_bytes
from domain.errors import BadInput
from market.checks import LONGEST_PERIOD, MIN_IMPORT_CANDLES, Fault, exact_ints
from market.export import export_file
from market.importer import import_file

START_S = 1_750_000_200  # a multiple of 300
ROWS = MIN_IMPORT_CANDLES
Table = dict[str, list[object]]


def sound(rows: int = ROWS, step_s: int = 300) -> Table:
    """A valid table: a price with cents that climbs and falls, volumes with 8 decimals."""
    open_ = [100 + (i * 7 % 50) + 0.25 for i in range(rows)]
    return {
        "time": [START_S + i * step_s for i in range(rows)],
        "open": list(open_),
        "high": [p + 2.5 for p in open_],
        "low": [p - 1.75 for p in open_],
        "close": [p + 1.01 for p in open_],
        "volume": [(i + 1) / 10**8 for i in range(rows)],
    }


def csv_of(table: Table, path: Path) -> Path:
    lines = [
        ",".join(table),
        *(",".join("" if c is None else str(c) for c in row) for row in zip(*table.values(), strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def load(table: Table, folder: Path) -> Candles:
    return import_file(csv_of(table, folder / "coinbase_BTC-USD_5m.csv"))


def test_a_sound_table_becomes_exact_integers(tmp_path: Path) -> None:
    table = sound()
    candles = load(table, tmp_path)
    assert (candles.info.venue, candles.info.symbol, candles.info.granularity_s) == ("coinbase", "BTC-USD", 300)
    assert (candles.info.price_decimals, candles.info.volume_decimals) == (2, 8)
    assert candles.ints["open"][:3].tolist() == [10025, 10725, 11425]
    assert candles.ints["volume"][:3].tolist() == [1, 2, 3]
    assert candles.close.tolist() == table["close"]
    assert candles.info.first_ms == START_S * 1000
    assert candles_from_bytes(candles.to_bytes()).hash() == candles.hash()


TIME_FORMS: dict[str, Callable[[int], object]] = {
    "seconds": lambda s: s,
    "milliseconds": lambda s: s * 1000,
    "microseconds": lambda s: s * 1_000_000,
    "nanoseconds": lambda s: s * 1_000_000_000,
    "float seconds": lambda s: f"{s}.0",
    "ISO with Z": lambda s: datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "ISO without zone": lambda s: datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%d %H:%M:%S"),
    "ISO, another zone": lambda s: datetime.fromtimestamp(s + 7200, UTC).strftime("%Y-%m-%dT%H:%M:%S+02:00"),
}


@pytest.mark.parametrize("form", TIME_FORMS)
def test_every_way_to_write_a_time_is_the_same_dataset(form: str, tmp_path: Path) -> None:
    table = sound()
    expected = load(table, tmp_path).hash()
    table["time"] = [TIME_FORMS[form](START_S + i * 300) for i in range(ROWS)]
    assert load(table, tmp_path).hash() == expected


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_parquet_timestamps_of_every_unit_and_zone(unit: str, zone: str | None, tmp_path: Path) -> None:
    table = sound()
    expected = load(table, tmp_path).hash()
    time = pl.from_epoch(pl.Series("time", table["time"]), "s").cast(pl.Datetime(unit))  # type: ignore[arg-type]
    if zone:
        time = time.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    path = tmp_path / "coinbase_BTC-USD_5m.parquet"
    pl.DataFrame(table).with_columns(time.alias("time")).write_parquet(path)
    assert import_file(path).hash() == expected


BAD_CELLS = [
    ("open", "NaN", "open is nan"),
    ("close", "nan", "close is nan"),
    ("close", "", "close is missing"),
    ("high", "inf", "high is inf"),
    ("low", "-inf", "low is -inf"),
    ("low", "0", "low is 0.0, it must be above 0"),
    ("open", "-1", "open is -1.0, it must be above 0"),
    ("volume", "-0.5", "volume is -0.5"),
    ("volume", "NaN", "volume is nan"),
    ("volume", "lots", "volume is 'lots', not a number"),
    ("high", "50", "high 50.0 is below low"),
    ("open", "999", "open 999.0 lies outside low"),
    ("close", "1", "close 1.0 lies outside low"),
    ("close", "120.0000000000001", "has more than 12 decimals"),
    ("time", "", "time is missing"),
    ("time", "yesterday", "time 'yesterday' is not a unix time"),
    ("time", "17", "does not lie in the years 1980 to 2199"),
    ("time", str(START_S + 17 * 300 + 60), "is not aligned to 5m"),
    ("time", str(START_S + 16 * 300), "is there twice"),
    ("time", str(START_S + 3 * 300), "times are not sorted"),
]


@pytest.mark.parametrize("row", [18])
@pytest.mark.parametrize(("column", "cell", "reason"), BAD_CELLS)
def test_a_bad_cell_is_refused_with_its_row(column: str, cell: str, reason: str, row: int, tmp_path: Path) -> None:
    table = sound()
    table[column][row - 1] = cell
    with pytest.raises(BadInput) as refused:
        load(table, tmp_path)
    said = str(refused.value)
    assert said.startswith(f"coinbase_BTC-USD_5m.csv row {row}: ")
    assert reason in said
    assert "nothing was registered" in said
    assert "\n" not in said


@pytest.mark.parametrize("row", [1, 2, ROWS])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_price_that_is_no_number_never_becomes_one(value: float | None, row: int, tmp_path: Path) -> None:
    table = sound()
    table["close"][row - 1] = value
    path = tmp_path / "coinbase_BTC-USD_5m.parquet"
    pl.DataFrame(table).write_parquet(path)
    with pytest.raises(BadInput, match=rf"row {row}: close is (nan|inf|missing)"):
        import_file(path)


def test_the_first_of_several_bad_rows_is_named(tmp_path: Path) -> None:
    table = sound()
    table["volume"][99] = -1
    table["high"][40] = 1
    with pytest.raises(BadInput, match="row 41: high"):
        load(table, tmp_path)


@pytest.mark.parametrize("column", ["time", "open", "high", "low", "close", "volume"])
def test_a_missing_column_is_named(column: str, tmp_path: Path) -> None:
    table = sound()
    del table[column]
    with pytest.raises(BadInput, match=f"missing columns {column} "):
        load(table, tmp_path)


def test_order_case_and_extra_columns_do_not_matter(tmp_path: Path) -> None:
    table = sound()
    expected = load(table, tmp_path).hash()
    shuffled = {name.upper(): table[name] for name in reversed(table)} | {"note": ["x"] * ROWS}
    assert load(shuffled, tmp_path).hash() == expected


def test_spaces_quotes_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = csv_of(sound(), tmp_path / "coinbase_BTC-USD_5m.csv")
    expected = import_file(path).hash()
    lines = [", ".join(f"{cell} " for cell in line.split(",")) for line in path.read_text().splitlines()]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, "", ""]).encode())
    assert import_file(path).hash() == expected
    path.write_text(
        "\n".join('"' + line.replace(",", '","') + '"' for line in csv_of(sound(), path).read_text().split())
    )
    assert import_file(path).hash() == expected


def test_a_column_given_twice_is_refused(tmp_path: Path) -> None:
    path = csv_of(sound(), tmp_path / "coinbase_BTC-USD_5m.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",close", *(line + ",1" for line in lines[1:])]))
    with pytest.raises(BadInput, match="columns close are there more than once"):
        import_file(path)


def test_too_few_candles_for_the_longest_indicator(tmp_path: Path) -> None:
    assert MIN_IMPORT_CANDLES == LONGEST_PERIOD + 1 == 201
    with pytest.raises(BadInput, match="200 candles are too few: at least 201 are needed"):
        load(sound(200), tmp_path)


def test_half_an_hourly_file_behind_a_five_minute_one(tmp_path: Path) -> None:
    table = sound(300)
    begin = START_S + 199 * 300 + 3600
    table["time"][200:] = [begin + i * 3600 for i in range(100)]
    with pytest.raises(BadInput, match="row 201: the granularity changes here: from now on candles are 3600 s apart"):
        load(table, tmp_path)


def test_one_minute_candles_in_between_are_refused(tmp_path: Path) -> None:
    table = sound()
    table["time"][100:] = [START_S + 99 * 300 + (i + 1) * 60 for i in range(ROWS - 100)]
    with pytest.raises(BadInput, match=r"row 101: time .* is not aligned to 5m; the table mixes granularities"):
        load(table, tmp_path)


def test_a_granularity_that_the_steps_do_not_show(tmp_path: Path) -> None:
    path = csv_of(sound(), tmp_path / "x.csv")
    with pytest.raises(BadInput, match="row 2: most candles are 300 s apart, not 60 s as 1m"):
        import_file(path, "coinbase", "BTC-USD", "1m")


def test_an_outage_is_no_other_granularity(tmp_path: Path) -> None:
    table = sound()
    table["time"][100:] = [START_S + (i + 70) * 300 for i in range(100, ROWS)]
    assert load(table, tmp_path).info.candles == ROWS


def test_a_candle_that_is_still_forming_is_refused(tmp_path: Path) -> None:
    path = csv_of(sound(), tmp_path / "coinbase_BTC-USD_5m.csv")
    end_ms = (START_S + ROWS * 300) * 1000
    assert import_file(path, now_ms=end_ms).info.candles == ROWS
    with pytest.raises(BadInput, match=f"row {ROWS}: the candle of .* is not finished yet"):
        import_file(path, now_ms=end_ms - 1)


def test_the_market_comes_from_arguments_before_the_file_name(tmp_path: Path) -> None:
    path = csv_of(sound(), tmp_path / "coinbase_BTC-USD_1h.csv")
    info = import_file(path, "Kraken", "eth-usd", 300).info
    assert (info.venue, info.symbol, info.granularity_s) == ("kraken", "ETH-USD", 300)


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("x.csv", {}, "granularity is missing"),
        ("x.csv", {"granularity": "5m"}, "venue is missing"),
        ("x.csv", {"granularity": "5m", "venue": "coinbase"}, "symbol is missing"),
        ("coinbase_BTC-USD_7m.csv", {}, "granularity '7m' is unknown: use one of 1m"),
        ("coinbase_BTC-USD_5m.csv", {"venue": "a.b"}, "venue 'a.b' is not one"),
        ("coinbase_BTC-USD_5m.csv", {"symbol": "BTC/USD"}, "symbol 'BTC/USD' is not one"),
        ("coinbase_BTC-USD_5m.csv", {"granularity": "5m>"}, "is unknown"),
    ],
)
def test_a_market_that_cannot_be_told(name: str, given: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=reason):
        import_file(csv_of(sound(), tmp_path / name), **given)  # type: ignore[arg-type]


def test_too_large_to_be_summed(tmp_path: Path) -> None:
    table = sound()
    table["volume"][9] = 9_300_000_000_000_000
    with pytest.raises(BadInput, match=r"row 10: volume .* too many digits"):
        load(table, tmp_path)
    table["volume"][9] = 92_300_000
    with pytest.raises(BadInput, match=r"row 10: volume 92300000.0 is too large for the 8 decimals of volume in row 1"):
        load(table, tmp_path)


def test_decimals_are_the_fewest_that_are_exact() -> None:
    made = exact_ints({"a": np.array([1.5, 2.0]), "b": np.array([0.125, 3.0])})
    assert not isinstance(made, Fault)
    assert made[0] == 3
    assert {name: ints.tolist() for name, ints in made[1].items()} == {"a": [1500, 2000], "b": [125, 3000]}


def test_the_residue_of_a_computation_is_no_price() -> None:
    made = exact_ints({"a": np.array([0.3, 0.1 + 0.2, 0.25])})
    assert isinstance(made, Fault)
    assert made.row == 1
    assert made.reason.startswith("a 0.30000000000000004 has more than 12 decimals")


cents = st.integers(1, 10**9)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Random sound tables: any decimals, bodies within their range, gaps shorter than a change of granularity."""
    price_unit, volume_unit = 10 ** draw(st.integers(0, 6)), 10 ** draw(st.integers(0, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(ROWS, ROWS + 50))
    corners = np.sort(rng.integers(1, draw(cents) + 4, size=(rows, 4)), axis=1)
    flip = rng.random(rows) < 0.5
    steps = np.where(rng.random(rows) < 0.05, rng.integers(2, 9, rows), 1)
    return {
        "time": (START_S + np.cumsum(steps) * 300).tolist(),
        "open": (np.where(flip, corners[:, 1], corners[:, 2]) / price_unit).tolist(),
        "high": (corners[:, 3] / price_unit).tolist(),
        "low": (corners[:, 0] / price_unit).tolist(),
        "close": (np.where(flip, corners[:, 2], corners[:, 1]) / price_unit).tolist(),
        "volume": (rng.integers(0, 10**8, rows) / volume_unit).tolist(),
    }


@settings(max_examples=40, deadline=None)
@given(table=tables())
def test_csv_parquet_and_export_agree_on_every_bit(table: Table, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("both")
    first = load(table, folder)
    pl.DataFrame(table).write_parquet(folder / "coinbase_BTC-USD_5m.parquet")
    second = import_file(folder / "coinbase_BTC-USD_5m.parquet", trusted=True)
    assert first.hash() == second.hash()
    for column in ("open", "high", "low", "close", "volume"):
        assert getattr(first, column).tolist() == table[column]
    for suffix in (".csv", ".parquet"):
        again = folder / f"coinbase_BTC-USD_5m{suffix}"
        export_file(first, again)
        assert import_file(again, trusted=True).hash() == first.hash()


@settings(max_examples=25, deadline=None)
@given(table=tables(), row=st.integers(1, ROWS), column=st.sampled_from(["open", "high", "low", "close", "volume"]))
def test_one_bad_cell_anywhere_is_found(
    table: Table, row: int, column: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table[column][row - 1] = "NaN"
    with pytest.raises(BadInput, match=rf"row {row}: {column} is nan"):
        load(table, tmp_path_factory.mktemp("bad"))
