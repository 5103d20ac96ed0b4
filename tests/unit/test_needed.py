"""What tests need and pip does not bring: a test is skipped without it, and fails in CI."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import needed, preload


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are loaded before libc on Linux only")
@pytest.mark.parametrize(
    ("is_ci", "outcome"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)], ids=["laptop", "ci"]
)
def test_without_a_compiler_a_test_is_skipped_and_fails_in_ci(
    is_ci: bool, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(needed, "CI", is_ci)
    with pytest.raises(outcome, match="a C compiler"):
        preload.compiled("skew", tmp_path)
