"""A whole campaign judged: every figure of `domain.judgement`, from its finds, a sample of its trials and its nulls.

Of a search over several datasets the first one is judged: the strategies are of its market.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from domain.candles import Candles
from domain.execution import ExecutionModel
from domain.genome import Genome, canonical_genome
from domain.hashing import content_hash, derived_seed
from domain.judgement import Figure, Judgement, Range, StrategyJudgement, Stress
from domain.markets import market_name
from domain.metrics import T2
from domain.results import Find, mean_return
from domain.specs import Window, strategy_id
from domain.tasks import space_of
from kernels.evaluation import gates
from kernels.evaluation.lookahead import LookAhead
from kernels.evaluation.neighbours import neighbours
from kernels.evaluation.question import MOST_FINDS, MOST_SAMPLED, Question
from kernels.evaluation.samples import Floats, Spread, matrix, overfitting, range_of, returns_of, spread_of
from kernels.evaluation.simulator import Simulator
from kernels.evolution.ranking import Fitness, fitness_of, measure
from kernels.statistics import sharpe
from kernels.statistics.bootstrap import REPLICATES, Interval, bootstrap_intervals, monte_carlo, rule_of_thumb
from kernels.statistics.reality_check import superiority
from kernels.terms import BUY_AND_HOLD

#: Days below which returns say nothing.
FEW_DAYS = 4
YEAR = 365.0
_WORST_BPS = 4_999.0

Make = Callable[[Candles, ExecutionModel], Simulator]


def own_objective(find: Find) -> Figure:
    """On the first dataset alone."""
    return mean_return(find.fitness) if find.also else find.objective


class _Range(msgspec.Struct, frozen=True):
    """Daily returns over one range: of the sample, of buy & hold, and the spread of the sample's Sharpe ratios."""

    window: Window
    days: int
    sample: list[Floats]
    hold: Floats
    hold_return: float
    spread: Spread


def judge(question: Question, candles: Candles, make: Make, replicates: int = REPLICATES) -> Judgement:
    """Raises BadInput for candles, costs or genomes out of range. Seconds of work at most for what `Question` allows."""
    return _Judge(question, candles, make, replicates).judgement()


def known(value: float) -> Figure:
    """Null for what is not defined or not finite."""
    return float(value) if math.isfinite(value) else None


class _Judge:
    def __init__(self, question: Question, candles: Candles, make: Make, replicates: int) -> None:
        self.q, self.search = question, question.search
        self.replicates = replicates
        self.start_equity = self.search.execution.start_equity
        self.evaluator = make(candles, self.search.execution)
        self.finds = question.finds[:MOST_FINDS]
        chosen = {f.genome_id for f in self.finds}
        unselected = [g for g in question.sample if content_hash(canonical_genome(g)) not in chosen][:MOST_SAMPLED]
        self.fitness = self._range(self.search.windows.fitness, unselected)
        self.walk = self._range(self.search.windows.walk_forward, unselected)
        self.median = self._median(unselected)
        self.stressed = [(name, make(candles, execution)) for name, execution in stresses(self.search.execution)]
        self.look_ahead = LookAhead(candles, self.walk.window, self.search.execution, make)
        self.compared = max(question.candidates, len(question.finds), 1)
        self.nulls = sorted(map(gates.null_standing, question.nulls))

    def _range(self, windows: Sequence[Window], genomes: Sequence[Genome]) -> _Range:
        window = range_of(windows)
        hold_row = self.evaluator.buy_and_hold(window)
        hold = self._returns(BUY_AND_HOLD, window)
        columns = [self._returns(g, window) for g in genomes]
        total = float(hold_row[T2["total_return"]])
        return _Range(window, len(hold), columns, hold, total, spread_of(columns, len(hold)))

    def _returns(self, genome: Genome, window: Window) -> Floats:
        return returns_of(genome, window, self.evaluator, self.start_equity)

    def _median(self, genomes: Sequence[Genome]) -> float:
        """Objective in the middle of what was tried; NaN when none of it has one."""
        if not genomes:
            return math.nan
        found = [f.objective for f in self._fitness(genomes) if f.eligible]
        return float(np.median(found)) if found else math.nan

    def _fitness(self, genomes: Sequence[Genome]) -> list[Fitness]:
        return [fitness_of(row) for row in measure(self.evaluator.tier1(genomes, self.search.windows.fitness))]

    def judgement(self) -> Judgement:
        q, walk = self.q, self.walk
        chosen = [self._returns(f.genome, walk.window) for f in self.finds]
        table = matrix([*chosen, *walk.sample], walk.days)
        pbo, blocks = overfitting(table)
        white, spa = self._superiority(table)
        return Judgement(
            alpha=gates.ALPHA,
            dsr_wanted=gates.DSR_WANTED,
            dsr_variant="2014",
            trials=q.trials,
            candidates=q.candidates,
            effective_candidates=known(_effective(matrix(walk.sample, walk.days), q.candidates)),
            sampled=walk.spread.sampled,
            sharpe_median=known(walk.spread.median),
            sharpe_spread=known(math.sqrt(walk.spread.upper)),
            sharpe_bar=known(walk.spread.bar(self.compared)),
            nulls_asked=q.nulls_asked,
            null_bests=tuple(n.objective for n in q.nulls),
            pbo=known(pbo),
            pbo_blocks=blocks,
            reality_check=known(white),
            spa=known(spa),
            min_btl_years=known(sharpe.min_btl(max(q.trials, 1))),
            fitness_years=self.fitness.days / YEAR,
            hold_out_looks=q.hold_out_looks,
            strategies=tuple(self._strategy(f, r) for f, r in zip(self.finds, chosen, strict=True)),
            judged_on=market_name(self.search) if self.search.also else "",
            also=tuple(market_name(m) for m in self.search.also),
        )

    def _superiority(self, table: Floats) -> tuple[float, float]:
        """White's and Hansen's p-values over all columns against buy & hold."""
        if self.walk.days < FEW_DAYS or not table.shape[1] or len(self.walk.hold) != self.walk.days:
            return math.nan, math.nan
        seed = derived_seed(self.q.seed, "superiority")
        found = superiority(table, self.walk.hold, seed, rule_of_thumb(self.walk.days), self.replicates)
        return found.white, found.consistent

    def _strategy(self, find: Find, returns: Floats) -> StrategyJudgement:
        genome, walk = find.genome, self.walk
        m = sharpe.moments(returns)
        shape = (m.skewness, m.kurtosis)
        bar = walk.spread.bar(self.compared)
        p = gates.p_value(gates.find_standing(find), self.nulls)
        gated = known(sharpe.psr(m.sharpe, m.n, bar, *shape))
        seen = self.look_ahead.of(genome)
        failed = gates.failed_gates(p, gated, seen)
        plateau, around = self._plateau(find)
        days = bootstrap_ranges(returns, derived_seed(self.q.seed, "days", find.genome_id), self.replicates)
        order, drawn = self._trade_ranges(find)
        return StrategyJudgement(
            strategy=strategy_id(find.genome_id, self.search),
            genome_id=find.genome_id,
            objective=own_objective(find),
            enough_trades=find.enough_trades,
            p_value=p,
            days=walk.days,
            walk_return=find.daily_walk.get("total_return"),
            hold_walk_return=known(walk.hold_return),
            fitness_return=find.daily_fitness.get("total_return"),
            hold_fitness_return=known(self.fitness.hold_return),
            sharpe=known(m.sharpe),
            psr=known(sharpe.psr(m.sharpe, m.n, 0.0, *shape)),
            dsr=gated,
            dsr_2025=known(sharpe.psr_2025(m.sharpe, m.n, bar, *shape)),
            dsr_plain=known(sharpe.psr(m.sharpe, m.n, walk.spread.plain_bar(self.compared), *shape)),
            dsr_in_sample=self._in_sample(genome),
            min_trl_days=known(sharpe.min_trl(m.sharpe, 0.0, *shape, confidence=gates.DSR_WANTED)),
            walk_range=days[0],
            walk_sharpe=days[1],
            walk_drawdown=days[2],
            order_drawdown=order,
            drawn_return=drawn,
            plateau=plateau,
            neighbours=around,
            stress=tuple(self._stress(name, e, genome) for name, e in self.stressed),
            look_ahead=seen,
            failed=failed,
            passed=not failed,
        )

    def _in_sample(self, genome: Genome) -> Figure:
        """DSR over the fitness range, with all trials on it: reported, never a gate."""
        m = sharpe.moments(self._returns(genome, self.fitness.window))
        bar = self.fitness.spread.bar(max(self.q.trials, 1))
        return known(sharpe.psr(m.sharpe, m.n, bar, m.skewness, m.kurtosis))

    def _plateau(self, find: Find) -> tuple[Figure, int]:
        """(share of neighbours that keep half of the lead over the median of what was tried, how many there are)."""
        around = neighbours(find.genome, space_of(self.search))
        objective = own_objective(find)
        if not around or objective is None or not objective > self.median:
            return None, len(around)
        level = objective - 0.5 * (objective - self.median)
        kept = sum(f.eligible and f.objective >= level for f in self._fitness(around))
        return kept / len(around), len(around)

    def _trade_ranges(self, find: Find) -> tuple[Range, Range]:
        equity, returns = self.start_equity, []
        for trade in self.evaluator.trades(find.genome, self.walk.window):
            returns.append(trade.pnl / equity)
            equity += trade.pnl
        if len(returns) < 2 or not np.isfinite(returns).all():
            return Range(None, None), Range(None, None)
        found = monte_carlo(np.array(returns), derived_seed(self.q.seed, "trades", find.genome_id), self.replicates)
        return _range(found.shuffled_drawdown), _range(found.resampled.total_return)

    def _stress(self, name: str, evaluator: Simulator, genome: Genome) -> Stress:
        fit = fitness_of(measure(evaluator.tier1([genome], self.search.windows.fitness))[0])
        walk = evaluator.tier2(genome, self.walk.window)[T2["total_return"]]
        return Stress(name, known(fit.objective), known(float(walk)))


def stresses(execution: ExecutionModel) -> list[tuple[str, ExecutionModel]]:
    """Worse costs than assumed: all fees half more and doubled, slippage doubled."""

    def with_fees(factor: float) -> ExecutionModel:
        fees = ("taker_bps", "maker_bps", "opening_fee_bps", "rollover_bps")
        return msgspec.structs.replace(execution, **{f: min(getattr(execution, f) * factor, _WORST_BPS) for f in fees})

    slipping = msgspec.structs.replace(execution, slippage_bps=min(execution.slippage_bps * 2, _WORST_BPS))
    return [("fees x1.5", with_fees(1.5)), ("fees x2", with_fees(2.0)), ("slippage x2", slipping)]


def bootstrap_ranges(returns: Floats, seed: int, replicates: int) -> tuple[Range, Range, Range]:
    """Total return, Sharpe ratio a day, maximum drawdown: stationary bootstrap over days; nulls where there are too few."""
    if len(returns) < FEW_DAYS:
        nothing = Range(None, None)
        return nothing, nothing, nothing
    found = bootstrap_intervals(returns, seed, rule_of_thumb(len(returns)), replicates)
    return _range(found.total_return), _range(found.sharpe), _range(found.max_drawdown)


def _range(interval: Interval) -> Range:
    return Range(known(interval.low), known(interval.high))


def _effective(table: Floats, candidates: int) -> float:
    """Of `candidates` as correlated as the sample is: rho + (1 - rho) N."""
    n = table.shape[1]
    if n < 2 or candidates < 1:
        return math.nan
    rho: float = (n - sharpe.effective_trials(table)) / (n - 1)
    return float(rho + (1.0 - rho) * candidates)
