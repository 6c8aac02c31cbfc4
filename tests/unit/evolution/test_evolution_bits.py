"""Searches whose outcomes are known to the bit: whatever makes them faster must change none of it."""

import hashlib

import pytest

from kernels.evaluator import CompiledEvaluator
from kernels.evolution.search import Search

#: SHA-256 over the sorted hashes of all tried genomes, the last checkpoint and the outcome's digest.
KNOWN = {
    ("classic", "return", 20, 20, 0): "f4c057abd8225433c8012843dda05cef526dcf6188ead308f4c745e6c0a59f20",
    ("classic", "pareto", 40, 30, 3): "a045b20e9979b4261877de8e6f705991e21b8519d05525b587f7c89c9536e1f5",
    ("full", "return", 60, 20, 0): "66ea3dd7564435b89ba18470288e1fd04d4e2c34538d3a5100af17317deeeaf8",
    ("full", "pareto", 40, 20, 2): "810affc80e0cc2386aef3e0e3352a8e5c76954afab6d4e69c7e79deb79702c74",
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
    data = search.tried_bytes() + search.checkpoint() + search.outcome().digest().encode()
    assert hashlib.sha256(data).hexdigest() == KNOWN[case]
