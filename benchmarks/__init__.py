"""Benchmarks: each measures the platform against a reference in the same run (docs/benchmarks.md)."""

import sys
from pathlib import Path

# The client is a distribution of its own, which the platform's environment does not have.
sys.path.append(str(Path(__file__).resolve().parents[1] / "clients/python/src"))
