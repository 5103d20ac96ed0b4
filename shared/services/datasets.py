"""Use-cases of datasets, their labels and examples; shared/domain/datasets.py has their states and versions."""

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
    Inventory,
    Source,
    Split,
    changed,
    check_label_count,
    check_labels_of_one,
    check_name,
    describe_duplicate,
    describe_state,
    file_name,
    is_upload,
    new_id,
    normalize_name,
)
from shared.domain.models import ProblemType
from shared.domain.near_duplicates import NearDuplicates
from shared.domain.pictures import Picture
from shared.domain.suspects import kept_name
from shared.imaging import fingerprints
from shared.services import kept_bytes

# creating and filling


def create(container: Container, tenant: str, name: str, *, source: str = "", labels: Sequence[str] = (),
           problem_type: ProblemType | None = None, unique: bool = False) -> Dataset:  # fmt: skip
    """Create a dataset: with these labels and no pictures, or LOADING from `source`. Raises BadOption, BadDataset (too
    many labels), QuotaExceeded.

    With `unique`, raises Conflict if there is a dataset of that name, unless it is FAILED, which is removed: wires that
    use names instead of ids need that.
    `source` is a URL, a folder of a store, or the key of an uploaded archive, which then belongs to the dataset.
    Without a `problem_type` the archive says it; an empty dataset is then single-label.
    """
    now = container.now()
    name = check_name(name, "dataset")
    kind = problem_type or (None if source else ProblemType.SINGLE_LABEL)
    dataset = Dataset(new_id(now), tenant, name, DatasetState.READY, now, now, problem_type=kind)
    if source:
        dataset = replace(
            dataset, state=DatasetState.LOADING, source=source, source_size=_size(container, tenant, source),
            progress=0.0, message="waiting for a trainer to read it",
        )  # fmt: skip
    named = list(dict.fromkeys(check_name(label, "label") for label in labels))
    check_label_count(dataset, len(named))
    with container.database.write() as uow:
        namesake = uow.datasets.find_by_name(tenant, name)
        if unique and namesake:
            if namesake.state is not DatasetState.FAILED:
                raise errors.Conflict(
                    f"There is a dataset {name!r} already, {namesake.id}: add to it, or take another name."
                )
            uow.datasets.save(
                replace(namesake, state=DatasetState.DELETING, updated_at=now, message="another has taken its name")
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
        dataset = get_changeable(uow, tenant, dataset_id)
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
    """Add a label without examples; raises NotFound, BadOption, BadDataset (too many labels), Conflict (not READY, or
    the label exists)."""
    name = check_name(name, "label")
    with container.database.write() as uow:
        dataset = get_changeable(uow, tenant, dataset_id)
        existing = uow.datasets.label_names(dataset.id).values()
        if name in existing:
            raise errors.Conflict(f"The dataset has a label {name!r} already.")
        check_label_count(dataset, len(existing) + 1)
        label = DatasetLabel(dataset.id, dataset.last_label + 1, name)
        uow.datasets.save(replace(changed(dataset, container.now()), last_label=label.id))
        uow.datasets.add_labels(dataset.id, {label.id: name})
    return label


def add_example(container: Container, tenant: str, dataset_id: int, label_ids: Sequence[int], picture: Picture, *,
                split: Split = Split.OPEN, source: Source = Source.UPLOAD) -> DatasetExample:  # fmt: skip
    """Add a picture with its labels: one, or any number in a multi-label dataset.

    Raises NotFound (dataset, label), BadOption (number of labels), Conflict (not READY, or the picture exists),
    QuotaExceeded.
    """
    name = file_name(picture.name)
    digest = hashlib.sha256(picture.data).hexdigest()
    labels = names_of(container, tenant, dataset_id, label_ids)  # checked before any bytes are stored
    kept_bytes.check(container, tenant, len(picture.data))
    fingerprint = fingerprints.of_picture(picture.data)
    blob = f"datasets/{dataset_id}/{uuid6.uuid7()}"
    container.storage.write(blob, picture.data)
    try:
        with container.database.write() as uow:
            dataset = get_changeable(uow, tenant, dataset_id)
            now = container.now()
            after = changed(dataset, now)
            if duplicate := uow.datasets.find_by_sha256(dataset, digest):
                if not source is duplicate.source is Source.FEEDBACK or duplicate.all_labels == labels:
                    raise errors.Conflict(describe_duplicate(duplicate, labels))
                # A new correction replaces the old; `collect_garbage` removes its bytes.
                _take_out(container, uow, duplicate, after)
            example = DatasetExample(
                dataset.id,
                dataset.last_example + 1,
                0 if dataset.is_multi_label else label_ids[0],
                "" if dataset.is_multi_label else labels[0],
                name,
                split,
                source,
                digest,
                blob,
                0,
                len(picture.data),
                after.version,
                now,
                fingerprint=fingerprint,
                label_ids=tuple(sorted(set(label_ids))) if dataset.is_multi_label else (),
                labels=labels if dataset.is_multi_label else (),
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


def remove_example(container: Container, tenant: str, dataset_id: int, example_id: int) -> None:
    """Remove a picture from the dataset; versions that were trained on keep it. Raises NotFound, Conflict."""
    with container.database.write() as uow:
        dataset = get_changeable(uow, tenant, dataset_id)
        example = get_example(uow, dataset, example_id)
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
            uow.key_values.delete(kept_name(dataset.id))


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
              limit: int) -> list[tuple[Dataset, Inventory]]:  # fmt: skip
    """Return the tenant's datasets, newest first, with what they hold; `before` is the previous page's last id."""
    with container.database.read() as uow:
        page = uow.datasets.page(tenant, before=before, offset=offset, limit=limit)
        return [(dataset, uow.datasets.inventory(dataset)) for dataset in page]


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


def inventory(container: Container, dataset: Dataset) -> Inventory:
    """Return what a dataset that was already read holds, by split as well."""
    with container.database.read() as uow:
        return replace(uow.datasets.inventory(dataset), splits=uow.datasets.split_counts(dataset))


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
) -> Mapping[int, tuple[str, tuple[str, ...]]]:
    """Return example id -> (name, all labels); examples of a removed dataset are left out."""
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


def label_ids(container: Container, tenant: str, dataset_id: int, names: Sequence[str]) -> list[int]:
    """Return the ids of the labels of one picture, each once; raises NotFound (dataset), BadOption for too many labels,
    or for an unknown one, which lists the existing labels."""
    check_labels_of_one(len(names))
    dataset = get(container, tenant, dataset_id)
    with container.database.read() as uow:
        existing = {name: label_id for label_id, name in uow.datasets.label_names(dataset.id).items()}
    if unknown := [name for name in names if normalize_name(name) not in existing]:
        hint = f"it has: {', '.join(list(existing)[:20])}" if existing else "it has none yet"
        raise errors.BadOption(f"the dataset {dataset_id} has no label {unknown[0]!r}; {hint}")
    return list(dict.fromkeys(existing[normalize_name(name)] for name in names))


def example(container: Container, tenant: str, dataset_id: int, example_id: int) -> DatasetExample:
    """Return an example of the current version; raises NotFound."""
    dataset = get(container, tenant, dataset_id)
    with container.database.read() as uow:
        return get_example(uow, dataset, example_id)


async def until_loaded(container: Container, dataset: Dataset, seconds: float) -> Dataset:
    """Return the dataset when its loading has ended, with any result, or its current state after `seconds`."""
    return await container.waiters.until(
        str(dataset.id),
        lambda: get(container, dataset.tenant, dataset.id),
        lambda current: current.state is not DatasetState.LOADING,
        seconds,
    )


def get_changeable(uow: UnitOfWork, tenant: str, dataset_id: int) -> Dataset:
    """Return the dataset, locked until the transaction ends; raises NotFound, Conflict unless it is READY."""
    dataset = uow.datasets.get(tenant, dataset_id, lock=True)
    if dataset.state is not DatasetState.READY:
        raise errors.Conflict(f"The dataset {dataset.name!r} is {describe_state(dataset)}.")
    return dataset


def names_of(container: Container, tenant: str, dataset_id: int, label_ids: Sequence[int]) -> tuple[str, ...]:
    """Return the names of labels for one picture, in the order of their ids; raises NotFound, BadOption."""
    check_labels_of_one(len(label_ids))
    dataset = get(container, tenant, dataset_id)
    with container.database.read() as uow:
        names = uow.datasets.label_names(dataset.id)
    if missing := [label_id for label_id in label_ids if label_id not in names]:
        raise errors.NotFound(f"The dataset {dataset_id} has no label {missing[0]}.")
    if len(label_ids) != 1 and not dataset.is_multi_label:
        raise errors.BadOption(
            f"the dataset {dataset.name!r} has one label for each picture, not {len(label_ids)}; a multi-label dataset "
            "takes any number"
        )
    return tuple(names[label_id] for label_id in sorted(set(label_ids)))


def get_example(uow: UnitOfWork, dataset: Dataset, example_id: int) -> DatasetExample:
    """Return an example of the dataset's version; raises NotFound."""
    example = uow.datasets.find_example(dataset, example_id)
    if example is None:
        raise errors.NotFound(f"The dataset {dataset.id} has no example {example_id}.")
    return example
