"""Datasets hold labelled pictures to train on, in versions that never change once trained on (rules and use-cases).

    LOADING ──> READY <──> LOADING        an archive is being read; its examples are added in a single commit
       └──────> FAILED                    the first archive held nothing to train on; the reason is stored
    any ──────> DELETING ──> gone         requested by the caller; maintenance removes pictures, then rows

Every change belongs to a version. A version that a training has used is sealed: the next change opens a new version,
and each example stores the version that added it and the version that removed it. So an old training can always be
identified, repeated and compared, while pictures are added and removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import near_duplicates
from shared.domain.datasets import (
    Dataset,
    DatasetExample,
    DatasetLabel,
    DatasetState,
    Source,
    Split,
    changed,
    check_name,
    describe_state,
    file_name,
    is_upload,
    new_id,
    normalize_name,
)
from shared.domain.near_duplicates import NearDuplicates
from shared.domain.pictures import Picture
from shared.services import kept_bytes

# creating and filling


def create(container: Container, tenant: str, name: str, *, source: str = "", labels: Sequence[str] = (),
           unique: bool = False) -> Dataset:  # fmt: skip
    """Create a dataset: with these labels and no pictures, or LOADING from `source`. Raises BadOption, QuotaExceeded.

    With `unique`, raises Conflict if there is a dataset of that name: wires that use names instead of ids need that.
    `source` is a URL, a folder of a store, or the key of an uploaded archive, which then belongs to the dataset.
    """
    now = container.now()
    name = check_name(name, "dataset")
    dataset = Dataset(new_id(now), tenant, name, DatasetState.READY, now, now)
    if source:
        dataset = replace(
            dataset, state=DatasetState.LOADING, source=source, source_size=_size(container, tenant, source),
            progress=0.0, message="waiting for a trainer to read it",
        )  # fmt: skip
    named = list(dict.fromkeys(check_name(label, "label") for label in labels))
    with container.database.write() as uow:
        namesake = uow.datasets.find_by_name(tenant, name)
        if unique and namesake and namesake.state is not DatasetState.FAILED:
            raise errors.Conflict(
                f"There is a dataset {name!r} already, {namesake.id}: add to it, or take another name."
            )
        uow.datasets.add(replace(dataset, last_label=len(named)))
        uow.datasets.add_labels(dataset.id, dict(enumerate(named, 1)))
    if source:
        container.queue.notifications.send_task("load")
    return get(container, tenant, dataset.id)


def add_archive(container: Container, tenant: str, dataset_id: int, source: str) -> Dataset:
    """Load more pictures from `source`, as `create` does; raises NotFound, QuotaExceeded, Conflict unless the dataset
    is READY."""
    size = _size(container, tenant, source)
    with container.database.write() as uow:
        dataset = _changeable(uow, tenant, dataset_id)
        uow.datasets.save(
            replace(dataset, state=DatasetState.LOADING, source=source, adding=True, attempts=0, progress=0.0,
                    updated_at=container.now(), message="waiting for a trainer to read it", source_size=size)
        )  # fmt: skip
        uow.datasets.count_bytes(dataset.id, size)
    container.queue.notifications.send_task("load")
    return get(container, tenant, dataset_id)


def _size(container: Container, tenant: str, source: str) -> int:
    """Return how many bytes a source keeps until it is loaded; raises QuotaExceeded, and Unavailable here rather than
    after the commit, at the notification."""
    container.queue.ping()
    if is_upload(source):  # there was room for it when it was stored
        with suppress(FileNotFoundError):  # the loader says so
            return container.storage.size(source)
    kept_bytes.check(container, tenant, 1)
    return 0


def add_label(container: Container, tenant: str, dataset_id: int, name: str) -> DatasetLabel:
    """Add a label without examples; raises NotFound, BadOption, Conflict (not READY, or the label exists)."""
    name = check_name(name, "label")
    with container.database.write() as uow:
        dataset = _changeable(uow, tenant, dataset_id)
        if name in uow.datasets.label_names(dataset.id).values():
            raise errors.Conflict(f"The dataset has a label {name!r} already.")
        label = DatasetLabel(dataset.id, dataset.last_label + 1, name)
        uow.datasets.save(replace(changed(dataset, container.now()), last_label=label.id))
        uow.datasets.add_labels(dataset.id, {label.id: name})
    return label


def add_example(container: Container, tenant: str, dataset_id: int, label_id: int, picture: Picture, *,
                split: Split = Split.OPEN, source: Source = Source.UPLOAD) -> DatasetExample:  # fmt: skip
    """Add a labelled picture; raises NotFound (dataset, label), Conflict (not READY, or the picture exists),
    QuotaExceeded."""
    name = file_name(picture.name)
    digest = hashlib.sha256(picture.data).hexdigest()
    named = _label_name(container, tenant, dataset_id, label_id)  # checked before any bytes are stored
    kept_bytes.check(container, tenant, len(picture.data))
    blob = f"datasets/{dataset_id}/{uuid6.uuid7()}"
    container.storage.write(blob, picture.data)
    try:
        with container.database.write() as uow:
            dataset = _changeable(uow, tenant, dataset_id)
            now = container.now()
            after = changed(dataset, now)
            if duplicate := uow.datasets.find_by_sha256(dataset, digest):
                if not source is duplicate.source is Source.FEEDBACK or duplicate.label_id == label_id:
                    raise errors.Conflict(_describe_duplicate(duplicate, named))
                # A new correction replaces the old; `collect_garbage` removes its bytes.
                _take_out(container, uow, duplicate, after)
            example = DatasetExample(
                dataset.id,
                dataset.last_example + 1,
                label_id,
                named,
                name,
                split,
                source,
                digest,
                blob,
                0,
                len(picture.data),
                after.version,
                now,
            )
            uow.datasets.add_examples([example])
            uow.datasets.save(replace(after, last_example=example.id))
    except errors.StorageFull:  # it was not committed, and its blob would fill the disk further
        container.storage.delete(blob)
        raise
    except errors.Unavailable:
        raise  # the commit may have succeeded and only its reply be lost; `collect_garbage` removes an unused blob
    except BaseException:
        container.storage.delete(blob)
        raise
    return example


def _describe_duplicate(duplicate: DatasetExample, label: str) -> str:
    known = f"The dataset has this picture already: example {duplicate.id}, {duplicate.label!r}."
    if duplicate.label == label:
        return known
    return f"{known} A picture with two labels teaches neither: if {label!r} is right, remove that example first."


def remove_example(container: Container, tenant: str, dataset_id: int, example_id: int) -> None:
    """Remove a picture from the dataset; versions that were trained on keep it. Raises NotFound, Conflict."""
    with container.database.write() as uow:
        dataset = _changeable(uow, tenant, dataset_id)
        example = _example(uow, dataset, example_id)
        after = changed(dataset, container.now())
        uow.datasets.save(after)
        is_last = _take_out(container, uow, example, after)
    if is_last:
        container.storage.delete(example.blob)


def _take_out(container: Container, uow: UnitOfWork, example: DatasetExample, after: Dataset) -> bool:
    """Remove the example from this version; earlier versions that share it keep it.

    Returns True if its blob holds no other example: it is to be removed, and counts no more. That of an archive counts
    whole until then, as its bytes stay.
    """
    if example.since < after.version:
        uow.datasets.end_example(example, after.version)
        return False
    uow.datasets.delete_example(example)
    if uow.datasets.uses(example.dataset_id, example.blob):
        return False
    size = example.size
    with suppress(FileNotFoundError):
        size = container.storage.size(example.blob)
    uow.datasets.count_bytes(example.dataset_id, -size)
    return True


def delete(container: Container, tenant: str, dataset_id: int) -> Dataset:
    """Mark a dataset for removal; raises NotFound, Conflict while it is loading, trained on or compared on.

    Models that were trained on it stay, with their evidence; they can no longer be compared on its pictures.
    """
    with container.database.write() as uow:
        dataset = uow.datasets.get(tenant, dataset_id, lock=True)
        if dataset.state is DatasetState.LOADING:
            raise errors.Conflict(f"The dataset {dataset.name!r} is being loaded; delete it when that has ended.")
        if busy := uow.trainings.live_on(dataset_id):
            raise errors.Conflict(f"The training {busy[0].id} uses the dataset; cancel it, or let it finish.")
        if waiting := uow.comparisons.queued_on(dataset_id):
            raise errors.Conflict(f"The comparison {waiting[0].id} uses the dataset; let it finish.")
        after = replace(
            dataset, state=DatasetState.DELETING, updated_at=container.now(), message="its pictures are being removed"
        )
        uow.datasets.save(after)
    return after


def drop_deleted(container: Container) -> None:
    """Remove the pictures, then the rows, of DELETING datasets; maintenance may call this any number of times."""
    with container.database.read() as uow:
        marked = uow.datasets.in_state(DatasetState.DELETING)
    for dataset in marked:
        for key in container.storage.list(f"datasets/{dataset.id}"):
            container.storage.delete(key)
        with container.database.write() as uow:
            uow.datasets.delete(dataset.id)


# looking


def find(container: Container, tenant: str, dataset_id: int) -> Dataset | None:
    """Return the tenant's dataset; None for another tenant's dataset or a removed dataset."""
    with container.database.read() as uow:
        return uow.datasets.find(tenant, dataset_id)


def get(container: Container, tenant: str, dataset_id: int) -> Dataset:
    """Return the tenant's dataset; raises NotFound for another tenant's, with the same text as for an unknown id."""
    with container.database.read() as uow:
        return uow.datasets.get(tenant, dataset_id)


def list_page(container: Container, tenant: str, *, before: int | None = None, offset: int = 0,
              limit: int) -> list[tuple[Dataset, list[DatasetLabel]]]:  # fmt: skip
    """Return the tenant's datasets, newest first, each with its labels; `before` is the previous page's last id."""
    with container.database.read() as uow:
        page = uow.datasets.page(tenant, before=before, offset=offset, limit=limit)
        return [(dataset, uow.datasets.labels(dataset)) for dataset in page]


def get_by_reference(container: Container, tenant: str, reference: str) -> Dataset:
    """Return the dataset with that id, else the newest with that name; raises NotFound, which lists known names."""
    with container.database.read() as uow:
        if reference.isdecimal() and len(reference) < 17 and (dataset := uow.datasets.find(tenant, int(reference))):
            return dataset
        if named := uow.datasets.find_by_name(tenant, normalize_name(reference)):
            return named
        newest = uow.datasets.page(tenant, limit=20)
    names = sorted({recent.name for recent in newest if recent.state is not DatasetState.DELETING})
    hint = f"there are: {', '.join(names)}" if names else "there are none"
    raise errors.NotFound(f"There is no dataset {reference!r}; {hint}.")


def list_labels(container: Container, dataset: Dataset) -> list[DatasetLabel]:
    """Return the labels of a dataset that was already read, in the order of their ids."""
    with container.database.read() as uow:
        return uow.datasets.labels(dataset)


def list_examples(container: Container, dataset: Dataset, *, source: str = "", label_id: int | None = None,
                  after: int = 0, limit: int) -> list[DatasetExample]:  # fmt: skip
    """Return examples of the dataset's version in the order of their ids; `after` is the previous page's last id."""
    with container.database.read() as uow:
        return uow.datasets.examples(dataset, source=source, label_id=label_id, after=after, limit=limit)


def list_near_duplicates(container: Container, dataset: Dataset, distance: int) -> NearDuplicates:
    """Return the near-duplicates of the dataset's version; among 100,000 examples that takes some seconds."""
    with container.database.read() as uow:
        examples = uow.datasets.examples(dataset)
    return near_duplicates.among(examples, distance)


def list_examples_with_labels(
    container: Container, dataset: Dataset, *, source: str, label_id: int | None, offset: int, limit: int
) -> tuple[list[DatasetExample], list[DatasetLabel]]:
    """Return (examples from `offset` on, all labels of the dataset), read together."""
    with container.database.read() as uow:
        examples = uow.datasets.examples(dataset, source=source, label_id=label_id, offset=offset, limit=limit)
        return examples, uow.datasets.labels(dataset)


def find_example_of_any_tenant(container: Container, dataset_id: int, example_id: int) -> DatasetExample | None:
    """Return the example behind a signed URL, which has no tenant; None if it was removed."""
    with container.database.read() as uow:
        dataset = uow.datasets.find_by_id(dataset_id)
        return uow.datasets.find_example(dataset, example_id) if dataset else None


def get_names_and_labels(
    container: Container, dataset_id: int, example_ids: Sequence[int]
) -> Mapping[int, tuple[str, str]]:
    """Return example id -> (name, label); examples of a removed dataset are left out."""
    with container.database.read() as uow:
        return uow.datasets.names_and_labels(dataset_id, example_ids)


def labels(container: Container, tenant: str, dataset_id: int) -> list[DatasetLabel]:
    """Return the labels in the order of their ids, each with its current number of examples; raises NotFound."""
    dataset = get(container, tenant, dataset_id)
    with container.database.read() as uow:
        return uow.datasets.labels(dataset)


def label(container: Container, tenant: str, dataset_id: int, label_id: int) -> DatasetLabel:
    """Return the label with that id; raises NotFound."""
    for label in labels(container, tenant, dataset_id):
        if label.id == label_id:
            return label
    raise errors.NotFound(f"The dataset {dataset_id} has no label {label_id}.")


def label_named(container: Container, tenant: str, dataset_id: int, name: str) -> DatasetLabel:
    """Return the label of that name; raises NotFound (dataset), BadOption, which lists the existing labels."""
    existing = labels(container, tenant, dataset_id)
    for label in existing:
        if label.name == normalize_name(name):
            return label
    hint = f"it has: {', '.join(label.name for label in existing[:20])}" if existing else "it has none yet"
    raise errors.BadOption(f"the dataset {dataset_id} has no label {name!r}; {hint}")


def example(container: Container, tenant: str, dataset_id: int, example_id: int) -> DatasetExample:
    """Return an example of the current version; raises NotFound."""
    dataset = get(container, tenant, dataset_id)
    with container.database.read() as uow:
        return _example(uow, dataset, example_id)


async def until_loaded(container: Container, dataset: Dataset, seconds: float) -> Dataset:
    """Return the dataset when its loading has ended, with any result, or its current state after `seconds`."""
    return await container.waiters.until(
        str(dataset.id),
        lambda: get(container, dataset.tenant, dataset.id),
        lambda current: current.state is not DatasetState.LOADING,
        seconds,
    )


def _changeable(uow: UnitOfWork, tenant: str, dataset_id: int) -> Dataset:
    """Return the dataset, locked until the transaction ends; raises NotFound, Conflict unless it is READY."""
    dataset = uow.datasets.get(tenant, dataset_id, lock=True)
    if dataset.state is not DatasetState.READY:
        raise errors.Conflict(f"The dataset {dataset.name!r} is {describe_state(dataset)}.")
    return dataset


def _label_name(container: Container, tenant: str, dataset_id: int, label_id: int) -> str:
    """Return the name of the label; raises NotFound (dataset, label)."""
    dataset = get(container, tenant, dataset_id)
    with container.database.read() as uow:
        names = uow.datasets.label_names(dataset.id)
    if label_id not in names:
        raise errors.NotFound(f"The dataset {dataset_id} has no label {label_id}.")
    return names[label_id]


def _example(uow: UnitOfWork, dataset: Dataset, example_id: int) -> DatasetExample:
    example = uow.datasets.find_example(dataset, example_id)
    if example is None:
        raise errors.NotFound(f"The dataset {dataset.id} has no example {example_id}.")
    return example
