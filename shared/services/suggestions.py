"""Use-cases of suggestions: which seen pictures are most worth labelling, and what becomes of them.

    choose to keep ──> jobs run, workers keep ──> suggest ──> label ──> example of a dataset
                                                     └──────> dismiss

How a worker keeps pictures, and when they go, is in seen_pictures.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.datasets import Dataset, DatasetExample, DatasetState
from shared.domain.models import ModelVersion
from shared.domain.pictures import Limits
from shared.domain.seen_pictures import COMPARED, SeenChoice, SeenPicture, Settled, blob_key, without_copies
from shared.imaging import images
from shared.services import absences, feedback, models, seen_pictures


@dataclass(frozen=True)
class Kept:
    """What a tenant keeps of the pictures that a model has seen."""

    model: str
    choice: SeenChoice | None
    """None if it keeps none."""
    pictures: Mapping[str, int]
    """Version id -> pictures that this version was the last to see, and that are not settled."""
    bytes: int


@dataclass(frozen=True)
class Suggestions:
    """The pictures that a version has seen and that are most worth labelling."""

    version: ModelVersion
    pictures: Sequence[SeenPicture]
    """The most worth first, and each different from those before it."""
    candidates: int
    """Kept pictures among which they were chosen: without copies, and without pictures that have a label."""
    kept: Mapping[str, int]
    """Version -> pictures that it was the last to see, of the versions that exist."""
    dataset: Dataset | None
    """The dataset that a label is for if none is named: the one that the version was trained on; None without one."""


def get(container: Container, tenant: str, name: str) -> Kept:
    """Return what is kept of the pictures that a model has seen; raises NotFound."""
    return _kept(container, tenant, models.get_version(container, tenant, name).name)


def choose(container: Container, tenant: str, name: str, most: int, days: int) -> Kept:
    """Keep the pictures that a model sees from now on, or change how many and how long; raises NotFound."""
    model = models.get_version(container, tenant, name).name
    with container.database.write() as uow:
        choice = uow.seen_pictures.find_choice(tenant, model, lock=True)
        if choice is None:
            choice = SeenChoice(str(uuid6.uuid7()), tenant, model, most, days, container.now())
            uow.seen_pictures.add_choice(choice)
        else:
            choice = replace(choice, most=most, days=days)
            uow.seen_pictures.change_choice(choice)
    seen_pictures.drop_beyond(container, choice)
    return _kept(container, tenant, model)


def take_back(container: Container, tenant: str, name: str) -> None:
    """Keep no more pictures that a model sees, and remove those that are kept; raises NotFound."""
    seen_pictures.take_back(container, tenant, models.get_version(container, tenant, name).name)


def suggest(container: Container, tenant: str, name: str, version: str, limit: int) -> Suggestions:
    """Return at most `limit` pictures that are worth labelling; raises NotFound, Conflict if none are kept by choice.

    Pictures of the dataset that the version was trained on, as it is now, are left out, as are pictures that were
    labelled or dismissed, and near-duplicates of these and of each other.
    """
    found = models.get_version(container, tenant, name, version)
    with container.database.read() as uow:
        choice = _choice(uow, tenant, found.name)
        dataset = _dataset(uow, tenant, found)
        known = [(picture.sha256, picture.fingerprint) for picture in uow.seen_pictures.settled(choice.id)]
        known += uow.datasets.marks(dataset) if dataset else []
        counts = uow.seen_pictures.counts(choice.id)
        names = {each.id: each.version for each in uow.model_versions.named(tenant, found.name)}
    candidates = _find_candidates(container, choice, found, known)
    with container.database.read() as uow:
        features = uow.seen_pictures.features([candidate.id for candidate in candidates])
    # The features of an earlier network of other width cannot be compared with those of most.
    widths = Counter(len(row) for row in features.values())
    usual = max(widths, key=widths.__getitem__, default=0)
    compared = [candidate for candidate in candidates if len(features.get(candidate.id, b"")) == usual]
    chosen = _choose(compared, [features[candidate.id] for candidate in compared], limit)
    kept = {names[version_id]: count for version_id, (count, _) in counts.items() if version_id in names}
    return Suggestions(found, chosen, len(compared), kept, dataset)


def read(container: Container, tenant: str, name: str, picture_id: str) -> tuple[SeenPicture, bytes]:
    """Return a picture that may be suggested, with its bytes; raises NotFound, Unavailable."""
    picture = _get(container, tenant, name, picture_id)
    key = blob_key(picture.choice_id, picture.id)
    data = absences.read(container, key, f"the picture {picture_id}", lambda: _get(container, tenant, name, picture_id))
    return picture, data


def label(
    container: Container,
    tenant: str,
    name: str,
    picture_id: str,
    labels: Sequence[str],
    dataset_id: int | None,
    limits: Limits,
) -> DatasetExample:
    """Add a suggested picture with its label to a dataset, for trainings to learn from; it is suggested no more.

    For a multi-label dataset it has any number of labels. If no dataset is named, it is the one that the version which
    saw the picture was trained on. Raises NotFound, Conflict, BadOption, BadPicture, QuotaExceeded.
    """
    picture, data = read(container, tenant, name, picture_id)
    if dataset_id is None:
        version = models.find_version_by_id(container, picture.version_id)
        dataset_id = feedback.dataset_of(container, tenant, version, name)
    checked = images.check(picture.name or picture.id, data, limits)
    example = feedback.add(container, tenant, dataset_id, labels, checked)
    _settle(container, picture, Settled.LABELLED)
    return example


def dismiss(container: Container, tenant: str, name: str, picture_id: str) -> None:
    """Suggest a picture no more, nor copies of it, and keep its bytes no longer; raises NotFound."""
    _settle(container, _get(container, tenant, name, picture_id), Settled.DISMISSED)


def _settle(container: Container, picture: SeenPicture, settled: Settled) -> None:
    with container.database.write() as uow:
        uow.seen_pictures.settle(picture.id, settled)
    container.storage.delete(blob_key(picture.choice_id, picture.id))


def _kept(container: Container, tenant: str, model: str) -> Kept:
    with container.database.read() as uow:
        choice = uow.seen_pictures.find_choice(tenant, model)
        counts = uow.seen_pictures.counts(choice.id) if choice else {}
    pictures = {version_id: count for version_id, (count, _) in counts.items()}
    return Kept(model, choice, pictures, sum(size for _, size in counts.values()))


def _choice(uow: UnitOfWork, tenant: str, model: str) -> SeenChoice:
    choice = uow.seen_pictures.find_choice(tenant, model)
    if choice is None:
        raise errors.Conflict(
            f"The pictures that the model {model!r} sees are not kept, so none can be suggested. Have them kept from "
            f"now on: PUT /v1/models/{model}/seen-pictures, or on the command line: inferq models keep-seen {model}"
        )
    return choice


def _get(container: Container, tenant: str, name: str, picture_id: str) -> SeenPicture:
    model = models.get_version(container, tenant, name).name
    with container.database.read() as uow:
        choice = uow.seen_pictures.find_choice(tenant, model)
        picture = uow.seen_pictures.find(choice.id, picture_id) if choice else None
    if picture is None:
        raise errors.NotFound(
            f"There is no suggestion {picture_id}: it was labelled, dismissed or removed, or there was none."
        )
    return picture


def _dataset(uow: UnitOfWork, tenant: str, version: ModelVersion) -> Dataset | None:
    training = uow.trainings.find(tenant, version.training_id) if version.training_id else None
    dataset = uow.datasets.find(tenant, training.dataset_id) if training else None
    return dataset if dataset and dataset.state is not DatasetState.DELETING else None


def _find_candidates(
    container: Container, choice: SeenChoice, version: ModelVersion, known: Sequence[tuple[str, int | None]]
) -> list[SeenPicture]:
    """Return the COMPARED pictures of a version that are most worth labelling and no copies, or all if they are fewer.

    `known` are the SHA-256 and fingerprints of pictures that are not suggested. Further pages are read as long as too
    few are left: all of a page may be copies of one scene that was dismissed. No transaction is open while copies are
    looked for, which takes seconds with a large dataset.
    """
    digests, marks = {sha256 for sha256, _ in known}, [mark for _, mark in known]
    candidates: list[SeenPicture] = []
    last: SeenPicture | None = None
    while len(candidates) < COMPARED:
        with container.database.read() as uow:
            page = uow.seen_pictures.most_worth(choice.id, version.id, COMPARED, after=last)
        candidates += without_copies(page, digests, marks)
        if len(page) < COMPARED:
            break
        digests |= {picture.sha256 for picture in page}
        marks += [picture.fingerprint for picture in page]
        last = page[-1]
    return candidates[:COMPARED]


def _choose(candidates: Sequence[SeenPicture], features: Sequence[bytes], limit: int) -> list[SeenPicture]:
    """Return the candidates that are worth much and differ from each other; see `choose_different`."""
    if not candidates:
        return []
    import numpy as np  # here, as it takes 25 MB of each process that loads it

    from shared.similarity import choose_different, unit

    rows = unit(np.stack([np.frombuffer(each, dtype=np.float16) for each in features]).astype(np.float32))
    chosen = choose_different([candidate.worth for candidate in candidates], rows, limit)
    return [candidates[number] for number in chosen]
