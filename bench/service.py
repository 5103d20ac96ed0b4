"""A stack that the benchmark starts in a folder of its own, measures and stops again."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from inferq.commands.up import running
from inferq.stack import stack
from inferq.stack.supervisor import Part

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Service:
    """A running service, to be measured."""

    url: str
    key: str
    pids: Mapping[str, list[int]] = field(default_factory=dict)
    """Part -> its processes; empty if they are unknown."""
    redis_url: str = ""
    """Empty if the benchmark must not fill it."""


def measure_own(
    options: stack.StackOptions,
    measure: Callable[[Service], T],
    *,
    environment: Mapping[str, str] | None = None,
    worker: str = "worker",
    stopping: Callable[[], None] = lambda: None,
) -> T:
    """Start a stack, call `measure` in a thread, stop the stack, and return what was measured.

    `environment` is set for every part, in place of what `inferq up` sets; `worker` is the module that runs as a
    worker. `stopping` is called when a stop is requested. Raises InferqError and KeyboardInterrupt; main thread only.
    """
    options.data.mkdir(parents=True, exist_ok=True)
    with (
        _signals_restored(),
        ThreadPoolExecutor(1) as beside,
        running(options, _quiet) as (plan, supervisor),
    ):
        stack.start(changed(plan, environment or {}, worker), supervisor, _quiet)
        key = os.environ.get("INFERQ_ADMIN_KEY", "")  # the stack inherits it, and asks for it
        # In a thread, so that the main thread keeps the parts running and receives Ctrl-C.
        measured = beside.submit(measure, Service(plan.url, key, grouped(supervisor.pids()), plan.redis_url))
        if not supervisor.watch(measured.done):
            stopping()
            raise KeyboardInterrupt
        return measured.result()


def grouped(pids: Mapping[str, int]) -> dict[str, list[int]]:
    """Return part -> pids, with all workers as one part: worker-1 and worker-2 are `worker`."""
    by_part: dict[str, list[int]] = {}
    for name, pid in pids.items():
        by_part.setdefault(name.partition("-")[0], []).append(pid)
    return by_part


def changed(plan: stack.Plan, environment: Mapping[str, str], worker: str = "worker") -> stack.Plan:
    """Return the plan with more variables for every part, and with another module for the workers."""

    def change(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(change, value))
        if not isinstance(value, Part):
            return value
        argv = [*value.argv[:-1], worker] if value.argv[-1] == "worker" else value.argv
        return replace(value, argv=argv, env={**value.env, **environment})

    return replace(plan, **{each.name: change(getattr(plan, each.name)) for each in fields(plan)})


@contextlib.contextmanager
def _signals_restored() -> Iterator[None]:
    """Restore the handlers of signals, which a stack takes over, when the block ends: other measurements follow."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _quiet(name: str, text: str) -> None:
    """Print nothing: the parts of the stack start silently."""
