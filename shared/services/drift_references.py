"""Use-cases of references for drift have a worker measure the reference of a version on a dataset.

    request ──> task `measure_reference` ──> worker: pictures, answers, distances ──event──> the waiting request

A training stores a reference with the version that it makes; this is for imported models, and for pictures that are
more like those expected of callers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import lock_names
from shared.domain.datasets import Dataset, DatasetExample
from shared.domain.drift import FEWEST_KNOWN, MEASURE_PREFIX, Profile, Reference, Source
from shared.domain.models import ModelState, ModelVersion
from shared.services import comparison_runs, rejection
from shared.services.errands import Errand

MEASURE = Errand("measure_reference", MEASURE_PREFIX, lock_names.drift_reference)


@dataclass(frozen=True)
class Measurement:
    """Where the measurement of a version's reference stands."""

    version_id: str
    is_running: bool = False
    failure: str = ""
    """Why the last one has made no reference; empty if it has, or if there was none."""


def request(container: Container, tenant: str, name: str, version: str, dataset_id: int) -> Measurement:
    """Have a worker measure the reference of a version of the tenant; raises NotFound, Forbidden, Conflict,
    BadDataset."""
    with container.database.read() as uow:
        find_pictures(uow, rejection.own_ready(uow, tenant, name, version), dataset_id)
    with container.database.write() as uow:
        found = rejection.own_ready(uow, tenant, name, version)
        MEASURE.ask(uow, found.id, {"dataset_id": dataset_id})
    MEASURE.call(container, found.id)
    return Measurement(found.id, is_running=True)


def find(container: Container, version_id: str) -> Measurement:
    """Return where the measurement of a version stands."""
    with container.database.read() as uow:
        stored = MEASURE.stored(uow, version_id)
    return Measurement(version_id, "request" in stored, stored.get("failure", ""))


async def wait(container: Container, measurement: Measurement, seconds: float) -> Measurement:
    """Return where the measurement stands when it has ended, or after `seconds`."""
    return await container.waiters.until(
        measurement.version_id,
        lambda: find(container, measurement.version_id),
        lambda now: not now.is_running,
        seconds,
    )


def send_again(container: Container) -> None:
    """Have the references measured that are asked for, and that no worker is measuring."""
    MEASURE.call_again(container)


def begin(container: Container, version_id: str) -> tuple[ModelVersion, int] | None:
    """Return the version and the id of the dataset that a worker is to measure it on; None if there is nothing to do.

    A measurement that has used up its attempts fails here with the reason.
    """
    with container.database.write() as uow:
        version = uow.model_versions.find(version_id)
        if version is None or version.state is not ModelState.READY:
            return None
        begun = MEASURE.begin(container, uow, version_id)
        if begun is None:
            return None
    wanted, may_try = begun
    if may_try:
        return version, wanted["dataset_id"]
    fail(container, version_id, wanted["dataset_id"], f"{container.settings.max_attempts} workers crashed on it")
    return None


def finish(container: Container, dataset_id: int, reference: Reference) -> None:
    """Store and announce a reference, unless it is not asked for any more."""
    version_id = reference.version_id
    with container.database.write() as uow:
        is_wanted = MEASURE.stored(uow, version_id).get("request") == {"dataset_id": dataset_id}
        if is_wanted and uow.model_versions.find(version_id):
            uow.drift.set_reference(reference)
            uow.key_values.delete(MEASURE.name(version_id))
    container.queue.events.publish([version_id])


def fail(container: Container, version_id: str, dataset_id: int, reason: str) -> None:
    """Store and announce why there is no new reference, unless it is not asked for any more."""
    MEASURE.fail(container, version_id, {"dataset_id": dataset_id}, reason)


def put_back(container: Container, version_id: str) -> None:
    """Leave the measurement to another attempt, without counting this one: database or storage did not allow it."""
    MEASURE.put_back(container, version_id)


def get_pictures(container: Container, version: ModelVersion, dataset_id: int) -> Sequence[DatasetExample]:
    """Return what `find_pictures` does."""
    with container.database.read() as uow:
        return find_pictures(uow, version, dataset_id)


def find_pictures(uow: UnitOfWork, version: ModelVersion, dataset_id: int) -> Sequence[DatasetExample]:
    """Return the pictures of a dataset on which the reference of a version is measured, MOST_PICTURES at most; their
    labels do not matter.

    Pictures that it has learned from are left out: it is too sure of them, and they are too near. Raises NotFound, and
    BadDataset if fewer than FEWEST_KNOWN are left.
    """
    dataset = _dataset(uow, version, dataset_id)
    learned = comparison_runs.learned_pictures(uow, version)
    examples = [example for example in uow.datasets.examples(dataset) if example.sha256 not in learned]
    if len(examples) < FEWEST_KNOWN:
        raise errors.BadDataset(
            f"The dataset {dataset.name!r} has {len(examples)} pictures that {version.name} {version.version} has not "
            f"learned from; a reference needs at least {FEWEST_KNOWN}. Add some, or name another dataset."
        )
    # By SHA-256, which knows nothing of labels: the reference has the shares of labels that the dataset has.
    return sorted(examples, key=lambda example: example.sha256)[: rejection.MOST_PICTURES]


def keep_distances(container: Container, version: ModelVersion, profile: Profile, dataset_id: int, bank: str) -> None:
    """Store what was counted on a dataset when a rejection rule was fitted as the reference of the version; one that it
    has already gets the distances only, which are those from other features."""
    reference = of_dataset(container, version, profile, dataset_id, bank)
    with container.database.write() as uow:
        stored = uow.drift.find_reference(version.id)
        if stored is not None:
            reference = replace(stored, profile=replace(stored.profile, distance=profile.distance), bank=bank)
        uow.drift.set_reference(reference)


def find_in_shares(
    container: Container, version: ModelVersion, dataset_id: int, examples: Sequence[DatasetExample]
) -> list[int]:
    """Return the places of examples which together have the labels in the shares of their dataset.

    A rule is fitted on pictures in turn of each label, so that rare labels are too frequent among them for a reference.
    All are taken of the label of which the smallest part is among them, and of each other label the same part of its
    pictures in the dataset. Raises NotFound.
    """
    with container.database.read() as uow:
        learned = comparison_runs.learned_pictures(uow, version)
        of_all = uow.datasets.examples(_dataset(uow, version, dataset_id))
    expected = Counter(example.label_id for example in of_all if example.sha256 not in learned)
    places: dict[int, list[int]] = defaultdict(list)
    for place in sorted(range(len(examples)), key=lambda place: examples[place].sha256):
        places[examples[place].label_id].append(place)
    # The dataset may have changed while the pictures ran: a label that it has lost has no share.
    share = min((len(own) / expected[label] for label, own in places.items() if expected[label]), default=0.0)
    return sorted(place for label, own in places.items() for place in own[: round(share * expected[label])])


def of_dataset(container: Container, version: ModelVersion, profile: Profile, dataset_id: int, bank: str) -> Reference:
    """Return the reference with what was counted on the pictures of a dataset; raises NotFound."""
    with container.database.read() as uow:
        dataset = _dataset(uow, version, dataset_id)
    return Reference(version.id, profile, Source.DATASET, container.now(), dataset.name, bank)


def _dataset(uow: UnitOfWork, version: ModelVersion, dataset_id: int) -> Dataset:
    dataset = uow.datasets.find(version.tenant, dataset_id)
    if dataset is None:
        raise errors.NotFound(f"There is no dataset {dataset_id}.")
    return dataset
