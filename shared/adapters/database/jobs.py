"""Queries on jobs and their items."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared import errors
from shared.adapters.database.tables import items, jobs, webhook_deliveries
from shared.domain.jobs import LIVE, AnswerOptions, Item, Job, Outcome, Status, sources

CHUNK = 500
"""Bound parameters per statement; SQLite accepts 32766, PostgreSQL 65535."""


class Jobs:
    """The tables of jobs and items, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- for requests: the tenant is the first parameter

    def get(self, tenant: str, job_id: str) -> Job:
        """Return a job of the tenant; raises NotFound."""
        job = self.find(tenant, job_id)
        if job is None:
            raise errors.NotFound(f"There is no job {job_id}.")
        return job

    def find(self, tenant: str, job_id: str) -> Job | None:
        """Return a job of the tenant, or None."""
        row = self._connection.execute(_GET, {"tenant": tenant, "id": job_id}).first()
        return _job(row) if row else None

    def find_by_idempotency_key(self, tenant: str, key: str) -> Job | None:
        """Return the tenant's job with that idempotency key, or None."""
        query = sa.select(jobs).where(jobs.c.tenant == tenant, jobs.c.idempotency_key == key)
        row = self._connection.execute(query).first()
        return _job(row) if row else None

    def page(
        self, tenant: str, *, status: str = "", model: str = "", before: str = "", since: float | None = None,
        until: float | None = None, limit: int = 50,
    ) -> list[Job]:  # fmt: skip
        """Return the tenant's jobs, newest first; `before` is the last id of the previous page."""
        query = sa.select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.id.desc()).limit(limit)
        if status:
            query = query.where(jobs.c.status == status)
        if model:
            query = query.where(jobs.c.model == model)
        if before:
            query = query.where(jobs.c.id < before)
        if since is not None:
            query = query.where(jobs.c.created_at >= since)
        if until is not None:
            query = query.where(jobs.c.created_at < until)
        return [_job(row) for row in self._connection.execute(query)]

    def items(self, job_id: str, *, start: int = 0, limit: int | None = None) -> list[Item]:
        """Return the items of a job in upload order. This does not check the tenant: call `get` for the job first."""
        parameters = {"job_id": job_id, "start": start, "limit": limit}
        return [_item(row) for row in self._connection.execute(_FIRST_ITEMS if limit else _ITEMS, parameters)]

    def add(self, job: Job, its_items: Sequence[Item]) -> None:
        """Insert a job and its items."""
        values = {name: getattr(job, name) for name in _JOB_COLUMNS}
        values |= {"options": asdict(job.options), "idempotency_key": job.idempotency_key or None}
        self._connection.execute(_ADD_JOB, values)
        for chunk in _chunks(its_items, 5000):
            self._connection.execute(_ADD_ITEMS, [{f: getattr(item, f) for f in _ITEM_COLUMNS} for item in chunk])

    # -- for workers and maintenance: ids come from the queue

    def start(self, job_ids: Collection[str], now: float) -> tuple[set[str], set[str], list[str]]:
        """Set QUEUED jobs RUNNING; returns (jobs that run, RUNNING jobs past their deadline, jobs that expired in this
        call).

        Jobs in none of the three have ended or do not exist.
        """
        running: set[str] = set()
        late: set[str] = set()
        expired: list[str] = []
        fresh: list[str] = []
        for row in self._locked(job_ids):
            is_late = row.deadline is not None and row.deadline < now
            if row.status == Status.QUEUED and is_late:
                expired.append(row.id)
            elif is_late:
                late.add(row.id)
            else:
                running.add(row.id)
                if row.status == Status.QUEUED:
                    fresh.append(row.id)
        self._move(fresh, Status.RUNNING, started_at=now)
        self.end(expired, Status.EXPIRED, now)
        return running, late, expired

    def finished_items(self, positions: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        """Return those of the (job id, position) pairs that already have an outcome."""
        finished: set[tuple[str, int]] = set()
        for chunk in _chunks(list(positions), CHUNK):
            query = sa.select(items.c.job_id, items.c.position).where(
                sa.tuple_(items.c.job_id, items.c.position).in_(chunk), items.c.status != Status.QUEUED
            )
            finished |= {(row.job_id, row.position) for row in self._connection.execute(query)}
        return finished

    def record(self, outcomes: Sequence[Outcome], now: float) -> list[Job]:
        """Write outcomes of items that have none yet, in jobs that have not ended; returns the jobs that end by it."""
        live = {row.id: row for row in self._locked({outcome.job_id for outcome in outcomes})}
        fresh: dict[tuple[str, int], Outcome] = {}
        for outcome in outcomes:
            if outcome.job_id in live:
                fresh.setdefault((outcome.job_id, outcome.position), outcome)
        if not fresh:
            return []
        written = self._connection.execute(_RECORD_ITEM, [_item_values(outcome) for outcome in fresh.values()])
        if written.rowcount == len(fresh):
            counts = {job_id: (row.done, row.failed) for job_id, row in live.items()}
            for outcome in fresh.values():
                done, failed = counts[outcome.job_id]
                counts[outcome.job_id] = (done, failed + 1) if outcome.error_code else (done + 1, failed)
        else:  # some items had an outcome already; this is too rare for a query before every batch
            counts = self._counts(list(live))
        return self._count([(_job(row), *counts[job_id]) for job_id, row in live.items()], now)

    def end(self, job_ids: Sequence[str], status: Status, now: float, *, error_code: str = "", error: str = "") -> None:
        """Move jobs to a terminal status, where MOVES allows it; their callbacks become due."""
        self._move(job_ids, status, finished_at=now, error_code=error_code, error=error)
        for chunk in _chunks(list(job_ids), CHUNK):
            has_delivery = jobs.c.id.in_(sa.select(webhook_deliveries.c.job_id))
            due = sa.select(jobs.c.id, sa.literal(0), sa.literal(now), sa.literal("")).where(
                jobs.c.id.in_(chunk), jobs.c.webhook != "", jobs.c.status == status, ~has_delivery
            )
            self._connection.execute(
                sa.insert(webhook_deliveries).from_select(["job_id", "attempts", "due_at", "error"], due)
            )

    def left_by_version(self) -> dict[str, int]:
        """Return version id -> number of pictures without an outcome, for versions with live jobs."""
        query = sa.select(jobs.c.version_id, sa.func.sum(_LEFT)).where(_LIVE).group_by(jobs.c.version_id)
        return {version_id: int(count) for version_id, count in self._connection.execute(query)}

    def live(self, version_id: str, *, created_before: float) -> Iterator[Job]:
        """Iterate over the live jobs of a version that were created before a time (Unix seconds)."""
        query = sa.select(jobs).where(_LIVE, jobs.c.version_id == version_id, jobs.c.created_at < created_before)
        return (_job(row) for row in self._connection.execute(query))

    def unfinished_items(self, job_id: str) -> list[Item]:
        """Return the items of a job without an outcome, in upload order."""
        query = sa.select(items).where(items.c.job_id == job_id, items.c.status == Status.QUEUED)
        return [_item(row) for row in self._connection.execute(query.order_by(items.c.position))]

    def past_deadline(self, now: float) -> list[str]:
        """Return the ids of QUEUED jobs whose deadline has passed."""
        query = sa.select(jobs.c.id).where(_LIVE, jobs.c.status == Status.QUEUED, jobs.c.deadline < now)
        return list(self._connection.execute(query).scalars())

    def finished_before(self, when: float, limit: int = 500) -> list[tuple[str, str]]:
        """Return (id, blob) of jobs that ended before `when` (Unix seconds)."""
        query = sa.select(jobs.c.id, jobs.c.blob).where(jobs.c.finished_at < when).limit(limit)
        return [(row.id, row.blob) for row in self._connection.execute(query)]

    def delete(self, job_ids: Sequence[str]) -> None:
        """Delete jobs with their items and callbacks."""
        for chunk in _chunks(list(job_ids), CHUNK):
            self._connection.execute(sa.delete(items).where(items.c.job_id.in_(chunk)))
            self._connection.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.job_id.in_(chunk)))
            self._connection.execute(sa.delete(jobs).where(jobs.c.id.in_(chunk)))

    def known(self, job_ids: Collection[str]) -> set[str]:
        """Return the ids that exist."""
        known_ids: set[str] = set()
        for chunk in _chunks(list(job_ids), CHUNK):
            known_ids |= set(self._connection.execute(sa.select(jobs.c.id).where(jobs.c.id.in_(chunk))).scalars())
        return known_ids

    # -- internal

    def _locked(self, job_ids: Collection[str]) -> list[Row[Any]]:
        """Return the live jobs, locked in the order of their ids so that two workers cannot deadlock."""
        rows: list[Row[Any]] = []
        for chunk in _chunks(sorted(job_ids), CHUNK):
            rows += self._connection.execute(_LOCKED, {"ids": chunk})
        return rows

    def _move(self, job_ids: Sequence[str], status: Status, **values: Any) -> None:
        for chunk in _chunks(list(job_ids), CHUNK):
            parameters = {"ids": chunk, "sources": sources(status), "status": status}
            self._connection.execute(_MOVE, parameters | values)

    def _counts(self, job_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return the counts (done, failed) of each job, computed from its items."""
        counts = dict.fromkeys(job_ids, (0, 0))
        done, failed = (sa.func.sum(sa.case((items.c.status == s, 1), else_=0)) for s in (Status.DONE, Status.FAILED))
        for chunk in _chunks(job_ids, CHUNK):
            query = sa.select(items.c.job_id, done, failed).where(items.c.job_id.in_(chunk)).group_by(items.c.job_id)
            counts |= {job_id: (int(d), int(f)) for job_id, d, f in self._connection.execute(query)}
        return counts

    def _count(self, counted: Sequence[tuple[Job, int, int]], now: float) -> list[Job]:
        """Write the counts of locked jobs, end those that are complete, and return them."""
        values = [{"b_id": job.id, "b_done": done, "b_failed": failed} for job, done, failed in counted]
        self._connection.execute(_COUNT, values)
        full = [(job, done, failed) for job, done, failed in counted if done + failed >= job.total]
        good = [replace(job, done=d, failed=f, status=Status.DONE, finished_at=now) for job, d, f in full if d]
        code, error = "no_picture_succeeded", "No picture could be classified."
        bad = [
            replace(job, failed=f, status=Status.FAILED, finished_at=now, error_code=code, error=error)
            for job, d, f in full
            if not d
        ]
        self._end(good, Status.DONE, now)
        self._end(bad, Status.FAILED, now, code, error)
        return good + bad

    def _end(self, ended_jobs: Sequence[Job], status: Status, now: float, code: str = "", error: str = "") -> None:
        """End jobs that were just read, as `end` does; a batch without any webhook needs one statement only."""
        if any(job.webhook for job in ended_jobs):
            self.end([job.id for job in ended_jobs], status, now, error_code=code, error=error)
        else:
            self._move([job.id for job in ended_jobs], status, finished_at=now, error_code=code, error=error)


_JOB_COLUMNS = [field.name for field in fields(Job)]
_ITEM_COLUMNS = [field.name for field in fields(Item)]
_LEFT = jobs.c.total - jobs.c.done - jobs.c.failed
# Literals rather than bound parameters, so that the database recognises that the partial index on live jobs applies.
_LIVE = jobs.c.status.in_([sa.literal_column(f"'{status}'") for status in LIVE])
_IS_AMONG = jobs.c.id.in_(sa.bindparam("ids", expanding=True))
# Statements of every request and every batch are built once: building one takes longer than the database to run it.
_GET = sa.select(jobs).where(jobs.c.tenant == sa.bindparam("tenant"), jobs.c.id == sa.bindparam("id"))
_ITEMS = (
    sa.select(items)
    .where(items.c.job_id == sa.bindparam("job_id"), items.c.position >= sa.bindparam("start"))
    .order_by(items.c.position)
)
_FIRST_ITEMS = _ITEMS.limit(sa.bindparam("limit"))
# SQLAlchemy omits the row lock for SQLite, which has a single writer at a time anyway.
_LOCKED = sa.select(jobs).where(_IS_AMONG, _LIVE).order_by(jobs.c.id).with_for_update()
_MOVE = sa.update(jobs).where(_IS_AMONG, jobs.c.status.in_(sa.bindparam("sources", expanding=True)))
_ADD_JOB = sa.insert(jobs)
_ADD_ITEMS = sa.insert(items)
_RECORD_ITEM = (
    sa.update(items)
    .where(items.c.job_id == sa.bindparam("b_job"), items.c.position == sa.bindparam("b_position"))
    .where(items.c.status == Status.QUEUED)
    .values(
        status=sa.bindparam("b_status"), result=sa.bindparam("b_result"),
        error_code=sa.bindparam("b_code"), error=sa.bindparam("b_error"),
    )
)  # fmt: skip
_COUNT = (
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("b_id"))
    .values(done=sa.bindparam("b_done"), failed=sa.bindparam("b_failed"))
)


def _item_values(outcome: Outcome) -> dict[str, Any]:
    return {
        "b_job": outcome.job_id,
        "b_position": outcome.position,
        "b_status": Status.FAILED if outcome.error_code else Status.DONE,
        "b_result": outcome.result,
        "b_code": outcome.error_code,
        "b_error": outcome.error,
    }


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    values["status"] = Status(values["status"])
    values["options"] = AnswerOptions(**values["options"])
    values["idempotency_key"] = values["idempotency_key"] or ""
    return Job(**values)


def _item(row: Row[Any]) -> Item:
    return Item(**row._mapping)


def _chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
