"""A short soak of a real stack: every kind of request is answered as it should be, and everything is measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.long, pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_soak_of_a_third_of_a_minute_finds_nothing_unexpected() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INFERQ_")}
    command = [sys.executable, "-P", "-m", "bench", "--soak", "0.34", "--workers", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, env=clean, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [line.split("  ") for line in ran.stdout.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    sent = {line[0]: line[1:] for line in cells if len(line) in (3, 4) and line[1].isdigit() and line[2].isdigit()}
    assert {"synchronous", "submit, poll", "archive", "callback", "broken picture", "wrong key", "SAP"} <= set(sent)
    assert {name: line[1:] for name, line in sent.items() if line[1] != "0"} == {}, "nothing was unexpected"
    callbacks = next(line for line in cells if line[:1] == ["webhooks received"])
    assert callbacks[1] == sent["callback"][0]
    measured = {line[0] for line in cells if line and re.search(r"flat|grows", line[-1])}
    assert {"api", "worker", "maintenance", "trainer", "valkey", "Redis", "SQLite"} <= measured
    assert "ended after" not in ran.stdout
