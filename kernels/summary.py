"""From trades to figures, compiled: a tier 1 row, the daily equity, and the batch over genomes that yields the rows."""

import numpy as np

from domain.metrics import FLAG_BALANCE, FLAG_NOT_FINITE, FLAG_PNL, FLAG_POSITION, T1
from kernels.jit import inlined, jit
from kernels.loop import simulate
from kernels.terms import DAY_MS, ROLLOVER_MS

_TRADES, _WINS, _NET, _RETURN = T1["trades"], T1["wins"], T1["net_pnl"], T1["return_frac"]
_PROFIT, _LOSS, _FEES, _TURNOVER = T1["gross_profit"], T1["gross_loss"], T1["fees"], T1["turnover"]
_WIN_RATE, _FACTOR, _EXPECTANCY = T1["win_rate"], T1["profit_factor"], T1["expectancy"]
_BEST, _WORST, _SHARPE, _SORTINO = T1["best_trade"], T1["worst_trade"], T1["sharpe"], T1["sortino"]
_CALMAR, _DRAWDOWN, _EXPOSURE = T1["calmar"], T1["max_drawdown"], T1["exposure"]
_FINAL, _FLAGS = T1["final_equity"], T1["flags"]


@jit
def write_ratios(returns, count, out):
    """Sharpe and Sortino per trade (not annualised) of `returns` (pnl / equity before), two passes in order of the
    trades; left as they are below two trades. In place."""
    if count < 2:
        return
    total = 0.0
    for i in range(count):
        total += returns[i]
    mean = total / count
    squares = 0.0
    below = 0.0
    for i in range(count):
        r = returns[i]
        squares += (r - mean) * (r - mean)
        if r < 0.0:
            below += r * r
    spread = np.sqrt(squares / (count - 1))
    downside = np.sqrt(below / count)
    if spread > 0.0:
        out[_SHARPE] = mean / spread
    if downside > 0.0:
        out[_SORTINO] = mean / downside


@inlined
def no_sums(costs):
    """Sums over no trade, for `tally`: count, wins, candles held, flags, net, profit, loss, fees, turnover, best and worst
    pnl, peak, drawdown."""
    return (0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, -np.inf, np.inf, costs.start_equity, 0.0)


@inlined
def tally(sums, pnl, equity, entry_notional, exit_notional, fees, candles_held, costs):
    """`sums` with one more trade, which left `equity`. Both paths add in this order, so that the bits are the same."""
    count, wins, held, flags, net, profit, loss, fees_sum, turnover, best, worst, peak, drawdown = sums
    wins += 1 if pnl > 0.0 else 0
    # Adding nothing leaves the bits of a sum as they are, and saves a branch that is as good as random.
    profit += pnl if pnl > 0.0 else 0.0
    loss -= 0.0 if pnl > 0.0 else pnl
    best = pnl if pnl > best or count == 0 else best
    worst = pnl if pnl < worst or count == 0 else worst
    peak = equity if equity > peak else peak
    fall = (peak - equity) / peak
    drawdown = fall if fall > drawdown else drawdown
    if equity > costs.max_balance:
        flags |= FLAG_BALANCE
    if entry_notional > costs.max_position:
        flags |= FLAG_POSITION
    if not (np.isfinite(equity) and np.isfinite(entry_notional) and np.isfinite(exit_notional)):
        flags |= FLAG_NOT_FINITE
    return (
        count + 1, wins, held + candles_held, flags, net + pnl, profit, loss, fees_sum + fees,
        turnover + (entry_notional + exit_notional), best, worst, peak, drawdown,
    )  # fmt: skip


@jit
def write_row(sums, final, returns, costs, candles, out):
    """Fill `out` (len(TIER1),) from the sums and `returns` (pnl / equity before) of a window of `candles`; NaN, never 0,
    where a figure is not defined. In place. Formulas: `kernels.reference_figures`."""
    count, wins, held, flags, net, profit, loss, fees, turnover, best, worst, _, drawdown = sums
    out[:] = np.nan
    out[_TRADES] = count
    out[_FLAGS] = 0.0
    if count == 0:
        return
    if abs(net) > costs.max_pnl:
        flags |= FLAG_PNL
    out[_WINS] = wins
    out[_NET] = net
    out[_RETURN] = net / costs.start_equity
    out[_PROFIT] = profit
    out[_LOSS] = loss
    out[_FEES] = fees
    out[_TURNOVER] = turnover
    out[_WIN_RATE] = wins / count
    if loss > 0.0:
        out[_FACTOR] = profit / loss
    out[_EXPECTANCY] = net / count
    out[_BEST] = best
    out[_WORST] = worst
    out[_DRAWDOWN] = drawdown
    if drawdown > 0.0:
        out[_CALMAR] = out[_RETURN] / drawdown
    out[_EXPOSURE] = held / candles
    out[_FINAL] = final
    out[_FLAGS] = flags
    write_ratios(returns, count, out)


@inlined
def make_canonical(out):
    """NaN is one bit pattern: what became NaN by arithmetic (beyond float64's range) may hold another. In place."""
    for k in range(len(out)):
        if np.isnan(out[k]):
            out[k] = np.nan


@jit
def tier1_row(trades, count, costs, candles, returns, out):
    """Fill `out` (len(TIER1),) from the first `count` trades of a window of `candles`; `returns` is scratch. In place."""
    sums = no_sums(costs)
    final = costs.start_equity
    for i in range(count):
        trade = trades[i]
        final = trade.equity_after
        returns[i] = trade.pnl / trade.equity_before
        sums = tally(
            sums, trade.pnl, final, trade.entry_notional, trade.exit_notional, trade.fees, trade.candles_held, costs
        )
    write_row(sums, final, returns, costs, candles, out)


@jit
def tier1_batch(features, rules, genomes, costs, time_ms, open_, high, low, close, start, stop, trades, returns, out):
    """Rows `out` (G, len(TIER1)) of `genomes` over one window; `trades` and `returns` are scratch. In place."""
    for i in range(len(genomes)):
        count = simulate(features, rules, genomes[i], costs[0], time_ms, open_, high, low, close, start, stop, trades)
        tier1_row(trades, count, costs[0], stop - start, returns, out[i])


@jit
def list_trades(features, rules, genomes, costs, time_ms, open_, high, low, close, start, stop, trades):
    """Trades of the first genome, in place; returns their number."""
    return simulate(features, rules, genomes[0], costs[0], time_ms, open_, high, low, close, start, stop, trades)


@jit
def daily_marks(trades, count, costs, time_ms, close, day_ends, start, stop, out):
    """Equity at the last close of every UTC day from the window's first to its last, in place.

    `day_ends` int64: the last candles of days, ascending, from that of the window's first candle to that of its
    last, which may lie behind its end. `out` (days,). Open positions are valued at the close: entry costs and rollover due
    so far are deducted, exit costs are not. A day without candles repeats the day before.
    """
    first_day = time_ms[start] // DAY_MS
    equity = costs[0].start_equity
    done = 0
    filled = 0
    for k in range(len(day_ends)):
        c = min(day_ends[k], stop - 1)
        while done < count and trades[done].exit_index <= c:
            equity = trades[done].equity_after
            done += 1
        day = time_ms[c] // DAY_MS
        mark = equity
        if done < count and trades[done].entry_index <= c:
            trade = trades[done]
            size = trade.lots / costs[0].lot_scale
            gross = (close[c] - trade.entry_price) * size if trade.side > 0 else (trade.entry_price - close[c]) * size
            rollover = 0.0
            if trade.margin:
                held_ms = time_ms[c] + costs[0].granularity_ms - time_ms[trade.entry_index]
                rollover = trade.entry_notional * costs[0].rollover_frac * (held_ms // ROLLOVER_MS)
            mark = equity + (gross - (trade.entry_costs + rollover))
        while filled < day - first_day:
            out[filled] = out[filled - 1]
            filled += 1
        out[filled] = mark
        filled += 1
