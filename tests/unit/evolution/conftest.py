"""A generated market, the compiled evaluator on it, and one that also writes down what it was asked."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from domain.candles import COLUMNS, Candles, DatasetInfo
from domain.execution import ExecutionModel
from domain.genome import Genome
from domain.specs import SearchSpec, Window, split_windows
from kernels.evaluator import CompiledEvaluator

CANDLES = 4_000
EXECUTION = ExecutionModel(taker_bps=10.0, maker_bps=5.0, slippage_bps=1.0)


def generated(seed: int, candles: int = CANDLES) -> Candles:
    """A random walk of 0.4 % an hour with waves in it, so that some rules pay."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 0.004, candles) + 0.003 * np.sin(np.arange(candles) / 9.0)
    close = 20_000.0 * np.cumprod(1.0 + steps)
    opened = np.concatenate([[20_000.0], close[:-1]])
    high = np.maximum(opened, close) * (1.0 + rng.uniform(0.0, 0.002, candles))
    low = np.minimum(opened, close) * (1.0 - rng.uniform(0.0, 0.002, candles))
    columns = {"time_ms": np.arange(candles, dtype=np.int64) * 3_600_000}
    for name, values in (("open", opened), ("high", high), ("low", low), ("close", close)):
        columns[name] = np.rint(values * 100).astype(np.int64)
    columns["volume"] = rng.integers(1_000, 9_000_000, candles)
    info = DatasetInfo("kraken", "BTC/USD", 3600, 2, 4, candles, 0, int(columns["time_ms"][-1]))
    return Candles(info, columns)


def shuffled_after(candles: Candles, start: int) -> Candles:
    """The same candles, those from `start` on in another order (times stay)."""
    order = np.arange(len(candles))
    order[start:] = np.random.default_rng(5).permutation(order[start:])
    columns = {n: candles.ints[n] if n == "time_ms" else candles.ints[n][order] for n in COLUMNS}
    return Candles(candles.info, columns)


class Recording:
    """The compiled evaluator, with a list of every question."""

    def __init__(self, evaluator: CompiledEvaluator) -> None:
        self._evaluator = evaluator
        self.asked: list[tuple[str, tuple[Genome, ...], tuple[Window, ...]]] = []

    def tier1(self, genomes: Sequence[Genome], windows: Sequence[Window]) -> NDArray[np.float64]:
        self.asked.append(("tier1", tuple(genomes), tuple(windows)))
        return self._evaluator.tier1(genomes, windows)

    def tier2(self, genome: Genome, window: Window) -> NDArray[np.float64]:
        self.asked.append(("tier2", (genome,), (window,)))
        return self._evaluator.tier2(genome, window)

    def buy_and_hold(self, window: Window) -> NDArray[np.float64]:
        self.asked.append(("buy_and_hold", (), (window,)))
        return self._evaluator.buy_and_hold(window)


@pytest.fixture(scope="session")
def market() -> Candles:
    return generated(1)


@pytest.fixture(scope="session")
def evaluator(market: Candles) -> CompiledEvaluator:
    return CompiledEvaluator(market, EXECUTION)


@pytest.fixture
def recording(evaluator: CompiledEvaluator) -> Recording:
    return Recording(evaluator)


@pytest.fixture(scope="session")
def spec(market: Candles) -> SearchSpec:
    return SearchSpec(
        dataset=market.hash(),
        venue="kraken",
        symbol="BTC/USD",
        granularity_s=3600,
        windows=split_windows(CANDLES),
        execution=EXECUTION,
        population=30,
        generations=8,
        patience=8,
        trades_wanted=20,
    )


@pytest.fixture(scope="session")
def but(spec: SearchSpec) -> Callable[..., SearchSpec]:
    """The spec with some fields changed."""
    return lambda **changes: msgspec.structs.replace(spec, **changes)


@pytest.fixture(scope="session")
def altered(market: Candles) -> Callable[[int], Candles]:
    """The market with everything from that candle on shuffled."""
    return lambda start: shuffled_after(market, start)
