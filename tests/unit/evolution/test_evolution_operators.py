"""Random genomes, mutation, crossover and neighbours: always valid, always within the space, always something new."""

import hashlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.genome import Genome, Risk, RuleSet, Sizing, canonical_genome, genome_id, validate_genome
from domain.grammar import Space, narrow, parse_grammar, search_space
from domain.risk import RISK_LEVELS, Level
from kernels.evolution.operators import (
    TOURNAMENT,
    cross,
    layout_of,
    mutate,
    neighbour,
    random_row,
    steps_of,
    tournament,
)
from kernels.evolution.state import genome_key
from kernels.integers import Coding, coding_of

SPACES = [(g, level, venue) for g in ("classic", "full") for level in RISK_LEVELS for venue in ("coinbase", "kraken")]
seeds = st.integers(0, 2**64 - 1)
# By name: a space is megabytes to print. No deadline: the first call compiles.
spaces = st.sampled_from(SPACES)
Named = tuple[str, Level, str]


class Breeder:
    """The compiled operators on genomes: what goes in and comes out is decoded from, and encoded to, rows."""

    def __init__(self, space: Space, seed: int) -> None:
        self.coding: Coding = coding_of(space)
        self.layout = layout_of(self.coding)
        self.state = np.array([seed], dtype=np.uint64)
        self._was = np.empty(self.coding.width, dtype=np.int16)

    def random(self) -> Genome:
        return self.coding.genome(random_row(self.coding, self.state))

    def mutate(self, genome: Genome, strength: int = 1) -> Genome:
        row = self.coding.row(genome)
        mutate(self.layout, self.state, row, strength, self._was)
        return self.coding.genome(row)

    def cross(self, a: Genome, b: Genome) -> Genome:
        row = np.empty(self.coding.width, dtype=np.int16)
        cross(self.layout, self.state, self.coding.row(a), self.coding.row(b), row, self._was)
        return self.coding.genome(row)

    def neighbours(self, genome: Genome) -> list[Genome]:
        source, row = self.coding.row(genome), np.empty(self.coding.width, dtype=np.int16)
        numbers = range(steps_of(self.layout))
        return [self.coding.genome(row) for number in numbers if neighbour(self.layout, source, number, row)]


def check(genome: Genome, space: Space) -> None:
    validate_genome(genome)
    assert canonical_genome(genome) == genome
    assert space.contains(genome)
    coding = coding_of(space)
    assert coding.genome(coding.row(genome)) == genome
    assert coding.keys(coding.row(genome)[None])[0].tobytes().hex() == genome_id(genome) == genome_key(genome).hex()


@settings(max_examples=200, deadline=None)
@given(spaces, seeds)
def test_random_genomes_are_canonical_valid_and_within_the_space(named: Named, seed: int) -> None:
    space = search_space(*named)
    check(Breeder(space, seed).random(), space)


@settings(max_examples=300, deadline=None)
@given(spaces, seeds, st.integers(1, 4))
def test_mutation_that_does_nothing_never_happens(named: Named, seed: int, strength: int) -> None:
    space = search_space(*named)
    breeder = Breeder(space, seed)
    genome = breeder.random()
    mutant = breeder.mutate(genome, strength)
    check(mutant, space)
    assert genome_id(mutant) != genome_id(genome)


@settings(max_examples=300, deadline=None)
@given(spaces, seeds, st.sampled_from(["strangers", "twins", "one edit apart"]))
def test_crossover_that_returns_a_parent_never_happens(named: Named, seed: int, kinship: str) -> None:
    space = search_space(*named)
    breeder = Breeder(space, seed)
    a = breeder.random()
    b = {"strangers": breeder.random(), "twins": a, "one edit apart": breeder.mutate(a)}[kinship]
    child = breeder.cross(a, b)
    check(child, space)
    assert genome_id(child) not in (genome_id(a), genome_id(b))


@settings(max_examples=100, deadline=None)
@given(spaces, seeds, st.data())
def test_every_neighbour_is_another_valid_genome(named: Named, seed: int, data: st.DataObject) -> None:
    space = search_space(*named)
    breeder = Breeder(space, seed)
    source, row = random_row(breeder.coding, breeder.state), np.empty(breeder.coding.width, dtype=np.int16)
    for number in data.draw(st.lists(st.integers(0, steps_of(breeder.layout) - 1), min_size=20, max_size=20)):
        if neighbour(breeder.layout, source, number, row):
            check(breeder.coding.genome(row), space)
            assert not np.array_equal(row, source)


def test_the_neighbours_are_all_that_one_exchange_or_step_leads_to() -> None:
    space = search_space("classic", "MEDIUM", "coinbase")
    breeder, rules = Breeder(space, 1), space.rules
    genome = Genome("long", Risk(100, 500), RuleSet((rules[3], rules[7])))
    found = breeder.neighbours(genome)
    # One stop up, two targets; without either rule; another in the place of either; one more.
    assert len(found) == len(set(found)) == 3 + 2 + 2 * 214 + 214
    assert {g.risk for g in found} == {Risk(100, 500), Risk(150, 500), Risk(100, 400), Risk(100, 600)}
    sets = {frozenset(g.long.entry) for g in found if g.risk == genome.risk}
    old = frozenset(genome.long.entry)
    assert all(len(s ^ old) == 1 or (len(s) == 2 and len(s ^ old) == 2) for s in sets)


TINY = """
name = "tiny"
periods = [10]
operators = [">", "<"]
entry_rules = [1, 1]
exit_rules = [0, 0]
directions = ["long"]
stop_bps = [200]
target_bps = [300, 400]
trailing_bps = [0]
max_hold = [0]
size_bps = [1000]
leverage = [1]
[[families]]
left = ["close"]
right = ["sma"]
"""


@settings(deadline=None)
@given(seeds)
def test_operators_find_something_new_even_among_four_strategies(seed: int) -> None:
    space = narrow(parse_grammar(TINY), "MEDIUM", "coinbase")
    breeder = Breeder(space, seed)
    assert space.size() == 4
    a = breeder.random()
    b = breeder.mutate(a, 4)
    child = breeder.cross(a, b)
    assert len({genome_id(g) for g in (a, b, child)}) == 3


def genes(genome: Genome) -> dict[str, object]:
    risk = genome.risk
    return {
        "direction": genome.direction,
        "stop": risk.stop_bps,
        "target": risk.target_bps,
        "trailing": risk.trailing_bps,
        "max_hold": risk.max_hold,
        "size": risk.sizing.fraction_bps,
        "leverage": risk.leverage,
        "long entries": len(genome.long.entry),
        "long exits": len(genome.long.exit),
        "short entries": len(genome.short.entry),
        "short exits": len(genome.short.exit),
    }


@pytest.mark.parametrize("level", list(RISK_LEVELS))
def test_genes_never_encoded_mutation_reaches_every_choice_of_every_gene(level: str) -> None:
    space = search_space("full", level, "kraken")
    breeder = Breeder(space, 1)
    genome = breeder.random()
    seen: dict[str, set[object]] = {name: set() for name in genes(genome)}
    for _ in range(6_000):
        genome = breeder.mutate(genome)
        for name, value in genes(genome).items():
            seen[name].add(value)
    assert seen["direction"] == {"long", "short", "both"}
    for name, choices in (
        ("stop", space.stop_bps),
        ("target", space.target_bps),
        ("trailing", space.trailing_bps),
        ("max_hold", space.max_hold),
        ("size", space.size_bps),
        ("leverage", space.leverage),
    ):
        assert seen[name] == set(choices), name
    for side in ("long", "short"):  # 0: the side is left out by the direction
        assert seen[f"{side} entries"] == {0, 1, 2, 3}
        assert seen[f"{side} exits"] == {0, 1, 2}


def test_genes_never_encoded_mutation_reaches_every_rule_on_every_place() -> None:
    space = search_space("full", "MEDIUM", "kraken")
    small = msgspec.structs.replace(space, rules=space.rules[::40])  # each place needs its own time to see all
    group = {rule: small.rules for rule in small.rules}
    small = msgspec.structs.replace(small, position={r: i for i, r in enumerate(small.rules)}, alike=group)
    # All rules are each other's kin here, though they compare different kinds.
    breeder = Breeder(small, 2)
    every = np.arange(len(small.rules))
    whole = np.tile(np.array([0, len(every)]), (len(every), 1))
    breeder.layout = breeder.layout._replace(kin=every, kin_from=whole)
    genome = breeder.random()
    places = [("long", "entry"), ("long", "exit"), ("short", "entry"), ("short", "exit")]
    seen: dict[tuple[str, str], set[object]] = {place: set() for place in places}
    for _ in range(6_000):
        genome = breeder.mutate(genome)
        for side, part in places:
            seen[side, part].update(getattr(getattr(genome, side), part))
    assert len(small.rules) > 20
    for place in places:
        assert seen[place] == set(small.rules), place


def test_every_rule_of_the_grammar_is_reached() -> None:
    space = search_space("full", "LOW", "coinbase")
    breeder = Breeder(space, 3)
    genome, seen = breeder.random(), set()
    for _ in range(20_000):
        genome = breeder.mutate(genome)
        seen.update(genome.long.entry)
    assert seen == set(space.rules)


def test_a_mutation_of_strength_1_is_one_small_step() -> None:
    breeder = Breeder(search_space("classic", "MEDIUM", "coinbase"), 4)
    for _ in range(300):
        genome = breeder.random()
        mutant = breeder.mutate(genome)
        changed = [name for name, value in genes(genome).items() if genes(mutant)[name] != value]
        rules = set(genome.long.entry) ^ set(mutant.long.entry)
        assert (len(changed), len(rules)) in {(1, 0), (0, 2), (1, 1)}


def test_stronger_mutation_changes_more() -> None:
    space = search_space("full", "HIGH", "kraken")

    def distance(strength: int) -> int:
        breeder, total = Breeder(space, 6), 0
        for _ in range(400):
            genome = breeder.random()
            mutant = breeder.mutate(genome, strength)
            total += sum(genes(genome)[name] != value for name, value in genes(mutant).items())
            total += sum(len(set(getattr(genome, s).entry) ^ set(getattr(mutant, s).entry)) for s in ("long", "short"))
        return total

    assert distance(1) * 1.5 < distance(4)


def test_crossover_takes_every_gene_from_either_parent() -> None:
    space = search_space("full", "MEDIUM", "kraken")
    breeder, r = Breeder(space, 7), space.rules
    a = Genome("long", Risk(100, 200, 0, 0, Sizing(fraction_bps=250), 1), RuleSet(r[:2], r[10:12]))
    b = Genome(
        "both", Risk(500, 900, 200, 48, Sizing(fraction_bps=2500), 2), RuleSet(r[5:7], r[20:22]), RuleSet(r[7:8])
    )
    children = [breeder.cross(a, b) for _ in range(400)]
    for name, value in genes(a).items():
        if name in ("direction", "stop", "target", "trailing", "max_hold", "size", "leverage"):
            assert {genes(c)[name] for c in children} >= {value, genes(b)[name]}, name
    assert {rule for c in children for rule in c.long.entry} >= {*r[:2], *r[5:7]}
    assert {rule for c in children for rule in c.long.exit} >= {*r[10:12], *r[20:22]}
    assert any(set(c.long.entry) & set(r[:2]) and set(c.long.entry) & set(r[5:7]) for c in children)
    assert any(c.short == b.short for c in children)


def test_the_tournament_prefers_the_better_half_and_forgets_nobody() -> None:
    state = np.array([8], dtype=np.uint64)
    winners = [tournament(state, 20) for _ in range(4_000)]
    expected = 1 - (1 / 2) ** TOURNAMENT
    assert abs(sum(w < 10 for w in winners) / 4_000 - expected) < 0.03
    assert set(winners) == set(range(20))


def test_the_same_seed_gives_the_same_genomes_on_every_machine() -> None:
    """A changed value here means that units already mined cannot be replayed by this version."""
    breeder = Breeder(search_space("full", "MEDIUM", "kraken"), 9)
    a, b, ids = breeder.random(), breeder.random(), []
    for _ in range(50):
        a, b = breeder.cross(a, b), breeder.mutate(b, 3)
        ids += [genome_id(a), genome_id(b)]
    assert hashlib.sha256("".join(ids).encode()).hexdigest() == (
        "c5860537ddbf793f34dfcae262af6b72accd8ee14fefaf5a9eeb2cd9ea1fe686"
    )
