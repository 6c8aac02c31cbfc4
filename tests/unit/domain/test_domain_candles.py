"""Datasets as bytes: exact there and back, and refused when cut or foreign."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from domain.candles import COLUMNS, Candles, DatasetInfo, candles_from_bytes
from domain.errors import BadInput


def dataset(table: NDArray[np.int64], price_decimals: int = 2, volume_decimals: int = 8) -> Candles:
    n = table.shape[1]
    first, last = int(table[0, 0]), int(table[0, -1])
    info = DatasetInfo("coinbase", "BTC-USD", 300, price_decimals, volume_decimals, n, first, last)
    return Candles(info, dict(zip(COLUMNS, table, strict=True)))


tables = st.integers(1, 20).flatmap(
    lambda n: st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n), min_size=6, max_size=6).map(
        lambda rows: np.array(rows, dtype=np.int64).reshape(6, n)
    )
)


@given(tables, st.integers(0, 10), st.integers(0, 10))
def test_bytes_there_and_back_keep_every_integer(table: NDArray[np.int64], prices: int, volumes: int) -> None:
    one = dataset(table, prices, volumes)
    two = candles_from_bytes(one.to_bytes())
    assert two.info == one.info
    assert two.to_bytes() == one.to_bytes()
    assert two.hash() == one.hash()
    for i, name in enumerate(COLUMNS):
        assert two.ints[name].tolist() == table[i].tolist()


def test_float_columns_are_the_nearest_numbers_to_the_decimals() -> None:
    candles = dataset(np.array([[0], [10110], [10330], [9990], [10007], [123456789]], dtype=np.int64))
    assert (candles.open[0], candles.high[0], candles.low[0], candles.close[0]) == (101.10, 103.30, 99.90, 100.07)
    assert candles.volume[0] == 1.23456789
    assert len(candles) == 1


@pytest.mark.parametrize("column", range(6))
def test_the_hash_depends_on_every_column(column: int) -> None:
    table = np.arange(18, dtype=np.int64).reshape(6, 3)
    changed = table.copy()
    changed[column, 1] += 1
    assert dataset(changed).hash() != dataset(table).hash()


def test_the_hash_depends_on_the_header() -> None:
    table = np.arange(18, dtype=np.int64).reshape(6, 3)
    assert dataset(table, 3).hash() != dataset(table).hash()


def test_a_dataset_cut_at_any_byte_is_refused() -> None:
    whole = dataset(np.arange(12, dtype=np.int64).reshape(6, 2)).to_bytes()
    for length in range(len(whole)):
        with pytest.raises(BadInput):
            candles_from_bytes(whole[:length])
    with pytest.raises(BadInput, match="cut"):
        candles_from_bytes(whole + b"\0" * 8)


@pytest.mark.parametrize("header", [b"{}", b"[]", b"\xff", b'{"venue":1}'])
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(BadInput, match="header"):
        candles_from_bytes(b"SLUICE-CANDLES-1\n" + header + b"\n")


def test_columns_of_unequal_length_and_wild_decimals_are_refused() -> None:
    columns = {name: np.zeros(3, dtype=np.int64) for name in COLUMNS}
    with pytest.raises(BadInput, match="as many rows"):
        Candles(DatasetInfo("v", "s", 60, 2, 2, 4, 0, 0), columns)
    with pytest.raises(BadInput, match="0 to 18 decimals"):
        Candles(DatasetInfo("v", "s", 60, 400, 2, 3, 0, 0), columns)
