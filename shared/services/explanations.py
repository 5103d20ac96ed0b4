"""Use-cases of explanations keep the heat map of each explained answer, as long as its job.

A heat map is a blob by itself, whose key follows from the id of the job and the position of the picture. Rows were
rejected: hundreds of kilobytes for each picture would fill the database, its log and its backups.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared import errors
from shared.container import Container
from shared.domain.jobs import Status, job_created_at
from shared.services import absences

FOLDER = "explanations"
_ID = 36
"""Characters of a job's id."""


def store(container: Container, maps: Mapping[tuple[str, int], bytes]) -> None:
    """Store PNGs by (job id, position); one that was stored before is replaced. Raises Unavailable, StorageFull."""
    for (job_id, position), png in maps.items():
        container.storage.write(_key(container, job_id, position), png)


def read(container: Container, tenant: str, job_id: str, position: int) -> bytes:
    """Return the PNG of a picture of the tenant's job; raises NotFound, Unavailable."""
    with container.database.read() as uow:
        job = uow.jobs.get(tenant, job_id)
        items = uow.jobs.items(job_id, start=position, limit=1) if position < job.total else []
    if job.explain is None:
        raise errors.NotFound(f"The answers of job {job_id} are not explained; send explain=true with a job.")
    if not items:
        raise errors.NotFound(f"Job {job_id} has no picture {position}; it has {job.total}, the first is 0.")
    (item,) = items

    def look() -> None:
        with container.database.read() as uow:
            uow.jobs.get(tenant, job_id)
        if item.status != Status.DONE or item.error:
            why = f" {item.error}" if item.error else ""
            raise errors.NotFound(f"Picture {position} of job {job_id} is {item.status} and has no explanation.{why}")

    what = f"the explanation of picture {position} of job {job_id}"
    return absences.read(container, _key(container, job_id, position), what, look)


def drop(container: Container, job_id: str, total: int) -> None:
    """Remove the heat maps of a job of so many pictures; raises Unavailable."""
    for position in range(total):
        container.storage.delete(_key(container, job_id, position))


def job_of_blob(name: str) -> str:
    """Return the id of the job that a blob's last name belongs to."""
    return name[:_ID]


def _key(container: Container, job_id: str, position: int) -> str:
    return container.storage.dated(FOLDER, f"{job_id}-{position}", job_created_at(job_id))
