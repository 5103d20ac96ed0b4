"""A stack of real processes, started as a user starts it, whose processes can be killed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import redis

BUNDLED = ("digits", "efficientnet_lite0")
SAMPLES = Path(__file__).parent.parent / "worker" / "families" / "digits" / "samples"
shared_folder = Path()
"""The folder that the processes of one run of the tests share; conftest.py sets it."""


class Stack:
    """`inferq up` in a folder of its own; the service at `url`."""

    def __init__(self, data: Path, *, trainer: bool = False, **settings: str) -> None:
        """`trainer` also starts a trainer, whose start takes a core for some seconds. With a default model of its own
        it begins with nothing, so that a worker checks the models that come with inferq, which takes as long."""
        self.data = data
        self._trainer, self._begins_empty = trainer, "INFERQ_DEFAULT_MODEL" in settings
        # Most stacks only classify digits, whose model is loaded in no time.
        unreachable = {"INFERQ_DEFAULT_MODEL": "digits", "INFERQ_WEIGHTS_URL": "http://127.0.0.1:9"}
        # All tests use one stack as one caller, and send more requests to this wire than its 100 a minute.
        # Nobody pulls the plug of a test, and its disk may be slow; test_power.py sees to that.
        self._settings = unreachable | {"INFERQ_IMG_LIVE_RATE": "off", "INFERQ_DURABILITY": "process"} | settings
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *arguments: str) -> None:
        """Start and wait until it is ready."""
        if not (self._begins_empty or self.data.exists()):
            shutil.copytree(_checked_models(), self.data)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INFERQ_")}
        without = () if self._trainer else ("--no-trainer",)
        command = [sys.executable, "-m", "inferq", "up", "--data", str(self.data), "--port", "0", *without, *arguments]
        with open(self.data.parent / "up.log", "ab") as log:
            self._process = subprocess.Popen(
                command, env=clean | self._settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        until(self._ready, 90, self.output)

    def stop(self) -> int:
        """Send Ctrl-C; return the exit status. Returns at once if the stack has ended already."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def kill_everything(self) -> None:
        """Send SIGKILL to all processes of the stack at once, including the supervisor."""
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
        """Send SIGKILL to one part, which the supervisor starts again."""
        os.kill(self.pids()[part], signal.SIGKILL)

    @contextlib.contextmanager
    def halted(self, *parts: str) -> Iterator[None]:
        """Hold parts still, so that what they would do waits until the end of the block."""
        pids = [self.pids()[part] for part in parts]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(json.loads((self.data / "stack.json").read_text())["redis_url"])

    def get(self, path: str, **headers: str) -> Any:
        return httpx.get(self.url + path, headers=headers, timeout=90).raise_for_status().json()

    def submit(self, files: list[tuple[str, bytes]], **fields: str) -> dict[str, Any]:
        """Send POST /v1/jobs; return the stored job."""
        parts = [("files", (name, data)) for name, data in files]
        answer = httpx.post(f"{self.url}/v1/jobs", files=parts, data=fields, timeout=60)
        return dict(answer.raise_for_status().json())

    def finished(self, job_id: str, seconds: float) -> dict[str, Any]:
        """Return the job when it has ended; fail if it has not within `seconds`."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.TransportError, httpx.HTTPStatusError):
                job = self.get(f"/v1/jobs/{job_id}", Prefer="wait=2")
                if job["terminal"]:
                    return dict(job)
            assert time.monotonic() < end, f"job {job_id} has not ended within {seconds} s\n{self.output()}"

    def output(self) -> str:
        """Return the end of what the stack has printed."""
        return (self.data.parent / "up.log").read_text(errors="replace")[-3000:]

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output()
        with contextlib.suppress(OSError, ValueError, KeyError, httpx.HTTPError):
            self.url = json.loads((self.data / "stack.json").read_text())["url"]
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False


def _checked_models() -> Path:
    """Return the data folder of a stack that was stopped when its models had been checked: database and blobs."""
    checked, checking = shared_folder / "checked", shared_folder / "checking"
    with open(shared_folder / "checked.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # by the first process that asks; the others wait for it
        if not checked.exists():
            checking.mkdir(exist_ok=True)
            with running(checking / "data", "--workers", "1", INFERQ_DEFAULT_MODEL="digits") as stack:
                until(lambda: all(_is_ready(stack, name) for name in BUNDLED), 60, stack.output)
            for what in ("redis", "logs"):
                shutil.rmtree(stack.data / what)
            (stack.data / "stack.json").unlink(missing_ok=True)  # no test may take it for that of its own stack
            checking.rename(checked)
    return checked / "data"


def _is_ready(stack: Stack, model: str) -> bool:
    return bool(stack.get(f"/v1/models/{model}/versions/1")["state"] == "ready")


@contextlib.contextmanager
def running(data: Path, *arguments: str, trainer: bool = False, **settings: str) -> Iterator[Stack]:
    """Yield a stack and stop it at the end, whatever the test did to it."""
    stack = Stack(data, trainer=trainer, **settings)
    try:
        stack.start(*arguments)
        yield stack
    finally:
        with contextlib.suppress(ProcessLookupError):
            stack.stop()


def until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    """Wait until `condition` is true; fail with the text of `explain` if it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s\n{explain()}"
        time.sleep(0.05)


def digits() -> list[tuple[str, bytes]]:
    """Return (name, PNG) of one picture of each digit, in order."""
    return [(path.name, path.read_bytes()) for path in sorted(SAMPLES.glob("digit_*.png"))]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
