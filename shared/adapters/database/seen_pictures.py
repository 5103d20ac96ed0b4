"""Queries on seen pictures, and on the choices of tenants to keep them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database import kept_bytes
from shared.adapters.database.learning_tables import seen_choices, seen_pictures
from shared.adapters.database.tables import items, jobs, stored_images
from shared.domain.seen_pictures import SeenChoice, SeenPicture

CHUNK = 500
"""Bound parameters per statement; SQLite accepts 32766, PostgreSQL 65535."""


class SeenPictures:
    """The tables of choices and of seen pictures, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- choices

    def find_choice(self, tenant: str, model: str, *, lock: bool = False) -> SeenChoice | None:
        """Return the choice of a tenant for a model, or None; `lock` keeps other transactions from changing it."""
        query = sa.select(seen_choices).where(seen_choices.c.tenant == tenant, seen_choices.c.model == model)
        row = self._connection.execute(query.with_for_update() if lock else query).first()
        return SeenChoice(**row._mapping) if row else None

    def choices_for(self, model: str) -> list[SeenChoice]:
        """Return the choices of all tenants for models of that name."""
        return [SeenChoice(**row._mapping) for row in self._connection.execute(_FOR_MODEL, {"model": model})]

    def all_choices(self) -> list[SeenChoice]:
        """Return every choice of all tenants."""
        return [SeenChoice(**row._mapping) for row in self._connection.execute(sa.select(seen_choices))]

    def add_choice(self, choice: SeenChoice) -> None:
        """Insert a choice."""
        self._connection.execute(sa.insert(seen_choices), asdict(choice))

    def change_choice(self, choice: SeenChoice) -> None:
        """Update how many pictures a choice keeps, and how long."""
        changed = sa.update(seen_choices).where(seen_choices.c.id == choice.id)
        self._connection.execute(changed.values(most=choice.most, days=choice.days))

    def delete_choice(self, choice: SeenChoice) -> None:
        """Delete a choice with the rows of its pictures; their bytes are the caller's to remove."""
        gone = sa.delete(seen_pictures).where(seen_pictures.c.choice_id == choice.id).returning(seen_pictures.c.size)
        kept_bytes.count(self._connection, [(choice.tenant, -sum(self._connection.execute(gone).scalars()))])
        self._connection.execute(sa.delete(seen_choices).where(seen_choices.c.id == choice.id))

    # -- keeping

    def names(self, positions: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Return (job id, position) -> the name of the picture, of jobs that exist; these are locked, so that none is
        erased before the transaction ends."""
        found: dict[tuple[str, int], str] = {}
        for chunk in _chunks(sorted(positions)):
            query = sa.select(items.c.job_id, items.c.position, items.c.name).join_from(items, jobs)
            query = query.where(sa.tuple_(items.c.job_id, items.c.position).in_(chunk)).order_by(items.c.job_id)
            rows = self._connection.execute(query.with_for_update(read=True, of=jobs))
            found |= {(row.job_id, row.position): row.name for row in rows}
        return found

    def by_sha256(self, choice_id: str, digests: Collection[str]) -> dict[str, SeenPicture]:
        """Return SHA-256 -> picture of those that the choice has, settled ones as well."""
        return {
            picture.sha256: picture
            for chunk in _chunks(list(digests))
            for picture in self._all(_of(choice_id).where(seen_pictures.c.sha256.in_(chunk)))
        }

    def add(self, choice: SeenChoice, pictures: Mapping[SeenPicture, bytes]) -> None:
        """Insert pictures with their features."""
        rows = [asdict(picture) | {"features": features} for picture, features in pictures.items()]
        if rows:
            self._connection.execute(sa.insert(seen_pictures), rows)
            kept_bytes.count(self._connection, [(choice.tenant, picture.size) for picture in pictures])

    def see_again(self, picture: SeenPicture, features: bytes) -> None:
        """Update a picture that was seen again, with its features; its bytes stay."""
        changed = sa.update(seen_pictures).where(seen_pictures.c.id == picture.id)
        self._connection.execute(changed.values(asdict(picture) | {"features": features}))

    def settle(self, picture_id: str, settled: str) -> None:
        """Remember that a picture needs no label any more; its bytes, which are the caller's to remove, and its
        features are not kept. Does nothing if it is settled or removed."""
        query = sa.select(seen_choices.c.tenant, seen_pictures.c.size).join_from(seen_choices, seen_pictures)
        query = query.where(seen_pictures.c.id == picture_id, seen_pictures.c.settled == "")
        row = self._connection.execute(query.with_for_update(of=seen_pictures)).first()
        if row is not None:
            changed = sa.update(seen_pictures).where(seen_pictures.c.id == picture_id)
            self._connection.execute(changed.values(settled=settled, size=0, features=None))
            kept_bytes.count(self._connection, [(row.tenant, -row.size)])

    def delete(self, pictures: Sequence[SeenPicture]) -> None:
        """Delete rows; the bytes are the caller's to remove."""
        for chunk in _chunks([picture.id for picture in pictures]):
            gone = sa.delete(seen_pictures).where(seen_pictures.c.id.in_(chunk))
            # Returned by the one transaction that deletes them, so that none is taken off the count twice.
            rows = self._connection.execute(gone.returning(seen_pictures.c.choice_id, seen_pictures.c.size)).all()
            choices = sa.select(seen_choices.c.id, seen_choices.c.tenant)
            choices = choices.where(seen_choices.c.id.in_({row.choice_id for row in rows}))
            tenants = {row.id: row.tenant for row in self._connection.execute(choices)}
            kept_bytes.count(self._connection, [(tenants[row.choice_id], -row.size) for row in rows])

    # -- looking

    def find(self, choice_id: str, picture_id: str) -> SeenPicture | None:
        """Return a picture that is not settled, or None."""
        return next(iter(self._all(_open(choice_id).where(seen_pictures.c.id == picture_id))), None)

    def counts(self, choice_id: str) -> dict[str, tuple[int, int]]:
        """Return version id -> (pictures that are not settled, their bytes)."""
        counted = sa.select(seen_pictures.c.version_id, sa.func.count(), sa.func.sum(seen_pictures.c.size))
        query = counted.where(*_is_open(choice_id)).group_by(seen_pictures.c.version_id)
        return {version_id: (int(count), int(size)) for version_id, count, size in self._connection.execute(query)}

    def count(self, choice_id: str) -> int:
        """Return the number of pictures that are not settled."""
        counted = sa.select(sa.func.count()).select_from(seen_pictures).where(*_is_open(choice_id))
        return int(self._connection.execute(counted).scalar_one())

    def least_worth(self, choice_id: str, limit: int) -> list[SeenPicture]:
        """Return the pictures that are the least worth labelling, of equal ones the oldest."""
        order = (seen_pictures.c.is_unlike, seen_pictures.c.uncertainty, seen_pictures.c.seen_at)
        return self._all(_open(choice_id).order_by(*order).limit(limit))

    def most_worth(
        self, choice_id: str, version_id: str, limit: int, *, after: SeenPicture | None = None
    ) -> list[SeenPicture]:
        """Return the pictures that a version has seen last, those that are the most worth labelling first; the page
        begins behind the picture `after`."""
        order = (seen_pictures.c.is_unlike, seen_pictures.c.uncertainty, seen_pictures.c.seen_at, seen_pictures.c.id)
        query = _open(choice_id).where(seen_pictures.c.version_id == version_id)
        if after is not None:
            place = (after.is_unlike, after.uncertainty, after.seen_at, after.id)
            query = query.where(sa.tuple_(*order) < place)
        return self._all(query.order_by(*(column.desc() for column in order)).limit(limit))

    def features(self, picture_ids: Sequence[str]) -> dict[str, bytes]:
        """Return id -> features."""
        query = sa.select(seen_pictures.c.id, seen_pictures.c.features)
        return {
            row.id: row.features
            for chunk in _chunks(picture_ids)
            for row in self._connection.execute(query.where(seen_pictures.c.id.in_(chunk)))
            if row.features is not None
        }

    def settled(self, choice_id: str) -> list[SeenPicture]:
        """Return the pictures that need no label any more."""
        return self._all(_of(choice_id).where(seen_pictures.c.settled != ""))

    # -- removing

    def of_job(self, job_id: str) -> list[SeenPicture]:
        """Return the pictures that this job was the last to send."""
        return self._all(_PICTURES.where(seen_pictures.c.job_id == job_id))

    def of_image(self, image_id: str) -> list[SeenPicture]:
        """Return the pictures that are this stored image."""
        # The condition is that of the partial index, so that the database can use it.
        is_one = seen_pictures.c.image_id != sa.literal_column("''")
        return self._all(_PICTURES.where(seen_pictures.c.image_id == image_id, is_one))

    def of_deleted_images(self, choice_id: str) -> list[SeenPicture]:
        """Return the pictures, settled ones as well, that are a stored image which does not exist any more."""
        exists = sa.exists().where(stored_images.c.id == seen_pictures.c.image_id)
        return self._all(_of(choice_id).where(seen_pictures.c.image_id != "", ~exists))

    def of_versions(self, version_ids: Sequence[str]) -> list[SeenPicture]:
        """Return the pictures that these versions were the last to see."""
        return self._all(_PICTURES.where(seen_pictures.c.version_id.in_(version_ids)))

    def seen_before(self, choice_id: str, when: float) -> list[SeenPicture]:
        """Return the pictures, settled ones as well, that were last seen before `when` (Unix seconds)."""
        return self._all(_of(choice_id).where(seen_pictures.c.seen_at < when))

    def ids(self, choice_id: str) -> set[str]:
        """Return the ids of all pictures whose bytes are kept."""
        query = sa.select(seen_pictures.c.id).where(*_is_open(choice_id))
        return set(self._connection.execute(query).scalars())

    def _all(self, query: sa.Select[Any]) -> list[SeenPicture]:
        return [SeenPicture(**row._mapping) for row in self._connection.execute(query)]


_FOR_MODEL = sa.select(seen_choices).where(seen_choices.c.model == sa.bindparam("model"))
_PICTURES = sa.select(*(column for column in seen_pictures.c if column.name != "features"))


def _of(choice_id: str) -> sa.Select[Any]:
    return _PICTURES.where(seen_pictures.c.choice_id == choice_id)


def _is_open(choice_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return seen_pictures.c.choice_id == choice_id, seen_pictures.c.settled == ""


def _open(choice_id: str) -> sa.Select[Any]:
    return _PICTURES.where(*_is_open(choice_id))


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
