"""The stream of a page, and the parts that have no page: words, luck, curves, estimates."""

import asyncio
import math
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bus.events import ReplicaAnswered
from domain.metrics import T2
from domain.specs import Window
from kernels.reference import ReferenceEvaluator
from market.store import DatasetStore
from projections import estimate as estimates
from projections.files import open_reader
from projections.store import ViewStore
from tests.support.market import small_market, spec_for
from tests.unit.projections.event_log import EventLog, answer, find, genome, open_campaign, spec, validate
from tests.unit.web.web_app import project
from web import words
from web.curves import CurveService, compute, drawdown, merged_candles, span
from web.fragments import PAGES
from web.luck import expected_best, luck_sentence
from web.services import Services
from web.stream import COALESCE_S, message, stream


async def read(source, count: int) -> list[str]:  # type: ignore[no-untyped-def]
    return [(await asyncio.wait_for(anext(source), 30.0)).decode() for _ in range(count)]


async def test_a_stream_begins_with_everything_and_then_says_only_what_changed(
    services: Services, tmp_path: Path, log: EventLog
) -> None:
    source = stream(services.hub, services.renderer, "overview", {})
    first = await read(source, 7)
    assert first[0].startswith("retry:")
    assert {m.split("\n")[0] for m in first[1:6]} == {
        f"event: {n}" for n in ("alarm", "tiles", "running", "best", "top")
    }
    store = ViewStore(tmp_path / "views.sqlite")
    validate(log, "c1", spec(), 1, ())
    store.apply_batch(log.made[-1:])
    services.hub.look()
    changed = await read(source, 1)
    assert changed[0].startswith("event: tiles")
    await source.aclose()
    store.close()
    assert services.hub.clients == 0


async def test_many_changes_are_one_message_and_a_slow_reader_gets_the_newest(services: Services) -> None:
    source = stream(services.hub, services.renderer, "workers", {})
    await read(source, 4)
    rendered = services.renderer.rendered
    for _ in range(50):
        services.hub.live += 1
        services.hub._wake()
        await asyncio.sleep(0.001)
    # Nothing on the page has changed, so that no message follows: what counts is how often it was rendered.
    reading = asyncio.create_task(source.__anext__())
    deadline = time.monotonic() + 30
    while services.renderer.rendered == rendered:
        assert time.monotonic() < deadline, "never rendered"
        await asyncio.sleep(0.02)
    await asyncio.sleep(2 * COALESCE_S)
    assert services.renderer.rendered - rendered <= 3 * len(PAGES["workers"])
    reading.cancel()


async def test_a_fragment_is_rendered_once_for_all_who_see_it(services: Services) -> None:
    before = services.renderer.rendered
    await asyncio.gather(*(services.renderer.fragments(("top",), {}) for _ in range(20)))
    assert services.renderer.rendered == before + 1


async def test_streams_end_when_the_process_stops(services: Services) -> None:
    source = stream(services.hub, services.renderer, "form", {})
    await read(source, 3)
    services.hub.stop()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(source.__anext__(), 30.0)


async def test_read_models_that_are_replaced_are_opened_again(
    services: Services, tmp_path: Path, log: EventLog
) -> None:
    seen = services.views.version()
    for name in ("views.sqlite", "views.sqlite-wal", "views.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert services.views.version() is None
    project(tmp_path / "views.sqlite", log.made)
    assert services.views.version() not in (None, seen)


def test_a_message_keeps_line_breaks_apart() -> None:
    assert message("x", "a\nb") == b"event: x\ndata: a\ndata: b\n\n"
    assert message("x", "") == b"event: x\ndata: \n\n"


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (words.percent(0.0123), "+1.23_%"),
        (words.percent(-0.5, 0), "−50_%"),
        (words.percent(None), "–"),
        (words.number(1234567), "1_234_567"),
        (words.number(-2.5, 1), "−2.5"),
        (words.duration(0), "under 1_s"),
        (words.duration(59.6), "1_min"),
        (words.duration(250), "4_min 10_s"),
        (words.duration(3660), "1_h 1_min"),
        (words.duration(3600 * 76), "3_d 4_h"),
        (words.size(999), "999_B"),
        (words.size(1_250_000), "1.2_MB"),
        (words.ago(None), "no heartbeat"),
        (words.ago(1.0), "now"),
        (words.ago(75), "1_min 15_s ago"),
        (words.sentence("do `a <b>` now"), "Do <code>a &lt;b&gt;</code> now"),
        (words.sentence(""), ""),
    ],
)
def test_figures_are_written_with_sign_thin_space_and_unit(made: str, wanted: str) -> None:
    assert made == wanted.replace("_", words.THIN)


def test_luck_grows_with_the_trials_and_matches_the_published_value() -> None:
    assert expected_best(10) == pytest.approx(1.57, abs=0.005)
    assert expected_best(1) == 0.0
    assert expected_best(10_000) > expected_best(1_000) > expected_best(10)
    said = luck_sentence(1000, {"days": 365, "sharpe": 1.0})
    assert "1" + words.THIN + "000 rules" in said
    assert "less than" in said
    assert "more than" in luck_sentence(10, {"days": 365, "sharpe": 9.0})
    assert "not known" in luck_sentence(None, {})
    assert "luck" in luck_sentence(50, {"days": 10, "sharpe": None})


def test_curves_end_where_the_recorded_figures_end() -> None:
    candles = small_market()
    search = spec_for(candles, 1).search
    evaluator = ReferenceEvaluator(candles, search.execution)
    for name in ("fitness", "walk_forward"):
        curves = compute(genome(40), search, candles, name)
        window = span(search, name)
        figures = evaluator.tier2(genome(40), window)
        assert curves.equity[-1] / curves.start_equity - 1 == pytest.approx(figures[T2["total_return"]], abs=1e-6)
        assert -min(curves.drawdown) == pytest.approx(figures[T2["max_drawdown"]], abs=1e-4)
        assert len(curves.trades) == len(evaluator.trades(genome(40), window)) > 0
        assert curves.candles[-1][0] * 1000 < curves.last_ms + 1
        assert curves.last_ms < candles.time_ms[search.windows.hold_out.start]


def test_merged_candles_keep_the_extremes_and_both_ends() -> None:
    candles = small_market()
    window = Window(100, 3_333)
    k, merged = merged_candles(candles, window)
    assert len(merged) <= 900
    assert k > 1
    assert merged[0][1] == candles.open[100]
    assert merged[-1][4] == candles.close[3_332]
    assert max(r[2] for r in merged) == np.max(candles.high[100:3_333])
    assert min(r[3] for r in merged) == np.min(candles.low[100:3_333])


def test_drawdown_is_measured_from_the_start_equity_too() -> None:
    assert drawdown([90.0, 120.0, 60.0], 100.0) == pytest.approx([-0.1, 0.0, -0.5])


async def test_curves_are_computed_once(tmp_path: Path) -> None:
    candles = small_market()
    store = DatasetStore(tmp_path)
    search = spec_for(candles, 1).search
    store.put(candles)
    service = CurveService(None, store)  # type: ignore[arg-type]
    strategy = {
        "id": "x", "dataset": search.dataset,
        "genome": msgspec.to_builtins(genome(40)), "search": msgspec.to_builtins(search),
    }  # fmt: skip
    first, second = await asyncio.gather(service.of(strategy, "fitness"), service.of(strategy, "fitness"))
    assert first is second


def test_an_estimate_rests_on_recorded_answers_and_says_when_there_are_none(tmp_path: Path) -> None:
    log = EventLog()
    s = spec(units=4)
    units = open_campaign(log, "c1", s)
    path = tmp_path / "views.sqlite"
    project(path, log.made)
    con = open_reader(path)
    none = estimates.estimate(con, s, 2)
    assert (none.seconds, none.bytes, none.answers) == (None, None, 0)
    assert none.trials > 0
    con.close()
    answer(log, "c1", units[0], 0, "1", "ab" * 32)
    answer(log, "c1", units[0], 1, "2", "ab" * 32)
    validate(log, "c1", s, 0, (find(30, 0.1),))
    path.unlink()
    project(path, log.made)
    con = open_reader(path)
    some = estimates.estimate(con, s, 2)
    # Each answer of the log took 1.25 s for 100 genomes: as many a unit here, two replicas, four units, two miners.
    # Their search stopped early: 60 genomes, then 53 a generation.
    assert some.answers == 2
    assert some.trials == 4 * 100
    assert some.seconds is not None
    assert math.isclose(some.seconds, 4 * 2 * 1.25 / 2, rel_tol=1e-9)
    assert some.exact_market
    double = estimates.estimate(con, s, 2, campaigns=3)
    assert double.trials == 3 * some.trials
    assert double.bytes is not None
    assert some.bytes is not None
    assert double.bytes > 2.9 * some.bytes
    con.close()


def test_a_long_search_that_stopped_early_does_not_shorten_the_estimate_of_a_short_one(tmp_path: Path) -> None:
    """What tells is after how many generations searches stop, not which share of their plan they made."""
    log, path = EventLog(), tmp_path / "views.sqlite"
    long = spec(units=4)
    long = msgspec.structs.replace(long, search=msgspec.structs.replace(long.search, generations=60))
    for i, unit in enumerate(open_campaign(log, "c1", long)):
        data = ReplicaAnswered("c1", 0, "box", "1", "box.1", i, "ab" * 32, True, 60 * (20 + 2 * i), 5, 1.0, None)
        log.add(data, unit)
    validate(log, "c1", long, 0, (find(30, 0.1),))
    project(path, log.made)
    con = open_reader(path)

    def trials(generations: int) -> int:
        search = msgspec.structs.replace(long.search, generations=generations)
        return estimates.estimate(con, msgspec.structs.replace(long, search=search), 2).trials

    # They ran 20, 22, 24 and 26 generations: one of 20 goes to its end, one of 23 mostly, one of 60 to 23 on average.
    assert trials(20) == 4 * 60 * 20
    assert trials(23) == 60 * (20 + 22 + 23 + 23)
    assert trials(60) == 4 * 60 * 23
    assert trials(80) == trials(60), "searches that were allowed fewer have all the same stopped by themselves"
    con.close()
