"""Genomes as arrays: distinct rules and risks are numbered once and kept, so that a population is a few integers each."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.genome import MAX_RULES, Genome, Risk, Rule, validate_genome
from kernels.layout import GENOME, sizing_fields

#: Distinct rules (or risks) kept before the numbering starts afresh.
KEPT = 200_000
SPANS = ("long_entry", "long_exit", "short_entry", "short_exit", "end")
_RISK_FIELDS = ("max_hold", "stop_frac", "target_frac", "trailing_frac", "amount", "fraction", "leverage",
                "sizing", "lookback", "base", "aim")  # fmt: skip


class Population(msgspec.Struct, frozen=True, eq=False):
    """G genomes: `records` (G,) dtype GENOME, whose spans lie in `index` (numbers of `rules`).

    `rules` is the numbering's own list, which later populations only extend.
    """

    records: NDArray[np.void]
    index: NDArray[np.int64]
    rules: list[Rule]

    def __len__(self) -> int:
        return len(self.records)


class Numbering:
    """Numbers rules and risks by value. Objects seen before are known by identity, which is faster than hashing."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._rules: list[Rule] = []
        self._risks: list[Risk] = []
        self._rule_number: dict[Rule, int] = {}
        self._risk_number: dict[Risk, int] = {}
        self._known: dict[int, int] = {}
        self._alive: list[object] = []
        self._risk_rows: list[tuple[float, ...]] = []
        self._columns: dict[str, NDArray[Any]] = {}

    def encode(self, genomes: Sequence[Genome]) -> Population:
        """Raises BadInput for a genome out of range."""
        if max(len(self._rules), len(self._risks), len(self._alive) // 8) > self._kept:
            self._start_afresh()
        index: list[int] = []
        spans: list[int] = []
        risk_of: list[int] = []
        for g in genomes:
            try:
                risk, parts = self._numbers(g)
            except KeyError:
                self._meet(g)
                risk, parts = self._numbers(g)
            if not _well_formed(g):
                validate_genome(g)
            risk_of.append(risk)
            for part in parts:
                spans.append(len(index))
                index += part
            spans.append(len(index))
        return self._population(spans, index, risk_of)

    def _numbers(self, g: Genome) -> tuple[int, tuple[list[int], ...]]:
        known, long, short = self._known, g.long, g.short
        return known[id(g.risk)], (
            [known[id(r)] for r in long.entry],
            [known[id(r)] for r in long.exit] if long.exit else [],
            [known[id(r)] for r in short.entry] if short.entry else [],
            [known[id(r)] for r in short.exit] if short.exit else [],
        )

    def _meet(self, g: Genome) -> None:
        """Number what the genome has that is new; the objects stay alive, as a freed one's address could become another's."""
        validate_genome(g)
        self._know(g.risk, self._risks, self._risk_number)
        for rule in (*g.long.entry, *g.long.exit, *g.short.entry, *g.short.exit):
            self._know(rule, self._rules, self._rule_number)

    def _know(self, thing: Any, things: list[Any], number: dict[Any, int]) -> None:
        if thing not in number:
            number[thing] = len(things)
            things.append(thing)
        if id(thing) not in self._known:
            self._known[id(thing)] = number[thing]
            self._alive.append(thing)

    def _population(self, spans: list[int], index: list[int], risk_of: list[int]) -> Population:
        records = np.empty(len(risk_of), dtype=GENOME)
        table = np.array(spans, dtype=np.int64).reshape(len(risk_of), len(SPANS))
        for i, name in enumerate(SPANS):
            records[name] = table[:, i]
        numbers = np.array(risk_of, dtype=np.int64)
        columns = self._risk_columns()
        for name in _RISK_FIELDS:
            records[name] = columns[name][numbers]
        return Population(records, np.array(index, dtype=np.int64), self._rules)

    def _risk_columns(self) -> dict[str, NDArray[Any]]:
        """Of every numbered risk, in the units of the kernels; grown as risks are added."""
        for risk in self._risks[len(self._risk_rows) :]:
            self._risk_rows.append(
                (
                    risk.max_hold,
                    risk.stop_bps / 10_000.0,
                    risk.target_bps / 10_000.0,
                    risk.trailing_bps / 10_000.0,
                    risk.sizing.amount,
                    risk.sizing.fraction_bps / 10_000.0,
                    float(risk.leverage),
                    *sizing_fields(risk.sizing),
                )
            )
            self._columns = {}
        if not self._columns:
            table = np.array(self._risk_rows, dtype=np.float64).reshape(len(self._risk_rows), len(_RISK_FIELDS))
            self._columns = {name: table[:, i].copy() for i, name in enumerate(_RISK_FIELDS)}
        return self._columns


def _well_formed(g: Genome) -> bool:
    """Do the sides fit the direction? A quick look: where it says no, `validate_genome` decides and finds the words."""
    long, short = g.long, g.short
    if g.direction == "long":
        sides_fit = not (short.entry or short.exit) and long.entry
    elif g.direction == "short":
        sides_fit = not (long.entry or long.exit) and short.entry
    else:
        sides_fit = long.entry and short.entry
    return bool(sides_fit) and max(len(long.entry), len(long.exit), len(short.entry), len(short.exit)) <= MAX_RULES
