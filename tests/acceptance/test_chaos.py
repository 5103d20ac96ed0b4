"""`inferq chaos` as a command: nothing is lost while parts fail, a loss is seen, and no process stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from inferq.stack import data_dir
from tests import stacks

pytestmark = pytest.mark.timeout(900)


COMMAND = (sys.executable, "-m", "inferq", "chaos")
HURRIED = (
    sys.executable, "-c",
    "import runpy; from bench.chaos import run; run.CALM = 2.0; runpy.run_module('bench.chaos', run_name='__main__')",
)  # fmt: skip
"""What the command hands its arguments to, without the seconds in which it measures an undisturbed rate."""


@contextmanager
def chaos(folder: Path, command: tuple[str, ...], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command with its data and its result in this folder; kill it at the end, if it still runs."""
    into = ["--data", str(folder / "data"), "--into", str(folder)]
    with (folder / "out.log").open("ab") as log:
        process = subprocess.Popen([*command, *into, *arguments], stdout=log, stderr=log)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait(60)


def printed(folder: Path) -> str:
    return (folder / "out.log").read_text()


def result(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("chaos-*.json")
    assert path.with_suffix(".html").exists()
    return dict(json.loads(path.read_text()))


def total(run: dict[str, Any], column: str) -> int:
    return sum(row[column] for row in run["rows"])


FAULTS = (
    "worker killed",
    "API stopped",
    "maintenance killed",
    "Redis restarted empty",
    "Redis frozen",
    "SQLite locked",
    "worker killed + Redis flushed",
    "slow and vanishing callers",
)

DROPPED = "job dropped"
"""The fault that must lead to a loss: it shows that losses are seen."""


def test_nothing_is_lost_while_parts_fail_under_load_but_what_the_service_drops(tmp_path: Path) -> None:
    named = [word for fault in (*FAULTS, DROPPED) for word in ("--fault", fault)]
    with chaos(tmp_path, HURRIED, "--seed", "7", *named) as process:
        status = process.wait(850)
    run = result(tmp_path)
    told = f"{run['findings']}\n{printed(tmp_path)}"
    assert [total(run, column) for column in ("lost", "doubled", "wrong")] == [1, 0, 0], told
    (finding,) = run["findings"]
    assert "was accepted and is not found" in finding
    assert {row["fault"] for row in run["rows"]} == {"no fault", *FAULTS, DROPPED}, told
    assert all(row["accepted"] for row in run["rows"]), told
    assert (status, run["left_out"]) == (1, {})
    assert not data_dir.processes(tmp_path / "data")


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "API stopped"), (signal.SIGTERM, "warming up"), (signal.SIGKILL, "warming up")],
)
def test_a_chaos_that_is_stopped_in_the_middle_leaves_no_process_behind(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with chaos(tmp_path, COMMAND, "--seed", "1", "--fault", "API stopped") as process:
        stacks.until(lambda: moment in printed(tmp_path), 300, lambda: printed(tmp_path))
        assert data_dir.processes(tmp_path / "data")
        os.kill(process.pid, number)
        status = process.wait(120)
    assert status == (-number if number is signal.SIGKILL else 130)
    stacks.until(lambda: not data_dir.processes(tmp_path / "data"), 30)
