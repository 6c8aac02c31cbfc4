"""Turns claims and results into events; compares, re-evaluates winners with the reference, gives the verdict."""
