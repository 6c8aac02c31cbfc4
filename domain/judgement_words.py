"""A judgement in plain sentences: is it better than luck, and which figures say so."""

import math

from domain.judgement import GATE_DSR, GATE_LOOK_AHEAD, GATE_NULLS, Figure, Judgement, StrategyJudgement

_ROOT_YEAR = math.sqrt(365.0)


def percent(value: Figure, digits: int = 2) -> str:
    return "not known" if value is None else f"{value * 100:+.{digits}f} %"


def share(value: Figure) -> str:
    """A probability, without a sign."""
    return "not known" if value is None else f"{value:.3f}" if value >= 0.001 else "below 0.001"


def yearly(sharpe: Figure) -> str:
    return "none" if sharpe is None else f"{sharpe * _ROOT_YEAR:.1f}"


def headline(j: Judgement) -> str:
    """Whether anything that the campaign found is better than luck, in one sentence."""
    n, passed = len(j.strategies), sum(s.passed for s in j.strategies)
    if not n:
        return "Nothing was found that could be judged."
    if passed:
        return (
            f"{passed} of the {n} finds judged pass every gate: as far as these candles can tell, better than luck. "
            "The hold-out and paper trading have still to agree."
        )
    if not j.nulls_asked and j.also:
        return (
            "Not tested against luck: a search over several datasets has no null repetitions, so that nothing it found can pass. "
            "Search the first dataset alone with `--nulls 19` to test what it shows."
        )
    if not j.nulls_asked:
        return (
            "Not tested against luck: the campaign had no null repetitions, so that nothing it found can pass. "
            "`sluice mine --nulls 19` adds them to searches; an exhaustive campaign has none."
        )
    return f"Nothing of what was found is shown to be better than luck: none of the {n} finds judged passes every gate."


def campaign_words(j: Judgement) -> list[str]:
    """The headline, then the figures behind it, a sentence each."""
    out = [headline(j)]
    if j.also:
        out.append(_first_alone(j))
    if j.strategies:
        out += [nulls_words(j, j.strategies[0]), _walk_words(j)]
        if j.pbo is not None:
            out.append(_pbo_words(j))
        if j.spa is not None:
            out.append(
                f"Against buy & hold over the same days, counting that the best was picked: p = {share(j.reality_check)} "
                f"(reality check), {share(j.spa)} (SPA)."
            )
    if j.min_btl_years is not None and j.trials > 1:
        short = "too short" if j.fitness_years < j.min_btl_years else "long enough"
        out.append(
            f"{j.trials:,} rules were tried on {j.fitness_years:.2f} years of fitness candles; for the best of so many not to "
            f"show a yearly Sharpe ratio of 1 by luck they had to span {j.min_btl_years:.1f} years: {short}."
        )
    out.append(_hold_out_words(j))
    return out


def _first_alone(j: Judgement) -> str:
    others = ", ".join(j.also)
    return (
        f"The search also wanted it to hold up on {others}; all figures of this judgement are of {j.judged_on} alone."
    )


def nulls_words(j: Judgement, s: StrategyJudgement) -> str:
    """What the null repetitions say of a find."""
    if not j.nulls_asked:
        return "No null repetition was asked for: how much the same search finds by luck alone is not known."
    done = len(j.null_bests)
    if s.p_value is None:
        return f"Of {j.nulls_asked} null repetitions none was validated: luck is not measured."
    as_good = round(s.p_value * (done + 1)) - 1
    verdict = "within" if s.p_value <= j.alpha else "above"
    few = "" if done == j.nulls_asked else f" ({j.nulls_asked - done} more were asked for and not validated)"
    return (
        f"The same search on {done} series without a message{few} found at least as much {_times(as_good)}: "
        f"p = {share(s.p_value)}, {verdict} the {j.alpha:.0%} allowed."
    )


def _times(n: int) -> str:
    return "never" if n == 0 else "once" if n == 1 else f"{n} times"


def _walk_words(j: Judgement) -> str:
    best = max(j.strategies, key=lambda s: -1.0 if s.dsr is None else s.dsr)
    return (
        f"On walk-forward candles {j.candidates:,} candidates have been evaluated so far; the best of so many without skill "
        f"would show a yearly Sharpe ratio of about {yearly(j.sharpe_bar)} over {best.days} days. The find that stands out "
        f"most shows {yearly(best.sharpe)}, a deflated Sharpe ratio of {share(best.dsr)} ({j.dsr_wanted:.2f} is wanted)."
    )


def _pbo_words(j: Judgement) -> str:
    assert j.pbo is not None
    meaning = (
        "choosing by past results carries over" if j.pbo < 0.2 else "choosing by past results is worth little"
        if j.pbo < 0.5 else "choosing by past results is worth nothing"
    )  # fmt: skip
    return (
        f"Probability of backtest overfitting on walk-forward days: {j.pbo:.2f} ({meaning}; what carries over may be "
        "nothing but lower costs)."
    )


def _hold_out_words(j: Judgement) -> str:
    if not j.hold_out_looks:
        return "Nobody has looked at the hold-out of these candles."
    return f"The hold-out of these candles has been looked at {_times(j.hold_out_looks)}: it is no longer fresh."


def strategy_words(j: Judgement, s: StrategyJudgement) -> list[str]:
    """What is said of one strategy, a sentence each."""
    why = {
        GATE_NULLS: "the null repetitions do not clear it" if j.nulls_asked else "no null repetition was asked for",
        GATE_DSR: "walk-forward candles do not confirm it",
        GATE_LOOK_AHEAD: "it sees the future",
    }
    out = [
        "It passes every gate: better than luck, as far as these candles can tell."
        if s.passed
        else f"Not shown to be better than luck: {' and '.join(why.get(f, f) for f in s.failed)}."
    ]
    if j.also:
        out.append(_first_alone(j))
    out.append(nulls_words(j, s))
    out.append(
        f"Walk-forward, {s.days} days: {percent(s.walk_return)} (buy & hold {percent(s.hold_walk_return)}), yearly Sharpe ratio "
        f"{yearly(s.sharpe)}; the best of {j.candidates:,} candidates without skill would show about {yearly(j.sharpe_bar)}. "
        f"Deflated Sharpe ratio {share(s.dsr)} ({j.dsr_wanted:.2f} is wanted); on fitness candles, not gated, "
        f"{share(s.dsr_in_sample)}."
    )
    out.append(_track_words(s))
    if s.walk_range.low is not None:
        out.append(
            f"Luck within these very days moves the walk-forward return between {percent(s.walk_range.low)} and "
            f"{percent(s.walk_range.high)} (95 %), the drawdown up to {percent(s.walk_drawdown.high).lstrip('+')}."
        )
    if s.plateau is not None:
        out.append(
            f"Of {s.neighbours} strategies one step away {s.plateau:.0%} keep at least half of its lead over the median of what "
            f"was tried: {'a plateau' if s.plateau >= 0.5 else 'a lonely peak'}."
        )
    if s.stress:
        worse = "; ".join(f"{t.name}: {percent(t.walk_return)}" for t in s.stress)
        out.append(f"Walk-forward under worse costs: {worse}.")
    out.append(
        f"Look-ahead check: {s.look_ahead}." if s.look_ahead
        else "Look-ahead check: nothing that it knew at a candle depends on later ones."
    )  # fmt: skip
    return out


def _track_words(s: StrategyJudgement) -> str:
    if s.min_trl_days is None:
        return "With such a Sharpe ratio no length of walk-forward could ever show an edge."
    enough = "there are" if s.days >= s.min_trl_days else "there are only"
    return (
        f"Had it been the only strategy ever tried, {s.min_trl_days:,.0f} days would be needed to tell its Sharpe ratio from "
        f"zero; {enough} {s.days}."
    )
