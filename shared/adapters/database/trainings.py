"""Queries on trainings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared import errors
from shared.adapters.database.learning_tables import trainings
from shared.adapters.database.tables import webhook_deliveries
from shared.domain.fair_order import fair_order
from shared.domain.jobs import LIVE, Status, sources
from shared.domain.models import ModelVersion
from shared.domain.trainings import Training, TrainingParameters


class Trainings:
    """The table of trainings, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- for requests: the tenant is the first parameter

    def get(self, tenant: str, training_id: str, *, lock: bool = False) -> Training:
        """Return a training of the tenant; raises NotFound. `lock` is as in `find`."""
        training = self.find(tenant, training_id, lock=lock)
        if training is None:
            raise errors.NotFound(f"There is no training {training_id}.")
        return training

    def find(self, tenant: str, training_id: str, *, lock: bool = False) -> Training | None:
        """Return a training of the tenant, or None. With `lock` its row is locked until the transaction ends."""
        query = sa.select(trainings).where(trainings.c.tenant == tenant, trainings.c.id == training_id)
        return self._first(query.with_for_update() if lock else query)

    def page(
        self, tenant: str, *, status: str = "", name: str = "", dataset_id: int | None = None, wire: str = "",
        before: str = "", offset: int = 0, limit: int = 50,
    ) -> list[Training]:  # fmt: skip
        """Return the tenant's trainings, newest first, without evidence and curve; `before` is the last id of the
        previous page."""
        query = sa.select(*_LISTED).where(trainings.c.tenant == tenant).order_by(trainings.c.id.desc())
        equal = {"status": status, "name": name, "dataset_id": dataset_id, "wire": wire}
        for column, value in equal.items():
            if value:
                query = query.where(trainings.c[column] == value)
        if before:
            query = query.where(trainings.c.id < before)
        return self._all(query.offset(offset).limit(limit))

    def find_by_title(self, tenant: str, wire: str, title: str) -> Training | None:
        """Return the newest training with this title (the caller's own name for it) that came through one wire, or
        None."""
        query = sa.select(trainings).where(trainings.c.tenant == tenant, trainings.c.wire == wire)
        return self._first(query.where(trainings.c.title == title).order_by(trainings.c.id.desc()).limit(1))

    def find_live_of(self, tenant: str, name: str) -> Training | None:
        """Return the live training for a model of that name, or None."""
        return self._first(sa.select(trainings).where(_LIVE, trainings.c.tenant == tenant, trainings.c.name == name))

    def find_last_of(self, tenant: str, name: str) -> Training | None:
        """Return the newest training for a model of that name, with its evidence, or None."""
        query = sa.select(trainings).where(trainings.c.tenant == tenant, trainings.c.name == name)
        return self._first(query.order_by(trainings.c.id.desc()).limit(1))

    def add(self, training: Training) -> None:
        """Insert a training; if it has ended already, its callback is due at once."""
        values = asdict(training)
        values["withheld"] = values.pop("requires_deployment")  # the column is older than the name
        if (
            training.parameters.reject_below_precision is None
        ):  # trainers of an older version refuse what is new to them
            del values["parameters"]["reject_below_precision"], values["parameters"]["unknown_label"]
        self._connection.execute(sa.insert(trainings), values)
        if training.finished_at is not None:
            self._call_back(training.id, training.finished_at)

    def delete(self, training_ids: Sequence[str]) -> None:
        """Delete trainings with their callbacks."""
        self._connection.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.job_id.in_(training_ids)))
        self._connection.execute(sa.delete(trainings).where(trainings.c.id.in_(training_ids)))

    def delete_of(self, tenant: str, name: str) -> None:
        """Delete the ended trainings of one model."""
        of_model = sa.and_(trainings.c.tenant == tenant, trainings.c.name == name, ~_LIVE)
        self.delete(list(self._connection.execute(sa.select(trainings.c.id).where(of_model)).scalars()))

    def summaries(self, training_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return training id -> _SUMMARY from the evidence, for trainings that have evidence."""
        query = sa.select(trainings.c.id, *(trainings.c.evidence[name] for name in _SUMMARY))
        query = query.where(_among(training_ids), trainings.c.evidence.is_not(None))
        return {row[0]: dict(zip(_SUMMARY, row[1:], strict=True)) for row in self._connection.execute(query)}

    def retitle(self, training_id: str, title: str) -> None:
        """Change the title, the caller's own name for the training."""
        self._connection.execute(sa.update(trainings).where(_among([training_id])).values(title=title))

    # -- for trainers, maintenance and other use-cases: ids come from rows

    def find_by_id(self, training_id: str, *, lock: bool = False) -> Training | None:
        """Return a training of any tenant, or None; `lock` is as in `get`."""
        query = sa.select(trainings).where(trainings.c.id == training_id)
        return self._first(query.with_for_update() if lock else query)

    def in_status(self, *statuses: Status) -> list[Training]:
        """Return the live trainings of all tenants with one of these statuses, oldest first, without evidence and
        curve."""
        matching = self._all(sa.select(*_LISTED).where(_LIVE, trainings.c.status.in_(statuses)))
        # Sorted here: with ORDER BY, SQLite scans all trainings in the order of the index rather than sort these few.
        return sorted(matching, key=lambda training: training.id)

    def in_turn(self) -> list[Training]:
        """Return the QUEUED trainings in the order in which they are to be served."""
        waiting = self.in_status(Status.QUEUED)
        begun = sa.and_(
            trainings.c.tenant.in_({training.tenant for training in waiting}), trainings.c.started_at.is_not(None)
        )
        last = sa.select(trainings.c.tenant, sa.func.max(trainings.c.started_at)).where(begun)
        served = self._connection.execute(last.group_by(trainings.c.tenant))
        return fair_order(waiting, {row[0]: row[1] for row in served})

    def live_on(self, dataset_id: int) -> list[Training]:
        """Return the live trainings that use a dataset."""
        return self._all(sa.select(*_LISTED).where(_LIVE, trainings.c.dataset_id == dataset_id))

    def live_from(self, version_ids: Sequence[str]) -> list[Training]:
        """Return the live trainings that start from any of these versions."""
        return self._all(sa.select(*_LISTED).where(_LIVE, trainings.c.base_id.in_(version_ids)))

    def known(self, training_ids: Collection[str]) -> set[str]:
        """Return the ids that exist."""
        return self._ids(training_ids, sa.true())

    def live(self, training_ids: Collection[str]) -> set[str]:
        """Return those of the ids whose training has not ended."""
        return self._ids(training_ids, _LIVE)

    def start(self, training: Training, now: float) -> None:
        """Set a live training RUNNING."""
        values = {"status": Status.RUNNING, "attempts": training.attempts, "started_at": training.started_at,
                  "dataset_version": training.dataset_version, "updated_at": now}  # fmt: skip
        self._connection.execute(sa.update(trainings).where(_among([training.id]), _LIVE).values(values))

    def update_progress(
        self, training_id: str, progress: float, message: str, curve: Sequence[Mapping[str, Any]] | None, now: float
    ) -> bool:
        """Store the progress (0 to 1), message and curve; returns False if the training is no longer RUNNING."""
        values: dict[str, Any] = {"progress": progress, "message": message, "updated_at": now}
        if curve is not None:
            values |= {"curve": [dict(epoch) for epoch in curve], "attempts": 0}
        where = sa.and_(_among([training_id]), trainings.c.status == Status.RUNNING)
        return bool(self._connection.execute(sa.update(trainings).where(where).values(values)).rowcount)

    def update_message(self, training_id: str, message: str, now: float) -> bool:
        """Store the message; returns False if the training is no longer RUNNING."""
        where = sa.and_(_among([training_id]), trainings.c.status == Status.RUNNING)
        query = sa.update(trainings).where(where).values(message=message, updated_at=now)
        return bool(self._connection.execute(query).rowcount)

    def put_back(self, training_id: str) -> None:
        """Uncount an attempt, because the trainer was stopped on request: that is not a crash."""
        where = sa.and_(_among([training_id]), trainings.c.attempts > 0)
        self._connection.execute(sa.update(trainings).where(where).values(attempts=trainings.c.attempts - 1))

    def hold(self, training_id: str) -> bool:
        """Return True if the training is RUNNING; its row is then locked until the transaction ends."""
        query = sa.select(trainings.c.id).where(_among([training_id]), trainings.c.status == Status.RUNNING)
        return self._connection.execute(query.with_for_update()).first() is not None

    def done(self, training_id: str, version: ModelVersion, evidence: Mapping[str, Any], now: float) -> None:
        """Set a training DONE with its version and evidence."""
        self.end(training_id, Status.DONE, now, version_id=version.id, version=version.version, progress=1.0,
                 message="", curve=evidence["curve"], evidence=dict(evidence))  # fmt: skip

    def end(self, training_id: str, status: Status, now: float, **values: Any) -> bool:
        """Move a training to a terminal status; returns False where MOVES does not allow it. Its callback
        becomes due."""
        where = sa.and_(_among([training_id]), trainings.c.status.in_(sources(status)))
        values |= {"status": status, "finished_at": now, "updated_at": now}
        if not self._connection.execute(sa.update(trainings).where(where).values(values)).rowcount:
            return False
        self._call_back(training_id, now)
        return True

    def _call_back(self, training_id: str, now: float) -> None:
        kind, attempts, error = sa.literal("training"), sa.literal(0), sa.literal("")
        due = sa.select(trainings.c.id, trainings.c.tenant, kind, attempts, sa.literal(now), error).where(
            _among([training_id]), trainings.c.webhook != ""
        )
        columns = ["job_id", "tenant", "kind", "attempts", "due_at", "error"]
        self._connection.execute(sa.insert(webhook_deliveries).from_select(columns, due))

    def _ids(self, training_ids: Collection[str], where: sa.ColumnElement[bool]) -> set[str]:
        candidates, matching = list(training_ids), set[str]()
        for start in range(0, len(candidates), 500):  # databases limit the parameters of a statement
            query = sa.select(trainings.c.id).where(_among(candidates[start : start + 500]), where)
            matching |= set(self._connection.execute(query).scalars())
        return matching

    def _first(self, query: sa.Select[Any]) -> Training | None:
        row = self._connection.execute(query).first()
        return _training(row) if row else None

    def _all(self, query: sa.Select[Any]) -> list[Training]:
        return [_training(row) for row in self._connection.execute(query)]


_SUMMARY = ("accuracy", "mean_average_precision", "method")
"""What lists show of the evidence; the second is None but for multi-label trainings."""
# Lists omit the columns that may hold megabytes.
_LISTED = [column for column in trainings.c if column.name not in ("evidence", "curve")]
# Literals rather than bound parameters, so that the database recognises that the partial index applies.
_LIVE = trainings.c.status.in_([sa.literal_column(f"'{status}'") for status in LIVE])


def _among(training_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    return trainings.c.id.in_(training_ids)


def _training(row: Row[Any]) -> Training:
    values = dict(row._mapping)
    values["status"] = Status(values["status"])
    values["parameters"] = TrainingParameters(**values["parameters"])
    values["requires_deployment"] = values.pop("withheld")
    values["curve"] = tuple(values.get("curve", ()))
    return Training(**values)
