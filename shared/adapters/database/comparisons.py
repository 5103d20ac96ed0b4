"""Queries on comparisons of two model versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
import uuid6
from sqlalchemy.engine import Connection, Row

from shared import errors
from shared.adapters.database.learning_tables import comparisons
from shared.domain.comparisons import Comparison
from shared.domain.jobs import Status
from shared.domain.models import ModelVersion
from shared.domain.trainings import Training


class Comparisons:
    """The table of comparisons, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, tenant: str, comparison_id: str) -> Comparison:
        """Return a comparison of the tenant; raises NotFound."""
        comparison = self.find(tenant, comparison_id)
        if comparison is None:
            raise errors.NotFound(f"There is no comparison {comparison_id}.")
        return comparison

    def find(self, tenant: str, comparison_id: str) -> Comparison | None:
        """Return a comparison of the tenant, or None."""
        query = sa.select(comparisons).where(comparisons.c.tenant == tenant, comparisons.c.id == comparison_id)
        row = self._connection.execute(query).first()
        return _comparison(row) if row else None

    def of(self, tenant: str, name: str, limit: int = 50) -> list[Comparison]:
        """Return the comparisons of one model, newest first."""
        query = sa.select(comparisons).where(comparisons.c.tenant == tenant, comparisons.c.name == name)
        query = query.order_by(comparisons.c.id.desc()).limit(limit)
        return [_comparison(row) for row in self._connection.execute(query)]

    def find_between(self, candidate_id: str, baseline_id: str) -> Comparison | None:
        """Return the newest DONE comparison with this candidate and this baseline, or None."""
        query = sa.select(comparisons).where(
            comparisons.c.candidate_id == candidate_id,
            comparisons.c.baseline_id == baseline_id,
            comparisons.c.status == Status.DONE,
        )
        row = self._connection.execute(query.order_by(comparisons.c.id.desc()).limit(1)).first()
        return _comparison(row) if row else None

    def queued(self) -> list[Comparison]:
        """Return the QUEUED comparisons of all tenants, oldest first."""
        query = sa.select(comparisons).where(comparisons.c.status == Status.QUEUED).order_by(comparisons.c.id)
        return [_comparison(row) for row in self._connection.execute(query)]

    def queued_on(self, dataset_id: int) -> list[Comparison]:
        """Return the QUEUED comparisons on one dataset, oldest first."""
        query = sa.select(comparisons).where(comparisons.c.dataset_id == dataset_id)
        query = query.where(comparisons.c.status == Status.QUEUED).order_by(comparisons.c.id)
        return [_comparison(row) for row in self._connection.execute(query)]

    def add(self, comparison: Comparison) -> None:
        """Insert a comparison."""
        self._connection.execute(sa.insert(comparisons), asdict(comparison))

    def add_done(self, training: Training, candidate: ModelVersion, baseline: ModelVersion, report: Mapping[str, Any],
                 now: float) -> None:  # fmt: skip
        """Insert a DONE comparison that a training has made on its test pictures."""
        self.add(
            Comparison(str(uuid6.uuid7()), training.tenant, training.name, candidate.id, baseline.id,
                       training.dataset_id, training.dataset_version, Status.DONE, now, report=report, finished_at=now)
        )  # fmt: skip

    def set_attempts(self, comparison_id: str, attempts: int) -> None:
        """Store the number of attempts."""
        query = sa.update(comparisons).where(comparisons.c.id == comparison_id)
        self._connection.execute(query.values(attempts=attempts))

    def end(self, comparison_id: str, now: float, *, report: Mapping[str, Any] | None = None, error: str = "") -> None:
        """Move a QUEUED comparison to DONE with a report, or to FAILED with the reason."""
        values: dict[str, Any] = {"status": Status.FAILED if error else Status.DONE, "finished_at": now, "error": error}
        values["report"] = dict(report) if report is not None else None
        where = sa.and_(comparisons.c.id == comparison_id, comparisons.c.status == Status.QUEUED)
        self._connection.execute(sa.update(comparisons).where(where).values(values))

    def delete_of(self, version_ids: Sequence[str]) -> None:
        """Delete the comparisons that have any of these versions as candidate or baseline."""
        ids = list(version_ids)
        either = sa.or_(comparisons.c.candidate_id.in_(ids), comparisons.c.baseline_id.in_(ids))
        self._connection.execute(sa.delete(comparisons).where(either))


def _comparison(row: Row[Any]) -> Comparison:
    values = dict(row._mapping)
    return Comparison(**values | {"status": Status(values["status"])})
