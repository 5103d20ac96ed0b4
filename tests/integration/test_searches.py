"""A worker and a trainer in this process, with the real `digits`: similar pictures are found, and none of others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from shared import errors
from shared.adapters.pauses import run
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.datasets import Dataset
from shared.domain.jobs import AnswerOptions, ImageReference, Job, Status, Submission
from shared.domain.models import ModelVersion
from shared.domain.pictures import Limits, Picture
from shared.domain.searches import Collection, Hit, SearchIndex, SearchResult, SearchScope
from shared.domain.stored_images import StoredImage
from shared.imaging import images
from shared.services import (
    dataset_import,
    datasets,
    jobs,
    maintenance,
    models,
    search_index_runs,
    searches,
    stored_images,
)
from shared.settings import Settings
from tests import digit_images
from tests.workers import make_container
from worker import consumer, feature_store
from worker.batch import MOST_SLOW
from worker.process import WorkerProcess
from worker.trainer import Trainer
from worker.training import indexing
from worker.training.features import features

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)
EVERYTHING = SearchScope(10, stage="live")
FEW = {1: 6, 2: 6}


@pytest.fixture
def container(checked: Path, tmp_path: Path) -> Iterator[Container]:
    import shutil

    shutil.copytree(checked, tmp_path / "data")
    queue = Queue(Settings(lease=5.0), fakeredis.FakeRedis(decode_responses=True))
    container = make_container(tmp_path / "data", queue, lease=5.0)
    yield container
    container.waiters.close()
    container.database.close()


@pytest.fixture
def worker(container: Container) -> WorkerProcess:
    """A worker without a heartbeat; tests call its steps."""
    return WorkerProcess(container)


@pytest.fixture
def trainer(container: Container) -> Trainer:
    """A trainer without threads; tests call its steps."""
    return Trainer(container)


def version(container: Container) -> ModelVersion:
    return models.get_ready_version(container, "anna", "digits", "")


def picture(digit: int, number: int) -> Picture:
    return images.check(f"{digit}-{number}.png", digit_images.pictures(digit)[number], LIMITS)


def stored(container: Container, digit: int, number: int, tenant: str = "anna", stage: str = "live") -> StoredImage:
    return stored_images.store(container, tenant, stage, picture(digit, number))


def numbers(container: Container, tenant: str = "anna", name: str = "numbers") -> Dataset:
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(digit_images.archive(digit_images.files(FEW))))
    created = datasets.create(container, tenant, name, source=key)
    dataset_import.load(container, created.id)
    return datasets.get(container, tenant, created.id)


def ended(
    worker: WorkerProcess, asked: Picture | ImageReference, scope: SearchScope = EVERYTHING, tenant: str = "anna"
) -> Job:
    submission = Submission([asked], model="digits", options=AnswerOptions(task="features"))
    job, new = run(searches.submit(worker.container, tenant, submission, scope))
    assert new
    consumer.consume(worker, job.version_id)
    return jobs.get(worker.container, tenant, job.id)


def found(
    worker: WorkerProcess, asked: Picture | ImageReference, scope: SearchScope = EVERYTHING, tenant: str = "anna"
) -> SearchResult:
    job = ended(worker, asked, scope, tenant)
    assert job.status is Status.DONE
    (item,) = jobs.list_items(worker.container, job)
    return SearchResult.from_json(item.result)


def blobs(container: Container, collection: Collection) -> list[str]:
    return feature_store.parts(container.storage, collection.features_prefix(version(container).features_checksum))


def test_a_search_says_how_many_it_compared_and_has_the_others_indexed(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    kept = [stored(container, 3, number) for number in range(4)]
    first = found(worker, picture(3, 9))
    assert (first.hits, first.searched, first.of) == ([], 0, 4)

    trainer._run_errands()

    second = found(worker, picture(3, 9))
    assert (second.searched, second.of) == (4, 4)
    assert {hit.image_id for hit in second.hits} == {image.id for image in kept}
    assert search_index_runs.list_wanted(container) == []

    late = stored(container, 3, 5)
    third = found(worker, picture(3, 9))
    assert (third.searched, third.of) == (4, 5)
    trainer._run_errands()
    assert late.id in {hit.image_id for hit in found(worker, picture(3, 9)).hits}


def test_searches_run_a_few_at_a_time_so_that_others_need_not_wait_for_all(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    record = jobs.record

    def spy(container: Container, outcomes: Any, entries: Any, run: Any) -> Any:
        ran.append(sum(entry.is_search for entry in entries))
        return record(container, outcomes, entries, run)

    monkeypatch.setattr(jobs, "record", spy)
    submissions = [
        Submission([picture(3, number)], model="digits", options=AnswerOptions(task="features"))
        for number in range(2 * MOST_SLOW + 3)
    ]
    asked = [run(searches.submit(container, "anna", submission, EVERYTHING))[0] for submission in submissions]

    consumer.consume(worker, asked[0].version_id)

    assert max(ran) == MOST_SLOW
    assert {jobs.get(container, "anna", job.id).status for job in asked} == {Status.DONE}
    assert not worker._held


def test_versions_that_prepare_pictures_differently_share_no_features(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    stored(container, 3, 0)
    found(worker, picture(3, 9))
    trainer._run_errands()
    assert found(worker, picture(3, 9)).searched == 1

    digits = version(container)
    assert digits.preprocessing is not None
    darker = replace(digits.preprocessing, mean=(0.4,))
    other = replace(
        digits, id="darker", tenant="anna", version="2", preprocessing=darker, is_default=False, example=None
    )
    with container.database.write() as uow:
        uow.model_versions.add(other)
    submission = Submission([picture(3, 9)], model="digits", version="2", options=AnswerOptions(task="features"))
    job, _ = run(searches.submit(container, "anna", submission, EVERYTHING))
    consumer.consume(worker, job.version_id)
    (item,) = jobs.list_items(container, jobs.get(container, "anna", job.id))
    assert (item.result["searched"], item.result["of"]) == (0, 1)


def test_the_neighbours_are_those_of_scikit_learn(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    dataset = numbers(container)
    scope = SearchScope(5, datasets=[dataset.id])
    found(worker, picture(1, 40), scope)
    trainer._run_errands()
    model = worker.engine.load(version(container))
    examples = datasets.list_examples(container, dataset, limit=100)
    rows = model.forward(
        [model.prepare(container.storage.read(e.blob, e.offset, e.size)) for e in examples], "features"
    )
    finder = NearestNeighbors(n_neighbors=5, metric="cosine").fit(rows.numpy())
    for digit in (1, 2):
        asked = picture(digit, 40)
        query = model.forward([model.prepare(asked.data)], "features").numpy()
        distances, positions = finder.kneighbors(query)
        result = found(worker, asked, scope)
        assert [hit.example_id for hit in result.hits] == [examples[at].id for at in positions[0]]
        assert np.allclose([hit.similarity for hit in result.hits], 1 - distances[0], atol=1e-5)
        assert result.hits[0].label == digit_images.WORDS[digit]
        assert result.hits[0].name == examples[positions[0][0]].name


def test_without_a_scope_images_and_all_datasets_are_searched(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    image = stored(container, 7, 0)
    sets = [numbers(container), numbers(container, name="others")]
    found(worker, picture(7, 0))
    trainer._run_errands()
    result = found(worker, picture(7, 0), SearchScope(100, stage="live"))
    assert (result.searched, result.of, len(result.hits)) == (25, 25, 25)
    assert (result.hits[0].image_id, round(result.hits[0].similarity, 5)) == (image.id, 1.0)
    assert {hit.dataset_id for hit in result.hits} == {0, *(dataset.id for dataset in sets)}
    similarities = [hit.similarity for hit in result.hits]
    assert similarities == sorted(similarities, reverse=True)

    both = found(worker, picture(7, 0), SearchScope(100, stage="live", datasets=[sets[0].id]))
    assert {hit.dataset_id for hit in both.hits} == {0, sets[0].id}
    only = found(worker, picture(7, 0), SearchScope(100, stage="live", datasets=[]))
    assert [hit.image_id for hit in only.hits] == [image.id]


def test_a_stored_image_can_be_what_is_searched_for(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    image = stored(container, 7, 0)
    asked = ImageReference(image.id, image.name, image.blob, image.size)
    found(worker, asked)
    trainer._run_errands()
    assert [hit.image_id for hit in found(worker, asked).hits] == [image.id]


def test_another_tenant_and_another_stage_are_not_searched(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    hers, dataset = stored(container, 4, 0), numbers(container)
    stored(container, 4, 1, stage="test")
    for tenant in ("anna", "bert"):
        found(worker, picture(4, 0), tenant=tenant)
    trainer._run_errands()
    result = found(worker, picture(4, 0), tenant="bert")
    assert (result.hits, result.searched, result.of) == ([], 0, 0)
    named = found(worker, picture(4, 0), SearchScope(10, stage="", datasets=[dataset.id]), tenant="bert")
    assert (named.hits, named.searched, named.of) == ([], 0, 0)
    assert hers.id in {hit.image_id for hit in found(worker, picture(4, 0)).hits}


def test_what_is_removed_is_found_no_more_and_its_features_go(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    first, second = stored(container, 4, 0), stored(container, 4, 1)
    found(worker, picture(4, 0))
    trainer._run_errands()
    stored_images.delete(container, "anna", "live", first.id)
    result = found(worker, picture(4, 0))
    assert ([hit.image_id for hit in result.hits], result.searched, result.of) == ([second.id], 1, 1)

    trainer._run_errands()

    images_of = Collection("anna", stage="live")
    kept = feature_store.read_all(container.storage, images_of.features_prefix(version(container).features_checksum))
    assert [key.rstrip(b"\0").decode() for key in kept] == [second.id]
    stored_images.delete(container, "anna", "live", second.id)
    trainer._run_errands()
    assert blobs(container, images_of) == []


def test_an_example_that_was_removed_is_found_no_more(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    dataset = numbers(container)
    scope = SearchScope(12, datasets=[dataset.id])
    found(worker, picture(1, 0), scope)
    trainer._run_errands()
    nearest = found(worker, picture(1, 0), scope).hits[0]
    datasets.remove_example(container, "anna", dataset.id, nearest.example_id)
    result = found(worker, picture(1, 0), scope)
    assert nearest.example_id not in {hit.example_id for hit in result.hits}
    assert (result.searched, result.of) == (11, 11)
    datasets.delete(container, "anna", dataset.id)
    assert found(worker, picture(1, 0), scope).of == 0


def test_training_and_search_share_the_features_of_a_dataset(
    container: Container, worker: WorkerProcess, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = numbers(container)
    model = trainer.engine.load(version(container))
    examples = datasets.list_examples(container, dataset, limit=100)
    rows = features(container.storage, model, examples, lambda done: None)
    assert rows.shape[0] == 12
    monkeypatch.setattr(model, "prepare", None)  # whoever computed features again would fail
    assert found(worker, picture(1, 0), SearchScope(5, datasets=[dataset.id])).searched == 12
    assert features(container.storage, model, examples, lambda done: None).equal(rows)


def test_a_picture_that_cannot_be_read_is_left_out_and_not_tried_at_every_search(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    broken = images.check("broken.png", digit_images.pictures(1)[0][:-30], LIMITS)
    stored_images.store(container, "anna", "live", broken)
    whole = stored(container, 1, 1)
    found(worker, picture(1, 1))
    trainer._run_errands()
    result = found(worker, picture(1, 1))
    assert ([hit.image_id for hit in result.hits], result.searched, result.of) == ([whole.id], 1, 2)
    assert search_index_runs.list_wanted(container) == []
    stored(container, 1, 2)
    found(worker, picture(1, 1))
    assert len(search_index_runs.list_wanted(container)) == 1


def test_a_long_index_is_computed_in_turns(
    container: Container, worker: WorkerProcess, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "TURN", 0.0)
    trainer.engine.load(version(container)).max_batch = 2
    for number in range(5):
        stored(container, 1, number)
    found(worker, picture(1, 9))
    turns = []
    while trainer._index():
        turns.append(len(blobs(container, Collection("anna", stage="live"))))
    assert turns == [1, 2, 1]  # the last one merges them
    assert found(worker, picture(1, 9)).searched == 5


def test_an_index_on_which_trainers_crash_is_given_up(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    stored(container, 1, 0)
    found(worker, picture(1, 0))
    (wanted,) = search_index_runs.list_wanted(container)
    for _ in range(container.settings.max_attempts):
        search_index_runs.begin(container, wanted)
    with pytest.raises(search_index_runs.IndexEnded):
        search_index_runs.begin(container, wanted)
    assert search_index_runs.list_wanted(container) == []
    assert found(worker, picture(1, 0)).searched == 0
    assert search_index_runs.list_wanted(container) == []  # for a while


def test_an_outage_counts_no_attempt(
    container: Container, worker: WorkerProcess, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(container, 1, 0)
    found(worker, picture(1, 0))
    with monkeypatch.context() as patch:
        patch.setattr(feature_store, "known", lambda *_: (_ for _ in ()).throw(errors.Unavailable("It is away.")))
        for _ in range(container.settings.max_attempts + 1):
            with pytest.raises(errors.Unavailable):
                trainer._index()
    trainer._run_errands()
    assert found(worker, picture(1, 0)).searched == 1


def test_trainers_are_notified_of_an_index_again(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(container, 1, 0)
    found(worker, picture(1, 0))
    sent: list[str] = []
    monkeypatch.setattr(container.queue.notifications, "send_task", lambda task, *_: sent.append(task))
    container.queue.workers.heartbeat("trainer", {}, 60, role="trainers")
    maintenance.retrain(container)
    assert sent == ["load"]


def test_the_index_of_a_version_that_was_removed_goes(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    stored(container, 1, 0)
    found(worker, picture(1, 0))
    trainer._run_errands()
    images_of = Collection("anna", stage="live")
    kept = blobs(container, images_of)
    assert len(kept) == 1
    maintenance.collect_garbage(container)
    assert blobs(container, images_of) == kept
    gone = SearchIndex("anna", "live", 0, "gone", version(container).features_checksum)
    with container.database.write() as uow:
        uow.search_indexes.save(gone)
    maintenance.collect_garbage(container)
    assert blobs(container, images_of) == []
    with container.database.read() as uow:
        assert uow.search_indexes.find(images_of, "gone") is None


def test_a_search_takes_one_picture(container: Container) -> None:
    submission = Submission([picture(1, 0), picture(1, 1)], model="digits")
    with pytest.raises(errors.TooManyFiles):
        run(searches.submit(container, "anna", submission, EVERYTHING))
    assert jobs.list_page(container, "anna", status="", model="", before="", since=None, until=None, limit=9) == []


def test_a_search_that_queue_and_worker_lost_is_still_a_search(container: Container, worker: WorkerProcess) -> None:
    stored(container, 1, 0)
    submission = Submission([picture(1, 0)], model="digits")
    job, _ = run(searches.submit(container, "anna", submission, EVERYTHING))
    container.queue.streams.claim(job.version_id, "another", 10)
    with container.database.read() as uow:
        again = uow.jobs.get("anna", job.id)
        items = uow.jobs.items(job.id)
    jobs.push(container, [jobs.Registration(again, items)])
    consumer.consume(worker, job.version_id)
    (item,) = jobs.list_items(container, jobs.get(container, "anna", job.id))
    assert SearchResult.from_json(item.result).of == 1


def test_the_same_key_with_another_scope_is_another_request(container: Container) -> None:
    def submit(limit: int) -> tuple[Job, bool]:
        submission = Submission([picture(1, 0)], model="digits", idempotency_key="once")
        return run(searches.submit(container, "anna", submission, SearchScope(limit, stage="live")))

    job, _ = submit(5)
    assert submit(5)[0].id == job.id
    with pytest.raises(errors.Conflict):
        submit(6)


def test_a_fault_of_a_search_fails_it_with_a_reason_and_no_other_picture(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(container, 1, 0)
    plain, _ = run(jobs.submit(container, "anna", Submission([picture(1, 0)], model="digits")))
    monkeypatch.setattr(searches, "describe", None)
    job = ended(worker, picture(1, 0))
    assert job.status is Status.FAILED
    (item,) = jobs.list_items(container, job)
    assert (item.error_code, "TypeError" in item.error) == ("search_failed", True)
    assert jobs.get(container, "anna", plain.id).status is Status.DONE


def test_collections_above_the_limit_of_memory_are_searched_whole(
    container: Container, worker: WorkerProcess, trainer: Trainer
) -> None:
    stored(container, 1, 0)
    dataset = numbers(container)
    found(worker, picture(1, 0))
    trainer._run_errands()
    small = WorkerProcess(container)
    small.search._cache._most = 1
    result = found(small, picture(1, 0))
    assert (result.searched, result.of) == (13, 13)
    assert len(small.search._cache._kept) == 1
    assert dataset.id in {hit.dataset_id for hit in result.hits}


def test_a_result_reads_as_it_was_written() -> None:
    result = SearchResult([Hit(0.5, "a.png", dataset_id=7, example_id=1, label="duck")], 3, 4)
    assert SearchResult.from_json(result.to_json()) == result
    scope = SearchScope(3, "live", [1, 2])
    assert SearchScope.from_json(scope.to_json()) == scope
