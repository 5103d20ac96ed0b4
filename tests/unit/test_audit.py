"""The parts of `make audit` that need no network: what it says when vulnerabilities are known, and when none can be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import audit

KNOWN = (
    '{"dependencies": [{"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}, '
    '{"name": "flask", "version": "3.1", "vulns": []}, {"name": "inferq", "skip_reason": "not on the index"}]}'
)


@pytest.fixture
def pip_audit(tmp_path: Path) -> Path:
    """A program in place of pip-audit; a test writes what it does."""
    program = tmp_path / "pip-audit"
    program.touch(mode=0o755)
    return program


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it(pip_audit: Path) -> None:
    pip_audit.write_text(f"#!/bin/sh\necho '{KNOWN}'\nexit 1\n")
    assert audit.vulnerabilities(pip_audit).found == ["pillow 1.0: PYSEC-1, mended in 1.1"]


def test_without_its_data_nothing_is_known_and_that_is_said(pip_audit: Path) -> None:
    pip_audit.write_text("#!/bin/sh\necho 'ERROR: could not connect' >&2\nexit 1\n")
    known = audit.vulnerabilities(pip_audit)
    assert (known.found, known.unknown) == ([], "pip-audit could not reach its data: ERROR: could not connect")


def test_a_pip_audit_that_is_missing_is_said(tmp_path: Path) -> None:
    assert audit.vulnerabilities(tmp_path / "none").unknown == "pip-audit could not be installed"


@pytest.mark.parametrize(("found", "tested", "status"), [([], 0, 0), (["x"], 0, 1), ([], 1, 1)])
def test_the_audit_fails_by_a_vulnerability_or_by_a_test_but_not_without_data(
    monkeypatch: pytest.MonkeyPatch, found: list[str], tested: int, status: int
) -> None:
    monkeypatch.setattr(audit, "vulnerabilities", lambda: audit.Vulnerabilities(found, "" if found else "no network"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], tested))
    assert audit.main() == status


def test_every_test_of_the_audit_exists() -> None:
    assert all((audit.ROOT / test).is_file() for test in audit.TESTS)
