"""Searches whose outcomes are known to the bit: whatever makes them faster must change none of it."""

import hashlib

import pytest

from kernels.evaluator import CompiledEvaluator
from kernels.evolution.search import Search

#: SHA-256 over the sorted hashes of all tried genomes, the last checkpoint and the outcome's digest.
KNOWN = {
    ("classic", "return", 20, 20, 0): "c4e366a9a343bfd88bcd73bbafdac7dbc05563d3c4d4cef1a91d23b58db78da6",
    ("classic", "pareto", 40, 30, 3): "fb14f88cce4bdcd28f7175df00bcb2b1ca62ff691232c7d03a0078b5a1914d87",
    ("full", "return", 60, 20, 0): "a643106f2e0e94cec593ea187c98fa6daf90ce0b19da1a129739f8caf79e6df4",
    ("full", "pareto", 40, 20, 2): "233c56dcf7e37df37dc20b7fc445616078fa55264caef7f7dd9fe262d8db98ae",
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
