"""A whole stack as real processes, started the way a user starts it, with the means to hurt it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import redis

SAMPLES = Path(__file__).parent.parent / "worker" / "families" / "digits" / "samples"


class Stack:
    """`inferq up` in a folder of its own; the service at `url`."""

    def __init__(self, data: Path, *, trainer: bool = False, **settings: str) -> None:
        """`trainer` starts one as well, which takes a core for some seconds that most tests need not wait for."""
        self.data = data
        self._trainer = trainer
        # What is asked of most stacks are digits, and their model is loaded in no time.
        unreachable = {"INFERQ_DEFAULT_MODEL": "digits", "INFERQ_WEIGHTS_URL": "http://127.0.0.1:9"}
        # All tests ask one stack, as one caller, and have more to ask of this wire than its 100 requests a minute.
        self._settings = unreachable | {"INFERQ_IMG_LIVE_RATE": "off"} | settings
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *arguments: str) -> None:
        """Start and wait until it is ready."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INFERQ_")}
        without = () if self._trainer else ("--no-trainer",)
        command = [sys.executable, "-m", "inferq", "up", "--data", str(self.data), "--port", "0", *without, *arguments]
        with open(self.data.parent / "up.log", "ab") as log:
            self._process = subprocess.Popen(
                command, env=clean | self._settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        until(self._ready, 90, self.output)

    def stop(self) -> int:
        """Ctrl-C, and the exit status; at once when it has ended already."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def kill_everything(self) -> None:
        """SIGKILL to every process of the stack at once, the supervisor included."""
        assert self._process is not None
        pids = self.pids()
        self._process.kill()
        for pid in pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(20)
        until(lambda: not any(_alive(pid) for pid in pids.values()), 20)

    def pids(self) -> dict[str, int]:
        return dict(json.loads((self.data / "stack.json").read_text())["pids"])

    def kill(self, part: str) -> None:
        """SIGKILL to one part, which the supervisor starts again."""
        os.kill(self.pids()[part], signal.SIGKILL)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(json.loads((self.data / "stack.json").read_text())["redis_url"])

    def get(self, path: str, **headers: str) -> Any:
        return httpx.get(self.url + path, headers=headers, timeout=90).raise_for_status().json()

    def submit(self, files: list[tuple[str, bytes]], **fields: str) -> dict[str, Any]:
        """POST /v1/jobs; the stored job."""
        parts = [("files", (name, data)) for name, data in files]
        answer = httpx.post(f"{self.url}/v1/jobs", files=parts, data=fields, timeout=60)
        return dict(answer.raise_for_status().json())

    def finished(self, job_id: str, seconds: float) -> dict[str, Any]:
        """The job, when it has ended; fails when it has not within `seconds`."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.TransportError, httpx.HTTPStatusError):
                job = self.get(f"/v1/jobs/{job_id}", Prefer="wait=2")
                if job["terminal"]:
                    return dict(job)
            assert time.monotonic() < end, f"job {job_id} has not ended within {seconds} s\n{self.output()}"

    def output(self) -> str:
        """The end of what it printed."""
        return (self.data.parent / "up.log").read_text(errors="replace")[-3000:]

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output()
        with contextlib.suppress(OSError, ValueError, KeyError, httpx.HTTPError):
            self.url = json.loads((self.data / "stack.json").read_text())["url"]
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False


@contextlib.contextmanager
def running(data: Path, *arguments: str, trainer: bool = False, **settings: str) -> Iterator[Stack]:
    """A stack that is stopped at the end, whatever the test did to it."""
    stack = Stack(data, trainer=trainer, **settings)
    stack.start(*arguments)
    try:
        yield stack
    finally:
        with contextlib.suppress(ProcessLookupError):
            stack.stop()


def until(true: Callable[[], bool], seconds: float, what: Callable[[], str] = lambda: "") -> None:
    """Wait until it is true; fails with what there is to say when it does not become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s\n{what()}"
        time.sleep(0.05)


def digits() -> list[tuple[str, bytes]]:
    """(name, PNG) of one picture of each digit, in order."""
    return [(path.name, path.read_bytes()) for path in sorted(SAMPLES.glob("digit_*.png"))]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
