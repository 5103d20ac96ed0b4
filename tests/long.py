"""Tests that take long: of several cases `make test` tries one, and `make test-long` the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def rest_long(cases: Iterable[Any]) -> list[Any]:
    """Return the parameters of a test, all but the first marked as long; a tuple is several parameters."""
    first, *rest = cases
    return [first, *(pytest.param(*_several(case), marks=pytest.mark.long) for case in rest)]


def _several(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
