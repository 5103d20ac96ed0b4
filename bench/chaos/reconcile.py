"""The reconciliation compares what was accepted with what the service says afterwards, and judges each request."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from bench.chaos import ways
from bench.chaos.journal import Journal, Request
from bench.chaos.receiver import Receiver
from bench.chaos.ways import Caller, GivenUp

JOBS, CALLBACKS = 120.0, 150.0
"""Seconds after the load for which jobs may take to end, and callbacks to come: one that met a fault is tried again
after 5 s, 30 s and two minutes, and one whose process was killed after a minute."""
WRONG, LOST, DOUBLED = "wrong", "lost", "doubled"


@dataclass(frozen=True)
class Stored:
    """A job as the service shows it afterwards."""

    status: str
    terminal: bool
    labels: tuple[str, ...]
    total: int
    ended: int
    """Pictures that are counted as done or failed."""


@dataclass
class Evidence:
    """All that the service shows after the load."""

    jobs: dict[str, Stored] = field(default_factory=dict)
    """Job id -> the job, for every id that a caller was given; absent if the service does not know it."""
    made: dict[int, list[str]] = field(default_factory=dict)
    """Number of a request -> the ids of all jobs that were made of it, from the list of jobs."""
    callbacks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Job id -> the data of each callback."""
    unfinished: list[str] = field(default_factory=list)
    """Ids of listed jobs that have not ended."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with one request."""

    request: int
    """Its number; -1 for a job that no caller knows."""
    kind: str
    """WRONG, LOST or DOUBLED."""
    why: str


def gather(journal: Journal, urls: Sequence[str], receiver: Receiver, stopped: Callable[[], bool]) -> Evidence:
    """Wait until all jobs have ended and all callbacks have come, within limits, and return what the service shows."""
    evidence = Evidence(callbacks=receiver.received)
    _wait(lambda: _list(urls, evidence, stopped), JOBS, stopped)
    accepted = [request for request in journal.requests if request.job_id]
    with ThreadPoolExecutor(4) as pool:
        for request, stored in zip(accepted, pool.map(_looker(urls, stopped), accepted), strict=True):
            if stored:
                evidence.jobs[request.job_id] = stored
    awaited = {request.job_id for request in accepted if request.callback and request.job_id in evidence.jobs}
    _wait(lambda: awaited <= set(receiver.received), CALLBACKS, stopped)
    return evidence


def _wait(until: Callable[[], bool], seconds: float, stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end and not stopped():
        time.sleep(0.5)


def _list(urls: Sequence[str], evidence: Evidence, stopped: Callable[[], bool]) -> bool:
    """Read the list of all jobs into the evidence, and return whether it could be read and all of them have ended."""
    made: dict[int, list[str]] = defaultdict(list)
    evidence.unfinished = []
    try:
        for job in _listed(urls, stopped):
            if not job["terminal"]:
                evidence.unfinished.append(job["_id"])
            if (number := job["metadata"].get("chaos")) is not None:
                made[number].append(job["_id"])
    except GivenUp:
        return False
    evidence.made = dict(made)
    return not evidence.unfinished


def _listed(urls: Sequence[str], stopped: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    reading = Request(-1, "list", (), 0.0)
    cursor: str | None = ""
    with closing(Caller(urls, stopped)) as caller:
        while cursor is not None:
            page = caller.insist(reading, "GET", "/v1/jobs", params={"limit": "500", "cursor": cursor})
            yield from page["jobs"]
            cursor = page["next"]


def _looker(urls: Sequence[str], stopped: Callable[[], bool]) -> Callable[[Request], Stored | None]:
    caller = Caller(urls, stopped)

    def look(request: Request) -> Stored | None:
        reading = Request(-1, "look", (), 0.0)
        try:
            return stored(caller.insist(reading, "GET", f"/v1/jobs/{request.job_id}"))
        except GivenUp:
            return None

    return look


def stored(job: dict[str, Any]) -> Stored:
    """Return the part of a native job that is judged."""
    progress = job["progress"]
    ended = progress["done"] + progress["failed"]
    return Stored(job["status"], job["terminal"], ways.labels(job), progress["total"], ended)


def judge(requests: Iterable[Request], evidence: Evidence) -> list[Finding]:
    """Return what is wrong, at most one finding of a kind for each request."""
    findings: dict[tuple[int, str], Finding] = {}
    known = set()
    for request in requests:
        known.add(request.job_id)
        for kind, why in _complaints(request, evidence):
            findings.setdefault((request.number, kind), Finding(request.number, kind, why))
    unknown = [job_id for job_id in evidence.unfinished if job_id not in known]
    return [*findings.values(), *(Finding(-1, LOST, f"job {job_id}, listed, has not ended") for job_id in unknown)]


def _complaints(request: Request, evidence: Evidence) -> Iterable[tuple[str, str]]:
    if request.broken:
        yield LOST, request.broken
    if request.answer is not None:
        yield from _compared(request.right, request.answer, "the caller was given")
    if len(evidence.made.get(request.number, ())) > 1:
        yield DOUBLED, f"jobs {', '.join(evidence.made[request.number])} were made of one request"
    if request.job_id:
        yield from _of_job(request, evidence)


def _of_job(request: Request, evidence: Evidence) -> Iterable[tuple[str, str]]:
    name = f"job {request.job_id}"
    job = evidence.jobs.get(request.job_id)
    if job is None:
        if not request.in_doubt:
            yield LOST, f"{name} was accepted and is not found"
        return
    if not job.terminal:
        yield LOST, f"{name} is still {job.status}"
        return
    yield from _compared(request.right, job.labels, f"{name}, {job.status}, says")
    if job.ended > job.total or job.total > len(request.right):
        yield DOUBLED, f"{name} counts {job.ended} outcomes of {job.total} pictures; {len(request.right)} were sent"
    received = evidence.callbacks.get(request.job_id, ())
    if request.callback and not received:
        yield LOST, f"the callback of {name} has not come"
    if len(set(received)) > 1:
        yield DOUBLED, f"the callbacks of {name} differ: {' and '.join(sorted(set(received)))}"


def _compared(right: Sequence[str], given: Sequence[str], where: str) -> Iterable[tuple[str, str]]:
    """Yield what differs: another label is wrong; an error, or no label, in place of one is a loss."""
    if len(given) < len(right):
        yield LOST, f"{where} {len(given)} answers for {len(right)} pictures"
    if len(given) > len(right):
        yield DOUBLED, f"{where} {len(given)} answers for {len(right)} pictures"
    for position, (wanted, label) in enumerate(zip(right, given, strict=False)):
        if wanted != label:
            yield (WRONG if label.isdigit() else LOST), f"{where} {label!r} for picture {position}, a {wanted!r}"
