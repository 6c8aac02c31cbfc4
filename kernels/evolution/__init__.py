"""Seeded genetic search over strategies: operators, ranking, checkpoints, finds. Figures come from outside.

`finds` and `ranking` need no compiler: a process that only checks finds imports them alone.
"""
