"""Queries on trainings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.adapters.database.tables import trainings, webhook_deliveries
from shared.domain.fair_order import fair_order
from shared.domain.jobs import LIVE, Status, sources
from shared.domain.models import ModelVersion
from shared.domain.trainings import Training, TrainingParameters


class Trainings:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- asked by callers: the tenant comes first

    def get(self, tenant: str, training_id: str, *, lock: bool = False) -> Training | None:
        """With `lock` it is nobody else's to change until the transaction ends."""
        query = sa.select(trainings).where(trainings.c.tenant == tenant, trainings.c.id == training_id)
        return self._first(query.with_for_update() if lock else query)

    def page(
        self, tenant: str, *, status: str = "", name: str = "", dataset_id: int | None = None, wire: str = "",
        before: str = "", offset: int = 0, limit: int = 50,
    ) -> list[Training]:  # fmt: skip
        """Newest first, without evidence and curve; `before` is the last id of the page before."""
        query = sa.select(*_LISTED).where(trainings.c.tenant == tenant).order_by(trainings.c.id.desc())
        equal = {"status": status, "name": name, "dataset_id": dataset_id, "wire": wire}
        for column, value in equal.items():
            if value:
                query = query.where(trainings.c[column] == value)
        if before:
            query = query.where(trainings.c.id < before)
        return self._all(query.offset(offset).limit(limit))

    def titled(self, tenant: str, wire: str, title: str) -> Training | None:
        """The newest by the caller's own name for it, among those that came by one wire."""
        query = sa.select(trainings).where(trainings.c.tenant == tenant, trainings.c.wire == wire)
        return self._first(query.where(trainings.c.title == title).order_by(trainings.c.id.desc()).limit(1))

    def live_of(self, tenant: str, name: str) -> Training | None:
        """The one that trains a model of that name."""
        return self._first(sa.select(trainings).where(_LIVE, trainings.c.tenant == tenant, trainings.c.name == name))

    def last_of(self, tenant: str, name: str) -> Training | None:
        """The newest for a model of that name, with its evidence."""
        query = sa.select(trainings).where(trainings.c.tenant == tenant, trainings.c.name == name)
        return self._first(query.order_by(trainings.c.id.desc()).limit(1))

    def add(self, training: Training) -> None:
        """Where it has ended already, its callback is due at once."""
        self._connection.execute(sa.insert(trainings), asdict(training))
        if training.finished_at is not None:
            self._call_back(training.id, training.finished_at)

    def delete(self, training_ids: Sequence[str]) -> None:
        self._connection.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.job_id.in_(training_ids)))
        self._connection.execute(sa.delete(trainings).where(trainings.c.id.in_(training_ids)))

    def delete_of(self, tenant: str, name: str) -> None:
        """Those of one model that have ended."""
        of_model = sa.and_(trainings.c.tenant == tenant, trainings.c.name == name, ~_LIVE)
        self.delete(list(self._connection.execute(sa.select(trainings.c.id).where(of_model)).scalars()))

    def summaries(self, training_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Training id -> `accuracy` and `method`, out of its evidence; only of those that have some."""
        accuracy, method = trainings.c.evidence["accuracy"], trainings.c.evidence["method"]
        query = sa.select(trainings.c.id, accuracy, method).where(_among(training_ids))
        query = query.where(trainings.c.evidence.is_not(None))
        return {row[0]: {"accuracy": row[1], "method": row[2]} for row in self._connection.execute(query)}

    def retitle(self, training_id: str, title: str) -> None:
        """Change the caller's own name for it."""
        self._connection.execute(sa.update(trainings).where(_among([training_id])).values(title=title))

    # -- asked by trainers, the sweep and other use-cases: ids come from rows

    def by_id(self, training_id: str, *, lock: bool = False) -> Training | None:
        """`lock` as in `get`."""
        query = sa.select(trainings).where(trainings.c.id == training_id)
        return self._first(query.with_for_update() if lock else query)

    def in_status(self, *statuses: Status) -> list[Training]:
        """Every tenant's that have not ended and are in one of these, oldest first, without evidence and curve."""
        found = self._all(sa.select(*_LISTED).where(_LIVE, trainings.c.status.in_(statuses)))
        # Put in order here: SQLite would rather go through all that ever were, in theirs, than sort these few.
        return sorted(found, key=lambda one: one.id)

    def in_turn(self) -> list[Training]:
        """Those that wait, in the order in which they are to be served."""
        waiting = self.in_status(Status.QUEUED)
        theirs = sa.and_(trainings.c.tenant.in_({one.tenant for one in waiting}), trainings.c.started_at.is_not(None))
        last = sa.select(trainings.c.tenant, sa.func.max(trainings.c.started_at)).where(theirs)
        served = self._connection.execute(last.group_by(trainings.c.tenant))
        return fair_order(waiting, {row[0]: row[1] for row in served})

    def live_on(self, dataset_id: int) -> list[Training]:
        """Those that use a dataset and have not ended."""
        return self._all(sa.select(*_LISTED).where(_LIVE, trainings.c.dataset_id == dataset_id))

    def live_from(self, version_ids: Sequence[str]) -> list[Training]:
        """Those that start from one of these versions and have not ended."""
        return self._all(sa.select(*_LISTED).where(_LIVE, trainings.c.base_id.in_(version_ids)))

    def known(self, training_ids: Collection[str]) -> set[str]:
        """Those of the ids that there are."""
        return self._ids(training_ids, sa.true())

    def live(self, training_ids: Collection[str]) -> set[str]:
        """Those of the ids that have not ended."""
        return self._ids(training_ids, _LIVE)

    def start(self, training: Training, now: float) -> None:
        values = {"status": Status.RUNNING, "attempts": training.attempts, "started_at": training.started_at,
                  "dataset_version": training.dataset_version, "updated_at": now}  # fmt: skip
        self._connection.execute(sa.update(trainings).where(_among([training.id]), _LIVE).values(values))

    def tell(self, training_id: str, progress: float, message: str, curve: Sequence[Mapping[str, Any]] | None,
             now: float) -> bool:  # fmt: skip
        """Write how far it is; False when it is no longer RUNNING."""
        values: dict[str, Any] = {"progress": progress, "message": message, "updated_at": now}
        if curve is not None:
            values |= {"curve": [dict(epoch) for epoch in curve], "attempts": 0}
        where = sa.and_(_among([training_id]), trainings.c.status == Status.RUNNING)
        return bool(self._connection.execute(sa.update(trainings).where(where).values(values)).rowcount)

    def say(self, training_id: str, message: str, now: float) -> bool:
        """Write what it is doing; False when it is no longer RUNNING."""
        where = sa.and_(_among([training_id]), trainings.c.status == Status.RUNNING)
        query = sa.update(trainings).where(where).values(message=message, updated_at=now)
        return bool(self._connection.execute(query).rowcount)

    def put_back(self, training_id: str) -> None:
        """Its trainer was told to stop: that is no death."""
        where = sa.and_(_among([training_id]), trainings.c.attempts > 0)
        self._connection.execute(sa.update(trainings).where(where).values(attempts=trainings.c.attempts - 1))

    def hold(self, training_id: str) -> bool:
        """Whether it is RUNNING; it then stays so until the transaction ends."""
        query = sa.select(trainings.c.id).where(_among([training_id]), trainings.c.status == Status.RUNNING)
        return self._connection.execute(query.with_for_update()).first() is not None

    def done(self, training_id: str, version: ModelVersion, evidence: Mapping[str, Any], now: float) -> None:
        self.end(training_id, Status.DONE, now, version_id=version.id, version=version.version, progress=1.0,
                 message="", curve=evidence["curve"], evidence=dict(evidence))  # fmt: skip

    def end(self, training_id: str, status: Status, now: float, **values: Any) -> bool:
        """Move to a terminal status, where the table of moves allows it, and say whether; its callback becomes due."""
        where = sa.and_(_among([training_id]), trainings.c.status.in_(sources(status)))
        values |= {"status": status, "finished_at": now, "updated_at": now}
        if not self._connection.execute(sa.update(trainings).where(where).values(values)).rowcount:
            return False
        self._call_back(training_id, now)
        return True

    def _call_back(self, training_id: str, now: float) -> None:
        due = sa.select(trainings.c.id, sa.literal("training"), sa.literal(0), sa.literal(now), sa.literal("")).where(
            _among([training_id]), trainings.c.webhook != ""
        )
        columns = ["job_id", "kind", "attempts", "due_at", "error"]
        self._connection.execute(sa.insert(webhook_deliveries).from_select(columns, due))

    def _ids(self, training_ids: Collection[str], where: sa.ColumnElement[bool]) -> set[str]:
        asked, found = list(training_ids), set[str]()
        for start in range(0, len(asked), 500):  # databases have a limit on what one statement may name
            query = sa.select(trainings.c.id).where(_among(asked[start : start + 500]), where)
            found |= set(self._connection.execute(query).scalars())
        return found

    def _first(self, query: sa.Select[Any]) -> Training | None:
        found = self._connection.execute(query).first()
        return _training(found) if found else None

    def _all(self, query: sa.Select[Any]) -> list[Training]:
        return [_training(row) for row in self._connection.execute(query)]


# Lists leave out what may be megabytes each.
_LISTED = [column for column in trainings.c if column.name not in ("evidence", "curve")]
# Written out rather than bound, so that the database sees that the partial index applies.
_LIVE = trainings.c.status.in_([sa.literal_column(f"'{status}'") for status in LIVE])


def _among(training_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    return trainings.c.id.in_(training_ids)


def _training(row: Row[Any]) -> Training:
    values = dict(row._mapping)
    values["status"] = Status(values["status"])
    values["parameters"] = TrainingParameters(**values["parameters"])
    values["curve"] = tuple(values.get("curve", ()))
    return Training(**values)
