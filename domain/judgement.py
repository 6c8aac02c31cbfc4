"""What is said of a campaign once all its units have a verdict: whether what was found is better than luck.

Figures are computed once and recorded: they rest on logarithms and distributions, and count as trace. Null means that a
figure is not defined or was not asked for, never 0. Sharpe ratios are per day, not annualised.
"""

import msgspec

#: A gate that a find did not pass, in words that stand in events.
GATE_NULLS = "null repetitions"
GATE_DSR = "deflated Sharpe ratio"
GATE_LOOK_AHEAD = "look-ahead check"

Figure = float | None


class Range(msgspec.Struct, frozen=True):
    """The middle 95 % of the replicates."""

    low: Figure
    high: Figure


class Stress(msgspec.Struct, frozen=True):
    """The same strategy under worse costs: its objective, and its return over the walk-forward range."""

    name: str
    fitness_return: Figure
    walk_return: Figure


class StrategyJudgement(msgspec.Struct, frozen=True):
    """One find. `p_value`: share of null repetitions (and itself) at least as good; `dsr` gates.

    Beside it, no gates: `dsr_2025` (another formula), `dsr_plain` (variance of all trials, costs and all), `dsr_in_sample`
    (fitness candles, all trials on them).
    `days` of walk-forward; `min_trl_days`: days until the Sharpe ratio would be significant had it been the only one tried
    (null: never). `walk_*` ranges are of a block bootstrap over days, `order_drawdown` of the same trades in another order,
    `drawn_return` of trades drawn anew. `plateau`: share of `neighbours` one step away that keep at least half of its
    lead over the median of what was tried. `look_ahead`: what was found, empty when nothing was. `failed`: gates.
    """

    strategy: str
    genome_id: str
    objective: Figure
    enough_trades: bool
    p_value: Figure
    days: int
    walk_return: Figure
    hold_walk_return: Figure
    fitness_return: Figure
    hold_fitness_return: Figure
    sharpe: Figure
    psr: Figure
    dsr: Figure
    dsr_2025: Figure
    dsr_plain: Figure
    dsr_in_sample: Figure
    min_trl_days: Figure
    walk_range: Range
    walk_sharpe: Range
    walk_drawdown: Range
    order_drawdown: Range
    drawn_return: Range
    plateau: Figure
    neighbours: int
    stress: tuple[Stress, ...]
    look_ahead: str
    failed: tuple[str, ...]
    passed: bool


class Judgement(msgspec.Struct, frozen=True):
    """`trials`: genomes tried on these fitness candles by all campaigns, `candidates`: those ever evaluated on these
    walk-forward candles; both as the log counts them. `effective_candidates` after their correlation. `sharpe_bar`: what
    the best of the candidates is expected to show by luck, from the median of `sampled` unselected trials and their spread
    above it, or from 1 / days where that is more.

    `null_bests`: best objective of every null repetition that was validated, of `nulls_asked`. `pbo` over the sample and
    the finds in `pbo_blocks` blocks. `reality_check` (White) and `spa` (Hansen) are p-values against buy & hold.
    `min_btl_years`: what the fitness range had to span for the best of `trials` not to reach a yearly Sharpe ratio of 1 by
    luck; it spans `fitness_years`. `hold_out_looks`: how often anybody looked at candles of this hold-out.

    `judged_on` names the first dataset of a search over several, and `also` the others: every figure is of the first alone.
    Both are empty where there is one.
    """

    alpha: float
    dsr_wanted: float
    dsr_variant: str
    trials: int
    candidates: int
    effective_candidates: Figure
    sampled: int
    sharpe_median: Figure
    sharpe_spread: Figure
    sharpe_bar: Figure
    nulls_asked: int
    null_bests: tuple[Figure, ...]
    pbo: Figure
    pbo_blocks: int
    reality_check: Figure
    spa: Figure
    min_btl_years: Figure
    fitness_years: float
    hold_out_looks: int
    strategies: tuple[StrategyJudgement, ...]
    judged_on: str = ""
    also: tuple[str, ...] = ()
