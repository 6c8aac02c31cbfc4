"""Candles as exact integers: what a dataset is, how it is named, how it travels.

Prices and volumes are stored as int64 multiples of 10**-decimals, found at import, so that rolling sums
are exact and a dataset has the same bytes and the same hash on every machine.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput
from domain.hashing import canonical, sha256_hex

COLUMNS = ("time_ms", "open", "high", "low", "close", "volume")
_MAGIC = b"SLUICE-CANDLES-1\n"


class DatasetInfo(msgspec.Struct, frozen=True):
    """The header of a dataset; `granularity_s` in seconds, times in ms UTC, both ends inclusive (open times)."""

    venue: str
    symbol: str
    granularity_s: int
    price_decimals: int
    volume_decimals: int
    candles: int
    first_ms: int
    last_ms: int


class Candles:
    """A dataset in memory. Integer columns as stored, float64 twins as the kernels read them (all shape (n,))."""

    def __init__(self, info: DatasetInfo, columns: dict[str, NDArray[np.int64]]) -> None:
        if not (0 <= info.price_decimals <= 18 and 0 <= info.volume_decimals <= 18):
            raise BadInput("prices and volumes of a dataset have 0 to 18 decimals")
        self.info = info
        self.ints = {name: np.ascontiguousarray(columns[name], dtype=np.int64) for name in COLUMNS}
        if any(len(c) != info.candles for c in self.ints.values()):
            raise BadInput("columns of a dataset must all have as many rows as its header says")
        self.time_ms = self.ints["time_ms"]
        price, volume = 10.0**info.price_decimals, 10.0**info.volume_decimals
        self.open = self.ints["open"] / price
        self.high = self.ints["high"] / price
        self.low = self.ints["low"] / price
        self.close = self.ints["close"] / price
        self.volume = self.ints["volume"] / volume

    def __len__(self) -> int:
        return self.info.candles

    def head(self, n: int) -> "Candles":
        """The first `n` candles, sharing memory with all of them."""
        if n == len(self):
            return self
        part = Candles.__new__(Candles)
        last_ms = int(self.time_ms[n - 1]) if n else self.info.first_ms
        part.info = msgspec.structs.replace(self.info, candles=n, last_ms=last_ms)
        part.ints = {name: column[:n] for name, column in self.ints.items()}
        part.time_ms = part.ints["time_ms"]
        for name in COLUMNS[1:]:
            setattr(part, name, getattr(self, name)[:n])
        return part

    def to_bytes(self) -> bytes:
        """Magic line, header line (canonical JSON), then the six little-endian int64 columns in order."""
        body = b"".join(self.ints[name].astype("<i8").tobytes() for name in COLUMNS)
        return _MAGIC + canonical(self.info) + b"\n" + body

    def hash(self) -> str:
        """The dataset's id: SHA-256 over `to_bytes`."""
        return sha256_hex(self.to_bytes())


def info_from_bytes(data: bytes) -> DatasetInfo:
    """The header of a dataset from its first bytes (the columns may be cut off); raises BadInput when there is none."""
    return _header(data)[0]


def _header(data: bytes) -> tuple[DatasetInfo, int]:
    if not data.startswith(_MAGIC):
        raise BadInput("these bytes are not a dataset of candles")
    end = data.find(b"\n", len(_MAGIC))
    if end < 0:
        raise BadInput("the dataset is cut within its header")
    try:
        return msgspec.json.decode(data[len(_MAGIC) : end], type=DatasetInfo), end + 1
    except msgspec.MsgspecError as e:
        raise BadInput(f"the header of the dataset cannot be read: {e}") from e


def candles_from_bytes(data: bytes) -> Candles:
    """Inverse of `Candles.to_bytes`; raises BadInput when the bytes are not a dataset."""
    info, start = _header(data)
    expected = len(COLUMNS) * info.candles * 8
    if info.candles < 1 or len(data) - start != expected:
        raise BadInput(f"the dataset is cut: {len(data) - start} bytes of columns, {expected} expected")
    table = np.frombuffer(data, dtype="<i8", offset=start).reshape(len(COLUMNS), info.candles)
    return Candles(info, {name: table[i] for i, name in enumerate(COLUMNS)})
