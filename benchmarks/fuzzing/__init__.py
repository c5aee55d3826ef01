"""Helpers of benchmarks/fuzz.py."""
