"""Smaller limits for tests."""

from dataclasses import replace

import pytest

from organizations.plans import LIMITS, Plan


def set_limits(monkeypatch: pytest.MonkeyPatch, **values: int) -> None:
    """Of every plan."""
    for plan in Plan:
        monkeypatch.setitem(LIMITS, plan, replace(LIMITS[plan], **values))
