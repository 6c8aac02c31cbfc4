"""The search as a whole, on generated candles with the compiled evaluator."""

import hashlib
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

import kernels.evolution.search as search_module
from domain.errors import BadInput
from domain.grammar import narrow, parse_grammar, search_space
from domain.hashing import canonical, derived_seed
from domain.results import UnitOutcome
from domain.specs import SearchSpec
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.operators import random_row
from kernels.evolution.ranking import fitness_of, measure, standing
from kernels.evolution.search import Search
from kernels.evolution.state import Group, genome_key, nobody
from kernels.evolution.tried import HASH_BYTES
from kernels.integers import coding_of

But = Callable[..., SearchSpec]


def run(search: Search) -> Search:
    while not search.done:
        search.step()
    return search


@pytest.fixture(scope="module")
def finished(spec: SearchSpec, evaluator: CompiledEvaluator) -> Search:
    return run(Search(spec, 1, evaluator))


def test_the_same_seed_gives_the_same_outcome_and_another_seed_another(
    spec: SearchSpec, evaluator: CompiledEvaluator, market, finished: Search
) -> None:
    fresh = CompiledEvaluator(market, spec.execution)
    assert run(Search(spec, 1, fresh)).outcome().digest() == finished.outcome().digest()
    assert run(Search(spec, 2, evaluator)).outcome().digest() != finished.outcome().digest()


def test_interrupted_at_any_generation_and_resumed_it_ends_the_same(
    spec: SearchSpec, evaluator: CompiledEvaluator, finished: Search
) -> None:
    search, expected = Search(spec, 1, evaluator), finished.outcome().digest()
    for generation in range(spec.generations + 1):
        data = search.checkpoint()
        resumed = Search.resume(spec, 1, evaluator, data)
        assert (resumed.generation, resumed.best, resumed.evaluated) == (generation, search.best, search.evaluated)
        assert resumed.checkpoint() == data
        assert run(resumed).outcome().digest() == expected
        assert resumed.tried_bytes() == finished.tried_bytes()
        if not search.done:
            search.step()


def test_interrupted_after_every_generation_it_ends_the_same(
    spec: SearchSpec, evaluator: CompiledEvaluator, finished: Search
) -> None:
    data = Search(spec, 1, evaluator).checkpoint()
    while not (search := Search.resume(spec, 1, evaluator, data)).done:
        search.step()
        data = search.checkpoint()
    assert search.outcome() == finished.outcome()


@pytest.mark.parametrize("select", ["return", "pareto"])
def test_restarts_and_fronts_survive_an_interruption_after_every_generation(but: But, evaluator, select: str) -> None:
    spec = but(generations=40, patience=40, restart_after=2, select=select)
    whole = run(Search(spec, 3, evaluator))
    data = Search(spec, 3, evaluator).checkpoint()
    while not (search := Search.resume(spec, 3, evaluator, data)).done:
        search.step()
        data = search.checkpoint()
    assert search.restarts == whole.restarts > 1
    assert search.outcome() == whole.outcome()
    assert search.tried_bytes() == whole.tried_bytes()


def test_a_stalled_population_gives_way_and_what_was_found_stays(but: But, evaluator: CompiledEvaluator) -> None:
    spec = but(generations=40, patience=40, restart_after=4)
    search, best, before = Search(spec, 5, evaluator), None, ()
    seen = 0
    while not search.done:
        restarts = search.restarts
        search.step()
        assert best is None or search.best is not None
        if search.restarts > restarts:
            seen += 1
            assert not {c.key for c in search.population} & before
        before, best = {c.key for c in search.population}, search.best
    finds = search.outcome().finds
    assert seen > 1
    assert [f.objective for f in finds] == sorted((f.objective for f in finds), reverse=True)


def test_encoded_populations_and_genomes_give_the_same_search(spec: SearchSpec, evaluator, recording) -> None:
    """The recorder takes genomes only, the compiled evaluator rows."""
    encoded, plain = run(Search(spec, 11, evaluator)), run(Search(spec, 11, recording))
    assert encoded.outcome() == plain.outcome()
    assert {kind for kind, *_ in recording.asked} >= {"tier1"}


def test_early_stopping_comes_after_patience_generations_without_a_better_best(
    but: But, evaluator: CompiledEvaluator
) -> None:
    spec = but(generations=200, patience=4)
    search, improved_at, best = Search(spec, 3, evaluator), 0, None
    while not search.done:
        search.step()
        if search.best is not None and search.best != best:
            improved_at, best = search.generation, search.best
    assert search.generation < 200
    assert search.generation == improved_at + 4


def test_the_best_never_gets_worse_and_survives_in_the_population(
    spec: SearchSpec, evaluator: CompiledEvaluator
) -> None:
    search, last = Search(spec, 4, evaluator), None
    while not search.done:
        search.step()
        first = search.population[0]
        now = standing(first.fitness, spec.trades_wanted)
        assert last is None or now <= last
        assert first.fitness.objective == search.best
        last = now


def test_each_generation_has_a_seed_of_its_own(
    spec: SearchSpec, evaluator: CompiledEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No generator state needs to be kept, and no generation repeats the numbers of another."""
    seeds, breed = [], search_module.breed

    def spy(space, state, *rest):
        seeds.append(int(state[0]))
        return breed(space, state, *rest)

    monkeypatch.setattr(search_module, "breed", spy)
    run(Search(spec, 9, evaluator))
    assert seeds == [derived_seed(9, "generation", g) for g in range(spec.generations)]


def test_mutation_grows_bolder_while_the_best_stays_the_same(
    but: But, evaluator: CompiledEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    strengths: dict[int, set[int]] = {}
    search, stale, best = Search(but(generations=60, patience=10), 10, evaluator), 0, None
    breed = search_module.breed

    def spy(*given):
        strengths.setdefault(stale, set()).add(given[12])
        return breed(*given)

    monkeypatch.setattr(search_module, "breed", spy)
    while not search.done:
        search.step()
        stale = 0 if search.best != best else stale + 1
        best = search.best
    assert [strengths[n] for n in range(6)] == [{1}, {2}, {3}, {4}, {4}, {4}]


def test_no_genome_is_evaluated_twice_and_each_generation_is_one_call(spec: SearchSpec, recording) -> None:
    search, keys = Search(spec, 5, recording), []
    while not search.done:
        search.step()
        kind, genomes, windows = recording.asked[-1]
        assert (len(recording.asked), kind, windows) == (search.generation, "tier1", spec.windows.fitness)
        keys += [genome_key(g) for g in genomes]
        assert len({c.key for c in search.population}) == len(search.population) == spec.population // 4
    assert len(set(keys)) == len(keys) == search.evaluated
    assert search.tried_bytes() == b"".join(sorted(keys))


def test_the_outcome_names_what_was_tried_and_reads_back(spec: SearchSpec, finished: Search) -> None:
    outcome = finished.outcome()
    assert (outcome.dataset, outcome.seed, outcome.generations) == (spec.dataset, 1, spec.generations)
    assert outcome.evaluated * HASH_BYTES == len(finished.tried_bytes())
    assert outcome.tried_sha256 == hashlib.sha256(finished.tried_bytes()).hexdigest()
    assert len(outcome.finds) == spec.top
    assert all(bytes.fromhex(f.genome_id) in finished.tried_bytes() for f in outcome.finds)
    read = msgspec.json.decode(canonical(outcome), type=UnitOutcome)
    assert read == outcome
    assert read.digest() == outcome.digest()


def test_finds_are_the_best_of_all_ever_evaluated(spec: SearchSpec, recording) -> None:
    search = run(Search(spec, 6, recording))
    genomes = [g for _, asked, _ in recording.asked for g in asked]
    fitness = list(map(fitness_of, measure(recording.tier1(genomes, spec.windows.fitness))))
    everything = [
        (*standing(f, spec.trades_wanted), genome_key(g).hex())
        for g, f in zip(genomes, fitness, strict=True)
        if f.eligible
    ]
    finds = search.outcome().finds
    assert [f.genome_id for f in finds] == [key for *_, key in sorted(everything)[: spec.top]]
    assert search.best == finds[0].objective
    assert finds[0].enough_trades


def test_equal_fitness_is_decided_by_the_hash(but: But, market) -> None:
    """Genomes that reach no number of trades and broke a limit all rank alike: only their hashes are left to sort by."""
    execution = msgspec.structs.replace(but().execution, max_position=1.0)
    search = Search(but(execution=execution), 7, CompiledEvaluator(market, execution))
    search.step()
    ranked = [(standing(c.fitness, 20), c.key) for c in search.population]
    assert ranked == sorted(ranked)
    assert len([key for place, key in ranked if place == (3, 0.0)]) > 1


def test_a_best_that_wins_by_its_hash_alone_is_no_improvement(spec: SearchSpec, evaluator: CompiledEvaluator) -> None:
    search = run(Search(spec, 1, evaluator))
    hall = search._state.hall
    twin = Group(np.array([hall.index[0] + 1]), hall.fits[:1].copy())
    assert not search._better(twin, hall)
    assert search._better(hall, nobody())


def test_the_search_beats_random_sampling_of_the_same_size(but: But, evaluator: CompiledEvaluator) -> None:
    gained = []
    for seed in range(4):
        spec = but(population=40, generations=15, patience=15)
        search = run(Search(spec, seed, evaluator))
        coding, state = coding_of(search_space(spec.grammar, spec.risk, spec.venue)), np.array([seed], dtype=np.uint64)
        sample = np.array([random_row(coding, state) for _ in range(search.evaluated)])
        table = evaluator.tier1_of(coding.population(sample), spec.windows.fitness)
        best = min(standing(fitness_of(f), spec.trades_wanted) for f in measure(table))
        assert best[0] == 0
        assert search.best is not None
        gained.append(search.best - -best[1])
    assert sum(g > 0 for g in gained) >= 3
    assert sum(gained) > 0


TINY = """
name = "tiny"
periods = [10, 20]
operators = [">", "<"]
entry_rules = [1, 1]
exit_rules = [0, 0]
directions = ["long"]
stop_bps = [100, 200, 300]
target_bps = [300, 400]
trailing_bps = [0]
max_hold = [0]
size_bps = [1000]
leverage = [1]
[[families]]
left = ["close"]
right = ["sma"]
"""


def test_a_small_space_is_searched_to_its_end_without_repeats(
    but: But, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = narrow(parse_grammar(TINY), "MEDIUM", "kraken")
    assert space.size() == 24
    monkeypatch.setattr(search_module, "search_space", lambda *_: space)
    search = run(Search(but(population=20, generations=40, patience=40), 1, recording))
    genomes = [g for _, asked, _ in recording.asked for g in asked]
    assert search.generation == 40
    assert len({genome_key(g) for g in genomes}) == len(genomes) == search.evaluated == 24
    with pytest.raises(BadInput, match="24 strategies"):
        Search(but(population=25), 1, recording)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"grammar": "none"}, "classic, full"), ({"population": 19}, "population"), ({"risk": "WILD"}, "risk must be")],
)
def test_a_search_that_makes_no_sense_is_refused(but: But, evaluator: CompiledEvaluator, change, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Search(but(**change), 1, evaluator)


def test_a_checkpoint_of_another_search_or_seed_is_refused(spec: SearchSpec, but: But, evaluator) -> None:
    search = Search(spec, 1, evaluator)
    search.step()
    data = search.checkpoint()
    Search.resume(spec, 1, evaluator, data)
    with pytest.raises(BadInput, match="another search"):
        Search.resume(but(top=4), 1, evaluator, data)
    with pytest.raises(BadInput, match="another seed"):
        Search.resume(spec, 2, evaluator, data)


def test_damaged_checkpoints_are_refused(spec: SearchSpec, evaluator: CompiledEvaluator) -> None:
    search = Search(spec, 1, evaluator)
    search.step()
    data = search.checkpoint()
    damaged = [b"", b"garbage", data[:-1], data + b"\0", data[: len(data) // 2], data.replace(b"-2\n", b"-1\n", 1)]
    damaged += [data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :] for i in range(0, len(data), 97)]
    body = msgspec.msgpack.encode(["spec", 1])
    damaged.append(b"SLUICE-CHECKPOINT-2\n" + hashlib.sha256(body).digest() + body)
    for bad in damaged:
        with pytest.raises(BadInput, match="checkpoint"):
            Search.resume(spec, 1, evaluator, bad)


def test_the_sample_are_the_tried_genomes_with_the_smallest_hashes(finished: Search) -> None:
    sample = finished.outcome().sample
    tried = finished.tried_bytes()
    smallest = [tried[i : i + HASH_BYTES] for i in range(0, search_module.SAMPLE * HASH_BYTES, HASH_BYTES)]
    assert [genome_key(g) for g in sample] == smallest
