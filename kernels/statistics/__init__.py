"""How much of a find is luck: significance of Sharpe ratios, overfitting, bootstraps, null series. Numbers only, no bus.

All figures here are computed once and recorded; they may use libm and numpy's sums, and count as trace. The exception are
candles (`candles`, `made`): they are data that two machines must build alike, so they use + - * / in a fixed order alone.
Undefined figures are NaN, never 0.
"""
