"""Use-cases of job lists find jobs by what no index holds: their wire, and a part of a name or id.

An index for each would cost every job a write. Instead the newest jobs that pass the other filters are looked at, as
many as take a moment, and the caller goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.container import Container
from shared.domain.jobs import Job
from shared.services import job_pictures, jobs

READ_AT_ONCE = 500
"""Jobs that are read together."""
MOST_LOOKED_AT = 2000
"""Jobs that one call looks at; they take a tenth of a second."""


@dataclass(frozen=True)
class WantedJobs:
    """Which jobs a list holds; an empty field means all."""

    status: str = ""
    model: str = ""
    since: float | None = None
    until: float | None = None
    wire: str = ""
    text: str = ""
    """Part of the name of the first picture, or of the id, in any case."""


def page(container: Container, tenant: str, wanted: WantedJobs, *, before: str, limit: int) -> tuple[list[Job], str]:
    """Return (the tenant's jobs, newest first, the id before which the next page begins, empty after the last).

    With `wire` or `text`, a page may have fewer jobs than `limit`, even none, though there is a next one.
    """
    if not wanted.wire and not wanted.text:
        found = _read(container, tenant, wanted, before, limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else ""
    found = []
    for _ in range(MOST_LOOKED_AT // READ_AT_ONCE):
        rows = _read(container, tenant, wanted, before, READ_AT_ONCE)
        matching = {job.id for job in _matching(container, wanted, rows)}
        for job in rows:
            before = job.id
            if job.id in matching:
                found.append(job)
            if len(found) == limit:
                return found, before
        if len(rows) < READ_AT_ONCE:
            return found, ""
    return found, before


def _read(container: Container, tenant: str, wanted: WantedJobs, before: str, limit: int) -> list[Job]:
    return jobs.list_page(
        container, tenant, status=wanted.status, model=wanted.model, before=before, since=wanted.since,
        until=wanted.until, limit=limit,
    )  # fmt: skip


def _matching(container: Container, wanted: WantedJobs, rows: list[Job]) -> list[Job]:
    rows = [job for job in rows if wanted.wire in ("", job.wire)]
    if not wanted.text or not rows:
        return rows
    part = wanted.text.casefold()
    names = job_pictures.first_names(container, rows)
    return [job for job in rows if part in job.id or part in names.get(job.id, "").casefold()]
