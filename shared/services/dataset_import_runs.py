"""A loader uses these use-cases to begin the loading of a dataset, report its progress, and end it with any result.

Each of them changes nothing if another loader has begun the dataset meanwhile, as after a lost lock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import lock_names
from shared.domain.archive_layout import ExamplePath
from shared.domain.datasets import (
    REASONS,
    Contradiction,
    Dataset,
    DatasetExample,
    DatasetState,
    Source,
    check_label_count,
    is_upload,
    open_next_version,
)
from shared.domain.fair_order import fair_order
from shared.domain.models import ProblemType

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredPicture:
    """A usable picture of an archive, and its place in the blob that holds all of them."""

    place: ExamplePath
    sha256: str
    offset: int
    size: int
    fingerprint: int
    path: str
    """In the archive."""


@dataclass
class ArchiveContents:
    """The usable pictures, duplicates and unreadable files found in an archive so far."""

    pictures: list[StoredPicture] = field(default_factory=list)
    duplicates: int = 0
    unreadable: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of the first REASONS unreadable files."""
    contradictions: list[Contradiction] = field(default_factory=list)
    left_out: int = 0
    """Bytes of pictures with two labels, which lie in the blob between the others."""
    problem_type: ProblemType | None = None
    """That of the dataset with these pictures; None before it is known."""
    has_table: bool = False
    """True if a table names the labels of the pictures, and not folders."""


def list_waiting(container: Container, served: Mapping[str, float]) -> list[Dataset]:
    """Return the datasets that are LOADING and that no loader holds, in the order in which they are to be loaded.

    `served` as in `fair_order`.
    """
    with container.database.read() as uow:
        loading = uow.datasets.in_state(DatasetState.LOADING)
    return [
        dataset
        for dataset in fair_order(loading, served)
        if not container.queue.locks.is_held(lock_names.dataset_import(dataset.id))
    ]


def begin(container: Container, dataset_id: int) -> Dataset | None:
    """Count this attempt and return the dataset; None if it is not LOADING."""
    with container.database.write() as uow:
        dataset = uow.datasets.find_by_id(dataset_id, lock=True)
        if dataset is None or dataset.state is not DatasetState.LOADING:
            return None
        begun = replace(dataset, attempts=dataset.attempts + 1)
        uow.datasets.save(begun)
    return begun


def _own(uow: UnitOfWork, begun: Dataset) -> Dataset | None:
    """Return the current dataset; None if it is gone, or if another loader has begun it, as after a lost lock."""
    current = uow.datasets.find_by_id(begun.id, lock=True)
    if current is None or current.state is not DatasetState.LOADING:
        return None
    return current if (current.source, current.attempts) == (begun.source, begun.attempts) else None


def report_progress(container: Container, dataset_id: int, progress: float, message: str) -> None:
    """Store and announce the progress of a loading, from 0 to 1."""
    try:
        with container.database.write() as uow:
            uow.datasets.set_progress(dataset_id, progress, message)
    except errors.Unavailable as error:  # only the commit needs the database; a lost progress report is harmless
        log.warning("loading dataset %d: %s", dataset_id, error.message)
    container.queue.events.publish([], [str(dataset_id)])


def finish(container: Container, begun: Dataset, blob: str, contents: ArchiveContents) -> None:
    """Commit the pictures of the archive, which lie in `blob`, and make the dataset READY; raises BadDataset for too
    many labels."""
    try:
        stored = _commit(container, begun, blob, contents)
    except errors.Unavailable:
        raise  # the commit may have succeeded and only its reply be lost; `collect_garbage` removes an unused blob
    except BaseException:
        container.storage.delete(blob)
        raise
    if not stored or not contents.pictures:
        _drop(container, blob)
    if stored:
        log.info("dataset %d: %d pictures from its archive", begun.id, len(contents.pictures))
        _ended(container, begun)


def _commit(container: Container, begun: Dataset, blob: str, contents: ArchiveContents) -> bool:
    """Store the pictures as examples; return False when the dataset no longer belongs to this loader."""
    now = container.now()
    with container.database.write() as uow:
        current = _own(uow, begun)
        if current is None:
            return False
        after = open_next_version(current) if contents.pictures else current
        after = replace(after, problem_type=current.problem_type or contents.problem_type)
        ids = {name: label_id for label_id, name in uow.datasets.label_names(current.id).items()}
        # Only labels that have a picture, sorted by name, because the order in an archive is arbitrary.
        new = sorted({label for picture in contents.pictures for label in picture.place.labels} - ids.keys())
        ids |= {name: label_id for label_id, name in enumerate(new, current.last_label + 1)}
        check_label_count(after, len(ids))
        uow.datasets.add_labels(current.id, {ids[name]: name for name in new})
        uow.datasets.add_examples(
            [
                _example(after, number, ids, picture, blob, now)
                for number, picture in enumerate(contents.pictures, current.last_example + 1)
            ]
        )
        left_out = contents.left_out if contents.pictures else 0  # without a picture, the blob is removed
        uow.datasets.count_bytes(current.id, left_out - current.source_size)
        uow.datasets.save(
            replace(
                _at_rest(after, now),
                duplicates=current.duplicates + contents.duplicates,
                unreadable=current.unreadable + contents.unreadable,
                reasons=(*current.reasons, *contents.reasons)[:REASONS],
                contradicting=current.contradicting + len(contents.contradictions),
                contradictions=(*current.contradictions, *contents.contradictions)[:REASONS],
                last_label=current.last_label + len(new),
                last_example=current.last_example + len(contents.pictures),
            )
        )
    return True


def _example(
    dataset: Dataset, number: int, ids: Mapping[str, int], picture: StoredPicture, blob: str, now: float
) -> DatasetExample:
    labels = sorted(picture.place.labels, key=ids.__getitem__)
    several = tuple(labels) if dataset.is_multi_label else ()
    return DatasetExample(
        dataset.id,
        number,
        0 if dataset.is_multi_label else ids[labels[0]],
        "" if dataset.is_multi_label else labels[0],
        picture.place.name,
        picture.place.split,
        Source.UPLOAD,
        picture.sha256,
        blob,
        picture.offset,
        picture.size,
        dataset.version,
        now,
        fingerprint=picture.fingerprint,
        label_ids=tuple(ids[label] for label in several),
        labels=several,
    )


def _at_rest(dataset: Dataset, now: float) -> Dataset:
    return replace(dataset, state=DatasetState.READY, message="", progress=1.0, source="", source_size=0, adding=False,
                   attempts=0, updated_at=now)  # fmt: skip


def give_up(container: Container, begun: Dataset, reason: str, contents: ArchiveContents) -> None:
    """End without the archive: a dataset that the archive was to be added to is READY as before, else FAILED."""
    with container.database.write() as uow:
        current = _own(uow, begun)
        if current is None:
            return
        ended = _at_rest(current, container.now())
        if current.adding:
            ended = replace(ended, message=f"the last archive could not be read: {reason}")
        else:
            ended = replace(ended, state=DatasetState.FAILED, message=reason, unreadable=contents.unreadable,
                            reasons=tuple(contents.reasons))  # fmt: skip
        uow.datasets.count_bytes(current.id, -current.source_size)
        uow.datasets.save(ended)
    log.info("dataset %d: %s", begun.id, reason)
    _ended(container, begun)


def put_back(container: Container, begun: Dataset, message: str = "waiting for a trainer to read it") -> None:
    """Put the dataset back without counting the attempt: `stopping` was set, or the storage is unreachable or full."""
    with container.database.write() as uow:
        if current := _own(uow, begun):
            uow.datasets.save(replace(current, attempts=begun.attempts - 1, progress=0.0, message=message))


def put_back_until_reachable(container: Container, begun: Dataset, why: str, contents: ArchiveContents) -> None:
    """Put the dataset back until the storage is reachable and has room; give up after `dataset_timeout` seconds."""
    log.warning("dataset %d: %s", begun.id, why)
    if container.now() > begun.updated_at + container.settings.dataset_timeout:
        give_up(container, begun, why, contents)
        return
    put_back(container, begun, f"{why} It is tried again soon.")


def leave_for_next_attempt(container: Container, begun: Dataset, why: str, contents: ArchiveContents) -> None:
    """Leave the dataset for another attempt, unless this attempt was the last."""
    log.warning("dataset %d: %s", begun.id, why)
    if begun.attempts >= container.settings.max_attempts:
        give_up(container, begun, f"{why} It was tried {begun.attempts} times.", contents)
        return
    with container.database.write() as uow:
        uow.datasets.set_progress(begun.id, 0.0, f"{why} It is tried again soon.")
    container.queue.events.publish([], [str(begun.id)])


def _ended(container: Container, begun: Dataset) -> None:
    if is_upload(begun.source):
        _drop(container, begun.source)
    container.queue.events.publish([str(begun.id)])


def _drop(container: Container, key: str) -> None:
    try:
        container.storage.delete(key)
    except errors.Unavailable as error:  # nothing refers to it, so `collect_garbage` removes it later
        log.warning("%s stays for a while: %s", key, error.message)
