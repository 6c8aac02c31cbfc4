"""Gaps, empty candles, jumps and disagreeing granularities are found in the real data and counted."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from domain.candles import Candles
from domain.errors import BadInput
from market.bundled import bundled
from market.importer import import_file
from market.reconcile import Difference, compare, reconcile
from market.resample import resample
from market.verify import Gap, gaps, verify

MINUTES = Path(__file__).resolve().parents[2] / "data" / "coinbase_BTC-USD_1m.parquet"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def five() -> Candles:
    [data] = bundled()
    return import_file(data.path, trusted=True)


@pytest.fixture(scope="module")
def one() -> Candles:
    return import_file(MINUTES, trusted=True)


def changed(candles: Candles, column: str, row: int, value: int) -> Candles:
    columns = {name: c.copy() for name, c in candles.ints.items()}
    columns[column][row] = value
    return Candles(candles.info, columns)


def rows(candles: Candles, chosen: np.ndarray) -> Candles:
    columns = {name: c[chosen] for name, c in candles.ints.items()}
    times = columns["time_ms"]
    info = msgspec.structs.replace(candles.info, candles=len(times), first_ms=int(times[0]), last_ms=int(times[-1]))
    return Candles(info, columns)


def with_decimals(candles: Candles, more: int) -> Candles:
    """The same values written with more decimals."""
    info = msgspec.structs.replace(
        candles.info,
        price_decimals=candles.info.price_decimals + more,
        volume_decimals=candles.info.volume_decimals + more,
    )
    return Candles(info, {n: c if n == "time_ms" else c * 10**more for n, c in candles.ints.items()})


def test_the_bundled_dataset_is_the_one_described(five: Candles) -> None:
    [data] = bundled()
    assert data[1:] == ("coinbase", "BTC-USD", 300)
    assert len(five) == 59_205
    assert (five.info.price_decimals, five.info.volume_decimals) == (2, 8)
    provenance = (data.path.parent / "PROVENANCE.md").read_text(encoding="utf-8")
    assert five.hash() in provenance
    assert "395647b" in provenance


def test_the_known_outage_is_found(five: Candles) -> None:
    assert gaps(five) == [Gap(1_761_403_800_000, 1), Gap(1_761_405_000_000, 69)]
    [problem] = verify(five)
    assert (problem.kind, problem.count) == ("gaps", 70)
    assert "70 candles are missing in 2 gaps: 1 after 2025-10-25 14:50, 69 after 2025-10-25 15:10" in problem.detail


def test_empty_candles_and_jumps_are_counted(five: Candles) -> None:
    crash = changed(five, "close", 500, int(five.ints["low"][500] * 3 // 4))
    crash = changed(crash, "low", 500, int(crash.ints["close"][500]))
    empty = changed(crash, "volume", 700, 0)
    found = {p.kind: p for p in verify(empty)}
    assert found["zero volume"].count == 1
    assert "2025-07-03 10:20" in found["zero volume"].detail
    assert found["jumps"].count == 2, "down at the close of one candle, up again at the next"
    assert "2025-07-02 17:40" in found["jumps"].detail


def test_a_price_that_jumps_across_an_outage_is_no_jump(five: Candles) -> None:
    columns = {name: c.copy() for name, c in five.ints.items()}
    after = int(np.argmax(five.time_ms > 1_761_405_000_000))
    for name in ("open", "high", "low", "close"):
        columns[name][after:] //= 2
    assert [p.kind for p in verify(Candles(five.info, columns))] == ["gaps"]


def test_rows_that_no_import_would_take_are_reported(five: Candles) -> None:
    [problem, *_] = verify(changed(five, "high", 11, int(five.ints["low"][11]) - 1))
    assert (problem.kind, problem.count) == ("broken", 1)
    assert problem.detail.startswith("row 12: high")


def test_long_lists_of_places_are_cut(five: Candles) -> None:
    kept = np.arange(len(five)) % 10 != 9
    [problem] = verify(rows(five, kept))
    assert problem.detail.endswith(" more")
    assert len(problem.detail) < 1000


def test_five_minutes_against_one_minute(one: Candles, five: Candles) -> None:
    """Candles that the recorder stored while they formed. Counted independently with a plain group-by on the files."""
    result = compare(one, five)
    assert result.comparable == 17_389
    assert len(result.differences) == 74
    assert all("volume" in d.columns for d in result.differences)
    assert sum("close" in d.columns for d in result.differences) == 23
    assert Difference(1_769_095_500_000, ("low", "close", "volume")) in result.differences
    [problem] = reconcile(one, five)
    assert (problem.kind, problem.count) == ("disagreement", 74)
    assert "74 of 17389 5m candles differ from their 1m candles" in problem.detail


def test_a_rebuilt_dataset_agrees_with_its_source(one: Candles) -> None:
    hours = resample(one, 3600)
    assert reconcile(one, hours) == []
    assert reconcile(with_decimals(one, 3), hours) == []
    wrong = changed(hours, "close", 5, int(hours.ints["close"][5]) + 1)
    for fine in (one, with_decimals(one, 3)):
        assert compare(fine, wrong).differences == (Difference(int(hours.time_ms[5]), ("close",)),)


def test_resampling_against_a_plain_loop(one: Candles) -> None:
    rebuilt, i = resample(one, 900), one.ints
    buckets: dict[int, list[int]] = {}
    for row, time in enumerate(one.time_ms.tolist()):
        buckets.setdefault(time - time % 900_000, []).append(row)
    whole = {time: members for time, members in buckets.items() if len(members) == 15}
    assert rebuilt.time_ms.tolist() == list(whole)
    for at, members in enumerate(whole.values()):
        if at % 50:
            continue
        assert rebuilt.ints["open"][at] == i["open"][members[0]]
        assert rebuilt.ints["high"][at] == max(i["high"][m] for m in members)
        assert rebuilt.ints["low"][at] == min(i["low"][m] for m in members)
        assert rebuilt.ints["close"][at] == i["close"][members[-1]]
        assert rebuilt.ints["volume"][at] == sum(i["volume"][m] for m in members)


def test_an_incomplete_interval_yields_no_candle(one: Candles) -> None:
    last_gap = 1_765_553_400_000  # 2025-12-12 15:30: two of its minutes are missing
    assert last_gap not in resample(one, 300).time_ms.tolist()
    assert last_gap - 300_000 in resample(one, 300).time_ms.tolist()


def test_what_cannot_be_compared_is_refused(one: Candles, five: Candles) -> None:
    with pytest.raises(BadInput, match="5m cannot be built from 5m"):
        reconcile(five, five)
    with pytest.raises(BadInput, match="1m cannot be built from 5m"):
        resample(five, 60)
    other = Candles(msgspec.structs.replace(five.info, venue="kraken"), five.ints)
    with pytest.raises(BadInput, match="different markets"):
        reconcile(one, other)
    with pytest.raises(BadInput, match="no 1d interval has all its"):
        resample(rows(one, np.arange(300)), 86_400)


def test_datasets_that_do_not_overlap_are_not_called_equal(one: Candles, five: Candles) -> None:
    early = rows(five, five.time_ms < one.info.first_ms - DAY_MS)
    [problem] = reconcile(one, early)
    assert problem.kind == "not comparable"
