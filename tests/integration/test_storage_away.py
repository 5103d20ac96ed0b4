"""A storage that is away for a while: nothing that it keeps is taken for removed, and nothing is written elsewhere."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from shared import errors
from shared.adapters.pauses import run
from shared.adapters.queue.queue import Queue
from shared.adapters.storage import MARKER
from shared.container import Container, own_storage
from shared.domain.jobs import ImageReference, Item, Job, Status, Submission
from shared.domain.models import ALL_TENANTS, ModelImport, ModelState, ModelVersion, pick
from shared.domain.pictures import Limits, Picture
from shared.imaging import images
from shared.services import absences, dataset_import, datasets, diagnosis, jobs, maintenance, models, stored_images
from tests import apps
from tests.stacks import digits, until
from tests.workers import checked_container, registered
from worker import consumer, model_check
from worker.process import WorkerProcess

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)


@pytest.fixture
def container(checked: Path, tmp_path: Path, queue: Queue) -> Iterator[Container]:
    with checked_container(checked, tmp_path, queue) as container:
        container.storage.ping()
        yield container


@pytest.fixture
def worker(container: Container) -> Iterator[WorkerProcess]:
    """A registered worker that has loaded the digits."""
    with registered(container) as worker:
        worker.engine.load(named(container))
        yield worker


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """The folder of the storage."""
    return tmp_path / "data" / "blobs"


def named(container: Container) -> ModelVersion:
    with container.database.read() as uow:
        return pick(uow.model_versions.named(ALL_TENANTS, "digits"), "digits")


def pictures(*numbers: int) -> list[Picture | ImageReference]:
    return [images.check(*digits()[number], LIMITS) for number in numbers]


def submit(container: Container, *numbers: int) -> Job:
    job, _ = run(jobs.submit(container, "anna", Submission(pictures(*numbers), model="digits")))
    return job


def items(container: Container, job: Job) -> list[Item]:
    with container.database.read() as uow:
        return uow.jobs.items(job.id)


def labels(container: Container, job: Job) -> list[str]:
    """Return the best label of each picture, else its error code."""
    return [item.result[0][0] if item.result else item.error_code for item in items(container, job)]


def renamed(folder: Path) -> Callable[[], None]:
    """Rename a folder, and return a function that brings it back."""
    elsewhere = folder.with_name(f"{folder.name}.away")
    folder.rename(elsewhere)

    def back() -> None:
        elsewhere.rename(folder)

    return back


def unmounted(folder: Path) -> Callable[[], None]:
    """Leave an empty folder, as the place of a file system is when it is not mounted; return what mounts it."""
    back = renamed(folder)
    folder.mkdir()

    def mount() -> None:
        folder.rmdir()  # fails if something was written there meanwhile
        back()

    return mount


WAYS = pytest.mark.parametrize("leave", [renamed, unmounted])


@contextmanager
def in_a_thread(step: Callable[[], None]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=step)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


def heartbeats(container: Container) -> list[str]:
    """Return what the workers say that they wait for."""
    return [worker["waits_for"] for worker in container.queue.workers.list()]


# workers


@WAYS
def test_pictures_wait_for_a_storage_that_leaves_under_a_worker_and_all_are_answered_when_it_is_back(
    container: Container, worker: WorkerProcess, blobs: Path, leave: Callable[[Path], Callable[[], None]]
) -> None:
    submitted = [submit(container, number, number + 1, number + 2) for number in range(5)]
    back = leave(blobs)
    with in_a_thread(lambda: consumer.consume(worker, submitted[0].version_id)):
        until(lambda: any("does not answer" in reason for reason in heartbeats(container)), 10)
        lease = container.settings.lease
        threading.Event().wait(3 * lease)  # longer than the leases last that are not renewed
        assert not container.queue.streams.has_expired(submitted[0].version_id)
        back()
    consumer.consume(worker, submitted[0].version_id)
    for number, job in enumerate(submitted):
        assert jobs.get(container, "anna", job.id).status is Status.DONE
        assert labels(container, job) == [str(number), str(number + 1), str(number + 2)]
    assert worker.waits_for == ""


def test_a_worker_that_stops_during_an_outage_gives_its_pictures_back_without_an_attempt(
    container: Container, worker: WorkerProcess, blobs: Path
) -> None:
    job = submit(container, 1, 2)
    back = renamed(blobs)

    def consume() -> None:
        with pytest.raises(errors.Unavailable):
            consumer.consume(worker, job.version_id)

    with in_a_thread(consume):
        until(lambda: worker.waits_for != "", 10)
        worker.stop()
    back()
    streams = container.queue.streams
    again = [streams.claim_expired(job.version_id, "another"), streams.claim_expired(job.version_id, "another")]
    assert [entry.attempts if entry else 0 for entry in again] == [1, 1]


def test_pictures_that_a_part_of_the_storage_lacks_are_set_aside_and_hold_up_no_others(
    container: Container, worker: WorkerProcess, blobs: Path
) -> None:
    absent = submit(container, 1, 2)
    back = renamed(blobs / "jobs")
    small = submit(container, 3)  # kept with its item
    for _ in range(container.settings.max_attempts + 2):
        consumer.consume(worker, absent.version_id)
        until(lambda: container.queue.streams.has_expired(absent.version_id), 10)
        worker.expired_checked_at.clear()
    assert labels(container, small) == ["3"]
    assert labels(container, absent) == ["", ""]
    worker.expired_checked_at.clear()
    consumer.consume(worker, absent.version_id)
    assert set(container.absences.current(container.now())) == {absent.blob}
    worker._heartbeat()
    (check,) = [check for check in diagnosis.examine(container, "anna", of_all=False) if check.part == "storage"]
    assert "1 blob that nobody removed, since 20" in check.found

    back()
    until(lambda: container.queue.streams.has_expired(absent.version_id), 10)
    worker.expired_checked_at.clear()
    consumer.consume(worker, absent.version_id)
    until(lambda: container.queue.streams.has_expired(absent.version_id) or "" not in labels(container, absent), 10)
    worker.expired_checked_at.clear()
    consumer.consume(worker, absent.version_id)
    assert labels(container, absent) == ["1", "2"]
    assert absences.report(container) == (0, 0.0)


def test_a_picture_that_is_absent_after_a_day_is_lost_unless_it_was_there_some_minutes_before(
    container: Container, worker: WorkerProcess, blobs: Path
) -> None:
    job = submit(container, 1, 2)
    (blobs / job.blob).unlink()
    first = container.now() + absences.LOST_AFTER + 60
    for seconds in (0.0, absences.WAITED - 10):
        _consume_again(worker, job, first + seconds)
        assert labels(container, job) == ["", ""]
    _consume_again(worker, job, first + absences.WAITED + 10)
    assert labels(container, job) == ["gone", "gone"]
    assert f"has lost the picture, since {absences.in_words(first)} or before" in items(container, job)[0].error


def _consume_again(worker: WorkerProcess, job: Job, now: float) -> None:
    """Run the two pictures of a job at that time; wait until the leases are over of those that were set aside."""
    worker.container = replace(worker.container, now=lambda: now)
    streams = worker.container.queue.streams
    for _ in range(2):
        until(lambda: streams.has_expired(job.version_id) or bool(streams.backlog(job.version_id)), 10)
        worker.expired_checked_at.clear()
        consumer.consume(worker, job.version_id)
        if "" not in labels(worker.container, job):
            return


@pytest.mark.parametrize("part", ["", "weights"])
def test_pictures_wait_for_weights_that_are_away(container: Container, blobs: Path, part: str) -> None:
    job = submit(container, 1, 2)
    with registered(container) as worker:
        back = renamed(blobs / part)
        with pytest.raises(errors.Unavailable):
            consumer.consume(worker, job.version_id)
        until(lambda: any("storage" in reason.lower() for reason in heartbeats(container)), 10)
        back()
        consumer.consume(worker, job.version_id)
    assert labels(container, job) == ["1", "2"]


def test_the_pictures_of_a_removed_version_do_not_wait_for_its_weights(container: Container, blobs: Path) -> None:
    with registered(container) as worker:
        version = worker.find_ready(named(container).id)
        assert version is not None
        job = submit(container, 1, 2)
        (blobs / version.weights).unlink()
        with container.database.write() as uow:
            uow.model_versions.delete([version.id])
        consumer.consume(worker, version.id)
    assert labels(container, job) == ["model_unavailable"] * 2


@pytest.mark.parametrize("fault", [errors.Unavailable("It is away."), errors.StorageFull(), OSError(28, "No space")])
def test_a_check_is_put_off_by_a_storage_that_is_away_or_a_disk_that_is_full(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(model_check, "PAUSE", 0.0)
    weights = container.storage.read(named(container).weights)
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(weights))
    version = models.add(
        container, "anna", "mine", architecture="digits", imported=ModelImport(key, tuple("0123456789"))
    )

    def fail(*_: object) -> None:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(container.storage, "fetch_to", fail)
        for _ in range(container.settings.max_attempts + 1):
            model_check.check(worker, version.id)
    waiting = models.find_version_by_id(container, version.id)
    assert waiting is not None
    assert (waiting.state, waiting.attempts) == (ModelState.CHECKING, 0)
    assert waiting.reason.endswith("It is checked when that is over.")

    model_check.check(worker, version.id)
    checked = models.find_version_by_id(container, version.id)
    assert checked is not None
    assert checked.state is ModelState.READY


def test_an_imported_model_waits_for_its_file_and_is_refused_if_that_stays_missing(
    container: Container, worker: WorkerProcess, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_check, "PAUSE", 0.0)
    weights = container.storage.read(named(container).weights)
    keys = [dataset_import.keep_upload(container, "anna", io.BytesIO(weights)) for _ in range(2)]
    away, lost = (
        models.add(container, "anna", name, architecture="digits", imported=ModelImport(key, tuple("0123456789")))
        for name, key in zip(("away", "lost"), keys, strict=True)
    )
    began = container.now()
    for key, version in zip(keys, (away, lost), strict=True):
        (blobs / key).unlink()
        for _ in range(container.settings.max_attempts + 1):
            model_check.check(worker, version.id)
        waiting = models.find_version_by_id(container, version.id)
        assert waiting is not None
        assert (waiting.state, waiting.attempts) == (ModelState.CHECKING, 0)
    container.storage.write(keys[0], weights)
    model_check.check(worker, away.id)
    ready = models.find_version_by_id(container, away.id)
    assert ready is not None
    assert ready.state is ModelState.READY
    for minute in range(12):
        worker.container = replace(container, now=lambda minute=minute: began + 60 * minute)  # type: ignore[misc]
        model_check.check(worker, lost.id)
    refused = models.find_version_by_id(container, lost.id)
    assert refused is not None
    assert refused.state is ModelState.REFUSED
    assert refused.reason.startswith(
        f"its file has been missing from the storage since {absences.in_words(began)[:14]}"
    )
    assert refused.reason.endswith("import it again")


def test_the_file_of_a_model_is_waited_for_however_long_that_of_another_tenant_is_missing(
    container: Container, worker: WorkerProcess, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_check, "PAUSE", 0.0)
    began = container.now()
    for tenant, seconds in (("anna", 0.0), ("bert", absences.WAITED)):
        key = dataset_import.keep_upload(container, tenant, io.BytesIO(b"weights"))
        version = models.add(
            container, tenant, "flowers", architecture="digits", imported=ModelImport(key, tuple("0123456789"))
        )
        (blobs / key).unlink()
        worker.container = replace(container, now=lambda seconds=seconds: began + seconds)  # type: ignore[misc]
        model_check.check(worker, version.id)
        waiting = models.find_version_by_id(container, version.id)
        assert waiting is not None
        assert waiting.state is ModelState.CHECKING
        assert "The storage lacks the file of flowers version 1, which nobody removed" in waiting.reason


# callers


@pytest.fixture
def client(container: Container) -> FlaskClient:
    return apps.over(container).test_client()


@WAYS
def test_answers_say_that_the_storage_does_not_answer_instead_of_that_something_is_gone(
    container: Container, client: FlaskClient, blobs: Path, leave: Callable[[Path], Callable[[], None]]
) -> None:
    picture = pictures(1)[0]
    assert isinstance(picture, Picture)
    image = stored_images.store(container, "default", "live", picture)
    dataset = datasets.create(container, "default", "numbers", labels=["one"])
    example = datasets.add_example(container, "default", dataset.id, [1], picture)
    paths = [
        f"/v1/images/{image.id}/download",
        f"/v1/datasets/{dataset.id}/examples/{example.id}/picture",
        "/v1/models/digits/versions/1/export",
    ]
    container.queue.workers.heartbeat("worker", {"pictures": 0}, 60)
    assert client.get("/readyz").json["storage"] == "ok"
    back = leave(blobs)
    for path in paths:
        answer = client.get(path)
        assert (answer.status_code, "does not answer" in answer.text) == (503, True), path
        assert answer.headers["Retry-After"]
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert MARKER in ready.json["storage"]
    back()
    assert [client.get(path).status_code for path in paths] == [200, 200, 200]


@WAYS
def test_new_pictures_are_refused_and_written_nowhere_while_the_storage_is_away(
    container: Container, client: FlaskClient, blobs: Path, leave: Callable[[Path], Callable[[], None]]
) -> None:
    back = leave(blobs)
    settings = container.settings.changed(storage_url=f"file://{blobs}")
    restarted = replace(container, storage=own_storage(settings, container.database))
    for process in (restarted, container):
        files = [(io.BytesIO(data), name) for name, data in digits()[:3]]
        refused = apps.over(process).test_client().post("/v1/jobs", data={"files": files, "model": "digits"})
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
    assert not blobs.exists() or not list(blobs.iterdir())
    assert not list(
        jobs.list_page(container, "default", status="", model="", before="", since=None, until=None, limit=9)
    )
    back()


def without_marker(container: Container, blobs: Path) -> None:
    """Make the installation one of a release that knew of no marker."""
    (blobs / MARKER).unlink()
    with container.database.write() as uow:
        uow.key_values.set("storage", "")


def started(container: Container, blobs: Path) -> Container:
    """Return the container of a process that starts now."""
    settings = container.settings.changed(storage_url=f"file://{blobs}")
    return replace(container, storage=own_storage(settings, container.database))


@WAYS
@pytest.mark.parametrize("holding", ["a job", "a stored image", "an example", "a version"])
def test_a_storage_that_is_away_at_the_first_start_after_an_upgrade_is_not_taken_for_a_new_one(
    container: Container, blobs: Path, holding: str, leave: Callable[[Path], Callable[[], None]]
) -> None:
    picture = pictures(1)[0]
    assert isinstance(picture, Picture)
    with container.database.write() as uow:
        version = pick(uow.model_versions.named(ALL_TENANTS, "digits"), "digits")
        uow.model_versions.save(replace(version, weights="weights/1" if holding == "a version" else ""))
        assert uow.blobs.any() is (holding == "a version")
    if holding == "a job":
        submit(container, 1, 2, 3)
    elif holding == "a stored image":
        stored_images.store(container, "anna", "live", picture)
    elif holding == "an example":
        dataset = datasets.create(container, "anna", "numbers", labels=["one"])
        datasets.add_example(container, "anna", dataset.id, [1], picture)
    without_marker(container, blobs)
    (blobs / "weights").mkdir(exist_ok=True)
    back = leave(blobs)
    for _ in range(2):
        with pytest.raises(errors.Unavailable, match=f"mount it; or.* make the file {MARKER}"):
            started(container, blobs).storage.ping()
    assert not blobs.exists() or not list(blobs.iterdir())
    back()
    started(container, blobs).storage.ping()
    assert (blobs / MARKER).exists()


def test_an_installation_whose_blobs_are_lost_goes_on_once_its_owner_has_made_the_marker(
    container: Container, blobs: Path
) -> None:
    submit(container, 1, 2, 3)
    without_marker(container, blobs)
    renamed(blobs)
    blobs.mkdir()
    (blobs / MARKER).touch()
    started(container, blobs).storage.ping()


def test_what_is_deleted_while_the_storage_is_away_keeps_its_row_until_its_blob_is_removed(
    container: Container, blobs: Path
) -> None:
    picture = pictures(1)[0]
    assert isinstance(picture, Picture)
    image = stored_images.store(container, "anna", "live", picture)
    dataset = datasets.create(container, "anna", "numbers", labels=["one"])
    datasets.add_example(container, "anna", dataset.id, [1], picture)
    datasets.delete(container, "anna", dataset.id)
    back = renamed(blobs)
    with pytest.raises(errors.Unavailable):
        stored_images.delete(container, "anna", "live", image.id)
    with pytest.raises(errors.Unavailable):
        datasets.drop_deleted(container)
    maintenance.collect_garbage(container)  # what needs the storage waits for the next time
    back()
    stored_images.delete(container, "anna", "live", image.id)
    datasets.drop_deleted(container)
    assert container.storage.list(f"datasets/{dataset.id}") == []
    assert not (blobs / image.blob).exists()
