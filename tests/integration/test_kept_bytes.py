"""The bytes that a tenant keeps: counted by what adds and removes them, limited, and back at zero in the end."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from migrations.__main__ import configuration, upgrade
from shared import errors
from shared.adapters.database.kept_bytes import KeptBytes
from shared.adapters.database.unit_of_work import Database
from shared.adapters.pauses import run
from shared.domain.datasets import Dataset, DatasetState
from shared.domain.jobs import ImageReference, Job, Outcome, Status, Submission
from shared.domain.models import ModelImport, ModelState, ModelVersion
from shared.domain.pictures import Picture
from shared.domain.sizes import in_units
from shared.domain.tenant_limits import TenantLimits
from shared.services import (
    dataset_import,
    datasets,
    feedback,
    jobs,
    kept_bytes,
    maintenance,
    model_checks,
    models,
    stored_images,
    suspects,
    tenant_limits,
    training_runs,
)
from tests import dataset_fixtures
from tests.dataset_fixtures import LIMITS, Ground, picture
from tests.query_plans import plan

LARGE = Picture("large.png", picture(0).data + bytes(10_000), "PNG", 16, 16)


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    """A container over each kind of database, with a model of anna and one of bert."""
    ground = dataset_fixtures.on(database, tmp_path)
    for tenant in ("anna", "bert"):
        ground.version("fruits", tenant=tenant)
    return ground


def used(ground: Ground, tenant: str = "anna") -> int:
    return kept_bytes.used(ground.container, tenant)


def limit(ground: Ground, most: int | None, tenant: str = "anna") -> None:
    tenant_limits.replace(ground.container, "default", TenantLimits(tenant, max_bytes=most))


def submit(ground: Ground, *pictures: Picture | ImageReference, tenant: str = "anna", key: str = "") -> Job:
    submission = Submission(list(pictures), "fruits", idempotency_key=key)
    return run(jobs.submit(ground.container, tenant, submission))[0]


def erase(ground: Ground, job: Job) -> None:
    jobs.cancel(ground.container, job.tenant, job.id)
    jobs.erase(ground.container, job.tenant, job.id)


def archive(*numbers: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for number in numbers:
            packed.writestr(f"pear/{number}.png", picture(number).data)
            packed.writestr(f"plum/{number}.png", picture(100 + number).data)
    return file.getvalue()


def upload(ground: Ground, data: bytes, tenant: str = "anna") -> str:
    return dataset_import.keep_upload(ground.container, tenant, io.BytesIO(data))


def store_image(ground: Ground, tenant: str = "anna") -> None:
    stored_images.store(ground.container, tenant, "live", LARGE)


def add_example(ground: Ground, tenant: str = "anna") -> None:
    dataset = datasets.create(ground.container, tenant, "fruit", labels=["pear"])
    datasets.add_example(ground.container, tenant, dataset.id, [1], LARGE)


def upload_archive(ground: Ground, tenant: str = "anna") -> None:
    datasets.create(ground.container, tenant, "loaded", source=upload(ground, LARGE.data, tenant))


def import_model(ground: Ground, tenant: str = "anna") -> None:
    imported = ModelImport(upload(ground, LARGE.data, tenant), size=len(LARGE.data))
    models.add(ground.container, tenant, "imported", imported=imported)


WAYS_IN: dict[str, Callable[[Ground, str], object]] = {
    "a small picture": lambda ground, tenant: submit(ground, picture(0), tenant=tenant),
    "a large picture": lambda ground, tenant: submit(ground, LARGE, tenant=tenant),
    "several pictures": lambda ground, tenant: submit(ground, picture(0), picture(1), picture(2), tenant=tenant),
    "a stored image": store_image,
    "an example": add_example,
    "an archive": upload_archive,
    "an imported model": import_model,
}


@pytest.mark.parametrize("enter", WAYS_IN.values(), ids=WAYS_IN)
def test_every_way_in_counts_and_takes_as_much_as_the_limit_and_not_a_byte_more(
    ground: Ground, enter: Callable[[Ground, str], object]
) -> None:
    enter(ground, "bert")
    size = used(ground, "bert")
    files = sum(count for _, count in ground.container.storage.tree("."))
    assert size > 0

    limit(ground, size - 1)
    with pytest.raises(errors.QuotaExceeded, match=f"would pass your limit of {in_units(size - 1)}. Delete jobs"):
        enter(ground, "anna")
    assert used(ground) == 0
    assert sum(count for _, count in ground.container.storage.tree(".")) == files  # nothing of it is left

    limit(ground, size)
    enter(ground, "anna")
    assert (used(ground), used(ground, "bert")) == (size, size)


def test_a_tenant_that_is_full_does_not_keep_another_from_sending(ground: Ground) -> None:
    limit(ground, 0)
    with pytest.raises(errors.QuotaExceeded):
        submit(ground, picture(0))
    submit(ground, picture(0), tenant="bert")


def test_a_training_begins_only_where_something_may_still_be_kept(ground: Ground) -> None:
    dataset = ground.dataset()
    limit(ground, used(ground))
    with pytest.raises(errors.QuotaExceeded, match="and 1 byte more would pass"):
        ground.submit(dataset)
    limit(ground, used(ground) + 1)
    ground.submit(dataset)


def test_published_weights_and_archives_by_url_need_room_for_a_byte(ground: Ground) -> None:
    limit(ground, 0)
    with pytest.raises(errors.QuotaExceeded):
        models.add(ground.container, "anna", "own", architecture="resnet18")
    with pytest.raises(errors.QuotaExceeded):
        datasets.create(ground.container, "anna", "fruit", source="https://example.org/fruit.zip")
    ready = datasets.create(ground.container, "anna", "fruit")
    with pytest.raises(errors.QuotaExceeded):
        datasets.add_archive(ground.container, "anna", ready.id, "https://example.org/fruit.zip")


def test_a_stored_image_counts_once_however_many_jobs_refer_to_it(ground: Ground) -> None:
    image = stored_images.store(ground.container, "anna", "live", LARGE)
    reference = ImageReference(image.id, image.name, image.blob, image.size)
    limit(ground, image.size + 1)
    job = submit(ground, reference, reference)
    assert used(ground) == image.size
    erase(ground, job)
    assert used(ground) == image.size


def test_a_repeat_is_never_refused_for_a_limit(ground: Ground) -> None:
    several, single = [picture(0), LARGE], [picture(7)]
    made = {key: submit(ground, *sent, key=key) for key, sent in (("several", several), ("single", single))}
    kept = used(ground)
    for limits in ({"max_bytes": 0}, {"max_bytes": kept + 1}, {"max_queued": 0}, {"max_queued": 1}, {"max_queued": 4},
                   {"max_queued": 0, "max_bytes": 0, "pictures_per_minute": 1}):  # fmt: skip
        tenant_limits.replace(ground.container, "default", TenantLimits("anna", **limits))
        assert submit(ground, *several, key="several").id == made["several"].id
        assert submit(ground, *single, key="single").id == made["single"].id
        with pytest.raises((errors.TooManyRequests, errors.QuotaExceeded, errors.TooManyFiles, errors.Forbidden)):
            submit(ground, *several, key="another")
        with pytest.raises((errors.TooManyRequests, errors.QuotaExceeded, errors.TooManyFiles, errors.Forbidden)):
            submit(ground, *several)
    with pytest.raises(errors.Conflict, match="was used for another request"):
        submit(ground, LARGE, key="single")
    assert used(ground) == kept
    assert len(list(ground.container.storage.tree("jobs"))) == 1  # nothing of the repeats is left


def test_a_repeat_is_not_refused_because_what_waits_would_take_too_long(ground: Ground) -> None:
    made = submit(ground, LARGE, key="once")
    tenant_limits.replace(ground.container, "default", TenantLimits("anna", max_queued=0))
    submission = Submission([LARGE], "fruits", idempotency_key="once")
    assert run(jobs.submit(ground.container, "anna", submission, patience=0.0)) == (
        jobs.get(ground.container, "anna", made.id), False,
    )  # fmt: skip


def test_jobs_count_until_they_are_erased_or_have_been_kept_long_enough(ground: Ground) -> None:
    erased, old = submit(ground, picture(0), LARGE), submit(ground, picture(1))
    erase(ground, erased)
    assert used(ground) == len(picture(1).data)
    jobs.cancel(ground.container, "anna", old.id)
    later = ground.container.now() + ground.container.settings.keep_jobs + 60
    maintenance.drop_old_jobs(replace(ground.container, now=lambda: later))
    assert used(ground) == 0


def explain(ground: Ground, job: Job, *sizes: int) -> None:
    """Record answers of the first pictures, whose heat maps have so many bytes."""
    jobs.finish(
        ground.container,
        [Outcome(job.id, place, [["pear", 1.0]], explanation_size=size) for place, size in enumerate(sizes)],
    )


@pytest.mark.parametrize("sent", [[picture(0)], [picture(0), LARGE]], ids=["one", "several"])
def test_the_heat_maps_of_answers_count_until_their_job_is_erased(ground: Ground, sent: list[Picture]) -> None:
    job = submit(ground, *sent)
    plain = used(ground)
    explain(ground, job, *[1000] * len(sent))
    assert used(ground) == plain + 1000 * len(sent)
    explain(ground, job, *[1000] * len(sent))  # delivered twice
    kept_bytes.count_anew(ground.container)
    assert used(ground) == plain + 1000 * len(sent)
    jobs.erase(ground.container, "anna", job.id)
    assert used(ground) == 0


def test_heat_maps_count_that_come_in_a_batch_with_some_that_are_delivered_twice(ground: Ground) -> None:
    job = submit(ground, *map(picture, range(4)))
    plain = used(ground)
    explain(ground, job, 1000)
    explain(ground, job, 1000, 2000, 4000)
    assert used(ground) == plain + 7000
    ended = jobs.get(ground.container, "anna", job.id)
    assert (ended.status, ended.done, ended.failed) == (Status.RUNNING, 3, 0)
    explain(ground, job, 1000, 2000, 4000, 8000)
    assert used(ground) == plain + 15_000
    assert jobs.get(ground.container, "anna", job.id).status is Status.DONE
    jobs.erase(ground.container, "anna", job.id)
    assert used(ground) == 0


def test_the_heat_map_of_a_stored_image_counts_and_the_image_does_not_count_again(ground: Ground) -> None:
    image = stored_images.store(ground.container, "anna", "live", LARGE)
    job = submit(ground, ImageReference(image.id, image.name, image.blob, image.size))
    explain(ground, job, 1000)
    assert used(ground) == image.size + 1000
    jobs.erase(ground.container, "anna", job.id)
    assert used(ground) == image.size


def test_heat_maps_of_jobs_that_have_been_kept_long_enough_count_no_more(ground: Ground) -> None:
    explain(ground, submit(ground, picture(0)), 1000)
    later = ground.container.now() + ground.container.settings.keep_jobs + 60
    maintenance.drop_old_jobs(replace(ground.container, now=lambda: later))
    assert used(ground) == 0


def test_an_archive_counts_while_it_waits_and_then_its_pictures_do(ground: Ground) -> None:
    data = archive(1, 2)
    dataset = datasets.create(ground.container, "anna", "fruit", source=upload(ground, data))
    assert used(ground) == len(data)
    dataset_import.load(ground.container, dataset.id)
    pictures = sum(len(picture(number).data) for number in (1, 2, 101, 102))
    assert used(ground) == pictures

    broken = upload(ground, b"no archive")
    datasets.add_archive(ground.container, "anna", dataset.id, broken)
    assert used(ground) == pictures + len(b"no archive")
    dataset_import.load(ground.container, dataset.id)
    assert used(ground) == pictures

    remove(ground, ground.again(dataset))
    assert used(ground) == 0


def test_an_archive_whose_pictures_find_no_room_says_so_and_leaves_nothing(ground: Ground) -> None:
    data = archive(*range(1, 20))
    pictures = sum(len(picture(number).data) + len(picture(100 + number).data) for number in range(1, 20))
    dataset = datasets.create(ground.container, "anna", "fruit", source=upload(ground, data))
    limit(ground, pictures - 1)
    dataset_import.load(ground.container, dataset.id)
    failed = ground.again(dataset)
    assert failed.state is DatasetState.FAILED
    assert f"would pass your limit of {in_units(pictures - 1)}" in failed.message
    assert used(ground) == 0
    assert ground.blobs(dataset) == []

    limit(ground, max(pictures, len(data)))
    again = datasets.create(ground.container, "anna", "fruit", source=upload(ground, data))
    dataset_import.load(ground.container, again.id)
    assert ground.again(again).state is DatasetState.READY
    assert used(ground) == pictures


def test_a_removed_example_counts_no_more_once_its_bytes_are_gone(ground: Ground) -> None:
    data = archive(1)
    dataset = datasets.create(ground.container, "anna", "fruit", source=upload(ground, data))
    dataset_import.load(ground.container, dataset.id)
    loaded = used(ground)
    single = datasets.add_example(ground.container, "anna", dataset.id, [1], LARGE)
    datasets.remove_example(ground.container, "anna", dataset.id, single.id)
    assert used(ground) == loaded
    datasets.remove_example(ground.container, "anna", dataset.id, 1)  # the blob of the archive stays
    assert used(ground) == loaded
    datasets.remove_example(ground.container, "anna", dataset.id, 2)
    assert ground.blobs(dataset) == []
    assert used(ground) == 0
    remove(ground, ground.again(dataset))
    assert used(ground) == 0


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_relabelled_example_has_the_bytes_that_it_had_and_they_count_once(ground: Ground, is_sealed: bool) -> None:
    dataset = datasets.create(ground.container, "anna", "fruit", labels=["pear", "plum"])
    first = datasets.add_example(ground.container, "anna", dataset.id, [1], LARGE)
    before = used(ground)
    if is_sealed:
        with ground.container.database.write() as uow:
            uow.datasets.save(replace(ground.again(dataset), sealed=True))
    second = suspects.relabel(ground.container, "anna", dataset.id, first.id, [2])
    assert (second.blob, used(ground)) == (first.blob, before)
    datasets.remove_example(ground.container, "anna", dataset.id, second.id)
    assert used(ground) == (before if is_sealed else 0), "a version that was trained on keeps its picture"
    remove(ground, ground.again(dataset))
    assert used(ground) == 0


@pytest.mark.parametrize("is_removed_first", [True, False])
def test_pictures_with_two_labels_count_as_long_as_the_blob_in_which_they_lie(
    ground: Ground, is_removed_first: bool
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("pear/0.png", picture(0).data)
        for label in ("pear", "plum"):
            packed.writestr(f"{label}/1.png", picture(1).data)
    dataset = datasets.create(ground.container, "anna", "fruit", source=upload(ground, file.getvalue()))
    dataset_import.load(ground.container, dataset.id)
    assert ground.again(dataset).contradicting == 1
    assert used(ground) == sum(ground.container.storage.size(blob) for blob in ground.blobs(dataset))
    if is_removed_first:
        datasets.remove_example(ground.container, "anna", dataset.id, 1)
        assert used(ground) == 0
    remove(ground, ground.again(dataset))
    assert used(ground) == 0


def test_an_archive_of_which_every_picture_has_two_labels_counts_nothing(ground: Ground) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for label in ("pear", "plum"):
            packed.writestr(f"{label}/1.png", picture(1).data)
    dataset = datasets.create(ground.container, "anna", "fruit", source=upload(ground, file.getvalue()))
    dataset_import.load(ground.container, dataset.id)
    assert ground.blobs(dataset) == []
    assert used(ground) == 0


def test_a_correction_counts_as_an_example(ground: Ground) -> None:
    dataset = datasets.create(ground.container, "anna", "fruit", labels=["pear", "plum"])
    job = submit(ground, picture(0))
    for label in ("pear", "plum"):  # the second takes the place of the first
        feedback.correct_job(ground.container, "anna", job.id, 0, [label], dataset.id, LIMITS)
        assert used(ground) == 2 * len(picture(0).data)
    limit(ground, used(ground))
    with pytest.raises(errors.QuotaExceeded):
        feedback.correct_job(ground.container, "anna", job.id, 0, ["pear"], dataset.id, LIMITS)


def test_a_version_counts_its_upload_until_it_is_checked_and_then_its_weights(ground: Ground) -> None:
    imported = ModelImport(upload(ground, LARGE.data), size=len(LARGE.data))
    version = models.add(ground.container, "anna", "imported", imported=imported)
    assert used(ground) == len(LARGE.data)
    begun = model_checks.begin(ground.container, version.id)
    ready = replace(begun, state=ModelState.READY, weights="weights/1.safetensors", size=70)
    model_checks.finish(ground.container, begun, ready, 1.0)
    assert used(ground) == 70
    models.remove(ground.container, "anna", "imported")
    assert used(ground) == 0


def test_a_trained_version_counts_its_weights_until_its_model_is_removed(ground: Ground) -> None:
    training = ground.submit(dataset := ground.dataset(), "trained")
    pictures = used(ground)
    version = ModelVersion(training.id, "anna", "trained", "", "torchvision", "resnet18", ModelState.READY, 0.0, size=5)
    register(ground, training, version)
    assert used(ground) == pictures + 5
    models.remove(ground.container, "anna", "trained")
    remove(ground, dataset)
    assert used(ground) == 0


def test_after_everything_is_deleted_and_maintenance_ran_nothing_is_counted(ground: Ground) -> None:
    kept_bytes.count_anew(ground.container)  # so that the counts are not corrected at the end
    for enter in WAYS_IN.values():
        enter(ground, "anna")
    loaded = datasets.create(ground.container, "anna", "more", source=upload(ground, archive(1, 2, 3)))
    dataset_import.load(ground.container, loaded.id)
    waiting = jobs.list_page(ground.container, "anna", status="", model="", before="", since=None, until=None, limit=50)
    for job in waiting:
        erase(ground, job)
    for image in stored_images.list_page(ground.container, "anna", "live", first="", limit=50)[0]:
        stored_images.delete(ground.container, "anna", "live", image.id)
    for dataset, _ in datasets.list_page(ground.container, "anna", limit=50):
        if dataset.state is DatasetState.LOADING:
            dataset_import.load(ground.container, dataset.id)
        datasets.delete(ground.container, "anna", dataset.id)
    models.remove(ground.container, "anna", "imported")
    assert used(ground) > 0  # maintenance removes the datasets

    maintenance.reconcile(ground.container)
    maintenance.collect_garbage(ground.container)

    assert used(ground) == 0
    assert [key for folder in ("jobs", "images", "datasets") for key, _ in ground.container.storage.tree(folder)] == []


def test_folding_keeps_the_counts_and_leaves_a_row_for_each_tenant(ground: Ground) -> None:
    for number in range(kept_bytes.FOLDED + 1):
        change(ground, "anna", number + 1)
    change(ground, "bert", 7)
    change(ground, "bert", -2)
    before = used(ground)

    kept_bytes.fold(ground.container)

    assert (used(ground), used(ground, "bert")) == (before, 5)
    assert rows(ground) == {"anna": 1, "bert": 2}


def test_what_is_added_while_others_fold_is_counted_once(ground: Ground) -> None:
    stopping = threading.Event()

    def fold() -> None:
        while not stopping.is_set():
            for tenant in ("anna", "bert"):
                with ground.container.database.write() as uow:
                    uow.kept_bytes.fold(tenant, 10)

    def add() -> None:
        for _ in range(60):
            change(ground, "anna", 1)

    with ThreadPoolExecutor(4) as pool:
        folding = [pool.submit(fold) for _ in range(2)]
        adding = [pool.submit(add) for _ in range(2)]
        for each in adding:
            each.result(60)
        stopping.set()
        for each in folding:
            each.result(60)
    assert used(ground) == 120


def test_maintenance_corrects_counts_that_an_older_release_has_made_wrong_once_a_day(ground: Ground) -> None:
    for enter in WAYS_IN.values():
        enter(ground, "anna")
    right = used(ground)
    change(ground, "anna", 5)
    change(ground, "bert", -5)
    assert used(ground, "bert") == 0  # never shown below
    kept_bytes.count_anew(ground.container)
    assert (used(ground), used(ground, "bert")) == (right, 0)
    change(ground, "anna", 5)
    kept_bytes.count_anew(ground.container)
    assert used(ground) == right + 5  # it has counted just before


def test_the_first_count_after_an_upgrade_finds_what_was_kept_before(ground: Ground) -> None:
    submit(ground, picture(0), LARGE)
    submit(ground, picture(1))
    store_image(ground)
    ground.dataset()
    right = used(ground)
    command.downgrade(configuration(ground.container.database.url), "0010")
    upgrade(ground.container.database.url)
    assert used(ground) == 0
    kept_bytes.count_anew(ground.container)
    assert used(ground) == right


def test_a_count_that_fails_is_made_up_for_by_the_next_maintenance(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(ground, picture(0))
    right = used(ground)
    change(ground, "anna", 5)
    with monkeypatch.context() as patch:
        patch.setattr(KeptBytes, "missing", raising(errors.Unavailable("away")))
        with pytest.raises(errors.Unavailable):
            kept_bytes.count_anew(ground.container)
    kept_bytes.count_anew(ground.container)
    assert used(ground) == right


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def test_the_count_of_a_tenant_is_found_in_an_index(database: Database) -> None:
    lines = plan(database, lambda uow: uow.kept_bytes.of("anna"))
    assert any("tenant" in line and line.startswith(("SEARCH", "Index Cond")) for line in lines), lines
    assert not any("SCAN" in line or "Seq Scan" in line for line in lines), lines


def test_without_a_limit_nothing_is_looked_at_when_a_job_is_sent(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeptBytes, "of", lambda *_: pytest.fail("the count was read"))
    submit(ground, LARGE)
    limit(ground, 10**9, "bert")
    submit(ground, LARGE)


def change(ground: Ground, tenant: str, size: int) -> None:
    with ground.container.database.write() as uow:
        uow.kept_bytes.add([(tenant, size)])


def rows(ground: Ground) -> dict[str, Any]:
    with ground.container.database.engine.connect() as connection:
        return dict(connection.execute(sa.text("SELECT tenant, COUNT(*) FROM kept_bytes GROUP BY tenant")).all())


def remove(ground: Ground, dataset: Dataset) -> None:
    datasets.delete(ground.container, dataset.tenant, dataset.id)
    datasets.drop_deleted(ground.container)


def register(ground: Ground, training: Any, version: ModelVersion) -> None:
    training_runs.finish(ground.container, training_runs.begin(ground.container, training), version,
                         dataset_fixtures.EVIDENCE)  # fmt: skip
