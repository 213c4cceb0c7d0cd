"""Benchmarks of Fourfold against its peers; `python -m benchmarks` runs them all."""
