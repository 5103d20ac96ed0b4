"""The part of `inferq doctor` that examines a running service from outside, and by what it tells of its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime

from inferq.client import Client
from inferq.commands import units
from inferq.errors import InferqError, InferqHTTPError
from shared.schemas.diagnosis import Diagnosis, PartCheck
from shared.schemas.workers import Readiness

_CLOCK = 2.0
"""Seconds by which the clock of this machine may differ from the time of the service."""
_OPERATORS_KEY = "a key of the tenant `default` with the scope `keys`: --key KEY, or INFERQ_KEY"
Look = tuple[str, Callable[[], list[PartCheck]]]


def looks(client: Client, *, wait: bool) -> Iterator[Look]:
    """Yield the name of each check with a function that makes it; with `wait` also that of proxies, which takes as
    long as a request may wait. A check that needs the answer of the one before follows only if that has one."""
    told: list[Diagnosis] = []
    reached: list[Readiness] = []

    def ask() -> list[PartCheck]:
        began = time.time()
        try:
            told.append(client.workers.diagnosis())
        except InferqError as error:
            return [not_told(error)]
        middle = (began + time.time()) / 2
        return [*told[0].checks, *_left_out(told[0]), _clock(middle - datetime.fromisoformat(told[0].time).timestamp())]

    yield "service", lambda: [_reach(client, reached)]
    if reached:
        yield "its parts", ask
    if told and wait:
        seconds = told[0].max_wait
        yield f"a request that waits for {units.duration(seconds)}", lambda: [_hold(client, seconds)]


def _reach(client: Client, reached: list[Readiness]) -> PartCheck:
    """Return whether the service is ready, which is added to `reached` if it answers."""
    began = time.monotonic()
    try:
        ready = client.workers.readiness()
    except InferqError as error:
        cure = "see whether it runs, and whether the address is right"
        return PartCheck(part="service", verdict="failed", found=str(error), cure=cure)
    reached.append(ready)
    if ready.is_ready:
        milliseconds = (time.monotonic() - began) * 1000
        found = f"{client.url} is ready, and answers in {milliseconds:.0f} ms"
        return PartCheck(part="service", verdict="ok", found=found)
    reasons = [ready.database, ready.queue, ready.storage, ready.workers, ready.model]
    found = "; ".join(reason.rstrip(".") for reason in reasons if reason != "ok")
    return PartCheck(part="service", verdict="failed", found=f"it is not ready: {found}", cure="see below")


def not_told(error: InferqError) -> PartCheck:
    """Return that the service did not make its diagnosis, with the reason and what to do."""
    status = error.status if isinstance(error, InferqHTTPError) else 0
    if status in (401, 403):
        cure = f"name {_OPERATORS_KEY}"
    elif status == 404:
        cure = "it is an older version of inferq, or another service; look at /readyz"
    else:
        cure = "see the logs of the API"
    return PartCheck(
        part="its parts", verdict="failed", found=f"it does not tell of them: {error}".rstrip("."), cure=cure
    )


def _left_out(told: Diagnosis) -> list[PartCheck]:
    """Return that the service left out parts, because the key is not that of the operator."""
    if told.tenants == "all":
        return []
    found = "this key is told of its own tenant only, and not of Redis, database, clocks and disk"
    return [PartCheck(part="other parts", verdict="warning", found=found, cure=f"name {_OPERATORS_KEY}")]


def _clock(ahead: float) -> PartCheck:
    """Return whether this machine's clock is right, by the seconds that it is ahead of the service."""
    if abs(ahead) <= _CLOCK:
        return PartCheck(part="clock here", verdict="ok", found=f"agrees with the service to {_CLOCK:g} s")
    found = f"it is {units.duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the service"
    return PartCheck(part="clock here", verdict="warning", found=found, cure="have this machine's clock set by NTP")


def _hold(client: Client, seconds: float) -> PartCheck:
    """Return whether a request may wait as long as the service allows, or a proxy between cuts it."""
    began = time.monotonic()
    try:
        client.workers.diagnosis(wait=seconds)
    except InferqError as error:
        after = units.duration(time.monotonic() - began)
        cure = (
            f"raise the time-out of the proxy above {seconds:g} s, or set INFERQ_MAX_WAIT below {after}: callers that "
            "wait longer get this error in place of their job's id"
        )
        return PartCheck(
            part="proxy", verdict="failed", found=f"a request that waits is cut after {after}: {error}", cure=cure
        )
    return PartCheck(part="proxy", verdict="ok", found=f"a request can wait for {units.duration(seconds)}")
