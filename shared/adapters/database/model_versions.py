"""Queries on model versions. What belongs to `*` is everybody's to use and nobody's to change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.adapters.database.tables import model_versions
from shared.domain.models import ALL_TENANTS, ModelExample, ModelState, ModelVersion
from shared.domain.preprocessing import Origin, Preprocessing, PreprocessingRequest, Preset


class ModelVersions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, version_id: str) -> ModelVersion | None:
        """By id, as the workers have it from the queue."""
        found = self._connection.execute(sa.select(*_COLUMNS).where(model_versions.c.id == version_id)).first()
        return _version(found) if found else None

    def named(self, tenant: str, name: str, *, lock: bool = False) -> list[ModelVersion]:
        """The versions of a model, oldest first; the tenant's own model hides one of everybody's with that name.

        With `lock` they are nobody else's to change until the transaction ends.
        """
        query = _NAMED.with_for_update() if lock else _NAMED
        rows = [_version(row) for row in self._connection.execute(query, {"tenant": tenant, "name": name})]
        return [row for row in rows if row.tenant == tenant] or rows

    def visible(self, tenant: str) -> list[ModelVersion]:
        query = sa.select(*_COLUMNS).where(model_versions.c.tenant.in_([tenant, ALL_TENANTS]))
        query = query.order_by(model_versions.c.name, model_versions.c.created_at)
        return [_version(row) for row in self._connection.execute(query)]

    def in_state(self, state: ModelState) -> list[ModelVersion]:
        query = sa.select(*_COLUMNS).where(model_versions.c.state == state).order_by(model_versions.c.created_at)
        return [_version(row) for row in self._connection.execute(query)]

    def add(self, version: ModelVersion) -> None:
        self._connection.execute(sa.insert(model_versions), _values(version))

    def save(self, version: ModelVersion) -> None:
        """What a check finds out. Which version answers, and where, is decided by others while a check goes on."""
        values = {name: value for name, value in _values(version).items() if name not in _DECIDED}
        self._connection.execute(sa.update(model_versions).where(model_versions.c.id == version.id).values(values))

    def keep(self, version_id: str) -> bool:
        """Whether the version is there; it then stays there until the transaction ends."""
        return self._connection.execute(_KEEP, {"id": version_id}).first() is not None

    def make_default(self, version: ModelVersion) -> None:
        same = sa.and_(model_versions.c.tenant == version.tenant, model_versions.c.name == version.name)
        self._connection.execute(
            sa.update(model_versions).where(same).values(is_default=model_versions.c.id == version.id)
        )

    def withhold(self, version_id: str, withheld: bool) -> None:
        """Say whether it is kept from its wire, without touching anything else."""
        self._connection.execute(
            sa.update(model_versions).where(model_versions.c.id == version_id).values(withheld=withheld)
        )

    def set_reason(self, version_id: str, reason: str) -> None:
        """Say how far it is, without touching the state."""
        self._connection.execute(
            sa.update(model_versions).where(model_versions.c.id == version_id).values(reason=reason)
        )

    def delete(self, version_ids: Sequence[str]) -> None:
        self._connection.execute(sa.delete(model_versions).where(model_versions.c.id.in_(version_ids)))

    def known_weights(self, blobs: Sequence[str]) -> set[str]:
        query = sa.select(model_versions.c.weights).where(model_versions.c.weights.in_(blobs))
        return set(self._connection.execute(query).scalars())


_DECIDED = ("is_default", "withheld", "canary")
# The labels as their text: the JSON of a thousand of them is half of what it costs to read a version.
_COLUMNS = [
    sa.cast(column, sa.Text).label(column.name) if column.name == "labels" else column for column in model_versions.c
]
# Asked by every request, so put together once.
_NAMED = (
    sa.select(*_COLUMNS)
    .where(model_versions.c.tenant.in_([sa.bindparam("tenant"), sa.literal(ALL_TENANTS)]))
    .where(model_versions.c.name == sa.bindparam("name"))
    .order_by(model_versions.c.created_at)
)
# SQLAlchemy leaves the lock out for SQLite, which has one writer at a time anyway.
_KEEP = sa.select(model_versions.c.id).where(model_versions.c.id == sa.bindparam("id")).with_for_update(read=True)


def _values(version: ModelVersion) -> dict[str, Any]:
    values = asdict(version)
    if values["preprocessing"] and values["preprocessing"]["crop_mode"] == "center":
        del values["preprocessing"]["crop_mode"]  # what ran before there were crop modes can read the row, too
    return values | {"labels": list(version.labels)}


@lru_cache(maxsize=64)
def _labels(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _version(row: Row[Any]) -> ModelVersion:
    values = dict(row._mapping)
    values["state"] = ModelState(values["state"])
    values["labels"] = _labels(values["labels"])
    if values["preprocessing"]:
        prepared = values["preprocessing"]
        values["preprocessing"] = Preprocessing(
            **prepared | {"mean": tuple(prepared["mean"]), "std": tuple(prepared["std"])}
        )
    if preset := values["preset"]:
        values["preset"] = Preset(
            preset["name"], Origin(preset["origin"]), tuple(preset["available"]), tuple(preset["changed"])
        )
    if wanted := values["wanted_preprocessing"]:
        values["wanted_preprocessing"] = PreprocessingRequest(**wanted)
    if values["example"]:
        values["example"] = ModelExample(values["example"]["blob"], tuple(values["example"]["logits"]))
    return ModelVersion(**values)
