"""Candles and datasets: import, store, verify, resample, reconcile; exact integers, named by their content."""
