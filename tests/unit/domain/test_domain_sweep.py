"""What may be searched exhaustively, how such a campaign is cut into units, and what the trial ledger says of it."""

from importlib import resources

import msgspec
import pytest
from msgspec.structs import replace

from bus.campaigns import campaign_spec
from domain.candles import DatasetInfo
from domain.errors import BadInput
from domain.execution import ExecutionModel
from domain.genome import canonical_genome
from domain.grammar import narrow, parse_grammar, search_space
from domain.results import Distribution, Histogram
from domain.specs import CampaignSpec, SearchSpec, split_windows, validate_campaign
from domain.sweep import check_sweep, set_count, swept_genome
from domain.tasks import Sweep, unit_task
from domain.tried import SweptSets, read_tried, swept_sets

SEARCH = SearchSpec(
    "d" * 64, "kraken", "BTC/USD", 300, split_windows(10_000), ExecutionModel(), grammar="classic", generations=216,
    method="sweep",
)  # fmt: skip
CAMPAIGN = CampaignSpec(SEARCH, units=81)
INFO = DatasetInfo("kraken", "BTC/USD", 300, 1, 8, 10_000, 0, 0)


def primer(**lines: str) -> str:
    """The primer's text with some of its lines written otherwise."""
    text = (resources.files("domain") / "grammars" / "primer.toml").read_text().splitlines()
    return "\n".join(
        next((f"{k} = {v}" for k, v in lines.items() if line.startswith(f"{k} = ")), line) for line in text
    )


def test_a_campaign_of_the_classic_grammar_has_a_unit_for_each_of_its_81_pairs() -> None:
    validate_campaign(CAMPAIGN)
    tasks = [unit_task(CAMPAIGN, i) for i in range(81)]
    assert len(set(tasks)) == 81
    assert tasks[0] == Sweep(100, 200)
    assert tasks[-1] == Sweep(500, 1000)
    asked = campaign_spec(
        "d" * 64, INFO, units=8, replicas=2, seed=1, risk="MEDIUM", population=60, generations=20, candles=0,
        grammar="classic", name="", exhaustive=True,
    )  # fmt: skip
    assert (asked.units, asked.search.method, asked.search.generations) == (81, "sweep", 216)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (replace(CAMPAIGN, units=80), "units must be 81, not 80"),
        (replace(CAMPAIGN, nulls=1), "no null repetitions"),
        (replace(CAMPAIGN, search=replace(SEARCH, generations=20)), "generations must be 216"),
        (
            replace(CAMPAIGN, search=replace(SEARCH, grammar="full")),
            "direction, trailing stop, holding limit, size, leverage",
        ),
        (replace(CAMPAIGN, search=replace(SEARCH, risk="LOW")), "units must be 25"),
    ],
)
def test_what_is_no_exhaustive_campaign_is_refused(spec: CampaignSpec, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        validate_campaign(spec)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ({"exit_rules": "[0, 1]"}, "exit rules"),
        ({"directions": '["both"]'}, "two rule sets"),
        ({"directions": '["long", "short"]'}, "direction"),
        ({"leverage": "[1, 2]"}, "leverage"),
        ({"entry_rules": "[1, 4]"}, "sets of up to 4"),
        ({"periods": str(list(range(2, 30)))}, "at most 500 in sets of up to 3"),
        ({"periods": str(list(range(2, 12))), "stop_bps": str(list(range(100, 501))), "target_bps": str(list(range(200, 1001)))},
         "strategies, at most 2,000,000,000"),
    ],
)  # fmt: skip
def test_a_grammar_with_other_free_choices_or_out_of_reach_is_refused(lines: dict[str, str], why: str) -> None:
    space = narrow(parse_grammar(primer(**lines)), "MEDIUM", "kraken")
    with pytest.raises(BadInput, match=why):
        check_sweep("made", space)


def test_a_swept_genome_is_canonical_and_one_of_the_space() -> None:
    space = search_space("classic", "MEDIUM", "kraken")
    genome = swept_genome(space, 150, 700, (3, 90, 215))
    assert genome == canonical_genome(genome)
    assert space.contains(genome)


def test_a_descriptor_says_what_was_tried_and_hashes_stay_hashes() -> None:
    space = search_space("classic", "MEDIUM", "kraken")
    sets = [swept_sets(SEARCH, space, stop, target) for stop in space.stop_bps for target in space.target_bps]
    assert all(read_tried(s.to_bytes()) == s for s in sets)
    assert sum(s.count for s in set(sets)) == space.size() == 81 * set_count(space)
    assert read_tried(b"") is None
    assert read_tried(bytes(64)) is None
    for broken in (bytes(33), sets[0].to_bytes()[:-1], sets[0].to_bytes()[:20] + b"{}"):
        with pytest.raises(BadInput):
            read_tried(broken)
    other = narrow(parse_grammar(primer(periods="[10, 14]")), "MEDIUM", "kraken")
    assert swept_sets(SEARCH, other, 200, 400).space != sets[0].space
    assert isinstance(sets[0], SweptSets)


def test_a_distribution_adds_up_or_is_told_apart() -> None:
    good = Distribution(10, 1, 2, Histogram(-4, (3, 0, 1)), Histogram(0, (3,)))
    assert good.adds_up()
    assert not replace(good, evaluated=11).adds_up()
    assert not replace(good, flagged=12, without_objective=-9).adds_up()
    assert msgspec.json.decode(msgspec.json.encode(good), type=Distribution) == good
