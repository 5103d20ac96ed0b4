"""One run: calm, the faults in turn with time to recover, calm again, and the reconciliation."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence

from bench import measure
from bench.chaos import reconcile, result
from bench.chaos.faults import FAULTS, Fault, Scene
from bench.chaos.journal import Journal, Request
from bench.chaos.load import Load, lanes
from bench.chaos.result import Result, Window
from bench.chaos.system import WORKERS, System
from bench.models import wait_for_workers
from inferq.client import Client

CALM = 10.0
"""Seconds in which the rate before and after all faults is measured."""
REST = 2.0
"""Seconds between the recovery from a fault and the next one."""
UNTIL_RECOVERED = 60.0
"""Seconds after which the next fault is injected even if a caller has no answer yet."""
Say = Callable[[str], None]


class Interrupted(Exception):
    """The run was asked to stop."""


class Run:
    """A run on a system that has started."""

    def __init__(self, system: System, seed: int, minutes: float | None, chosen: Sequence[str], say: Say) -> None:
        """Without `minutes` each fault is injected once; `chosen` names faults, none is all."""
        self._system, self._seed, self._minutes, self._say = system, seed, minutes, say
        self._chance = random.Random(seed)
        self._journal = Journal()
        self._load = Load(self._journal, system.urls, lanes(system.receiver))
        self._interrupted = threading.Event()
        names = chosen or [name for name, fault in FAULTS.items() if not fault.by_name_only]
        reasons = {name: FAULTS[name].why_not(system) for name in names}
        self._left_out = {name: reason for name, reason in reasons.items() if reason}
        self._faults = [FAULTS[name] for name in names if not reasons[name]]

    def interrupt(self) -> None:
        """Let `all` raise Interrupted soon; a fault is mended before."""
        self._interrupted.set()
        self._load.abort()

    def all(self) -> Result:
        """Run everything and return the result without the facts of the machine; raises Interrupted."""
        used = _others_seconds()
        self._load.start()
        self._note("warming up")
        with Client(self._system.urls[0]) as client:
            wait_for_workers(client, WORKERS)
        self._until_recovered(0.0)
        before = self._calm()
        windows = [window for fault in self._order() if (window := self._window(fault))]
        after = self._calm()
        self._note("comparing what was accepted with what the service says")
        self._load.stop()
        seconds = int(self._journal.now())
        others = (_others_seconds() - used) / seconds
        self._check()
        evidence = reconcile.gather(
            self._journal, self._system.urls, self._system.receiver, self._interrupted.is_set
        )  # fmt: skip
        self._check()
        rates = [self._journal.rate(second, second + 1) for second in range(seconds)]
        findings = reconcile.judge(self._journal.requests, evidence)
        return Result(
            machine={},
            seed=self._seed,
            database="PostgreSQL" if self._system.database else "SQLite",
            windows=windows,
            left_out=self._left_out,
            findings=[f"{f.kind}: {_about(self._journal, windows, f)}{f.why}" for f in findings],
            rows=result.rows(self._journal, windows, findings),
            rates=rates,
            before=before,
            after=after,
            others=others,
            repeated=sum(len(received) - 1 for received in evidence.callbacks.values()),
        )

    def _order(self) -> Iterator[Fault]:
        """Yield the faults in an order of the seed, again and again while there is time."""
        if self._minutes is None:
            yield from self._chance.sample(self._faults, len(self._faults))
            return
        end = self._minutes * 60 - CALM
        begun: set[str] = set()
        while self._faults:
            for fault in self._chance.sample(self._faults, len(self._faults)):
                if self._journal.now() + fault.seconds + REST > end:
                    self._left_out |= {f.name: "no time was left for it" for f in self._faults if f.name not in begun}
                    return
                begun.add(fault.name)
                yield fault

    def _window(self, fault: Fault) -> Window | None:
        """Inject a fault, wait until every caller has recovered, and rest; returns None if it could not be injected."""
        self._check()
        burst = self._load.burst()
        began = self._journal.now()
        self._note(fault.name)
        try:
            with fault.inject(Scene(self._system, self._load, self._chance)):
                self._sleep(fault.seconds)
        except OSError as error:
            self._left_out[fault.name] = str(error)
            return None
        ended = self._journal.now()
        recovery = self._until_recovered(ended, burst)
        self._sleep(REST)
        return Window(fault.name, began, ended, self._journal.now(), recovery)

    def _until_recovered(self, since: float, burst: Request | None = None) -> dict[str, float | None]:
        while True:
            recovery = self._load.recovery(since)
            if burst:
                late = None if burst.ended is None else max(0.0, burst.ended - since)
                recovery[burst.way] = late if burst.is_right else None
            if None not in recovery.values() or self._journal.now() > since + UNTIL_RECOVERED:
                return recovery
            self._sleep(0.1)

    def _calm(self) -> float:
        """Return the right answers per second of CALM seconds."""
        began = self._journal.now()
        self._sleep(CALM)
        return self._journal.rate(began, began + CALM)

    def _note(self, text: str) -> None:
        self._say(f"{self._journal.now():5.0f} s  {text}")

    def _sleep(self, seconds: float) -> None:
        if self._interrupted.wait(seconds):
            raise Interrupted

    def _check(self) -> None:
        self._sleep(0)


def _others_seconds() -> float:
    """Return the CPU time so far of all processes of the machine but this one and those that it has started."""
    return measure.machine_seconds() - measure.cpu_seconds({"chaos": [os.getpid()]})["chaos"]


def _about(journal: Journal, windows: Sequence[Window], finding: reconcile.Finding) -> str:
    """Return which request it was, and around which fault."""
    if finding.request < 0:
        return ""
    request = journal.requests[finding.request]
    when = request.began if request.ended is None else request.ended
    seen = f", which saw {', '.join(dict.fromkeys(request.errors))}" if request.errors else ""
    return f"{request.way} at {request.began:.1f}-{when:.1f} s ({result.fault_of(request, windows)}{seen}): "
