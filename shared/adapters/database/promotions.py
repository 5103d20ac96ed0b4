"""Queries on promotions, and on canaries: versions that receive a share of the traffic."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict

import sqlalchemy as sa
import uuid6
from sqlalchemy.engine import Connection

from shared.adapters.database.learning_tables import canaries, model_versions, promotions
from shared.adapters.database.model_versions import ModelVersions
from shared.domain.models import ModelState, ModelVersion
from shared.domain.promotions import Canary


class Promotions:
    """The tables of promotions and canaries, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def promote(self, version: ModelVersion, previous: ModelVersion, now: float) -> None:
        """Make a version the default in place of the previous version; it is then neither a canary nor withheld."""
        ModelVersions(self._connection).make_default(version)
        self.clear_canary(version.tenant, version.name)
        shown = sa.update(model_versions).where(model_versions.c.id == version.id).values(withheld=False)
        self._connection.execute(shown)
        row = {"id": str(uuid6.uuid7()), "tenant": version.tenant, "name": version.name, "version_id": version.id,
               "previous_id": previous.id, "created_at": now}  # fmt: skip
        self._connection.execute(sa.insert(promotions), row)

    def take_back(self, tenant: str, name: str, existing_ids: Collection[str]) -> str:
        """Delete the last promotion; returns the id of the version that was the default before, empty if there is none.

        Promotions of or from versions that no longer exist are skipped.
        """
        query = sa.select(promotions).where(promotions.c.tenant == tenant, promotions.c.name == name)
        for row in self._connection.execute(query.order_by(promotions.c.id.desc())).all():
            self._connection.execute(sa.delete(promotions).where(promotions.c.id == row.id))
            if row.version_id in existing_ids and row.previous_id in existing_ids:
                return str(row.previous_id)
        return ""

    def earlier(self, tenant: str) -> dict[str, str]:
        """Return model -> the version that was the default before its last promotion, for those that a rollback has."""
        now, before = model_versions.alias("now"), model_versions.alias("before")
        query = (
            sa.select(promotions.c.name, before.c.version)
            .join_from(promotions, now, now.c.id == promotions.c.version_id)
            .join(before, before.c.id == promotions.c.previous_id)
            .where(promotions.c.tenant == tenant)
            .where(now.c.state == ModelState.READY, before.c.state == ModelState.READY)
        )
        return {row.name: row.version for row in self._connection.execute(query.order_by(promotions.c.id))}

    def set_canary(self, canary: Canary) -> None:
        """Make a version a canary."""
        chosen = sa.update(model_versions).where(model_versions.c.id == canary.version_id)
        self._connection.execute(chosen.values(canary=canary.share))
        row = {name: value for name, value in asdict(canary).items() if name != "share"}
        self._connection.execute(sa.insert(canaries), row)

    def find_canary(self, version: ModelVersion) -> Canary | None:
        """Return the canary of a version, or None."""
        row = self._connection.execute(sa.select(canaries).where(canaries.c.version_id == version.id)).first()
        return Canary(row.version_id, version.canary, row.compared, row.agreed, row.since) if row else None

    def is_canary(self, version_id: str) -> bool:
        """Return True if the version is a canary."""
        query = sa.select(canaries.c.version_id).where(canaries.c.version_id == version_id)
        return self._connection.execute(query).first() is not None

    def count(self, version_id: str, compared: int, agreed: int) -> None:
        """Add to the counts of a canary: pictures that both versions classified, and pictures with the same
        best label."""
        more = {"compared": canaries.c.compared + compared, "agreed": canaries.c.agreed + agreed}
        self._connection.execute(sa.update(canaries).where(canaries.c.version_id == version_id).values(more))

    def clear_canary(self, tenant: str, name: str) -> None:
        """End the canary of a model."""
        of_model = sa.select(model_versions.c.id).where(
            model_versions.c.tenant == tenant, model_versions.c.name == name
        )
        self._connection.execute(sa.delete(canaries).where(canaries.c.version_id.in_(of_model)))
        back = (
            sa.update(model_versions)
            .where(model_versions.c.tenant == tenant, model_versions.c.name == name)
            .values(canary=0.0)
        )
        self._connection.execute(back)

    def delete_of(self, version_ids: Sequence[str]) -> None:
        """Delete the canaries and promotions of these versions."""
        ids = list(version_ids)
        self._connection.execute(sa.delete(canaries).where(canaries.c.version_id.in_(ids)))
        either = sa.or_(promotions.c.version_id.in_(ids), promotions.c.previous_id.in_(ids))
        self._connection.execute(sa.delete(promotions).where(either))
