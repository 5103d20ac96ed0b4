"""Queries on dead letters: list them, and take those of a job back into its queue."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.jobs import NEWEST_FIRST, Jobs, created_between
from shared.adapters.database.tables import items, jobs, webhook_deliveries
from shared.domain.dead_letters import EXPIRED, DeadLetter, Wanted, split_cursor
from shared.domain.jobs import RETRIED, Item, Job, Status


class DeadLetters:
    """The failed pictures of ended jobs, in the tables of jobs and items, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs = Jobs(connection)

    def page(self, tenant: str, wanted: Wanted, *, after: str = "", limit: int = 50) -> list[DeadLetter]:
        """Return the tenant's dead letters, those of the newest jobs first; `after` is the last id of the page
        before."""
        where = [jobs.c.tenant == tenant, *created_between(wanted.since, wanted.until)]
        if wanted.model:
            where.append(jobs.c.model == wanted.model)
        if after:
            job_id, position = split_cursor(after)
            where.append(self._jobs.older_than(job_id, itself=True))
            where.append(sa.or_(jobs.c.id != job_id, items.c.position > position))
        found = [_select(items.c.error_code, items.c.error).where(*where, _HAS_FAILED, _failed(wanted.reason))]
        if wanted.reason in ("", EXPIRED):
            missed = sa.literal("The deadline passed before it ran.")
            expired = _select(sa.literal(EXPIRED), missed).where(jobs.c.status == Status.EXPIRED)
            found.append(expired.where(*where, items.c.status == Status.QUEUED))
        parts = [part.order_by(*NEWEST_FIRST, items.c.position).limit(limit).subquery() for part in found]
        both = sa.union_all(*(sa.select(part) for part in parts)).subquery()
        query = sa.select(both).order_by(both.c.created_at.desc(), both.c.job_id.desc(), both.c.position).limit(limit)
        return [DeadLetter(*row) for row in self._connection.execute(query)]

    def items(self, job: Job, reason: str) -> list[Item]:
        """Return the dead letters of an ended job, in upload order, without the pictures that are kept with them."""
        which = _failed(reason)
        if job.status is Status.EXPIRED and reason in ("", EXPIRED):
            which = sa.or_(which, items.c.status == Status.QUEUED)
        return self._jobs.items_where(job.id, which)

    def reopen(self, job: Job, reason: str) -> tuple[Job, list[Item]]:
        """Move an ended job back to QUEUED, without a deadline, and its dead letters of that reason with it; return
        both, and no items if there are none or another transaction was faster. Raises NotFound.

        A callback of its earlier end that is still due is dropped: the job calls back when it ends again.
        """
        job = self._jobs.get(job.tenant, job.id, lock=True)
        again = self.items(job, reason) if job.status in RETRIED else []
        if not again:
            return job, []
        self._connection.execute(
            sa.update(items)
            .where(items.c.job_id == job.id, _failed(reason))
            .values(status=Status.QUEUED, error_code="", error="")
        )
        values = {"status": Status.QUEUED, "failed": job.failed - sum(bool(item.error_code) for item in again)}
        values |= dict.fromkeys(("started_at", "finished_at", "deadline"))
        values |= {"error_code": "", "error": "", "retries": job.retries + 1}
        self._connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(values))
        self._connection.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.job_id == job.id))
        return self._jobs.get(job.tenant, job.id), again


# Literals rather than bound parameters, so that the database recognises that the partial indexes apply.
_HAS_FAILED = sa.and_(jobs.c.failed > sa.literal_column("0"), jobs.c.status.in_(RETRIED))


def _failed(reason: str) -> sa.ColumnElement[bool]:
    """Return the condition that an item has failed, for that reason if there is one."""
    # Not <>, for which SQLite would look at all items of the job in its primary key.
    has_failed = items.c.error_code > sa.literal_column("''")
    return sa.and_(has_failed, items.c.error_code == reason) if reason else has_failed


def _select(reason: Any, error: Any) -> sa.Select[Any]:
    return sa.select(
        jobs.c.id.label("job_id"), items.c.position, items.c.name, reason.label("reason"), error.label("error_text"),
        jobs.c.model, jobs.c.version, jobs.c.created_at,
    ).join(items, items.c.job_id == jobs.c.id)  # fmt: skip
