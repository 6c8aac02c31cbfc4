"""A coarser dataset rebuilt from a finer one."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.candles import Candles
from domain.errors import BadInput
from market.granularity import granularity_name


def resample(fine: Candles, granularity_s: int) -> Candles:
    """Candles of `granularity_s` seconds from those buckets of which every fine candle is there.

    Open of the first, highest high, lowest low, close of the last, exact sum of volumes; an incomplete bucket yields no
    candle. Raises BadInput unless the granularity is a multiple of the finer one, or when no bucket is complete.
    """
    own = fine.info.granularity_s
    if granularity_s <= own or granularity_s % own:
        wanted, has = granularity_name(granularity_s), granularity_name(own)
        raise BadInput(f"{wanted} cannot be built from {has}: ask for a multiple of it")
    bucket_ms, members = granularity_s * 1000, granularity_s // own
    bucket = fine.time_ms // bucket_ms
    starts = np.flatnonzero(np.concatenate(([True], np.diff(bucket) != 0)))
    complete = np.diff(np.append(starts, len(bucket))) == members
    if not complete.any():
        raise BadInput(f"no {granularity_name(granularity_s)} interval has all its {members} candles")
    first = starts[complete]
    ints = fine.ints
    columns: dict[str, NDArray[np.int64]] = {
        "time_ms": bucket[first] * bucket_ms,
        "open": ints["open"][first],
        "high": np.maximum.reduceat(ints["high"], starts)[complete],
        "low": np.minimum.reduceat(ints["low"], starts)[complete],
        "close": ints["close"][first + members - 1],
        "volume": np.add.reduceat(ints["volume"], starts)[complete],
    }
    time_ms = columns["time_ms"]
    info = msgspec.structs.replace(
        fine.info,
        granularity_s=granularity_s,
        candles=len(time_ms),
        first_ms=int(time_ms[0]),
        last_ms=int(time_ms[-1]),
    )
    return Candles(info, columns)
