"""A peer's server as a process, from its start until it answers, and until none of its processes is left."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from bench.peers import environments
from bench.subprocess_rpc import Helper

_START_LIMIT = 120.0
"""Seconds after which a server that does not answer is given up."""
_STOP_LIMIT = 10.0
"""Seconds between SIGTERM and SIGKILL."""


_IN_SUCCESSION = 2


class CannotStart(Exception):
    """A peer's server does not start; the text is the reason."""


@contextlib.contextmanager
def running(python: Path, module: str, settings: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server's module during the block; `folder` receives its log. At the end all its processes are stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), "-P", "-m", module], env=environments.environment(**settings), cwd=folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        _stop(process)


def wait_until_ready(process: subprocess.Popen[bytes], load: Helper, question: Mapping[str, object], log: Path) -> None:
    """Send pictures until two loads in succession are answered without an error; raises CannotStart.

    The servers differ in when they open their port and when each worker has loaded the model.
    """
    until, answered = time.monotonic() + _START_LIMIT, 0
    while process.poll() is None and time.monotonic() < until:
        answer = load.ask(**question)
        answered = answered + 1 if answer["latencies"] and not answer["errors"] else 0
        if answered == _IN_SUCCESSION:
            return
    lines = log.read_text(errors="replace").strip().splitlines()
    state = f"does not answer within {_START_LIMIT:g} s" if process.poll() is None else "has ended"
    raise CannotStart(f"the server {state}: {lines[-1] if lines else 'it wrote nothing'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server with all of its processes; some of them are in sessions of their own."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        family = [root, *root.children(recursive=True)]
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=_STOP_LIMIT)
    for each in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
