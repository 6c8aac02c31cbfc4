"""A small market, the same bytes in every process: enough for a search, small enough for units of a second."""

import numpy as np

from domain.candles import Candles, DatasetInfo
from domain.execution import ExecutionModel
from domain.specs import CampaignSpec, SearchSpec, split_windows

EXECUTION = ExecutionModel(taker_bps=10.0, maker_bps=5.0, slippage_bps=1.0)


def small_market(candles: int = 4_000, seed: int = 1, symbol: str = "BTC/USD") -> Candles:
    """Integer arithmetic on raw generator output only, with waves in it so that some rules pay."""
    raw = np.random.Generator(np.random.PCG64(seed)).integers(-80, 81, candles)
    wave = np.repeat(np.array([25, 10, -10, -25, -10, 10], dtype=np.int64), 9)
    close = 2_000_000 + np.cumsum(raw * 100 + np.resize(wave, candles) * 60)
    close = np.maximum(close, 500_000)
    opened = np.concatenate([[2_000_000], close[:-1]])
    spread = np.random.Generator(np.random.PCG64(seed + 1)).integers(1, 4_000, (2, candles))
    columns = {
        "time_ms": np.arange(candles, dtype=np.int64) * 3_600_000,
        "open": opened,
        "high": np.maximum(opened, close) + spread[0],
        "low": np.minimum(opened, close) - spread[1],
        "close": close,
        "volume": np.random.Generator(np.random.PCG64(seed + 2)).integers(1_000, 9_000_000, candles),
    }
    info = DatasetInfo("kraken", symbol, 3600, 2, 4, candles, 0, int(columns["time_ms"][-1]))
    return Candles(info, columns)


def spec_for(
    candles: Candles, units: int, replicas: int = 2, seed: int = 1, population: int = 20, generations: int = 4
) -> CampaignSpec:
    """A campaign over the whole market. It never stops early, so that the work of a unit is known beforehand."""
    search = SearchSpec(
        dataset=candles.hash(),
        venue=candles.info.venue,
        symbol=candles.info.symbol,
        granularity_s=candles.info.granularity_s,
        windows=split_windows(len(candles)),
        execution=EXECUTION,
        population=population,
        generations=generations,
        patience=10_000,
        trades_wanted=20,
    )
    return CampaignSpec(search, units, replicas, seed, "test")
