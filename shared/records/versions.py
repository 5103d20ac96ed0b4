"""Queries on model versions. What belongs to `*` is everybody's to use and nobody's to change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.models import EVERYBODY, Example, State, Version
from shared.preprocessing import Origin, Preprocessing, PreprocessingRequest, Preset
from shared.tables import versions


class Versions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, version_id: str) -> Version | None:
        """By id, as the workers have it from the queue."""
        found = self._connection.execute(sa.select(*_COLUMNS).where(versions.c.id == version_id)).first()
        return _version(found) if found else None

    def named(self, tenant: str, name: str, *, lock: bool = False) -> list[Version]:
        """The versions of a model, oldest first; the tenant's own model hides one of everybody's with that name.

        With `lock` they are nobody else's to change until the transaction ends.
        """
        query = _NAMED.with_for_update() if lock else _NAMED
        rows = [_version(row) for row in self._connection.execute(query, {"tenant": tenant, "name": name})]
        return [row for row in rows if row.tenant == tenant] or rows

    def visible(self, tenant: str) -> list[Version]:
        query = sa.select(*_COLUMNS).where(versions.c.tenant.in_([tenant, EVERYBODY]))
        query = query.order_by(versions.c.name, versions.c.created_at)
        return [_version(row) for row in self._connection.execute(query)]

    def in_state(self, state: State) -> list[Version]:
        query = sa.select(*_COLUMNS).where(versions.c.state == state).order_by(versions.c.created_at)
        return [_version(row) for row in self._connection.execute(query)]

    def add(self, version: Version) -> None:
        self._connection.execute(sa.insert(versions), _values(version))

    def save(self, version: Version) -> None:
        """What a check finds out. Which version answers, and where, is decided by others while a check goes on."""
        values = {name: value for name, value in _values(version).items() if name not in _DECIDED}
        self._connection.execute(sa.update(versions).where(versions.c.id == version.id).values(values))

    def keep(self, version_id: str) -> bool:
        """Whether the version is there; it then stays there until the transaction ends."""
        return self._connection.execute(_KEEP, {"id": version_id}).first() is not None

    def make_default(self, version: Version) -> None:
        same = sa.and_(versions.c.tenant == version.tenant, versions.c.name == version.name)
        self._connection.execute(sa.update(versions).where(same).values(is_default=versions.c.id == version.id))

    def withhold(self, version_id: str, withheld: bool) -> None:
        """Say whether it is kept from its wire, without touching anything else."""
        self._connection.execute(sa.update(versions).where(versions.c.id == version_id).values(withheld=withheld))

    def set_reason(self, version_id: str, reason: str) -> None:
        """Say how far it is, without touching the state."""
        self._connection.execute(sa.update(versions).where(versions.c.id == version_id).values(reason=reason))

    def delete(self, version_ids: Sequence[str]) -> None:
        self._connection.execute(sa.delete(versions).where(versions.c.id.in_(version_ids)))

    def known_weights(self, blobs: Sequence[str]) -> set[str]:
        query = sa.select(versions.c.weights).where(versions.c.weights.in_(blobs))
        return set(self._connection.execute(query).scalars())


_DECIDED = ("is_default", "withheld", "canary")
# The labels as their text: the JSON of a thousand of them is half of what it costs to read a version.
_COLUMNS = [sa.cast(column, sa.Text).label(column.name) if column.name == "labels" else column for column in versions.c]
# Asked by every request, so put together once.
_NAMED = (
    sa.select(*_COLUMNS)
    .where(versions.c.tenant.in_([sa.bindparam("tenant"), sa.literal(EVERYBODY)]))
    .where(versions.c.name == sa.bindparam("name"))
    .order_by(versions.c.created_at)
)
# SQLAlchemy leaves the lock out for SQLite, which has one writer at a time anyway.
_KEEP = sa.select(versions.c.id).where(versions.c.id == sa.bindparam("id")).with_for_update(read=True)


def _values(version: Version) -> dict[str, Any]:
    values = asdict(version)
    if values["preprocessing"] and values["preprocessing"]["crop_mode"] == "center":
        del values["preprocessing"]["crop_mode"]  # what ran before there were crop modes can read the row, too
    return values | {"labels": list(version.labels)}


@lru_cache(maxsize=64)
def _labels(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _version(row: Row[Any]) -> Version:
    values = dict(row._mapping)
    values["state"] = State(values["state"])
    values["labels"] = _labels(values["labels"])
    if values["preprocessing"]:
        prepared = values["preprocessing"]
        values["preprocessing"] = Preprocessing(
            **prepared | {"mean": tuple(prepared["mean"]), "std": tuple(prepared["std"])}
        )
    if preset := values["preset"]:
        values["preset"] = Preset(preset["name"], Origin(preset["origin"]), tuple(preset["available"]))
    if wanted := values["wanted_preprocessing"]:
        values["wanted_preprocessing"] = PreprocessingRequest(**wanted)
    if values["example"]:
        values["example"] = Example(values["example"]["blob"], tuple(values["example"]["logits"]))
    return Version(**values)
