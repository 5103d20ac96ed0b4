"""Queries on the traces of jobs; only a job that is traced has a row, which goes with the job."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.jobs import CHUNK
from shared.adapters.database.tables import job_traces, jobs
from shared.domain.jobs import JobTrace


class JobTraces:
    """The table of the traces of jobs, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, traces: Mapping[str, str]) -> None:
        """Insert job id -> its traceparent."""
        if traces:
            rows = [{"job_id": job_id, "parent": parent, "pushes": 1} for job_id, parent in traces.items()]
            self._connection.execute(sa.insert(job_traces), rows)

    def replace(self, job_id: str, parent: str) -> None:
        """Let the spans of a job belong below another traceparent from now on; with an empty one it is not traced."""
        self._connection.execute(sa.delete(job_traces).where(job_traces.c.job_id == job_id))
        self.add({job_id: parent} if parent else {})

    def find(self, job_ids: Collection[str]) -> dict[str, JobTrace]:
        """Return job id -> its trace, of those that are traced."""
        wanted, found = sorted(job_ids), dict[str, JobTrace]()
        for start in range(0, len(wanted), CHUNK):
            query = sa.select(job_traces).where(job_traces.c.job_id.in_(wanted[start : start + CHUNK]))
            found |= {row.job_id: JobTrace(row.parent, row.pushes) for row in self._connection.execute(query)}
        return found

    def drop_orphans(self) -> bool:
        """Delete some traces whose job is gone; return True if there were any."""
        is_gone = ~sa.exists().where(jobs.c.id == job_traces.c.job_id)
        ids = self._connection.scalars(sa.select(job_traces.c.job_id).where(is_gone).limit(CHUNK)).all()
        self._connection.execute(sa.delete(job_traces).where(job_traces.c.job_id.in_(ids)))
        return bool(ids)

    def count_push(self, job_ids: Collection[str]) -> None:
        """Count that traced jobs are put on the queue once more."""
        count = sa.update(job_traces).values(pushes=job_traces.c.pushes + 1)
        ids = [{"id": job_id} for job_id in sorted(job_ids)]
        self._connection.execute(count.where(job_traces.c.job_id == sa.bindparam("id")), ids)
