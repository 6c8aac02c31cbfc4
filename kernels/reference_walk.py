"""One position from entry to exit, and one genome through a window: the readable version, plain Python floats.

The contract is in `kernels.reference`. Here signals are found ahead as indices and exits decided at a close become one
index, so that the walk visits only candles in which a position is open.
"""

import math
from bisect import bisect_left

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from domain.candles import Candles
from domain.genome import Genome, Risk
from domain.specs import Window
from kernels.sizing import kelly_fraction, size_in_lots, volatility_fraction, whole_ticks
from kernels.terms import ROLLOVER_MS, Costs
from kernels.trade import Reason, Trade


class Columns:
    """A dataset's columns as Python lists: ten times faster to index than arrays."""

    def __init__(self, candles: Candles) -> None:
        self.time_ms: list[int] = candles.time_ms.tolist()
        self.open: list[float] = candles.open.tolist()
        self.high: list[float] = candles.high.tolist()
        self.low: list[float] = candles.low.tolist()
        self.close: list[float] = candles.close.tolist()


class Position(msgspec.Struct, frozen=True):
    """What an entry fill fixes; `margin` positions pay opening and rollover fees and can be liquidated."""

    entry: int
    long: bool
    margin: bool
    lots: float
    price: float
    notional: float
    costs: float
    equity_before: float


class Exit(msgspec.Struct, frozen=True):
    """Where and why a position ends; `price` before slippage."""

    index: int
    price: float
    reason: Reason
    at_open: bool


class Closed(msgspec.Struct, frozen=True):
    """A round trip with all that figures need."""

    position: Position
    exit: Exit
    exit_price: float
    exit_notional: float
    fees: float
    pnl: float
    equity_after: float

    @property
    def candles_held(self) -> int:
        return self.exit.index - self.position.entry + (0 if self.exit.at_open else 1)

    def trade(self) -> Trade:
        p = self.position
        return Trade(
            p.entry,
            self.exit.index,
            1 if p.long else -1,
            int(p.lots),
            p.price,
            self.exit_price,
            self.fees,
            self.pnl,
            self.exit.reason,
        )


def _trigger(price: float, factor: float, up: bool, costs: Costs) -> float:
    return whole_ticks(price * factor, up, costs.tick_scale) / costs.tick_scale


def _fill_price(price: float, buys: bool, slippage_frac: float, costs: Costs) -> float:
    """Slippage and rounding against us: buyers pay more, sellers get less."""
    moved = price * (1.0 + slippage_frac) if buys else price * (1.0 - slippage_frac)
    return whole_ticks(moved, buys, costs.tick_scale) / costs.tick_scale


class Record:
    """What Kelly's formula needs of the closed trades of a window; a return is pnl over entry notional."""

    def __init__(self) -> None:
        self.trades = self.wins = 0
        self.won = self.lost = 0.0

    def add(self, closed: Closed) -> None:
        gain = closed.pnl / closed.position.notional
        self.trades += 1
        if gain > 0.0:
            self.wins += 1
            self.won += gain
        else:
            self.lost -= gain


def _budget(risk: Risk, equity: float, record: Record, t: int, columns: Columns) -> float:
    """What a trade may cost that is decided at the close of candle t: nothing here looks further."""
    s = risk.sizing
    cap = s.fraction_bps / 10_000.0
    if s.mode == "fixed":
        return s.amount
    if s.kelly is not UNSET:
        base, multiplier = s.kelly.base_bps / 10_000.0, s.kelly.multiplier_bps / 10_000.0
        r = record
        return equity * kelly_fraction(r.trades, r.wins, r.won, r.lost, s.kelly.min_trades, base, multiplier, cap)
    if s.volatility is not UNSET:
        period, target = s.volatility.period, s.volatility.target_ppm / 1_000_000.0
        return equity * volatility_fraction(columns.close, t, period, target, float(risk.leverage), cap)
    return equity * cap


def enter(
    long: bool, entry: int, equity: float, risk: Risk, costs: Costs, columns: Columns, record: Record
) -> Position | None:
    """Fill at the open of candle `entry`; None when size or budget permit no trade."""
    price = _fill_price(columns.open[entry], long, costs.slippage_frac, costs)
    margin = not long or risk.leverage > 1
    cost_frac = costs.taker_frac + costs.opening_frac if margin else costs.taker_frac
    budget = _budget(risk, equity, record, entry - 1, columns)
    lots = size_in_lots(equity, budget, float(risk.leverage), price, cost_frac, costs.lot_scale, costs.min_notional)
    if lots == 0.0:
        return None
    notional = lots / costs.lot_scale * price
    return Position(entry, long, margin, lots, price, notional, notional * cost_frac, equity)


def _levels(long: bool, origin: float, risk: Risk, costs: Costs) -> tuple[float, float, float, float]:
    """(stop, trailing, liquidation, target) measured from the entry open; what is off lies where no price comes."""
    against, with_us = (-1.0, 1.0) if long else (1.0, -1.0)
    never_stops, never_pays = (0.0, math.inf) if long else (math.inf, 0.0)

    def protective(bps: int) -> float:
        return _trigger(origin, 1.0 + against * (bps / 10_000.0), not long, costs) if bps else never_stops

    liquidation = never_stops
    if long and risk.leverage > 1:
        liquidation = _trigger(origin, 1.0 - 1.0 / risk.leverage + costs.maintenance_frac, False, costs)
    elif not long:
        liquidation = _trigger(origin, 1.0 + 1.0 / risk.leverage - costs.maintenance_frac, True, costs)
    target = never_pays
    if risk.target_bps:
        target = _trigger(origin, 1.0 + with_us * (risk.target_bps / 10_000.0), long, costs)
    return protective(risk.stop_bps), protective(risk.trailing_bps), liquidation, target


def _nearest(long: bool, stop: float, trailing: float, liquidation: float) -> tuple[float, Reason]:
    """The protective level that a falling (for shorts rising) price meets first; of equal ones stop before trailing."""
    ordered: list[tuple[float, Reason]] = [(stop, "stop"), (trailing, "trailing"), (liquidation, "liquidation")]
    pick = max if long else min
    return pick(ordered, key=lambda pair: pair[0])


def leave(position: Position, decided: Exit | None, risk: Risk, costs: Costs, columns: Columns, stop: int) -> Exit:
    """The first exit from the entry candle on: `decided` (rule or holding limit), a level touched, or the window's end."""
    entry, long = position.entry, position.long
    opens, highs, lows, closes = columns.open, columns.high, columns.low, columns.close
    hard, trailing, liquidation, target = _levels(long, opens[entry], risk, costs)
    level, reason = _nearest(long, hard, trailing, liquidation)
    last = decided.index if decided else stop
    best = opens[entry]
    factor = 1.0 - risk.trailing_bps / 10_000.0 if long else 1.0 + risk.trailing_bps / 10_000.0
    for c in range(entry, last):
        o = opens[c]
        if c > entry:
            if (o <= level) if long else (o >= level):
                return Exit(c, o, reason, True)
            if (o > target) if long else (o < target):
                return Exit(c, o, "target", True)
        if (lows[c] <= level) if long else (highs[c] >= level):
            return Exit(c, min(level, o) if long else max(level, o), reason, False)
        if (highs[c] > target) if long else (lows[c] < target):
            return Exit(c, target, "target", False)
        close = closes[c]
        if risk.trailing_bps and ((close > best) if long else (close < best)):
            best = close
            trailing = _trigger(close, factor, not long, costs)
            level, reason = _nearest(long, hard, trailing, liquidation)
    return decided or Exit(stop - 1, closes[stop - 1], "end", False)


def rollover_cost(position: Position, held_ms: int, costs: Costs) -> float:
    """Per full four hours, on margin positions only."""
    if not position.margin:
        return 0.0
    return position.notional * costs.rollover_frac * (held_ms // ROLLOVER_MS)


def settle(position: Position, left: Exit, costs: Costs, columns: Columns) -> Closed:
    """The exit fill with its costs: a target is a resting order (maker, no slippage), all others are market orders."""
    maker = left.reason == "target"
    price = _fill_price(left.price, not position.long, 0.0 if maker else costs.slippage_frac, costs)
    size = position.lots / costs.lot_scale
    left_ms = columns.time_ms[left.index] + (0 if left.at_open else costs.granularity_ms)
    rollover = rollover_cost(position, left_ms - columns.time_ms[position.entry], costs)
    notional = price * size
    fees = position.costs + rollover + notional * (costs.maker_frac if maker else costs.taker_frac)
    gross = (price - position.price) * size if position.long else (position.price - price) * size
    pnl = gross - fees
    return Closed(position, left, price, notional, fees, pnl, position.equity_before + pnl)


class Signals(msgspec.Struct, frozen=True):
    """Candle indices, ascending: closes at which a side alone wants to enter, closes at which its exit rules hold."""

    long_entry: NDArray[np.int64]
    short_entry: NDArray[np.int64]
    long_exit: list[int]
    short_exit: list[int]


def _decided(entry: int, exits: list[int], max_hold: int, columns: Columns, stop: int) -> Exit | None:
    """The exit at an open that needs no price: the open after the first exit signal, or the holding limit."""
    at = bisect_left(exits, entry)
    by_rule = exits[at] + 1 if at < len(exits) else stop
    by_time = entry + max_hold if max_hold else stop
    index = min(by_rule, by_time)
    if index >= stop:
        return None
    return Exit(index, columns.open[index], "rule" if by_rule <= by_time else "holding", True)


def walk(genome: Genome, signals: Signals, window: Window, costs: Costs, columns: Columns) -> list[Closed]:
    """All round trips of a window that starts flat, in order."""
    sides = np.concatenate((np.ones(len(signals.long_entry), bool), np.zeros(len(signals.short_entry), bool)))
    times = np.concatenate((signals.long_entry, signals.short_entry))
    order = np.argsort(times, kind="stable")
    closed: list[Closed] = []
    equity, free_from, record = costs.start_equity, window.start, Record()
    for t, long in zip(times[order].tolist(), sides[order].tolist(), strict=True):
        entry = t + 1
        if t < free_from or entry >= window.stop:
            continue
        missing = (columns.time_ms[entry] - columns.time_ms[t]) // costs.granularity_ms - 1
        if missing > costs.max_missing:
            continue
        position = enter(long, entry, equity, genome.risk, costs, columns, record)
        if position is None:
            continue
        exits = signals.long_exit if long else signals.short_exit
        decided = _decided(entry, exits, genome.risk.max_hold, columns, window.stop)
        left = leave(position, decided, genome.risk, costs, columns, window.stop)
        closed.append(settle(position, left, costs, columns))
        record.add(closed[-1])
        equity = closed[-1].equity_after
        free_from = left.index
    return closed
