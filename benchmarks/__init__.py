"""Measurements: speed and memory as ratios within one run, and the tables of docs/results.md."""
