"""Queries on datasets, their labels and their examples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared import errors
from shared.adapters.database import kept_bytes
from shared.adapters.database.learning_tables import dataset_labels, datasets, example_labels, examples
from shared.domain.datasets import (
    Contradiction,
    Dataset,
    DatasetExample,
    DatasetLabel,
    DatasetState,
    Inventory,
    Source,
    Split,
)
from shared.domain.models import ProblemType
from shared.domain.splits import Tally

CHUNK = 500
"""Bound parameters per statement; SQLite accepts 32766, PostgreSQL 65535."""


class Datasets:
    """The tables of datasets, labels and examples, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- datasets

    def get(self, tenant: str, dataset_id: int, *, lock: bool = False) -> Dataset:
        """Return a dataset of the tenant; raises NotFound. `lock` is as in `find`."""
        dataset = self.find(tenant, dataset_id, lock=lock)
        if dataset is None:
            raise errors.NotFound(f"There is no dataset {dataset_id}.")
        return dataset

    def find(self, tenant: str, dataset_id: int, *, lock: bool = False) -> Dataset | None:
        """Return a dataset of the tenant, or None. With `lock` its row is locked until the transaction ends."""
        query = sa.select(datasets).where(datasets.c.id == dataset_id, datasets.c.tenant == tenant)
        row = self._connection.execute(query.with_for_update() if lock else query).first()
        return _dataset(row) if row else None

    def find_by_name(self, tenant: str, name: str) -> Dataset | None:
        """Return the newest dataset of that name that is not being deleted, or None."""
        query = sa.select(datasets).where(datasets.c.tenant == tenant, datasets.c.name == name)
        query = query.where(datasets.c.state != DatasetState.DELETING).order_by(datasets.c.id.desc()).limit(1)
        row = self._connection.execute(query).first()
        return _dataset(row) if row else None

    def page(self, tenant: str, *, before: int | None = None, offset: int = 0, limit: int = 50) -> list[Dataset]:
        """Return the tenant's datasets, newest first; `before` is the last id of the previous page."""
        query = sa.select(datasets).where(datasets.c.tenant == tenant).order_by(datasets.c.id.desc())
        if before is not None:
            query = query.where(datasets.c.id < before)
        return [_dataset(row) for row in self._connection.execute(query.offset(offset).limit(limit))]

    def find_by_id(self, dataset_id: int, *, lock: bool = False) -> Dataset | None:
        """Return a dataset of any tenant, or None; loaders have only its id. `lock` is as in `find`."""
        query = sa.select(datasets).where(datasets.c.id == dataset_id)
        row = self._connection.execute(query.with_for_update() if lock else query).first()
        return _dataset(row) if row else None

    def ids_of(self, tenant: str) -> list[int]:
        """Return the ids of the tenant's datasets, but those that are being deleted, oldest first."""
        query = sa.select(datasets.c.id).where(datasets.c.tenant == tenant, datasets.c.state != DatasetState.DELETING)
        return list(self._connection.execute(query.order_by(datasets.c.id)).scalars())

    def in_state(self, state: DatasetState) -> list[Dataset]:
        """Return the datasets of all tenants in that state, oldest first."""
        query = sa.select(datasets).where(datasets.c.state == state).order_by(datasets.c.id)
        if state in _MOVING:
            query = query.where(_IS_MOVING)
        return [_dataset(row) for row in self._connection.execute(query)]

    def changed_since(self, time: float) -> list[Dataset]:
        """Return the datasets of all tenants, in any state, that have changed since `time` (Unix seconds)."""
        query = sa.select(datasets).where(datasets.c.updated_at > time)
        return [_dataset(row) for row in self._connection.execute(query)]

    def add(self, dataset: Dataset) -> None:
        """Insert a dataset, which keeps what it is loaded from."""
        self._connection.execute(sa.insert(datasets), _values(dataset))
        self.count_bytes(dataset.id, dataset.source_size)

    def count_bytes(self, dataset_id: int, size: int) -> None:
        """Count bytes that the dataset keeps from now on, negative for those that it no longer keeps."""
        counted = sa.update(datasets).where(datasets.c.id == dataset_id).values(size=datasets.c.size + size)
        rows = self._connection.execute(counted.returning(datasets.c.tenant)) if size else ()
        kept_bytes.count(self._connection, [(row.tenant, size) for row in rows])

    def save(self, dataset: Dataset) -> None:
        """Update all columns of a dataset."""
        self._connection.execute(sa.update(datasets).where(datasets.c.id == dataset.id).values(_values(dataset)))

    def set_progress(self, dataset_id: int, progress: float, message: str) -> None:
        """Store the progress of loading (0 to 1) and its message; does nothing when loading has ended."""
        where = sa.and_(datasets.c.id == dataset_id, datasets.c.state == DatasetState.LOADING)
        self._connection.execute(sa.update(datasets).where(where).values(progress=progress, message=message))

    def delete(self, dataset_id: int) -> None:
        """Delete a dataset with its labels and examples."""
        for table in (example_labels, examples, dataset_labels):
            self._connection.execute(sa.delete(table).where(table.c.dataset_id == dataset_id))
        gone = sa.delete(datasets).where(datasets.c.id == dataset_id).returning(datasets.c.tenant, datasets.c.size)
        kept_bytes.count(self._connection, [(tenant, -size) for tenant, size in self._connection.execute(gone)])

    def known(self, dataset_ids: Collection[int]) -> set[int]:
        """Return the ids that exist."""
        return {
            dataset_id
            for chunk in _chunks(list(dataset_ids))
            for dataset_id in self._connection.execute(
                sa.select(datasets.c.id).where(datasets.c.id.in_(chunk))
            ).scalars()
        }

    # -- labels

    def labels(self, dataset: Dataset) -> list[DatasetLabel]:
        """Return the labels in the order of their ids, each with the number of its examples in the dataset's
        version."""
        label_id = example_labels.c.label_id if dataset.is_multi_label else examples.c.label_id
        counts = sa.select(label_id, sa.func.count().label("count")).where(_in_version(dataset))
        if dataset.is_multi_label:
            counts = counts.join_from(examples, example_labels, _of_example)
        counted = counts.group_by(label_id).subquery()
        query = (
            sa.select(dataset_labels, sa.func.coalesce(counted.c.count, 0))
            .join_from(dataset_labels, counted, counted.c.label_id == dataset_labels.c.id, isouter=True)
            .where(dataset_labels.c.dataset_id == dataset.id)
            .order_by(dataset_labels.c.id)
        )
        return [DatasetLabel(*row) for row in self._connection.execute(query)]

    def inventory(self, dataset: Dataset) -> Inventory:
        """Return the labels as `labels` does, and the number of examples, of the dataset's version."""
        labels = self.labels(dataset)
        counted = self.count(dataset) if dataset.is_multi_label else sum(label.examples for label in labels)
        return Inventory(labels, counted)

    def label_names(self, dataset_id: int) -> dict[int, str]:
        """Return label id -> name in the order of the ids; examples are not counted."""
        query = sa.select(dataset_labels.c.id, dataset_labels.c.name).where(dataset_labels.c.dataset_id == dataset_id)
        return {row[0]: row[1] for row in self._connection.execute(query.order_by(dataset_labels.c.id))}

    def tallies(self, dataset: Dataset) -> list[Tally]:
        """Return the counts by label, source and split from which splits are cut: enough to check if training is
        possible."""
        kind = (dataset_labels.c.name, examples.c.source, examples.c.split)
        query = _of_version(sa.select(*kind, sa.func.count()), dataset).group_by(dataset_labels.c.id, *kind)
        rows = self._connection.execute(query.order_by(dataset_labels.c.id))
        return [Tally(label, Source(source), Split(split), count) for label, source, split, count in rows]

    def split_counts(self, dataset: Dataset) -> dict[str, int]:
        """Return the number of examples of this version by their declared split, in the order of their use."""
        query = sa.select(examples.c.split, sa.func.count()).where(_in_version(dataset)).group_by(examples.c.split)
        counts = {row[0]: row[1] for row in self._connection.execute(query)}
        return {split.value: counts[split] for split in Split if split in counts}

    def add_labels(self, dataset_id: int, names: Mapping[int, str]) -> None:
        """Insert labels, given as label id -> name."""
        if names:
            rows = [{"dataset_id": dataset_id, "id": label_id, "name": name} for label_id, name in names.items()]
            self._connection.execute(sa.insert(dataset_labels), rows)

    # -- examples

    def find_example(self, dataset: Dataset, example_id: int) -> DatasetExample | None:
        """Return an example of the dataset's version, or None."""
        found = self._examples(dataset, _examples(dataset).where(examples.c.id == example_id))
        return found[0] if found else None

    def examples(
        self, dataset: Dataset, *, source: str = "", label_id: int | None = None, after: int = 0, offset: int = 0,
        limit: int | None = None,
    ) -> list[DatasetExample]:  # fmt: skip
        """Return the examples of the dataset's version in the order of their ids; `after` is the last id of the
        previous page.

        For an older version, pass `replace(dataset, version=...)`.
        """
        query = _examples(dataset).where(examples.c.id > after).order_by(examples.c.id)
        if source:
            query = query.where(examples.c.source == source)
        if label_id is not None and dataset.is_multi_label:
            query = query.where(sa.exists().where(_of_example, example_labels.c.label_id == label_id))
        elif label_id is not None:
            query = query.where(examples.c.label_id == label_id)
        return self._examples(dataset, query.offset(offset).limit(limit))

    def _examples(self, dataset: Dataset, query: sa.Select[Any]) -> list[DatasetExample]:
        """Return the examples of a query on one dataset, in its order, with their labels."""
        found = [_example(row) for row in self._connection.execute(query)]
        if not found or not dataset.is_multi_label:
            return found
        ids = [example.id for example in found]
        is_page = len(ids) <= CHUNK  # of more, which are mostly all, naming each would take longer
        among = (
            example_labels.c.example_id.in_(ids) if is_page else example_labels.c.example_id.between(ids[0], ids[-1])
        )
        labels = self._labels_of(dataset.id, among)
        names = self.label_names(dataset.id)
        return [
            replace(example, label_ids=own, labels=tuple(names[label_id] for label_id in own))
            for example in found
            for own in (labels.get(example.id, ()),)
        ]

    def _labels_of(self, dataset_id: int, where: sa.ColumnElement[bool]) -> dict[int, tuple[int, ...]]:
        """Return example id -> the ids of its labels, ascending, for the examples that have some."""
        query = sa.select(example_labels.c.example_id, example_labels.c.label_id)
        query = query.where(example_labels.c.dataset_id == dataset_id, where)
        found: dict[int, list[int]] = {}
        for example_id, label_id in self._connection.execute(query.order_by(*query.selected_columns)):
            found.setdefault(example_id, []).append(label_id)
        return {example_id: tuple(own) for example_id, own in found.items()}

    def names_and_labels(self, dataset_id: int, example_ids: Sequence[int]) -> dict[int, tuple[str, tuple[str, ...]]]:
        """Return example id -> (name, all labels) for the ids that exist, in any version."""
        query = sa.select(examples.c.id, examples.c.name, examples.c.label_id)
        query = query.where(examples.c.dataset_id == dataset_id)
        names = self.label_names(dataset_id) if example_ids else {}
        found: dict[int, tuple[str, tuple[str, ...]]] = {}
        for chunk in _chunks(example_ids):
            several = self._labels_of(dataset_id, example_labels.c.example_id.in_(chunk))
            for example_id, name, label_id in self._connection.execute(query.where(examples.c.id.in_(chunk))):
                own = (label_id,) if label_id else several.get(example_id, ())
                found[example_id] = name, tuple(names[each] for each in own)
        return found

    def count(self, dataset: Dataset) -> int:
        """Return the number of examples in the dataset's version."""
        query = sa.select(sa.func.count()).select_from(examples).where(_in_version(dataset))
        return int(self._connection.execute(query).scalar_one())

    def find_by_sha256(self, dataset: Dataset, sha256: str) -> DatasetExample | None:
        """Return the example with that SHA-256 in the current version, or None."""
        # The condition is that of the partial index, so that the database can use it.
        is_current = sa.and_(examples.c.sha256 == sha256, examples.c.until.is_(None))
        found = self._examples(dataset, _examples(dataset).where(is_current).limit(1))
        return found[0] if found else None

    def digests(self, dataset: Dataset) -> dict[str, tuple[int, tuple[str, ...], str]]:
        """Return the SHA-256 of every picture in the dataset's version -> (id, all labels, name) of its example."""
        query = sa.select(examples.c.sha256, examples.c.id, examples.c.label_id, examples.c.name)
        names = self.label_names(dataset.id)
        several = self._labels_of(dataset.id, sa.true()) if dataset.is_multi_label else {}
        return {
            sha256: (example_id, tuple(names[each] for each in several.get(example_id, (label_id,)) if each), name)
            for sha256, example_id, label_id, name in self._connection.execute(query.where(_in_version(dataset)))
        }

    def keys(self, dataset: Dataset) -> list[tuple[str, int]]:
        """Return (SHA-256, id) of every example in the dataset's version, in the order of the ids."""
        query = sa.select(examples.c.sha256, examples.c.id).where(_in_version(dataset)).order_by(examples.c.id)
        return [(sha256, example_id) for sha256, example_id in self._connection.execute(query)]

    def marks(self, dataset: Dataset) -> list[tuple[str, int | None]]:
        """Return (SHA-256, fingerprint) of every example in the dataset's version."""
        query = sa.select(examples.c.sha256, examples.c.fingerprint).where(_in_version(dataset))
        return [(sha256, fingerprint) for sha256, fingerprint in self._connection.execute(query)]

    def add_examples(self, new_examples: Sequence[DatasetExample]) -> None:
        """Insert examples, all of one dataset."""
        for chunk in _chunks(new_examples, 5000):
            # `vars`, because `asdict` copies each value: for 100,000 examples that takes seconds under the write lock.
            rows = [{name: value for name, value in vars(example).items() if name in _COLUMNS} for example in chunk]
            self._connection.execute(sa.insert(examples), rows)
            labels = [(example.id, label_id) for example in chunk for label_id in example.label_ids]
            several = [
                {"dataset_id": chunk[0].dataset_id, "example_id": example_id, "label_id": label_id}
                for example_id, label_id in labels
            ]
            if several:
                self._connection.execute(sa.insert(example_labels), several)
        if new_examples:
            self.count_bytes(new_examples[0].dataset_id, sum(example.size for example in new_examples))

    def end_example(self, example: DatasetExample, version: int) -> None:
        """Remove an example from `version` on; older versions keep it."""
        self._connection.execute(sa.update(examples).where(_is(example)).values(until=version))

    def delete_example(self, example: DatasetExample) -> None:
        """Delete the row of an example, from all versions; its bytes count until its blob is removed."""
        own = sa.and_(example_labels.c.dataset_id == example.dataset_id, example_labels.c.example_id == example.id)
        self._connection.execute(sa.delete(example_labels).where(own))
        self._connection.execute(sa.delete(examples).where(_is(example)))

    def uses(self, dataset_id: int, blob: str) -> bool:
        """Return True if any example, in any version, lies in that blob."""
        query = sa.select(examples.c.id).where(examples.c.dataset_id == dataset_id, examples.c.blob == blob).limit(1)
        return self._connection.execute(query).first() is not None

    def blobs(self, dataset_id: int) -> set[str]:
        """Return the keys of all blobs that hold an example, in any version."""
        query = sa.select(examples.c.blob).where(examples.c.dataset_id == dataset_id).distinct()
        return set(self._connection.execute(query).scalars())


_MOVING = (DatasetState.LOADING, DatasetState.DELETING)
# The literal text of the partial index, so that the database recognises that the index applies.
_IS_MOVING = datasets.c.state.in_([sa.literal_column(f"'{state}'") for state in _MOVING])


def _in_version(dataset: Dataset) -> sa.ColumnElement[bool]:
    until = sa.or_(examples.c.until.is_(None), examples.c.until > dataset.version)
    return sa.and_(examples.c.dataset_id == dataset.id, examples.c.since <= dataset.version, until)


_COLUMNS = frozenset(examples.c.keys())
_of_example = sa.and_(
    example_labels.c.dataset_id == examples.c.dataset_id, example_labels.c.example_id == examples.c.id
)


def _examples(dataset: Dataset) -> sa.Select[Any]:
    if dataset.is_multi_label:
        return sa.select(examples, sa.literal("").label("label")).where(_in_version(dataset))
    return _of_version(sa.select(examples, dataset_labels.c.name.label("label")), dataset)


def _of_version(query: sa.Select[Any], dataset: Dataset) -> sa.Select[Any]:
    """Return a query on the examples of the dataset's version and their labels, with a row for each of these."""
    label_id: sa.ColumnElement[int] = examples.c.label_id
    source: sa.FromClause = examples
    if dataset.is_multi_label:
        label_id, source = example_labels.c.label_id, examples.join(example_labels, _of_example)
    same_label = sa.and_(dataset_labels.c.dataset_id == examples.c.dataset_id, dataset_labels.c.id == label_id)
    return query.select_from(source.join(dataset_labels, same_label)).where(_in_version(dataset))


def _is(example: DatasetExample) -> sa.ColumnElement[bool]:
    return sa.and_(examples.c.dataset_id == example.dataset_id, examples.c.id == example.id)


def _values(dataset: Dataset) -> dict[str, Any]:
    contradictions = [[list(each.labels), list(each.paths), each.example] for each in dataset.contradictions]
    reasons = [list(reason) for reason in dataset.reasons]
    lists = {"reasons": reasons, "contradictions": contradictions}
    return asdict(dataset) | lists | {"problem_type": dataset.problem_type or ""}


def _dataset(row: Row[Any]) -> Dataset:
    values = dict(row._mapping)
    del values["size"]  # the queries that add and remove keep it, so that `save` need not
    values["state"] = DatasetState(values["state"])
    values["problem_type"] = ProblemType(values["problem_type"]) if values["problem_type"] else None
    values["reasons"] = tuple((path, why) for path, why in values["reasons"])
    values["contradictions"] = tuple(
        Contradiction(tuple(labels), tuple(paths), example) for labels, paths, example in values["contradictions"] or ()
    )
    return Dataset(**values)


def _example(row: Row[Any]) -> DatasetExample:
    values = dict(row._mapping)
    return DatasetExample(**values | {"split": Split(values["split"]), "source": Source(values["source"])})


def _chunks(values: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
