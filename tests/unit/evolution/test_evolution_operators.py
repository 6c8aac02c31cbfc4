"""Random genomes, mutation and crossover: always valid, always within the space, always something new."""

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.genome import Genome, Risk, RuleSet, Sizing, canonical_genome, genome_id, validate_genome
from domain.grammar import Space, narrow, parse_grammar, search_space
from domain.risk import RISK_LEVELS
from kernels.evolution.operators import TOURNAMENT, crossover, mutate, random_genome, tournament
from kernels.evolution.rng import Rng
from kernels.evolution.state import genome_key

SPACES = [(g, level, venue) for g in ("classic", "full") for level in RISK_LEVELS for venue in ("coinbase", "kraken")]
seeds = st.integers(0, 2**64 - 1)
spaces = st.sampled_from(SPACES).map(lambda s: search_space(*s))


def check(genome: Genome, space: Space) -> None:
    validate_genome(genome)
    assert canonical_genome(genome) == genome
    assert space.contains(genome)
    assert genome_key(genome).hex() == genome_id(genome)


@settings(max_examples=200)
@given(spaces, seeds)
def test_random_genomes_are_canonical_valid_and_within_the_space(space: Space, seed: int) -> None:
    check(random_genome(space, Rng(seed)), space)


@settings(max_examples=300)
@given(spaces, seeds, st.integers(1, 4))
def test_mutation_that_does_nothing_never_happens(space: Space, seed: int, strength: int) -> None:
    rng = Rng(seed)
    genome = random_genome(space, rng)
    mutant = mutate(genome, space, rng, strength)
    check(mutant, space)
    assert genome_id(mutant) != genome_id(genome)


@settings(max_examples=300)
@given(spaces, seeds, st.sampled_from(["strangers", "twins", "one edit apart"]))
def test_crossover_that_returns_a_parent_never_happens(space: Space, seed: int, kinship: str) -> None:
    rng = Rng(seed)
    a = random_genome(space, rng)
    b = {"strangers": random_genome(space, rng), "twins": a, "one edit apart": mutate(a, space, rng)}[kinship]
    child = crossover(a, b, space, rng)
    check(child, space)
    assert genome_id(child) not in (genome_id(a), genome_id(b))


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


@given(seeds)
def test_operators_find_something_new_even_among_four_strategies(seed: int) -> None:
    space, rng = narrow(parse_grammar(TINY), "MEDIUM", "coinbase"), Rng(seed)
    assert space.size() == 4
    a = random_genome(space, rng)
    b = mutate(a, space, rng, 4)
    child = crossover(a, b, space, rng)
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
    space, rng = search_space("full", level, "kraken"), Rng(1)
    genome = random_genome(space, rng)
    seen: dict[str, set[object]] = {name: set() for name in genes(genome)}
    for _ in range(6_000):
        genome = mutate(genome, space, rng)
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
    space, rng = search_space("full", "MEDIUM", "kraken"), Rng(2)
    small = msgspec.structs.replace(space, rules=space.rules[::40])  # each place needs its own time to see all
    group = {rule: small.rules for rule in small.rules}
    small = msgspec.structs.replace(small, position={r: i for i, r in enumerate(small.rules)}, alike=group)
    genome = random_genome(small, rng)
    places = [("long", "entry"), ("long", "exit"), ("short", "entry"), ("short", "exit")]
    seen: dict[tuple[str, str], set[object]] = {place: set() for place in places}
    for _ in range(6_000):
        genome = mutate(genome, small, rng)
        for side, part in places:
            seen[side, part].update(getattr(getattr(genome, side), part))
    assert len(small.rules) > 20
    for place in places:
        assert seen[place] == set(small.rules), place


def test_every_rule_of_the_grammar_is_reached() -> None:
    space, rng = search_space("full", "LOW", "coinbase"), Rng(3)
    genome, seen = random_genome(space, rng), set()
    for _ in range(20_000):
        genome = mutate(genome, space, rng)
        seen.update(genome.long.entry)
    assert seen == set(space.rules)


def test_a_mutation_of_strength_1_is_one_small_step() -> None:
    space, rng = search_space("classic", "MEDIUM", "coinbase"), Rng(4)
    for _ in range(300):
        genome = random_genome(space, rng)
        mutant = mutate(genome, space, rng)
        changed = [name for name, value in genes(genome).items() if genes(mutant)[name] != value]
        rules = set(genome.long.entry) ^ set(mutant.long.entry)
        assert (len(changed), len(rules)) in {(1, 0), (0, 2), (1, 1)}


def test_stronger_mutation_changes_more() -> None:
    space = search_space("full", "HIGH", "kraken")

    def distance(strength: int) -> int:
        rng, total = Rng(6), 0
        for _ in range(400):
            genome = random_genome(space, rng)
            mutant = mutate(genome, space, rng, strength)
            total += sum(genes(genome)[name] != value for name, value in genes(mutant).items())
            total += sum(len(set(getattr(genome, s).entry) ^ set(getattr(mutant, s).entry)) for s in ("long", "short"))
        return total

    assert distance(1) * 1.5 < distance(4)


def test_crossover_takes_every_gene_from_either_parent() -> None:
    space, rng = search_space("full", "MEDIUM", "kraken"), Rng(7)
    r = space.rules
    a = Genome("long", Risk(100, 200, 0, 0, Sizing(fraction_bps=250), 1), RuleSet(r[:2], r[10:12]))
    b = Genome(
        "both", Risk(500, 900, 200, 48, Sizing(fraction_bps=2500), 2), RuleSet(r[5:7], r[20:22]), RuleSet(r[7:8])
    )
    children = [crossover(a, b, space, rng) for _ in range(400)]
    for name, value in genes(a).items():
        if name in ("direction", "stop", "target", "trailing", "max_hold", "size", "leverage"):
            assert {genes(c)[name] for c in children} >= {value, genes(b)[name]}, name
    assert {rule for c in children for rule in c.long.entry} >= {*r[:2], *r[5:7]}
    assert {rule for c in children for rule in c.long.exit} >= {*r[10:12], *r[20:22]}
    assert any(set(c.long.entry) & set(r[:2]) and set(c.long.entry) & set(r[5:7]) for c in children)
    assert any(c.short == b.short for c in children)


def test_the_tournament_prefers_the_better_half_and_forgets_nobody() -> None:
    rng = Rng(8)
    winners = [tournament(20, rng) for _ in range(4_000)]
    expected = 1 - (1 / 2) ** TOURNAMENT
    assert abs(sum(w < 10 for w in winners) / 4_000 - expected) < 0.03
    assert set(winners) == set(range(20))


def test_the_same_seed_gives_the_same_genomes_on_every_machine() -> None:
    """A changed value here means that units already mined cannot be replayed by this version."""
    space, rng = search_space("full", "MEDIUM", "kraken"), Rng(9)
    a, b, ids = random_genome(space, rng), random_genome(space, rng), []
    for _ in range(50):
        a, b = crossover(a, b, space, rng), mutate(b, space, rng, 3)
        ids += [genome_id(a), genome_id(b)]
    assert hashlib.sha256("".join(ids).encode()).hexdigest() == (
        "21de296e18b95e3428a2770483663114a0c89037bf970090e2db5757a61d5765"
    )
