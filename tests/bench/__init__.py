"""Benchmarks: figures and ratios, never asserts. ``make bench`` runs them all."""
