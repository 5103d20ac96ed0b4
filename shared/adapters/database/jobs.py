"""Queries on jobs and their items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, fields, replace
from itertools import islice
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared import errors
from shared.adapters.database import drift, kept_bytes
from shared.adapters.database.items import SHOWN, item_of
from shared.adapters.database.tables import items, job_traces, jobs, webhook_deliveries
from shared.domain.jobs import (
    LIVE,
    AnswerOptions,
    BatchRun,
    Item,
    Job,
    JobChange,
    LiveJob,
    Outcome,
    Status,
    add_to_timeline,
    job_created_at,
    sources,
)

CHUNK = 500
"""Bound parameters per statement; SQLite accepts 32766, PostgreSQL 65535."""
NEWEST_FIRST = (jobs.c.created_at.desc(), jobs.c.id.desc())
"""The order of lists. Not by id alone, which is nearly the same: the filters by time then could not use the index."""
AHEAD = 60.0
"""Seconds by which the time in an id may differ from that of its job."""


class Jobs:
    """The tables of jobs and items, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- for requests: the tenant is the first parameter

    def get(self, tenant: str, job_id: str, *, lock: bool = False) -> Job:
        """Return a job of the tenant; `lock` keeps other transactions from moving it. Raises NotFound."""
        row = self._connection.execute(_GET_LOCKED if lock else _GET, {"tenant": tenant, "id": job_id}).first()
        if row is None:
            raise errors.NotFound(f"There is no job {job_id}.")
        return _job(row)

    def find(self, tenant: str, job_id: str) -> Job | None:
        """Return a job of the tenant, or None."""
        row = self._connection.execute(_GET, {"tenant": tenant, "id": job_id}).first()
        return _job(row) if row else None

    def find_by_idempotency_key(self, tenant: str, key: str) -> Job | None:
        """Return the tenant's job with that idempotency key, or None."""
        row = self._connection.execute(_GET_BY_KEY, {"tenant": tenant, "key": key}).first()
        return _job(row) if row else None

    def page(
        self, tenant: str, *, status: str = "", model: str = "", before: str = "", since: float | None = None,
        until: float | None = None, limit: int = 50,
    ) -> list[Job]:  # fmt: skip
        """Return the tenant's jobs, newest first; `before` is the last id of the previous page."""
        where = [jobs.c.tenant == tenant, *created_between(since, until)]
        if model:
            where.append(jobs.c.model == model)
        if before:
            where.append(self.older_than(before))
        # The newest of each status, from an index that begins with it, and of these the newest: a filter that few of
        # 100,000 jobs pass would else look at all of them.
        newest = [
            sa.select(jobs.c.id).where(*where, jobs.c.status == one).order_by(*NEWEST_FIRST).limit(limit).subquery()
            for one in ([status] if status else Status)
        ]
        ids = sa.union_all(*(sa.select(of_status.c.id) for of_status in newest))
        query = sa.select(jobs).where(jobs.c.id.in_(ids)).order_by(*NEWEST_FIRST).limit(limit)
        return [_job(row) for row in self._connection.execute(query)]

    def older_than(self, job_id: str, *, itself: bool = False) -> sa.ColumnElement[bool]:
        """Return the condition that a job comes after this one in a list, or is `itself`; it may have been deleted."""
        created_at = self._connection.execute(sa.select(jobs.c.created_at).where(jobs.c.id == job_id)).scalar()
        if created_at is not None:
            listed, this = sa.tuple_(jobs.c.created_at, jobs.c.id), sa.tuple_(*map(sa.literal, (created_at, job_id)))
            return listed <= this if itself else listed < this
        # An id holds its time, but in whole milliseconds, and ahead of the clock if many are made at once.
        return sa.and_(jobs.c.id < job_id, jobs.c.created_at < job_created_at(job_id) + AHEAD)

    def items(self, job_id: str, *, start: int = 0, limit: int | None = None) -> list[Item]:
        """Return the items of a job in upload order. This does not check the tenant: call `get` for the job first."""
        parameters = {"job_id": job_id, "start": start, "limit": limit}
        return [item_of(row) for row in self._connection.execute(_FIRST_ITEMS if limit else _ITEMS, parameters)]

    def picture(self, job_id: str, position: int) -> bytes | None:
        """Return a picture that is kept with its item; None if there is none."""
        found: bytes | None = self._connection.execute(_PICTURE, {"job_id": job_id, "position": position}).scalar()
        return found

    def add(self, added: Sequence[tuple[Job, Sequence[Item]]]) -> None:
        """Insert jobs with their items."""
        self._connection.execute(_ADD_JOB, [_job_values(job) for job, _ in added])
        rows = ({name: getattr(item, name) for name in _ITEM_COLUMNS} for _, its_items in added for item in its_items)
        for chunk in iter(lambda: list(islice(rows, 5000)), []):
            self._connection.execute(_ADD_ITEMS, chunk)
        own = ((job.tenant, item.size) for job, its_items in added for item in its_items if item.blob == job.blob)
        kept_bytes.count(self._connection, own)

    # -- for workers and maintenance: ids come from the queue

    def live_among(self, job_ids: Collection[str]) -> list[LiveJob]:
        """Return those of the jobs that have not ended."""
        return self._live_rows(_LIVE_AMONG, job_ids)

    def start(self, job_ids: Collection[str], now: float) -> None:
        """Set QUEUED jobs RUNNING."""
        self._move(sorted(job_ids), Status.RUNNING, started_at=now)

    def finished_items(self, positions: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        """Return those of the (job id, position) pairs that already have an outcome."""
        finished: set[tuple[str, int]] = set()
        for chunk in _chunks(list(positions), CHUNK):
            query = sa.select(items.c.job_id, items.c.position).where(
                sa.tuple_(items.c.job_id, items.c.position).in_(chunk), items.c.status != Status.QUEUED
            )
            finished |= {(row.job_id, row.position) for row in self._connection.execute(query)}
        return finished

    def record(
        self,
        outcomes: Sequence[Outcome],
        now: float,
        run: BatchRun | None = None,
        attempts: Mapping[str, int] = MappingProxyType({}),
    ) -> list[JobChange]:
        """Write outcomes of items that have none yet, in jobs that have not ended and that take them; returns what has
        changed of these.

        A job of which pictures are left is RUNNING from then on, since its batch was claimed. The batch becomes part of
        the timelines; `attempts` is id -> how often its pictures were claimed, 1 if absent.
        """
        live = {job.id: job for job in self._live_rows(_LOCKED, {outcome.job_id for outcome in outcomes})}
        fresh: dict[tuple[str, int], Outcome] = {}
        for outcome in outcomes:
            if (its_job := live.get(outcome.job_id)) and its_job.takes(outcome):
                fresh.setdefault((outcome.job_id, outcome.position), outcome)
        if any(outcome.explanation_size for outcome in fresh.values()):
            for place in self.finished_items(fresh):  # their heat maps are counted, and those of the others are not
                del fresh[place]
        if not fresh:
            return []
        live = {job_id: live[job_id] for job_id in sorted({job_id for job_id, _ in fresh})}
        written = self._connection.execute(_RECORD_ITEM, [_item_values(outcome) for outcome in fresh.values()])
        is_new = written.rowcount == len(fresh)
        if is_new:
            drift.count(self._connection, (outcome.observation for outcome in fresh.values()), now)
            self._count_explanations(fresh.values())
            counts = {job_id: (job.done, job.failed) for job_id, job in live.items()}
            for outcome in fresh.values():
                done, failed = counts[outcome.job_id]
                counts[outcome.job_id] = (done, failed + 1) if outcome.error_code else (done + 1, failed)
        else:  # some items had an outcome already; this is too rare for a query before every batch
            counts = self._counts(list(live))
        started_at = run.claimed_at if run else now
        after = [job.advanced(*counts[job.id], started_at, now) for job in live.values()]
        timelines = {job.id: job.timeline for job in live.values()}
        if run:
            pictures = Counter(job_id for job_id, _ in fresh)
            timelines = {
                job_id: add_to_timeline(timeline, run, pictures[job_id], attempts.get(job_id, 1), now)
                for job_id, timeline in timelines.items()
            }
        self._connection.execute(
            _ADVANCE,
            [
                {f"b_{name}": getattr(job, name) for name in _ADVANCED} | {"b_timeline": timelines[job.id]}
                for job in after
            ],
        )
        self._add_deliveries([job.id for job in after if job.has_webhook and job.finished_at is not None], now)
        answers = {id_: outcome for (id_, _), outcome in fresh.items() if is_new and live[id_].total == 1}
        return [
            replace(job, outcome=answers[job.id], timeline=timelines[job.id]) if job.id in answers else job
            for job in after
        ]

    def end(self, job_ids: Sequence[str], status: Status, now: float) -> list[str]:
        """Move jobs to a terminal status, where MOVES allows it, and return their ids; their callbacks become due."""
        moved = self._move(job_ids, status, finished_at=now, error_code="", error="")
        self._add_deliveries(moved, now)
        return moved

    def left_by_version(self) -> dict[str, int]:
        """Return version id -> number of pictures without an outcome, for versions with live jobs."""
        query = sa.select(jobs.c.version_id, sa.func.sum(_LEFT)).where(_LIVE).group_by(jobs.c.version_id)
        return {version_id: int(count) for version_id, count in self._connection.execute(query)}

    def count_before(self, job: Job, most: int) -> int:
        """Return how many pictures of live jobs of the same tenant, version and priority wait before this job's; of
        `most` jobs at most."""
        earlier = sa.select(_LEFT.label("left")).where(
            _LIVE, jobs.c.version_id == job.version_id, jobs.c.tenant == job.tenant, jobs.c.priority == job.priority,
            jobs.c.id < job.id,
        ).limit(most).subquery()  # fmt: skip
        return int(self._connection.execute(sa.select(sa.func.coalesce(sa.func.sum(earlier.c.left), 0))).scalar_one())

    def live(
        self, version_id: str, priority: str, *, created_before: float, after: str = "", limit: int | None = None
    ) -> list[Job]:
        """Return the live jobs of a version and priority that were created before a time (Unix seconds), oldest first;
        `after` is the last id of the previous page."""
        query = sa.select(jobs).where(
            _LIVE, jobs.c.version_id == version_id, jobs.c.priority == priority, jobs.c.created_at < created_before,
            jobs.c.id > after,
        ).order_by(jobs.c.id).limit(limit)  # fmt: skip
        return [_job(row) for row in self._connection.execute(query)]

    def unfinished_items(self, job_ids: Sequence[str]) -> dict[str, list[Item]]:
        """Return job id -> its items without an outcome, in upload order; jobs without such items are left out."""
        unfinished: dict[str, list[Item]] = {}
        for chunk in _chunks(job_ids, CHUNK):
            query = sa.select(*SHOWN).where(items.c.job_id.in_(chunk), items.c.status == Status.QUEUED)
            for row in self._connection.execute(query.order_by(items.c.job_id, items.c.position)):
                unfinished.setdefault(row.job_id, []).append(item_of(row))
        return unfinished

    def items_where(self, job_id: str, condition: sa.ColumnElement[bool]) -> list[Item]:
        """Return the items of a job that meet a condition, in upload order."""
        query = sa.select(*SHOWN).where(items.c.job_id == job_id, condition).order_by(items.c.position)
        return [item_of(row) for row in self._connection.execute(query)]

    def past_deadline(self, now: float) -> list[str]:
        """Return the ids of QUEUED jobs whose deadline has passed."""
        query = sa.select(jobs.c.id).where(_LIVE, jobs.c.status == Status.QUEUED, jobs.c.deadline < now)
        return list(self._connection.execute(query).scalars())

    def ends_of(self, job_ids: Sequence[str]) -> list[Row[str, str, float | None]]:
        """Return the `version_id`, `status` and `deadline` of those of the jobs that have ended."""
        query = sa.select(jobs.c.version_id, jobs.c.status, jobs.c.deadline).where(_IS_AMONG, ~_LIVE)
        return [row for chunk in _chunks(job_ids, CHUNK) for row in self._connection.execute(query, {"ids": chunk})]

    def explained(self, job_ids: Sequence[str]) -> list[tuple[str, int]]:
        """Return (id, pictures) of those of the jobs whose answers are explained."""
        query = sa.select(jobs.c.id, jobs.c.total).where(jobs.c.id.in_(job_ids), jobs.c.explain.is_not(None))
        return [(row.id, row.total) for row in self._connection.execute(query)]

    def delete(self, job_ids: Sequence[str]) -> None:
        """Delete jobs, which this transaction has locked, with their items, callbacks and traces."""
        for chunk in _chunks(list(job_ids), CHUNK):
            kept_bytes.discount_jobs(self._connection, chunk)
            self._connection.execute(sa.delete(items).where(items.c.job_id.in_(chunk)))
            self._connection.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.job_id.in_(chunk)))
            self._connection.execute(sa.delete(job_traces).where(job_traces.c.job_id.in_(chunk)))
            self._connection.execute(sa.delete(jobs).where(jobs.c.id.in_(chunk)))

    def known(self, job_ids: Collection[str]) -> set[str]:
        """Return the ids that exist."""
        known_ids: set[str] = set()
        for chunk in _chunks(list(job_ids), CHUNK):
            known_ids |= set(self._connection.execute(_KNOWN, {"ids": chunk}).scalars())
        return known_ids

    # -- internal

    def _live_rows(self, query: sa.Select[Any], job_ids: Collection[str]) -> list[LiveJob]:
        """Return the live jobs, in the order of their ids so that two workers that lock them cannot deadlock."""
        rows: list[LiveJob] = []
        for chunk in _chunks(sorted(job_ids), CHUNK):
            rows += [LiveJob(*row) for row in self._connection.execute(query, {"ids": chunk})]
        return rows

    def _move(self, job_ids: Sequence[str], status: Status, **values: Any) -> list[str]:
        moved: list[str] = []
        for chunk in _chunks(list(job_ids), CHUNK):
            parameters = {"ids": chunk, "old": sources(status), "status": status}
            moved += self._connection.execute(_MOVE, parameters | values).scalars()
        return moved

    def _counts(self, job_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return the counts (done, failed) of each job, computed from its items."""
        counts = dict.fromkeys(job_ids, (0, 0))
        done, failed = (sa.func.sum(sa.case((items.c.status == s, 1), else_=0)) for s in (Status.DONE, Status.FAILED))
        for chunk in _chunks(job_ids, CHUNK):
            query = sa.select(items.c.job_id, done, failed).where(items.c.job_id.in_(chunk)).group_by(items.c.job_id)
            counts |= {job_id: (int(d), int(f)) for job_id, d, f in self._connection.execute(query)}
        return counts

    def _count_explanations(self, outcomes: Iterable[Outcome]) -> None:
        """Count the heat maps of answers among the bytes that their tenants keep."""
        sizes = Counter[str]()
        for outcome in outcomes:
            sizes[outcome.job_id] += outcome.explanation_size
        if explained := [job_id for job_id, size in sizes.items() if size]:
            owners = self._connection.execute(sa.select(jobs.c.tenant, jobs.c.id).where(jobs.c.id.in_(explained)))
            kept_bytes.count(self._connection, [(row.tenant, sizes[row.id]) for row in owners])

    def _add_deliveries(self, job_ids: Sequence[str], now: float) -> None:
        """Make the callbacks of ended jobs due, of those that have a webhook and no callback yet."""
        for chunk in _chunks(list(job_ids), CHUNK):
            has_delivery = jobs.c.id.in_(sa.select(webhook_deliveries.c.job_id))
            due = sa.select(jobs.c.id, jobs.c.tenant, sa.literal(0), sa.literal(now), sa.literal("")).where(
                jobs.c.id.in_(chunk), jobs.c.webhook != "", jobs.c.finished_at.is_not(None), ~has_delivery
            )
            columns = ["job_id", "tenant", "attempts", "due_at", "error"]
            self._connection.execute(sa.insert(webhook_deliveries).from_select(columns, due))


def created_between(since: float | None, until: float | None) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that a job was created at `since` or later and before `until` (Unix seconds)."""
    bounds = [] if since is None else [jobs.c.created_at >= since]
    return bounds if until is None else [*bounds, jobs.c.created_at < until]


_JOB_COLUMNS = [column.name for column in jobs.c]
_ITEM_COLUMNS = [field.name for field in fields(Item) if field.name != "verdict"]
_LEFT = jobs.c.total - jobs.c.done - jobs.c.failed
# Literals rather than bound parameters, so that the database recognises that the partial index on live jobs applies.
_LIVE = jobs.c.status.in_([sa.literal_column(f"'{status}'") for status in LIVE])
_IS_AMONG = jobs.c.id.in_(sa.bindparam("ids", expanding=True))
# Statements of every request and every batch are built once: building one takes longer than the database to run it.
_GET = sa.select(jobs).where(jobs.c.tenant == sa.bindparam("tenant"), jobs.c.id == sa.bindparam("id"))
_GET_LOCKED = _GET.with_for_update()
# One that is built with its values is a cycle, which keeps them until the garbage collector finds it.
_KNOWN = sa.select(jobs.c.id).where(_IS_AMONG)
_GET_BY_KEY = sa.select(jobs).where(
    jobs.c.tenant == sa.bindparam("tenant"), jobs.c.idempotency_key == sa.bindparam("key")
)
_PICTURE = sa.select(items.c.picture).where(
    items.c.job_id == sa.bindparam("job_id"), items.c.position == sa.bindparam("position")
)
_ITEMS = (
    sa.select(*SHOWN)
    .where(items.c.job_id == sa.bindparam("job_id"), items.c.position >= sa.bindparam("start"))
    .order_by(items.c.position)
)
_FIRST_ITEMS = _ITEMS.limit(sa.bindparam("limit"))
_LIVE_AMONG = sa.select(*(jobs.c[field.name] for field in fields(LiveJob))).where(_IS_AMONG, _LIVE).order_by(jobs.c.id)
# SQLAlchemy omits the row lock for SQLite, which has a single writer at a time anyway.
_LOCKED = _LIVE_AMONG.with_for_update()
_MOVE = sa.update(jobs).where(_IS_AMONG, jobs.c.status.in_(sa.bindparam("old", expanding=True))).returning(jobs.c.id)
_ADD_JOB = sa.insert(jobs)
_ADD_ITEMS = sa.insert(items)
_RECORD_ITEM = (
    sa.update(items)
    .where(items.c.job_id == sa.bindparam("b_job"), items.c.position == sa.bindparam("b_position"))
    .where(items.c.status == Status.QUEUED)
    .values(
        status=sa.bindparam("b_status"), result=sa.bindparam("b_result"),
        error_code=sa.bindparam("b_code"), error=sa.bindparam("b_error"), verdict=sa.bindparam("b_verdict"),
        explanation_size=sa.bindparam("b_explanation_size"),
    )
)  # fmt: skip
_ADVANCED = ("id", "status", "done", "failed", "started_at", "finished_at", "error_code", "error")
# The jobs are locked; their status is compared all the same, so that no write can move an ended job.
_ADVANCE = (
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("b_id"), _LIVE)
    .values({name: sa.bindparam(f"b_{name}") for name in (*_ADVANCED, "timeline") if name != "id"})
)


def _job_values(job: Job) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in _JOB_COLUMNS}
    return values | {"options": vars(job.options), "idempotency_key": job.idempotency_key or None}


def _item_values(outcome: Outcome) -> dict[str, Any]:
    return {
        "b_job": outcome.job_id,
        "b_position": outcome.position,
        "b_status": Status.FAILED if outcome.error_code else Status.DONE,
        "b_result": outcome.result,
        "b_code": outcome.error_code,
        "b_error": outcome.error,
        "b_verdict": astuple(outcome.verdict) if outcome.verdict else None,
        "b_explanation_size": outcome.explanation_size,
    }


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    values["status"] = Status(values["status"])
    values["options"] = AnswerOptions(**values["options"])
    values["idempotency_key"] = values["idempotency_key"] or ""
    return Job(**values)


def _chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
