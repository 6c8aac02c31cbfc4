"""A judgement as tables that a newcomer can read: what was asked, the figure, what is wanted of it, in plain words each."""

import math

import msgspec

from domain.judgement import GATE_DSR, GATE_LOOK_AHEAD, GATE_NULLS, Figure, Judgement, Range, StrategyJudgement
from domain.judgement_words import percent, share, yearly

PBO_WANTED = 0.2
PLATEAU_WANTED = 0.5


class Row(msgspec.Struct, frozen=True):
    """`passed` is null where a figure is not known or nothing is wanted of it."""

    name: str
    figure: str
    wanted: str
    passed: bool | None
    hint: str


def stands_out(j: Judgement) -> StrategyJudgement | None:
    """The find to speak of: one that passes, else the first, which is the best by fitness."""
    return next((s for s in j.strategies if s.passed), j.strategies[0] if j.strategies else None)


def gate_rows(j: Judgement, s: StrategyJudgement) -> list[Row]:
    """The gates of one find; it is called better than luck only when it passes all of them."""
    done = len(j.null_bests)
    asked = "were asked for" if not j.nulls_asked else f"were validated, of {j.nulls_asked} asked for"
    return [
        Row(
            "Does luck find as much?",
            f"no repetitions {asked}" if s.p_value is None else f"p = {share(s.p_value)}",
            f"at most {j.alpha:g}",
            GATE_NULLS not in s.failed,
            f"The same search {'was' if j.nulls_asked else 'would have to be'} repeated on candles drawn at random in short "
            f"blocks, where there is nothing to find{f' ({done} times)' if done else ''}. p is how often luck alone does at "
            "least as well; the find itself counts as one.",
        ),
        Row(
            "Do unseen candles confirm it?",
            f"deflated Sharpe ratio {share(s.dsr)}",
            f"at least {j.dsr_wanted:g}",
            GATE_DSR not in s.failed,
            f"How sure its {s.days} walk-forward days make us that it has an edge, after allowing for the best of "
            f"{j.candidates:,} candidates that were compared there. 1 is certain.",
        ),
        Row(
            "Does it see the future?",
            s.look_ahead or "no",
            "no",
            GATE_LOOK_AHEAD not in s.failed,
            "Later candles were taken away, and replaced by invented ones: what it knew and did before must stay the same.",
        ),
    ]


def beside_rows(j: Judgement, s: StrategyJudgement) -> list[Row]:
    """What else is known of one find. None of it is a gate; `passed` says whether it is as one would wish."""
    rows = [
        Row(
            "Walk-forward return",
            percent(s.walk_return),
            f"above 0, and above buy & hold, {percent(s.hold_walk_return)}",
            _more(s.walk_return, None if s.hold_walk_return is None else max(0.0, s.hold_walk_return)),
            "On candles that the search never saw. A market that falls is beaten by doing nothing at all.",
        ),
        Row(
            "Range of that return",
            _between(s.walk_range),
            "above 0 at both ends",
            _more(s.walk_range.low, 0.0),
            "The same days drawn anew in blocks, many times; 95 % of the draws end in between.",
        ),
        Row(
            "Range of its Sharpe ratio, yearly",
            _between_yearly(s.walk_sharpe),
            "above 0 at both ends",
            _more(s.walk_sharpe.low, 0.0),
            "Return for its swings, in the same draws.",
        ),
        Row(
            "Drawdown that luck could bring",
            _up_to(s.walk_drawdown),
            "",
            None,
            f"In the same draws; with its trades in another order up to {_up_to(s.order_drawdown)}. Plan for this one, not for "
            "the drawdown that was seen.",
        ),
        Row(
            "Return with trades drawn anew",
            _between(s.drawn_return),
            "above 0 at both ends",
            _more(s.drawn_return.low, 0.0),
            "Where few trades made all of the profit, this range is wide.",
        ),
        Row(
            "Sharpe ratio had it been the only one tried",
            f"sure to {share(s.psr)}",
            f"at least {j.dsr_wanted:g}",
            _at_least(s.psr, j.dsr_wanted),
            "The probabilistic Sharpe ratio. It allows for nothing but chance, not for choosing among many.",
        ),
        Row(
            "Days that this would take",
            "no number of days" if s.min_trl_days is None else f"{math.ceil(s.min_trl_days):,}",
            f"at most the {s.days} there are",
            s.min_trl_days is not None and s.min_trl_days <= s.days,
            "The minimum track record: how long it had to trade like this to tell its Sharpe ratio from zero.",
        ),
        Row(
            "Neighbours that keep up",
            "not known" if s.plateau is None else f"{s.plateau:.0%} of {s.neighbours}",
            f"at least {PLATEAU_WANTED:.0%}",
            _at_least(s.plateau, PLATEAU_WANTED),
            "Strategies one step away that keep half of its lead. A lonely peak is usually an accident.",
        ),
    ]
    rows += [
        Row(
            f"Walk-forward with {t.name.replace(' x', ' times ')}",
            percent(t.walk_return),
            "above 0",
            _more(t.walk_return, 0.0),
            "The same trades when the venue is dearer than assumed.",
        )
        for t in s.stress
    ]
    rows.append(
        Row(
            "Deflated Sharpe ratio, other ways",
            f"{share(s.dsr_2025)} · {share(s.dsr_plain)} · {share(s.dsr_in_sample)}",
            "",
            None,
            "By the formula of 2025; with the plain variance of all trials; on the fitness candles, by which it was chosen.",
        )
    )
    return rows


def campaign_rows(j: Judgement) -> list[Row]:
    """What is known of the campaign as a whole. None of it is a gate."""
    enough = None if j.min_btl_years is None or j.trials < 2 else j.fitness_years >= j.min_btl_years
    return [
        Row(
            "Is choosing by the past worth anything?",
            "not known" if j.pbo is None else f"overfitting in {j.pbo:.0%} of splits",
            f"below {PBO_WANTED:.0%}",
            None if j.pbo is None else j.pbo < PBO_WANTED,
            "The days were split in two in many ways: how often the best of one half is below the middle in the other (PBO).",
        ),
        Row(
            "Does the best beat buy & hold?",
            f"p = {share(j.spa)} (SPA), {share(j.reality_check)} (reality check)" if j.spa is not None else "not known",
            f"at most {j.alpha:g}",
            None if j.spa is None else j.spa <= j.alpha,
            "How likely the best of as many without any edge would lead buy & hold by as much, over the same days.",
        ),
        Row(
            "Are there enough candles for so many tries?",
            f"{j.fitness_years:.2f} years for {j.trials:,} rules",
            "not known" if j.min_btl_years is None else f"at least {j.min_btl_years:.1f} years",
            enough,
            "In less, the best of as many rules without any edge is expected to show a yearly Sharpe ratio of 1 (MinBTL).",
        ),
        Row(
            "What would luck show walk-forward?",
            f"a yearly Sharpe ratio of {yearly(j.sharpe_bar)}",
            "",
            None,
            f"Expected of the best of {j.candidates:,} candidates without skill"
            + ("" if j.effective_candidates is None else f", as many as {j.effective_candidates:,.0f} unlike ones")
            + ". The deflated Sharpe ratio measures from there.",
        ),
        Row(
            "Is the hold-out still fresh?",
            "nobody has looked"
            if not j.hold_out_looks
            else "1 look"
            if j.hold_out_looks == 1
            else f"{j.hold_out_looks:,} looks",
            "no look",
            j.hold_out_looks == 0,
            "The last fifth of the candles can be asked once: whoever looks and then changes something has used it up.",
        ),
    ]


def _more(value: Figure, than: Figure) -> bool | None:
    return None if value is None or than is None else value > than


def _at_least(value: Figure, wanted: float) -> bool | None:
    return None if value is None else value >= wanted


def _between(r: Range) -> str:
    return "not known" if r.low is None else f"{percent(r.low)} to {percent(r.high)}"


def _between_yearly(r: Range) -> str:
    return "not known" if r.low is None else f"{yearly(r.low)} to {yearly(r.high)}"


def _up_to(r: Range) -> str:
    return percent(r.high).lstrip("+")
