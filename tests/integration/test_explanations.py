"""Explained answers, with a worker in this process: the heat map is stored before the answer, and goes with its job."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from shared import errors
from shared.adapters.pauses import run
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.explanations import MOST_PICTURES
from shared.domain.jobs import AnswerOptions, Item, Job, Status, Submission
from shared.domain.models import ALL_TENANTS, ModelVersion, ProblemType, pick
from shared.domain.pictures import Limits, Picture
from shared.imaging import images
from shared.services import explanations, job_retries, jobs, kept_bytes, maintenance
from tests.stacks import digits
from tests.workers import checked_container, registered
from worker import consumer, grad_cam, preprocess, weights
from worker.batch import MOST_SLOW
from worker.process import WorkerProcess

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)


@pytest.fixture
def container(checked: Path, tmp_path: Path, valkey_queue: Queue) -> Iterator[Container]:
    with checked_container(checked, tmp_path, valkey_queue) as container:
        yield container


@pytest.fixture
def worker(container: Container) -> Iterator[WorkerProcess]:
    with registered(container) as worker:
        yield worker


def version(container: Container) -> ModelVersion:
    with container.database.read() as uow:
        return pick(uow.model_versions.named(ALL_TENANTS, "digits"), "digits")


def picture(number: int) -> Picture:
    return images.check(*digits()[number], LIMITS)


def drawn(image: Image.Image, name: str = "drawn.png", **options: Any) -> Picture:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return images.check(name, file.getvalue(), LIMITS)


def submit(container: Container, *pictures: Picture, explain: str | None = "", **about: Any) -> Job:
    return run(jobs.submit(container, "anna", Submission(pictures, model="digits", explain=explain, **about)))[0]


def items(container: Container, job: Job) -> list[Item]:
    with container.database.read() as uow:
        return uow.jobs.items(job.id)


def blobs(container: Container) -> list[str]:
    folders = container.storage.list(explanations.FOLDER)
    return [key for folder in folders for key in container.storage.list(folder)]


def heat_map(container: Container, job: Job, position: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(explanations.read(container, "anna", job.id, position)))


def test_each_explained_picture_has_its_answer_and_a_heat_map_of_its_own_size(
    container: Container, worker: WorkerProcess
) -> None:
    small, wide = digits()[3][1], Image.open(io.BytesIO(digits()[4][1])).resize((200, 100))
    job = submit(container, images.check("3.png", small, LIMITS), drawn(wide))
    consumer.consume(worker, job.version_id)

    assert [(item.status, item.error) for item in items(container, job)] == [(Status.DONE, "")] * 2
    assert items(container, job)[0].result[0][0] == "3"
    for position, size in enumerate([Image.open(io.BytesIO(small)).size, (200, 100)]):
        found = heat_map(container, job, position)
        assert (found.format, found.size) == ("PNG", size)
    sent = sum(item.size for item in items(container, job))
    assert kept_bytes.used(container, "anna") == sent + sum(container.storage.size(key) for key in blobs(container))


def test_an_explained_answer_is_the_answer_that_the_same_picture_has_without(
    container: Container, worker: WorkerProcess
) -> None:
    plain, asked = (submit(container, picture(5), explain=explain) for explain in (None, ""))
    consumer.consume(worker, plain.version_id)
    assert items(container, asked)[0].result == items(container, plain)[0].result
    assert len(blobs(container)) == 1


def test_the_heat_map_is_that_of_the_upright_picture(container: Container, worker: WorkerProcess) -> None:
    lying = Image.open(io.BytesIO(digits()[7][1])).resize((60, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    job = submit(container, drawn(lying, exif=exif))
    as_stored = submit(container, drawn(lying, exif=exif), options=AnswerOptions(exif=False))
    consumer.consume(worker, job.version_id)
    assert heat_map(container, job).size == (30, 60)
    assert heat_map(container, as_stored).size == (60, 30)


def test_the_label_to_explain_can_be_chosen(container: Container, worker: WorkerProcess) -> None:
    best, other = submit(container, picture(8)), submit(container, picture(8), explain="3")
    consumer.consume(worker, best.version_id)
    assert heat_map(container, best).tobytes() != heat_map(container, other).tobytes()


def test_explained_pictures_run_a_few_at_a_time_and_after_the_others(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[bool]] = []
    record = jobs.record

    def spy(container: Container, outcomes: Any, entries: Any, run: Any) -> Any:
        ran.append([entry.explain is not None for entry in entries])
        return record(container, outcomes, entries, run)

    monkeypatch.setattr(jobs, "record", spy)
    explained = submit(container, *(picture(number % 10) for number in range(2 * MOST_SLOW + 3)))
    others = run(jobs.submit(container, "ben", Submission([picture(n) for n in range(8)], model="digits")))[0]

    consumer.consume(worker, explained.version_id)

    assert {len(set(batch)) for batch in ran} == {1}  # no batch has both
    assert max(len(batch) for batch in ran if batch[0]) <= MOST_SLOW
    assert ran[0][0] is False
    assert jobs.get(container, "ben", others.id).status is Status.DONE
    assert [item.result[0][0] for item in items(container, explained)] == list("01234567890")
    assert len(blobs(container)) == explained.total
    assert not worker._held


def test_explained_pictures_do_not_count_in_the_rate_of_the_model(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, picture(1))
    consumer.consume(worker, job.version_id)
    assert worker.rates == {}
    consumer.consume(worker, submit(container, picture(1), explain=None).version_id)
    assert worker.rates.keys() == {job.version_id}


def test_a_broken_picture_among_explained_ones_fails_alone(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, picture(2), images.check("broken.png", digits()[0][1][:-30], LIMITS), picture(4))
    consumer.consume(worker, job.version_id)
    assert [item.status for item in items(container, job)] == [Status.DONE, Status.FAILED, Status.DONE]
    assert len(blobs(container)) == 2
    with pytest.raises(errors.NotFound, match=r"Picture 1 of job .* is FAILED and has no explanation"):
        heat_map(container, job, 1)


def test_a_network_that_cannot_be_explained_answers_with_the_reason(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise grad_cam.CannotExplain("It has no map.")

    monkeypatch.setattr(grad_cam, "find_map", refuse)
    job = submit(container, picture(6))
    consumer.consume(worker, job.version_id)
    (item,) = items(container, job)
    assert (item.status, item.result[0][0]) == (Status.DONE, "6")
    assert item.error == "The answers of digits cannot be explained. It has no map."
    with pytest.raises(errors.NotFound, match="It has no map"):
        heat_map(container, job)


def test_an_explanation_that_fails_does_not_take_the_answer_with_it(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grad_cam, "heat", lambda *_: 1 / 0)
    job = submit(container, picture(6), picture(7))
    consumer.consume(worker, job.version_id)
    assert [(item.result[0][0], item.error) for item in items(container, job)] == [
        ("6", "The explanation failed: ZeroDivisionError."), ("7", "The explanation failed: ZeroDivisionError."),
    ]  # fmt: skip


def test_an_answer_without_labels_has_none_to_explain_unless_one_is_named(
    container: Container, worker: WorkerProcess
) -> None:
    strict = replace(version(container), problem_type=ProblemType.MULTI_LABEL, thresholds=(1.0,))
    with container.database.write() as uow:
        uow.model_versions.save(strict)
    job, named = submit(container, picture(6)), submit(container, picture(6), explain="6")
    consumer.consume(worker, job.version_id)
    assert items(container, job)[0].result == items(container, named)[0].result == []
    assert "No label reaches its threshold" in items(container, job)[0].error
    assert heat_map(container, named).format == "PNG"


def test_a_storage_that_is_away_delays_an_explained_answer_and_loses_nothing(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = container.storage.write, iter([errors.Unavailable("away"), errors.StorageFull()])

    def failing(key: str, data: bytes) -> None:
        for error in failures:
            raise error
        write(key, data)

    monkeypatch.setattr(container.storage, "write", failing)
    monkeypatch.setattr(worker.stopping, "wait", lambda seconds: False)
    job = submit(container, picture(0))
    consumer.consume(worker, job.version_id)
    assert items(container, job)[0].error == ""
    assert heat_map(container, job).format == "PNG"


def test_one_plain_network_at_most_is_kept_and_used_again(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    restore = weights.restore
    model = worker.engine.load(version(container))

    def counted(*given: Any) -> torch.nn.Module:
        built.append(given[1])
        return restore(*given)

    monkeypatch.setattr(weights, "restore", counted)
    another = copy.copy(model)
    another.version = replace(model.version, id="another")
    crops = [model.prepare(digits()[1][1])]
    for asked in (model, model, another, another, model):
        worker.explainer.heat(asked, crops, ["1"])
    assert len(built) == 3


def test_the_plain_network_explains_what_the_fast_one_answers(container: Container, worker: WorkerProcess) -> None:
    model = worker.engine.load(version(container))
    crops = [model.prepare(data) for _, data in digits()]
    worker.explainer.heat(model, crops[:1], ["0"])
    kept = worker.explainer._kept
    assert kept
    plain = kept.network(preprocess.normalise(preprocess.stack(crops), model.preprocessing))
    assert torch.allclose(plain, model.forward(crops), atol=1e-3)


# what becomes of them


def test_heat_maps_are_erased_with_their_job(container: Container, worker: WorkerProcess) -> None:
    job, kept = submit(container, picture(1), picture(2)), submit(container, picture(3))
    consumer.consume(worker, job.version_id)
    assert len(blobs(container)) == 3
    jobs.erase(container, "anna", job.id)
    assert [key.rsplit("/", 1)[1] for key in blobs(container)] == [f"{kept.id}-0"]


def test_heat_maps_go_with_a_job_that_was_kept_long_enough(container: Container, worker: WorkerProcess) -> None:
    plain, job = submit(container, picture(1), explain=None), submit(container, picture(1), picture(2))
    consumer.consume(worker, job.version_id)
    later = replace(container, now=lambda: time.time() + container.settings.keep_jobs + 10)
    maintenance.drop_old_jobs(later)
    assert blobs(container) == []
    with container.database.read() as uow:
        assert uow.jobs.known([plain.id, job.id]) == set()


def test_heat_maps_of_a_job_that_was_erased_meanwhile_are_removed_an_hour_later(
    container: Container, worker: WorkerProcess
) -> None:
    job, kept = submit(container, picture(1)), submit(container, picture(2))
    consumer.consume(worker, job.version_id)
    with container.database.write() as uow:
        uow.jobs.delete([job.id])
    maintenance.drop_orphans(container)
    assert len(blobs(container)) == 2
    maintenance.drop_orphans(replace(container, now=lambda: time.time() + 3700))
    assert [key.rsplit("/", 1)[1] for key in blobs(container)] == [f"{kept.id}-0"]


def test_a_retried_picture_gets_its_explanation_too(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = worker.engine.load(version(container))
    forward, broken = model.forward, [True]

    def fail_first(inputs: Any, task: str = "classify") -> torch.Tensor:
        if broken and len(inputs) == 1 and broken.pop():
            raise RuntimeError
        return forward(inputs, task)

    monkeypatch.setattr(model, "forward", fail_first)
    job = submit(container, picture(1))
    consumer.consume(worker, job.version_id)
    assert jobs.get(container, "anna", job.id).status is Status.FAILED
    job_retries.retry(container, "anna", job.id)
    consumer.consume(worker, job.version_id)
    assert heat_map(container, job).format == "PNG"


def test_what_the_queue_lost_is_explained_when_it_is_pushed_again(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "push", lambda *_: None)
        job = submit(container, picture(1))
    monkeypatch.setattr(maintenance, "SETTLED", -1.0)
    assert maintenance.push_again(container, job.version_id) == 1
    consumer.consume(worker, job.version_id)
    assert heat_map(container, job).format == "PNG"


# refusals


def test_another_tenant_finds_no_heat_map(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, picture(1))
    consumer.consume(worker, job.version_id)
    with pytest.raises(errors.NotFound, match=f"There is no job {job.id}"):
        explanations.read(container, "ben", job.id, 0)


@pytest.mark.parametrize("position", [2, 10**9, 10**30])
def test_a_picture_that_the_job_lacks_is_named(container: Container, position: int) -> None:
    job = submit(container, picture(1), picture(2))
    with pytest.raises(errors.NotFound, match=f"has no picture {position}; it has 2"):
        explanations.read(container, "anna", job.id, position)


def test_a_heat_map_that_is_not_there_is_answered_with_the_reason(container: Container) -> None:
    waiting, plain = submit(container, picture(1)), submit(container, picture(1), explain=None)
    with pytest.raises(errors.NotFound, match="is QUEUED and has no explanation"):
        explanations.read(container, "anna", waiting.id, 0)
    with pytest.raises(errors.NotFound, match="send explain=true"):
        explanations.read(container, "anna", plain.id, 0)


def test_more_pictures_than_a_job_with_explanations_may_have_are_refused(container: Container) -> None:
    before = container.storage.list(container.storage.dated("jobs", "", time.time()).rstrip("/"))
    with pytest.raises(errors.TooManyFiles, match="explain has at most 100 pictures"):
        submit(container, *[picture(1)] * (MOST_PICTURES + 1))
    assert container.storage.list(container.storage.dated("jobs", "", time.time()).rstrip("/")) == before
    assert submit(container, *[picture(1)] * MOST_PICTURES).total == MOST_PICTURES


def test_features_and_unknown_labels_are_not_explained(container: Container) -> None:
    with pytest.raises(errors.BadOption, match="features have none"):
        submit(container, picture(1), options=AnswerOptions(task="features"))
    with pytest.raises(errors.BadOption, match=r"explain_label: .* has no label '77'; did you mean '7'\?"):
        submit(container, picture(1), explain="77")


def test_a_graph_is_refused_with_the_reason(container: Container) -> None:
    with container.database.write() as uow:
        uow.model_versions.save(replace(version(container), family="onnx"))
    with pytest.raises(errors.BadOption, match="ONNX file, which can be run but not differentiated"):
        submit(container, picture(1))
    assert submit(container, picture(1), explain=None).total == 1


def test_a_request_with_another_wish_to_explain_is_another_request(container: Container) -> None:
    first = submit(container, picture(1), explain=None, idempotency_key="a")
    for explain in ("", "1"):
        with pytest.raises(errors.Conflict, match="another request"):
            submit(container, picture(1), explain=explain, idempotency_key="a")
    assert submit(container, picture(1), explain=None, idempotency_key="a").id == first.id
