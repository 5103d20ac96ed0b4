"""Tests need programs and servers that pip does not bring: without them they are skipped, and fail in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

CI = bool(os.environ.get("CI"))


def missing(what: str) -> NoReturn:
    """Skip the test on a laptop and fail it in CI, since a server or a program is missing."""
    if CI:
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"{what} is not here")
