"""Seeded genetic search over strategies: operators, ranking, checkpoints, finds. Pure Python; figures come from outside."""

from kernels.evolution.finds import find_for
from kernels.evolution.search import Search
from kernels.evolution.state import Candidate, State

__all__ = ["Candidate", "Search", "State", "find_for"]
