"""Does a strategy see the future? What it knew at a candle must not change when later candles are missing, or others.

Checked on every strategy, for both implementations of the indicators, and for the trades that they lead to. At several
places the candles are cut; up to there all columns of indicators, all signals and all trades closed by then must be those
of the whole series, bit for bit, once with nothing behind the cut and once with candles that never were.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from domain.candles import Candles
from domain.execution import ExecutionModel
from domain.genome import Genome, Operand
from domain.specs import Window
from kernels import indicators, reference_rules
from kernels.evaluation.simulator import Simulator

CUTS = 3
#: Candles put behind a cut that never were.
INVENTED = 64

Make = Callable[[Candles, ExecutionModel], Simulator]


class _Cut:
    """A series that is the real one before `at`; `words` say what is wrong with it from there on."""

    def __init__(self, at: int, words: str, series: Candles, evaluator: Simulator) -> None:
        self.at, self.words, self.series, self.evaluator = at, words, series, evaluator
        self.features = reference_rules.Features(series)


class LookAhead:
    """The check for any number of strategies on one range of one dataset; each indicator is looked at once.

    `make` builds the evaluator whose trades are compared over `window`.
    """

    def __init__(
        self, candles: Candles, window: Window, execution: ExecutionModel, make: Make, cuts: int = CUTS
    ) -> None:
        self._candles, self._window = candles, window
        self._whole = _Cut(len(candles), "", candles, make(candles, execution))
        span = window.stop - window.start
        self._cuts = []
        for at in (window.start + span * i // (cuts + 1) for i in range(1, cuts + 1)):
            for words, series in (("are missing", _prefix(candles, at)), ("are others", _invented(candles, at))):
                self._cuts.append(_Cut(at, words, series, make(series, execution)))
        self._known: dict[Operand, str] = {}

    def of(self, genome: Genome) -> str:
        """What changed first, in words; empty when nothing did."""
        for operand in _operands(genome):
            if operand not in self._known:
                self._known[operand] = self._of_operand(operand)
            if self._known[operand]:
                return self._known[operand]
        return self._of_signals(genome) or self._of_trades(genome)

    def _of_operand(self, operand: Operand) -> str:
        name = f"{operand.kind}({operand.period})" if operand.period else operand.kind
        for which, column in (("compiled", _compiled), ("readable", _readable)):
            whole = column(self._whole, operand)
            for cut in self._cuts:
                if not np.array_equal(column(cut, operand)[: cut.at], whole[: cut.at], equal_nan=True):
                    return f"the {which} {name} changes when the candles from {cut.at} on {cut.words}"
        return ""

    def _of_signals(self, genome: Genome) -> str:
        whole = _signals(genome, self._whole)
        for cut in self._cuts:
            for (name, signal), (_, again) in zip(whole, _signals(genome, cut), strict=True):
                if not np.array_equal(signal[: cut.at], again[: cut.at]):
                    return f"the {name} signal changes when the candles from {cut.at} on {cut.words}"
        return ""

    def _of_trades(self, genome: Genome) -> str:
        whole = self._whole.evaluator.trades(genome, self._window)
        for cut in self._cuts:
            window = Window(self._window.start, min(self._window.stop, len(cut.series)))
            again = [t for t in cut.evaluator.trades(genome, window) if t.exit_index < cut.at - 1]
            if again != [t for t in whole if t.exit_index < cut.at - 1]:
                return f"earlier trades change when the candles from {cut.at} on {cut.words}"
        return ""


def _operands(genome: Genome) -> Sequence[Operand]:
    rules = (*genome.long.entry, *genome.long.exit, *genome.short.entry, *genome.short.exit)
    return tuple(dict.fromkeys(o for r in rules for o in (r.left, r.right) if o.kind != "const"))


def _compiled(cut: _Cut, operand: Operand) -> NDArray[np.float64]:
    out = np.empty(len(cut.series))
    indicators.compute_feature(cut.series, operand, out)
    return out


def _readable(cut: _Cut, operand: Operand) -> NDArray[np.float64]:
    return cut.features[operand]


def _signals(genome: Genome, cut: _Cut) -> list[tuple[str, NDArray[np.bool_]]]:
    n, out = len(cut.series), []
    for side in ("long", "short"):
        rules = getattr(genome, side)
        out.append((f"{side} entry", reference_rules.all_hold(rules.entry, cut.features, n)))
        out.append((f"{side} exit", reference_rules.any_holds(rules.exit, cut.features, n)))
    return out


def _prefix(candles: Candles, cut: int) -> Candles:
    return _with(candles, {name: column[:cut] for name, column in candles.ints.items()})


def _invented(candles: Candles, cut: int) -> Candles:
    """The candles before the cut, then some with three times the price and the volume, at the times of the real ones."""
    stop = min(len(candles), cut + INVENTED)
    columns = {n: np.concatenate((c[:cut], c[cut:stop] * 3)) for n, c in candles.ints.items() if n != "time_ms"}
    return _with(candles, {"time_ms": candles.time_ms[:stop], **columns})


def _with(candles: Candles, columns: dict[str, NDArray[np.int64]]) -> Candles:
    n = len(columns["time_ms"])
    info = replace(candles.info, candles=n, last_ms=int(columns["time_ms"][-1]))
    return Candles(info, columns)
