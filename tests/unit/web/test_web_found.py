"""What a campaign found and what that is worth, on the pages: front, distribution, proof, gates, figures as a portfolio."""

import itertools
import math
import re
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bus.events import CampaignFinished, CampaignJudged
from domain.genome import Kelly, Sizing, VolatilityTarget
from domain.hashing import canonical
from domain.judgement import Judgement, StrategyJudgement
from domain.metrics import PORTFOLIO
from domain.results import Distribution, Histogram
from domain.specs import CampaignSpec, strategy_id
from kernels.portfolio import against_holding
from kernels.reference import ReferenceEvaluator
from market.store import DatasetStore
from tests.support.made import example
from tests.support.market import small_market, spec_for
from tests.unit.projections.event_log import EventLog, find, genome, open_campaign, point, search, spec, validate
from tests.unit.web.test_web_pages import page, text_of
from tests.unit.web.web_app import browser, project
from web import words
from web.curves import compute, months, span
from web.histogram import LEFT, MOST_BARS, TALL, WIDTH, bars_of, drawing
from web.services import Services

SWEEP = CampaignSpec(replace(search(), grammar="primer", generations=24, method="sweep"), 9)
FEW, ENOUGH = Histogram(-40, (5, 0, 7)), Histogram(-30, (1_000, *[0] * 60, 2))


def swept(finished: bool = True) -> EventLog:
    log = EventLog()
    open_campaign(log, "c2", SWEEP)
    for index in range(9 if finished else 4):
        distribution = Distribution(2_000, 900, 86, FEW, ENOUGH)
        validate(log, "c2", SWEEP, index, (find(30 + index, 0.03 - index / 1000),), distribution=distribution)
    if finished:
        log.add(CampaignFinished("cd" * 32, 9, 0, 0, 18_000), "c2")
    return log


async def test_a_null_repetition_is_told_from_a_search(empty: Services, tmp_path: Path) -> None:
    """What it tries is no trial of the data, so that its figure must not read like one."""
    log = EventLog()
    open_campaign(log, "c1", replace(spec(units=2), nulls=1))
    open_campaign(log, "c2", spec(units=2))
    project(tmp_path / "views.sqlite", log.made)
    html = await page(empty, "/campaigns/c1")
    assert html.count('<span class="muted">null repetition</span>') == 1
    assert "its rules are no trials of the data" in text_of(html)
    assert "null repetition" not in text_of(await page(empty, "/campaigns/c2")).lower()


async def test_an_exhaustive_campaign_shows_its_proof_and_where_all_came_out(empty: Services, tmp_path: Path) -> None:
    project(tmp_path / "views.sqlite", swept().made)
    html = await page(empty, "/campaigns/c2")
    text = text_of(html)
    assert "★ proven best of 18 000" in text.replace(words.THIN, " ")
    assert "no evidence for any other candles" in text
    assert '<svg class="histogram"' in html
    assert "each is one stop and one target" in text
    for row in ("enough 9 018", "believed 108", "window 8 100", "limit 774", "trading often enough 18"):
        assert row in text.replace(words.THIN, " "), row
    best = strategy_id(find(30, 0.03).genome_id, SWEEP.search)
    assert f'href="/strategies/{best}"' in html
    assert "★ proven best of" in text_of(await page(empty, "/strategies"))
    assert "Proven best of 18" in text_of(await page(empty, f"/strategies/{best}"))
    other = strategy_id(find(31, 0.0).genome_id, SWEEP.search)
    assert "roven best of" not in text_of(await page(empty, f"/strategies/{other}"))


async def test_while_parts_are_missing_nothing_is_called_proven(empty: Services, tmp_path: Path) -> None:
    project(tmp_path / "views.sqlite", swept(finished=False).made)
    text = text_of(await page(empty, "/campaigns/c2"))
    assert "So far 4 of 9 parts" in text
    assert "proven best of" not in text
    assert "proven best of" not in text_of(await page(empty, "/strategies"))


async def test_the_front_of_a_campaign_is_a_table_in_words(services: Services, tmp_path: Path, log: EventLog) -> None:
    assert "What can be had for what" not in text_of(await page(services, "/campaigns/c1"))
    front = tuple(point(t, 0.5 - t / 100, 0.1, 0.5 - t / 100) for t in range(21, 44))
    validate(log, "c1", spec(), 1, (find(25, 0.25),), front)
    project(tmp_path / "views.sqlite", log.made)
    html = await page(services, "/campaigns/c1")
    text = text_of(html)
    assert "The 12 highest returns of 23 on the front" in text
    where = [text.index(f"RSI(14) is below {t}") for t in (21, 32)] + [text.index("The others")]
    assert where == sorted(where)
    assert text.index("RSI(14) is below 33") > where[-1]
    assert f'/strategies/{strategy_id(find(25, 0.1).genome_id, spec().search)}"' in html, (
        "a find of the front is linked"
    )
    async with browser(services) as client:
        found = (await client.get("/api/campaigns/c1")).json()
    assert len(found["front"]) == 23
    assert found["front"][0]["objective"] == pytest.approx(0.29)


def judged(log: EventLog, **changes: object) -> str:
    """The campaign of the fixture finishes and is judged; returns the strategy."""
    log.add(CampaignFinished("cd" * 32, 2, 0, 0, 77), "c1")
    id = strategy_id(find(30, 0.02).genome_id, spec().search)
    values = {
        "strategy": id,
        "passed": False,
        "failed": ("deflated Sharpe ratio",),
        "look_ahead": "",
        "walk_return": -0.0125,
    }
    s = replace(example(StrategyJudgement), **values | changes)
    log.add(CampaignJudged(replace(example(Judgement), strategies=(s,))), "c1")
    return id


@pytest.mark.parametrize("passed", [False, True])
async def test_the_judgement_is_a_sentence_and_a_table_of_gates(
    services: Services, tmp_path: Path, log: EventLog, passed: bool
) -> None:
    id = judged(log, **({"passed": True, "failed": ()} if passed else {}))
    project(tmp_path / "views.sqlite", log.made)
    for path in ("/campaigns/c1", f"/strategies/{id}"):
        text = text_of(await page(services, path))
        assert "Is it better than luck?" in text
        assert ("better than luck, as far as these candles can tell" in text) == (passed and "strategies" in path)
        gates = [
            text.index(q)
            for q in ("Does luck find as much?", "Do unseen candles confirm it?", "Does it see the future?")
        ]
        assert gates == sorted(gates)
        assert text.count("✕ not passed") == (0 if passed else 1)
        assert text.count("✓ passed") >= (3 if passed else 2)
        assert "at least 0.25" in text, "the threshold stands beside the figure"
    assert words.MINUS + "1.25 %" in text
    assert "-1.25" not in text


async def test_before_a_judgement_nothing_is_said_of_gates(services: Services, tmp_path: Path, log: EventLog) -> None:
    id = strategy_id(find(30, 0.02).genome_id, spec().search)
    text = text_of(await page(services, f"/strategies/{id}"))
    assert "Not judged yet" in text
    assert "Does luck find" not in text
    log.add(CampaignFinished("cd" * 32, 2, 0, 0, 77), "c1")
    project(tmp_path / "views.sqlite", log.made)
    assert "It is being judged" in text_of(await page(services, "/campaigns/c1"))


# -- figures as a portfolio -------------------------------------------------------------------------------------------


async def test_a_strategy_shows_its_portfolio_figures_beside_buy_and_hold(empty: Services, tmp_path: Path) -> None:
    candles = small_market()
    s = spec_for(candles, 1)
    DatasetStore(tmp_path / "cache").put(candles)
    log = EventLog()
    open_campaign(log, "c1", s)
    validate(log, "c1", s, 0, (find(40, 0.02),))
    project(tmp_path / "views.sqlite", log.made)
    id = strategy_id(find(40, 0.02).genome_id, s.search)
    text = text_of(await page(empty, f"/strategies/{id}/curves?range=walk_forward")).replace("&amp;", "&")
    reference = ReferenceEvaluator(candles, s.search.execution)
    shown = [against_holding(reference, genome(40), span(s.search, name)) for name in ("fitness", "walk_forward")]
    for label, key in (
        ("Fees paid in quote currency", "fees"),
        ("Profit factor gained for each unit lost", "profit_factor"),
    ):
        cells = " ".join(words.number(figures[key], 2) for both in shown for figures in both)
        assert f"{label} {cells}" in text
    assert "Returns by month" in text
    async with browser(empty) as client:
        got = (await client.get(f"/api/strategies/{id}/curves", params={"range": "fitness"})).json()
    assert list(got["figures"]) == list(got["hold_figures"]) == list(PORTFOLIO)
    assert got["figures"] == shown[0][0]


def test_months_compound_to_the_return_of_the_range() -> None:
    candles = small_market()
    s = spec_for(candles, 1).search
    curves = compute(genome(40), s, candles, "fitness")
    assert [m for m, _, _ in curves.months] == sorted({m for m, _, _ in curves.months})
    assert len(curves.months) > 1
    for column, equity in ((1, curves.equity), (2, curves.hold)):
        total = math.prod(1.0 + (row[column] or 0.0) for row in curves.months)  # type: ignore[operator]
        assert total == pytest.approx(equity[-1] / curves.start_equity, rel=1e-4)


def test_a_month_after_ruin_has_no_return() -> None:
    day = 86_400
    found = months([0, 40 * day, 70 * day], [90.0, 0.0, 0.0], [110.0, 121.0, 121.0], 100.0)
    assert found == [("1970-01", -0.1, 0.1), ("1970-02", -1.0, 0.1), ("1970-03", None, 0.0)]


# -- the picture ------------------------------------------------------------------------------------------------------


def distribution(few: Histogram, enough: Histogram) -> dict[str, object]:
    made = Distribution(sum(few.counts) + sum(enough.counts), 0, 0, few, enough)
    assert made.adds_up()
    return msgspec.to_builtins(made)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("few", "enough"),
    [
        (FEW, ENOUGH),
        (Histogram(0, ()), Histogram(3, (4,))),
        (Histogram(-1001, (1,)), Histogram(5000, (2,))),
        (Histogram(-900, tuple(range(950))), Histogram(-1001, tuple([3] * 1_100))),
    ],
)
def test_bars_hold_every_strategy_once_and_nothing_else(few: Histogram, enough: Histogram) -> None:
    d = distribution(few, enough)
    bars = bars_of(d)
    assert 1 <= len(bars) <= MOST_BARS
    assert (sum(b.few for b in bars), sum(b.enough for b in bars)) == (sum(few.counts), sum(enough.counts))
    for before, after in itertools.pairwise(bars):
        assert before.high == after.low
    picture = drawing(d, 0.0, 0.002)
    assert picture is not None
    assert max(max(up, down) for _, _, up, down, _ in picture.rects) == pytest.approx(TALL)
    for x, wide, up, down, i in picture.rects:
        assert x >= LEFT
        assert x + wide <= LEFT + WIDTH + 0.01
        assert (up > 0, down > 0) == (bars[i].enough > 0, bars[i].few > 0)


def test_a_line_stands_where_its_return_is_and_nowhere_outside() -> None:
    picture = drawing(distribution(Histogram(0, ()), Histogram(-20, (1,) * 40)), 0.01, 0.5)
    assert picture is not None
    assert picture.zero == pytest.approx(LEFT + WIDTH / 2)
    assert picture.hold == pytest.approx(LEFT + WIDTH * 0.75)
    assert picture.best is None
    assert drawing(distribution(Histogram(0, ()), Histogram(0, ())), 0.0, 0.0) is None


# -- how much a trade puts to work ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizing", "leverage", "said"),
    [
        (Sizing(fraction_bps=1000), 1, "puts 10.0_% of the equity"),
        (Sizing(fraction_bps=1000), 3, "puts 30.0_% of the equity"),
        (Sizing(fraction_bps=10_000), 1, ""),
        (Sizing("fixed", amount=250.0), 1, "a fixed 250.00 to work, however large"),
        (Sizing("kelly", 2000, kelly=Kelly(5000, 500, 20)), 1, "follows from its closed trades, at most 20.0_%"),
        (
            Sizing("volatility", 5000, volatility=VolatilityTarget(2000, 50)),
            2,
            "the volatility before it, at most 100.0_%",
        ),
    ],
)
def test_what_a_trade_puts_to_work_is_a_cap_where_the_size_follows_from_the_past(
    sizing: Sizing, leverage: int, said: str
) -> None:
    g = genome(30)
    g = replace(g, risk=replace(g.risk, sizing=sizing, leverage=leverage))
    got = words.stake({"genome": msgspec.json.decode(canonical(g))})
    assert said.replace("_", words.THIN) in got
    assert bool(got) == bool(said)
    assert ("at most" in got) == (sizing.mode in ("kelly", "volatility"))


def test_minus_signs_are_put_and_hyphens_stay() -> None:
    assert words.minus("walk-forward -1.2 % to -.5, p-value 2025-07") == "walk-forward −1.2 % to −.5, p-value 2025-07"
    assert not re.search(r"-\d", words.minus("(-3)"))
