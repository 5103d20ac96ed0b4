"""The time limit of work that may never end ends its process, and leaves a process that keeps it alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER_ENDS = """
import threading
from worker.time_limit import time_limit
with time_limit(0.01, "loading model a version 1"):
    threading.Event().wait()
"""
KEEPS_IT = """
import threading
from worker.time_limit import time_limit
with time_limit(3600, "loading model a version 1"):
    pass
for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
    timer.join(10)
    assert not timer.is_alive()
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_a_process_that_exceeds_it_ends_itself_and_says_with_what() -> None:
    ended = run(NEVER_ENDS)
    assert ended.returncode == 70
    assert "loading model a version 1 has taken more than 0.01 s; this process ends itself" in ended.stderr


@pytest.mark.slow
def test_a_process_that_keeps_it_goes_on_without_a_timer() -> None:
    assert run(KEEPS_IT).returncode == 0
