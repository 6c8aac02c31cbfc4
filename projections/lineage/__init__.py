"""Lineage: why the log says what it says, from any event down to dataset, seed, kernel version, miner and replica."""
