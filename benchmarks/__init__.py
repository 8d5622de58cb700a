"""Benchmarks: each measures the platform against a reference in the same run (docs/benchmarks.md)."""
