"""Keeps the processes of the embedded stack alive, and takes them down in order.

    start(valkey)  start(worker-1, worker-2, keeper)  start(api)     each call is one stage
    watch(...)     a part that dies is started again: 0.2 s, 0.4 s, ... 5 s
    drain()        api, then workers and keeper, then valkey: SIGTERM, a time limit, SIGKILL

Own code because neither of the obvious libraries does what is needed here: honcho stops everything when one part
dies and knows no order, circus brings its own daemon, sockets and pyzmq, supervisord wants a file of its own format.
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

from inferq.stack.logs import last_line, rotate

FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
HEALTHY_AFTER = 10.0
"""Seconds after which a part that dies is no longer thought to be in a crash loop."""
TICK = 0.05
"""Seconds between two looks at the parts."""


@dataclass(frozen=True)
class Part:
    """One process of the stack."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    """The whole environment of the process, not an addition to ours."""
    log: Path
    """Where its stdout and stderr are appended."""
    drain: float = 30.0
    """Seconds between SIGTERM and SIGKILL."""


def spawn(part: Part, stdout: int | None = None) -> subprocess.Popen[bytes]:
    """Start the part in a session of its own, so that Ctrl-C in the terminal reaches only the supervisor.

    Raises OSError when the program or the log cannot be opened. The calling thread must live as long as the part:
    Linux sends the parent-death signal when the thread that forked ends, not the process.
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
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call on a library loaded before the fork
        )


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """`kill -9` of the supervisor takes the part along. SIGKILL, because all of them survive it, and none lingers."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Child:
    """A part, its process, and when it may be started again."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process = spawn(part)
        self._born = time.monotonic()
        self._delay = FIRST_DELAY
        self._retry_at: float | None = None

    @property
    def alive(self) -> bool:
        return self._retry_at is None and self.process.poll() is None

    def tend(self, say: Callable[[str], None]) -> bool:
        """Notice a death, or start again what has waited long enough; True when there is a new process."""
        now = time.monotonic()
        if self._retry_at is None:
            if self.process.poll() is not None:
                self._bury(now, _ending(self.process.returncode), say)
            return False
        if now < self._retry_at:
            return False
        return self._restart(now, say)

    def _bury(self, now: float, ending: str, say: Callable[[str], None]) -> None:
        self._sweep_group()
        if now - self._born >= HEALTHY_AFTER:
            self._delay = FIRST_DELAY
        # Who is killed from outside has no last words; the log's last line would only look like the reason.
        said = "" if self.process.returncode == -signal.SIGKILL else last_line(self.part.log)
        say(f"{self.part.name} {ending}{f': {said}' if said else ''}; starting it again in {self._delay:g} s")
        self._retry_at = now + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _restart(self, now: float, say: Callable[[str], None]) -> bool:
        self._born, self._retry_at = now, None
        try:
            self.process = spawn(self.part)
        except OSError as error:  # a full disk, or no more processes: both can pass
            self._bury(now, f"cannot be started ({error})", say)
            return False
        say(f"{self.part.name} is running again (pid {self.process.pid})")
        return True

    def ask_to_stop(self) -> None:
        """SIGTERM to the part itself; what it has started is its own to stop."""
        if self.process.poll() is None:
            self.process.terminate()

    def draining(self, seconds: float) -> bool:
        """Still running, `seconds` after it was asked to stop, and allowed to."""
        return self.process.poll() is None and seconds < self.part.drain

    def kill(self) -> None:
        """SIGKILL to the part and to what it has left behind."""
        self._sweep_group()
        self.process.wait()

    def _sweep_group(self) -> None:
        # What a dead gunicorn master leaves behind keeps its port; the new one could not listen.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Starts parts in stages, restarts what dies, and stops the stages in reverse order."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        changed: Callable[[dict[str, int]], None] = lambda _: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """`say` gets one line per death and restart, `changed` the pids by name, `tick` is called at each look."""
        self._say = say
        self._changed = changed
        self._tick = tick
        self._stages: list[list[_Child]] = []
        self._stops = 0

    @property
    def stopping(self) -> bool:
        return self._stops > 0

    @property
    def _hurried(self) -> bool:
        return self._stops > 1

    def stop(self, *_: object) -> None:
        """Ask for the drain; asked again, kill at once. Only counts, so that it is safe as a signal handler."""
        self._stops += 1

    def start(self, *parts: Part, beside: Part | None = None) -> None:
        """Start parts together; raises OSError when one cannot be started.

        They are a stage of their own, drained before all earlier ones, or belong to the stage of the part `beside`.
        """
        stage = next((known for known in self._stages if beside in [child.part for child in known]), None)
        if stage is None:
            self._stages.append(stage := [])
        stage.extend(_Child(part) for part in parts)  # what has started before an error is in the stage already
        self._changed(self.pids())

    def pids(self) -> dict[str, int]:
        """The process ids of the parts that are alive, by name."""
        return {child.part.name: child.process.pid for child in self._all() if child.alive}

    def watch(self, until: Callable[[], object], limit: float = float("inf")) -> bool:
        """Keep the parts alive until `until()` is true; False when `limit` seconds pass or a stop is asked for.

        Looks every 50 ms instead of waiting for SIGCHLD: readiness has to be asked for in the same loop anyway.
        """
        end = time.monotonic() + limit
        while not until():
            if self.stopping or time.monotonic() >= end:
                return False
            self.tend()
            self._tick()
            time.sleep(TICK)
        return True

    def tend(self) -> None:
        """One look: notice what died, start again what is due."""
        renewed = [child for child in self._all() if child.tend(self._say)]
        if renewed:
            self._changed(self.pids())

    def drain(self) -> None:
        """Stop the stages in reverse order, each within its parts' limits; a second `stop` kills what is left."""
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
                self._say(f"{child.part.name} did not stop within {child.part.drain:g} s and is killed")
            child.kill()

    def _all(self) -> list[_Child]:
        return [child for stage in self._stages for child in stage]


def _ending(code: int) -> str:
    """`died (exit 3)`, `died (SIGKILL)`."""
    return f"died ({signal.Signals(-code).name})" if code < 0 else f"died (exit {code})"
