"""The judgement as tables: each gate beside its threshold, and no mark that its figure does not give."""

import pytest
from msgspec.structs import replace

from domain.judgement import GATE_DSR, GATE_LOOK_AHEAD, GATE_NULLS, Judgement, Range, StrategyJudgement
from domain.judgement_rows import beside_rows, campaign_rows, gate_rows, stands_out
from tests.support.made import example

S: StrategyJudgement = replace(
    example(StrategyJudgement),
    p_value=0.05,
    dsr=0.97,
    look_ahead="",
    failed=(),
    passed=True,
    min_trl_days=20.0,
    days=25,
)
J: Judgement = replace(
    example(Judgement), alpha=0.05, dsr_wanted=0.95, nulls_asked=19, null_bests=(0.1,) * 19, strategies=(S,)
)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({}, ()),
        ({"p_value": 0.2}, (GATE_NULLS,)),
        ({"dsr": 0.5}, (GATE_DSR,)),
        ({"look_ahead": "the long entry signal changes"}, (GATE_LOOK_AHEAD,)),
        ({"p_value": None, "dsr": None}, (GATE_NULLS, GATE_DSR)),
    ],
)
def test_each_gate_shows_its_figure_and_whether_it_was_passed(
    change: dict[str, object], failed: tuple[str, ...]
) -> None:
    s = replace(S, failed=failed, passed=not failed, **change)
    rows = gate_rows(J, s)
    assert [r.passed for r in rows] == [g not in failed for g in (GATE_NULLS, GATE_DSR, GATE_LOOK_AHEAD)]
    assert [r.wanted for r in rows] == ["at most 0.05", "at least 0.95", "no"]
    assert all(r.hint for r in rows)
    assert rows[0].figure == (
        "no repetitions were validated, of 19 asked for" if s.p_value is None else f"p = {s.p_value:.3f}"
    )
    assert rows[2].figure == (s.look_ahead or "no")


def test_without_null_repetitions_the_gate_says_that_none_were_asked_for() -> None:
    j = replace(J, nulls_asked=0, null_bests=())
    (row, *_) = gate_rows(j, replace(S, p_value=None, failed=(GATE_NULLS,), passed=False))
    assert (row.figure, row.passed) == ("no repetitions were asked for", False)


def test_the_find_to_speak_of_is_one_that_passes_else_the_first() -> None:
    lost = replace(S, strategy="lost", passed=False, failed=(GATE_DSR,))
    assert stands_out(replace(J, strategies=(lost, S))) == S
    assert stands_out(replace(J, strategies=(lost, replace(lost, strategy="other")))) == lost
    assert stands_out(replace(J, strategies=())) is None


def named(rows: list, name: str):  # type: ignore[no-untyped-def, type-arg]
    return next(r for r in rows if r.name.startswith(name))


def test_what_is_not_known_has_no_mark() -> None:
    nothing = Range(None, None)
    s = replace(
        S, walk_return=None, walk_range=nothing, walk_sharpe=nothing, walk_drawdown=nothing, order_drawdown=nothing,
        drawn_return=nothing, psr=None, plateau=None, stress=(),
    )  # fmt: skip
    for row in beside_rows(J, s):
        assert row.passed is None or row.name == "Days that this would take", row
    j = replace(J, pbo=None, spa=None, reality_check=None, min_btl_years=None, sharpe_bar=None)
    assert [r.passed for r in campaign_rows(j)[:4]] == [None] * 4


def test_marks_follow_the_figures() -> None:
    s = replace(S, walk_return=0.02, hold_walk_return=0.03, plateau=0.6, walk_range=Range(-0.01, 0.05))
    rows = beside_rows(J, s)
    assert named(rows, "Walk-forward return").passed is False, "buy & hold returned more"
    for walk, hold, good in ((-0.01, -0.2, False), (0.04, 0.03, True), (0.01, -0.2, True)):
        s = replace(s, walk_return=walk, hold_walk_return=hold)
        assert named(beside_rows(J, s), "Walk-forward return").passed is good
    assert named(rows, "Range of that return").figure == "-1.00 % to +5.00 %"
    assert named(rows, "Range of that return").passed is False
    assert named(rows, "Neighbours").passed is True
    assert named(rows, "Days that").passed is True
    assert named(beside_rows(J, replace(s, min_trl_days=None)), "Days that").passed is False
    whole = campaign_rows(
        replace(J, pbo=0.3, spa=0.01, min_btl_years=5.0, fitness_years=0.3, trials=9, hold_out_looks=0)
    )
    assert [r.passed for r in whole] == [False, True, False, None, True]
