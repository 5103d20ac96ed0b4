"""The supervisor keeps the processes of the embedded stack running, and stops them in order.

    start(valkey)  start(worker-1, worker-2, maintenance)  start(api)     each call is one stage
    watch(...)     a part that exits is started again after 0.2 s, 0.4 s, ... 5 s
    drain()        api, then workers and maintenance, then valkey: SIGTERM, a time limit, SIGKILL

Existing libraries do not meet the needs: honcho stops all parts when one exits and has no order, circus has a daemon,
sockets and pyzmq, supervisord requires a file in its configuration format.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inferq.stack.logs import last_line, rotate, rotate_open

FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
HEALTHY_AFTER = 10.0
"""Seconds after which the exit of a part no longer counts as part of a crash loop."""
TICK = 0.05
"""Seconds between two checks of the parts."""


@dataclass(frozen=True)
class Part:
    """A process of the stack."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    """The whole environment of the process, not an addition to the supervisor's."""
    log: Path
    """The file to which its stdout and stderr are appended."""
    drain: float = 30.0
    """Seconds between SIGTERM and SIGKILL."""


def spawn(part: Part, stdout: int | None = None) -> subprocess.Popen[bytes]:
    """Start the part in a separate session, so that Ctrl-C in the terminal reaches only the supervisor.

    Raises OSError if the program or the log cannot be opened. The calling thread must live as long as the part: Linux
    sends the parent-death signal when the thread that forked ends, not the process.
    """
    part.log.parent.mkdir(parents=True, exist_ok=True)
    rotate(part.log)
    with part.log.open("ab") as log:
        return subprocess.Popen(
            part.argv,
            env=dict(part.env),
            stdin=subprocess.DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
            start_new_session=True,
            # A wrapper process that sets the signal and execs would double the start of a Python part.
            preexec_fn=_kill_with_parent,  # noqa: PLW1509 - one system call on a library loaded before the fork
        )


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _kill_with_parent() -> None:
    """Have the kernel kill the part when the supervisor is killed. SIGKILL, because all parts recover from it and none
    can delay it."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Child:
    """A part, its process, and when it may be started again."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process = spawn(part)
        self._started_at = time.monotonic()
        self._delay = FIRST_DELAY
        self._retry_at: float | None = None

    @property
    def alive(self) -> bool:
        return self._retry_at is None and self.process.poll() is None

    def check(self, report: Callable[[str], None]) -> bool:
        """Detect an exit, or restart the part if its delay is over; returns True if there is a new process."""
        now = time.monotonic()
        if self._retry_at is None:
            if self.process.poll() is not None:
                self._handle_exit(now, _exit_text(self.process.returncode), report)
            return False
        if now < self._retry_at:
            return False
        return self._restart(now, report)

    def _handle_exit(self, now: float, ending: str, report: Callable[[str], None]) -> None:
        """Clean up after an exit, report it, and schedule the restart."""
        self._kill_group()
        if now - self._started_at >= HEALTHY_AFTER:
            self._delay = FIRST_DELAY
        # After SIGKILL the last line of the log is not shown: it would look like the reason, but is not.
        reason = "" if self.process.returncode == -signal.SIGKILL else last_line(self.part.log)
        report(f"{self.part.name} {ending}{f': {reason}' if reason else ''}; starting it again in {self._delay:g} s")
        self._retry_at = now + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _restart(self, now: float, report: Callable[[str], None]) -> bool:
        self._started_at, self._retry_at = now, None
        try:
            self.process = spawn(self.part)
        except OSError as error:  # a full disk, or the limit of processes: both may be temporary
            self._handle_exit(now, f"cannot be started ({error})", report)
            return False
        report(f"{self.part.name} is running again (pid {self.process.pid})")
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the part itself; it must stop its child processes."""
        if self.process.poll() is None:
            self.process.terminate()

    def draining(self, seconds: float) -> bool:
        """Return True if it still runs, and is allowed to, `seconds` after SIGTERM."""
        return self.process.poll() is None and seconds < self.part.drain

    def kill(self) -> None:
        """Send SIGKILL to the part and to its remaining child processes."""
        self._kill_group()
        self.process.wait()

    def _kill_group(self) -> None:
        # The remaining processes of a killed API keep its port; the new one could not listen.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Starts parts in stages, restarts parts that exit, and stops the stages in reverse order."""

    def __init__(
        self,
        report: Callable[[str], None],
        *,
        changed: Callable[[dict[str, int]], None] = lambda _: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Create a supervisor without parts.

        `say` is called with a line per exit and restart, `changed` with the pids by name, and `tick` at each check.
        """
        self._report = report
        self._changed = changed
        self._tick = tick
        self._stages: list[list[_Child]] = []
        self._stops = 0

    @property
    def stopping(self) -> bool:
        """True if a stop was requested."""
        return self._stops > 0

    @property
    def _hurried(self) -> bool:
        return self._stops > 1

    def stop(self, *_: object) -> None:
        """Request the drain; on the second call, kill at once. Only counts the calls, so that it is safe as a signal
        handler."""
        self._stops += 1

    def start(self, *parts: Part, beside: Part | None = None) -> None:
        """Start parts together; raises OSError if any cannot be started.

        They form a stage, which is stopped before all earlier stages, or join the stage of the part `beside`.
        """
        stage = next((candidate for candidate in self._stages if beside in [child.part for child in candidate]), None)
        if stage is None:
            self._stages.append(stage := [])
        stage.extend(_Child(part) for part in parts)  # parts that started before an error are in the stage already
        self._changed(self.pids())

    def pids(self) -> dict[str, int]:
        """Return the process ids of the running parts, by name."""
        return {child.part.name: child.process.pid for child in self._all() if child.alive}

    def watch(self, until: Callable[[], object], limit: float = float("inf")) -> bool:
        """Keep the parts running until `until()` is true; returns False if `limit` seconds pass or a stop is requested.

        Polls every 50 ms instead of waiting for SIGCHLD: readiness has to be polled in the same loop anyway.
        """
        end = time.monotonic() + limit
        while not until():
            if self.stopping or time.monotonic() >= end:
                return False
            self.check()
            self._tick()
            time.sleep(TICK)
        return True

    def check(self) -> None:
        """Check once: detect exits, restart the parts that are due, and keep their logs from filling the disk."""
        for child in self._all():
            rotate_open(child.part.log)
        restarted = [child for child in self._all() if child.check(self._report)]
        if restarted:
            self._changed(self.pids())

    def drain(self) -> None:
        """Stop the stages in reverse order, each within its parts' limits; a second `stop` kills the remaining
        parts."""
        self._stops = max(self._stops, 1)
        while self._stages:
            self._drain_stage(self._stages[-1])
            self._stages.pop()
            self._changed(self.pids())
        self._tick()

    def _drain_stage(self, stage: list[_Child]) -> None:
        for child in stage:
            child.ask_to_stop()
        begun = time.monotonic()
        while not self._hurried and any(child.draining(time.monotonic() - begun) for child in stage):
            self._tick()
            time.sleep(TICK)
        for child in stage:
            if child.alive and not self._hurried:
                self._report(f"{child.part.name} did not stop within {child.part.drain:g} s and is killed")
            child.kill()

    def _all(self) -> list[_Child]:
        return [child for stage in self._stages for child in stage]


def _exit_text(code: int) -> str:
    """Return the exit as a predicate: `exited with 3`, `was killed by SIGKILL`."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
