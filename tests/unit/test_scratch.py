"""Scratch folders of killed processes are removed, and those of running ones are not."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from worker import scratch


def test_leftovers_of_processes_that_do_not_run_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f"inferq-scratch-{ended.pid}-abc"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"x")
    strange = tmp_path / "inferq-scratch-of-another-program"
    strange.mkdir()
    (tmp_path / f"inferq-scratch-{os.getpid()}-of-a-predecessor").mkdir()
    running = tmp_path / f"inferq-scratch-{os.getppid()}-abc"
    running.mkdir()
    scratch.remove_leftovers()
    assert running.is_dir()
    running.rmdir()
    with scratch.folder() as own:
        assert own.name.startswith(f"inferq-scratch-{os.getpid()}-")
    assert sorted(path.name for path in tmp_path.iterdir()) == [strange.name]
