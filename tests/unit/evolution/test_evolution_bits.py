"""Searches whose outcomes are known to the bit: whatever makes them faster must change none of it."""

import hashlib

import msgspec
import pytest

from kernels.evaluator import CompiledEvaluator
from kernels.evolution.search import Search

#: `bits_of` the search.
KNOWN = {
    ("classic", "return", 20, 20, 0): "e6a2944c4ca8aee5c775b0702603bc761baf12a539f305fd87c5dfa28043984b",
    ("classic", "pareto", 40, 30, 3): "e33c562c6017c0d4df45863f715776080aea805b709f67eea0674334544038ba",
    ("full", "return", 60, 20, 0): "eb8c26ddb2621328381d4285c3a2a6cf0cf9c7105261816050ac8bf366b94e11",
    ("full", "pareto", 40, 20, 2): "1cd2aa9a7850b91ba044ea59540da9b0e7217bacdbfe2ce9a4f009ab65258e58",
}


@pytest.mark.parametrize("case", KNOWN)
def test_a_search_has_the_bits_it_always_had(but, market, case) -> None:
    grammar, select, population, generations, restart_after = case
    spec = but(
        grammar=grammar, select=select, population=population, generations=generations, patience=generations,
        restart_after=restart_after, trades_wanted=20,
    )  # fmt: skip
    search = Search(spec, 7, CompiledEvaluator(market, spec.execution))
    while not search.done:
        search.step()
    assert bits_of(search) == KNOWN[case]


def bits_of(search: Search) -> str:
    """Over figures and hashes alone: a further field in a spec or an outcome changes none of them."""
    outcome = search.outcome()
    figures = [
        [(c.key, *msgspec.structs.astuple(c.fitness)) for c in search.population],
        [(p.genome_id, p.objective, p.sharpe, p.max_drawdown, p.trades) for p in outcome.front],
        [(f.genome_id, f.objective, f.daily_fitness, f.daily_walk, f.hold_walk) for f in outcome.finds],
        [[w.tier1 for w in (*f.fitness, *f.walk_forward)] for f in outcome.finds],
        (outcome.generations, outcome.evaluated),
    ]
    return hashlib.sha256(search.tried_bytes() + msgspec.msgpack.encode(figures)).hexdigest()
