"""Queries on model versions. Versions of the tenant `*` can be used by all tenants and changed by none."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.adapters.database import kept_bytes
from shared.adapters.database.learning_tables import model_versions
from shared.domain.models import (
    ALL_TENANTS,
    ImportCheck,
    ImportOptions,
    ModelExample,
    ModelState,
    ModelVersion,
    ProblemType,
)
from shared.domain.preprocessing import Origin, PreprocessingRequest, Preset, from_values, to_values
from shared.domain.rejection import RejectionRequest, RejectionRule


class ModelVersions:
    """The table of model versions, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, version_id: str) -> ModelVersion | None:
        """Return a version by id, or None; workers have the id from the queue."""
        row = self._connection.execute(sa.select(*_COLUMNS).where(model_versions.c.id == version_id)).first()
        return _version(row) if row else None

    def named(self, tenant: str, name: str, *, lock: bool = False) -> list[ModelVersion]:
        """Return the versions of a model, oldest first; the tenant's own model hides a model of all tenants with that
        name.

        With `lock` the rows are locked until the transaction ends.
        """
        query = _NAMED.with_for_update() if lock else _NAMED
        rows = [_version(row) for row in self._connection.execute(query, {"tenant": tenant, "name": name})]
        return [row for row in rows if row.tenant == tenant] or rows

    def visible(self, tenant: str) -> list[ModelVersion]:
        """Return the versions that the tenant can use, sorted by model name and age."""
        query = sa.select(*_COLUMNS).where(model_versions.c.tenant.in_([tenant, ALL_TENANTS]))
        query = query.order_by(model_versions.c.name, model_versions.c.created_at)
        return [_version(row) for row in self._connection.execute(query)]

    def in_state(self, state: ModelState) -> list[ModelVersion]:
        """Return the versions of all tenants in that state, oldest first."""
        query = sa.select(*_COLUMNS).where(model_versions.c.state == state).order_by(model_versions.c.created_at)
        return [_version(row) for row in self._connection.execute(query)]

    def add(self, version: ModelVersion) -> None:
        """Insert a version."""
        self._connection.execute(sa.insert(model_versions), _values(version))
        kept_bytes.count(self._connection, [(version.tenant, version.size)])

    def save(self, version: ModelVersion) -> None:
        """Update the columns that a check determines.

        Not the default flag, `withheld` and the canary share: other processes may change these while a check runs.
        """
        values = {name: value for name, value in _values(version).items() if name not in _DECIDED}
        kept = sa.select(model_versions.c.tenant, model_versions.c.size).where(model_versions.c.id == version.id)
        before = self._connection.execute(kept.with_for_update()).all()
        kept_bytes.count(self._connection, [(tenant, version.size - size) for tenant, size in before])
        self._connection.execute(sa.update(model_versions).where(model_versions.c.id == version.id).values(values))

    def make_default(self, version: ModelVersion) -> None:
        """Make a version the default of its model."""
        same = sa.and_(model_versions.c.tenant == version.tenant, model_versions.c.name == version.name)
        self._connection.execute(
            sa.update(model_versions).where(same).values(is_default=model_versions.c.id == version.id)
        )

    def set_requires_deployment(self, version_id: str, value: bool) -> None:
        """Set whether the version is withheld from its wire until it is deployed; other columns stay as they are."""
        self._connection.execute(
            sa.update(model_versions).where(model_versions.c.id == version_id).values(withheld=value)
        )

    def set_rejection(self, version_id: str, rule: RejectionRule | None) -> None:
        """Set or remove the rejection rule; other columns stay as they are."""
        values = {"rejection": asdict(rule) if rule else None}
        self._connection.execute(sa.update(model_versions).where(model_versions.c.id == version_id).values(values))

    def set_reason(self, version_id: str, reason: str) -> None:
        """Set the reason or progress text; the state stays as it is."""
        self._connection.execute(
            sa.update(model_versions).where(model_versions.c.id == version_id).values(reason=reason)
        )

    def delete(self, version_ids: Sequence[str]) -> None:
        """Delete versions."""
        gone = sa.delete(model_versions).where(model_versions.c.id.in_(version_ids))
        rows = self._connection.execute(gone.returning(model_versions.c.tenant, model_versions.c.size))
        kept_bytes.count(self._connection, [(tenant, -size) for tenant, size in rows])

    def known_weights(self, blobs: Sequence[str]) -> set[str]:
        """Return those of the blob keys that are the weights of a version."""
        query = sa.select(model_versions.c.weights).where(model_versions.c.weights.in_(blobs))
        return set(self._connection.execute(query).scalars())


class VersionLocks:
    """Locks on versions that a transaction is about to refer to. Apart from the other queries, which may change what
    requests keep in memory."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def keep(self, version_ids: Collection[str]) -> set[str]:
        """Return those of the versions that exist; their rows are locked until the transaction ends."""
        return set(self._connection.execute(_KEEP, {"ids": sorted(version_ids)}).scalars())


_DECIDED = ("is_default", "withheld", "canary")
# The labels are read as text: parsing the JSON of a thousand labels is half of the cost of reading a version.
_COLUMNS = [
    sa.cast(column, sa.Text).label(column.name) if column.name == "labels" else column for column in model_versions.c
]
# Run by every request, so built once.
_NAMED = (
    sa.select(*_COLUMNS)
    .where(model_versions.c.tenant.in_([sa.bindparam("tenant"), sa.literal(ALL_TENANTS)]))
    .where(model_versions.c.name == sa.bindparam("name"))
    .order_by(model_versions.c.created_at)
)
# SQLAlchemy omits the row lock for SQLite, which has a single writer at a time anyway.
_KEEP = (
    sa.select(model_versions.c.id)
    .where(model_versions.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(model_versions.c.id)
    .with_for_update(read=True)
)


def _values(version: ModelVersion) -> dict[str, Any]:
    values = asdict(version)
    values["preprocessing"] = to_values(version.preprocessing) if version.preprocessing else None
    values["withheld"] = values.pop("requires_deployment")  # the column is older than the name
    if version.import_options and version.import_options.rejection is None:
        del values["import_options"]["rejection"]  # processes of an older version refuse what is new to them
    return values | {"labels": list(version.labels)}


@lru_cache(maxsize=64)
def _labels(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _version(row: Row[Any]) -> ModelVersion:
    values = dict(row._mapping)
    values["state"] = ModelState(values["state"])
    values["labels"] = _labels(values["labels"])
    values["requires_deployment"] = values.pop("withheld")
    if values["preprocessing"]:
        values["preprocessing"] = from_values(values["preprocessing"])
    if options := values["import_options"]:
        checks = tuple(ImportCheck(**check) for check in options["checks"])
        values["import_options"] = ImportOptions(
            **options
            | {"checks": checks, "thresholds": tuple(options["thresholds"])}
            | ({"rejection": RejectionRequest(**wanted)} if (wanted := options.get("rejection")) else {})
        )
    if rule := values["rejection"]:
        values["rejection"] = RejectionRule(**rule)
    values["problem_type"] = ProblemType(values["problem_type"])
    values["thresholds"] = tuple(values["thresholds"] or ())
    values["config"] = values["config"] or {}
    if preset := values["preset"]:
        values["preset"] = Preset(
            preset["name"], Origin(preset["origin"]), tuple(preset["available"]), tuple(preset["changed"])
        )
    if wanted := values["wanted_preprocessing"]:
        values["wanted_preprocessing"] = PreprocessingRequest(**wanted)
    if values["example"]:
        values["example"] = ModelExample(values["example"]["blob"], tuple(values["example"]["logits"]))
    return ModelVersion(**values)
