"""Genomes of one space as rows of small integers: what the search breeds, compares and keeps, and how rows become genomes.

A row is int16[L]: the place of the direction and of each of six risk genes in the space's choices, then four parts of
rules (long entry, long exit, short entry, short exit), each the rules' places in `space.rules` ascending, -1 where there
are no more. Two rows are equal exactly when their genomes are.
"""

import hashlib
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from domain.genome import Genome, Risk, Rule, RuleSet, Sizing
from domain.grammar import Space
from domain.hashing import canonical
from kernels.jit import jit
from kernels.layout import GENOME
from kernels.population import Population

GENES = ("stop_bps", "target_bps", "trailing_bps", "max_hold", "size_bps", "leverage")
#: Where the rules of a row begin: the direction and the genes come before.
FIRST_RULE = 1 + len(GENES)
SIDES = ("long", "short")
LONG, SHORT = 1, 2
_SIDES_OF = {"long": LONG, "short": SHORT, "both": LONG | SHORT}

#: How `domain.hashing.canonical` writes each gene, and what stands around the rules: before each part, at the end, between two.
_GENE_TEXTS = (
    '"stop_bps":%s,', '"target_bps":%s,', '"trailing_bps":%s,', '"max_hold":%s,',
    '"sizing":{"mode":"fraction","fraction_bps":%s,"amount":0.0},', '"leverage":%s}',
)  # fmt: skip
_FRAME = (',"long":{"entry":[', '],"exit":[', ']},"short":{"entry":[', '],"exit":[', "]}}", ",")

Rows = NDArray[np.int16]


@jit
def fill_records(rows, choices, parts, records, index):
    """`records` (dtype GENOME) and `index` (int64, long enough) of `rows` (G, L); returns how much of `index` is used.

    `choices` float64[6, most]: what each place of a gene means, in units of the kernels. `parts` int64[5]: where the
    parts of a row begin, and its length. In place.
    """
    used = 0
    for i in range(len(rows)):
        row, g = rows[i], records[i]
        g.stop_frac, g.target_frac, g.trailing_frac = choices[0, row[1]], choices[1, row[2]], choices[2, row[3]]
        g.max_hold = np.int64(choices[3, row[4]])
        g.fraction, g.leverage, g.amount = choices[4, row[5]], choices[5, row[6]], 0.0
        g.long_entry = used
        for k in range(parts[0], parts[4]):
            if k == parts[1]:
                g.long_exit = used
            if k == parts[2]:
                g.short_entry = used
            if k == parts[3]:
                g.short_exit = used
            if row[k] >= 0:
                index[used] = row[k]
                used += 1
        if parts[3] == parts[4]:
            g.short_exit = used
        g.end = used
    return used


class Coding:
    """Rows of one space. `rules` is one list for good, so that bitmaps are kept from search to search."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.rules: list[Rule] = list(space.rules)
        if len(self.rules) > np.iinfo(np.int16).max:
            raise ValueError(f"{len(self.rules)} rules do not fit a row of int16")
        spans = (space.entry_rules[1], space.exit_rules[1]) * 2
        self.parts = np.cumsum([FIRST_RULE, *spans], dtype=np.int64)
        self.width = int(self.parts[-1])
        self.bounds = np.array([space.entry_rules, space.exit_rules] * 2, dtype=np.int64)
        self.sides = np.array([_SIDES_OF[d] for d in space.directions], dtype=np.int64)
        self.sizes = np.array([len(getattr(space, gene)) for gene in GENES], dtype=np.int64)
        self._choices = np.zeros((len(GENES), int(self.sizes.max())))
        for i, gene in enumerate(GENES):
            scale = 1.0 if gene in ("max_hold", "leverage") else 10_000.0
            self._choices[i, : self.sizes[i]] = [value / scale for value in getattr(space, gene)]
        self._spelling = _Spelling(space)
        self.kin, self.kin_from = _kin(space)

    def population(self, rows: Rows) -> Population:
        """`rows` (G, L) as evaluators take them; what `PlainEvaluator.encode` makes of their genomes, numbered otherwise."""
        records = np.zeros(len(rows), dtype=GENOME)
        index = np.empty(len(rows) * (self.width - FIRST_RULE), dtype=np.int64)
        used = fill_records(rows, self._choices, self.parts, records, index)
        return Population(records, index[:used], self.rules)

    def genome(self, row: Rows) -> Genome:
        """The canonical genome of one row (L,)."""
        at = row.tolist()
        parts = [self._part(at, p) for p in range(4)]
        sides = {side: RuleSet(parts[2 * i], parts[2 * i + 1]) for i, side in enumerate(SIDES)}
        return Genome(self.space.directions[at[0]], _risk_of(self.space, at[1:FIRST_RULE]), **sides)

    def _part(self, at: list[int], part: int) -> tuple[Rule, ...]:
        return tuple(self.rules[r] for r in at[self.parts[part] : self.parts[part + 1]] if r >= 0)

    def row(self, genome: Genome) -> Rows:
        """The row (L,) of a canonical genome within the space; KeyError or ValueError for any other."""
        space, risk = self.space, genome.risk
        row = np.full(self.width, -1, dtype=np.int16)
        genes = (
            risk.stop_bps,
            risk.target_bps,
            risk.trailing_bps,
            risk.max_hold,
            risk.sizing.fraction_bps,
            risk.leverage,
        )
        row[0] = space.directions.index(genome.direction)
        row[1:FIRST_RULE] = [getattr(space, name).index(gene) for name, gene in zip(GENES, genes, strict=True)]
        for part, rules in enumerate((genome.long.entry, genome.long.exit, genome.short.entry, genome.short.exit)):
            first = int(self.parts[part])
            row[first : first + len(rules)] = [space.position[rule] for rule in rules]
        return row

    def keys(self, rows: Rows) -> NDArray[np.uint8]:
        """The genomes' ids, uint8[G, 32], without making the genomes."""
        return self._spelling.keys(rows, self.parts)


def _risk_of(space: Space, at: list[int]) -> Risk:
    stop, target, trailing, hold, size, leverage = (
        getattr(space, gene)[place] for gene, place in zip(GENES, at, strict=True)
    )
    return Risk(stop, target, trailing, hold, Sizing(fraction_bps=size), leverage)


def _kin(space: Space) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each rule the rules that compare the same kinds: (all of them one after the other, int64[R, 2] from and to)."""
    flat: list[int] = []
    spans: dict[tuple[str, str], tuple[int, int]] = {}
    for rule in space.rules:
        kinds = (rule.left.kind, rule.right.kind)
        if kinds not in spans:
            spans[kinds] = (len(flat), len(flat) + len(space.alike[rule]))
            flat += [space.position[other] for other in space.alike[rule]]
    where = [spans[rule.left.kind, rule.right.kind] for rule in space.rules]
    return np.array(flat, dtype=np.int64), np.array(where, dtype=np.int64)


@jit
def add_text(text, texts, ends, out, used):
    """Text number `text` behind out[used - 1]; returns how much is used then."""
    for b in range(ends[text], ends[text + 1]):
        out[used] = texts[b]
        used += 1
    return used


@jit
def spell(rows, parts, texts, ends, bases, out, out_ends):
    """The canonical JSON of the genomes of `rows` into `out` uint8, one after the other; they end at `out_ends`. In place.

    Text t is texts[ends[t]..ends[t + 1] - 1]. `bases` int64[9]: the numbers of the first text of the directions, of each
    gene, of what opens the parts, closes the last and stands between two rules, of the rules.
    """
    used = 0
    for i in range(len(rows)):
        row = rows[i]
        for k in range(FIRST_RULE):
            used = add_text(bases[k] + row[k], texts, ends, out, used)
        for part in range(4):
            used = add_text(bases[7] + part, texts, ends, out, used)
            for k in range(parts[part], parts[part + 1]):
                if row[k] < 0:
                    break
                if k > parts[part]:
                    used = add_text(bases[7] + 5, texts, ends, out, used)
                used = add_text(bases[8] + row[k], texts, ends, out, used)
        used = add_text(bases[7] + 4, texts, ends, out, used)
        out_ends[i] = used


class _Spelling:
    """The texts of which the canonical JSON of a genome is made, and the hashes of what they make."""

    def __init__(self, space: Space) -> None:
        groups = [[f'{{"direction":{_json(d)},"risk":{{' for d in space.directions]]
        for gene, form in zip(GENES, _GENE_TEXTS, strict=True):
            groups.append([form % _json(value) for value in getattr(space, gene)])
        groups.append(list(_FRAME))
        groups.append([_json(rule) for rule in space.rules])
        texts = [text.encode() for group in groups for text in group]
        self._texts = np.frombuffer(b"".join(texts), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        self._bases = np.cumsum([0, *map(len, groups[:-1])], dtype=np.int64)
        longest = [max(map(len, group)) for group in groups]
        rules = 2 * (space.entry_rules[1] + space.exit_rules[1])
        self._longest = sum(longest[:-2]) + sum(map(len, _FRAME)) + rules * (1 + longest[-1])

    def keys(self, rows: Rows, parts: NDArray[np.int64]) -> NDArray[np.uint8]:
        out, ends = np.empty(len(rows) * self._longest, dtype=np.uint8), np.empty(len(rows), dtype=np.int64)
        spell(rows, parts, self._texts, self._ends, self._bases, out, ends)
        written, sha256, until = out.data, hashlib.sha256, [0, *ends.tolist()]
        keys = [sha256(written[first:end]).digest() for first, end in pairwise(until)]
        return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 32)


def _json(value: object) -> str:
    return canonical(value).decode()


@lru_cache(maxsize=16)
def coding_of(space: Space) -> Coding:
    """One coding for each space."""
    return Coding(space)
