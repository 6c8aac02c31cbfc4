"""Copies of the log: made while it runs, verified without it, restored into an empty state."""
