"""A worker in this process, with the real `digits`: every picture gets its own outcome, once."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image

from shared import errors
from shared.adapters.pauses import run
from shared.adapters.queue import streams
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain import lock_names
from shared.domain.history import Measure
from shared.domain.jobs import (
    LONGEST_TIMELINE,
    AnswerOptions,
    ImageReference,
    Item,
    Job,
    JobChange,
    Outcome,
    Status,
    Submission,
)
from shared.domain.models import ALL_TENANTS, ModelImport, ModelState, ModelVersion, ProblemType, pick
from shared.domain.pictures import Limits, Picture
from shared.domain.stream_entry import StreamEntry
from shared.imaging import images
from shared.services import history, job_retries, jobs, models, result_cache, stored_images
from tests.stacks import digits, until
from tests.workers import checked_container, registered
from worker import consumer, model_check
from worker.batch import Batch
from worker.process import WorkerProcess

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)


@pytest.fixture
def container(checked: Path, tmp_path: Path, queue: Queue) -> Iterator[Container]:
    with checked_container(checked, tmp_path, queue) as container:
        yield container


@pytest.fixture
def worker(container: Container) -> Iterator[WorkerProcess]:
    """A registered worker with a running heartbeat thread."""
    with registered(container) as worker:
        yield worker


def named(container: Container, name: str) -> ModelVersion:
    with container.database.read() as uow:
        return pick(uow.model_versions.named(ALL_TENANTS, name), name)


def picture(number: int) -> Picture:
    name, data = digits()[number]
    return images.check(name, data, LIMITS)


def broken() -> Picture:
    """Return a picture with a valid header and truncated pixels."""
    return images.check("broken.png", digits()[0][1][:-30], LIMITS)


def marked() -> Picture:
    """Return a white picture, which is no digit."""
    file = io.BytesIO()
    Image.new("L", (32, 32), 255).save(file, "PNG")
    return images.check("marked.png", file.getvalue(), LIMITS)


def submit(container: Container, pictures: list[Picture | ImageReference], **about: Any) -> Job:
    job, new = run(jobs.submit(container, "anna", Submission(pictures, model="digits", **about)))
    assert new
    return job


def again(container: Container, job: Job) -> Job:
    return jobs.get(container, job.tenant, job.id)


def items(container: Container, job: Job) -> list[Item]:
    with container.database.read() as uow:
        return uow.jobs.items(job.id)


def labels(container: Container, job: Job) -> list[str]:
    """Return the best label of each picture, or its error code."""
    return [item.result[0][0] if item.result else item.error_code for item in items(container, job)]


def spied(worker: WorkerProcess, fails: Callable[[torch.Tensor], bool] = lambda tensor: False) -> list[int]:
    """Record the sizes of the model's batches; a batch fails if `fails` is true for one of its pictures."""
    model = worker.engine.load(named(worker.container, "digits"))
    forward, sizes = model.forward, list[int]()

    def spy(inputs: list[torch.Tensor], task: str = "classify") -> torch.Tensor:
        sizes.append(len(inputs))
        if any(fails(tensor) for tensor in inputs):
            raise RuntimeError("this picture makes the model fail")
        return forward(inputs, task)

    model.forward = spy  # type: ignore[method-assign, assignment]
    return sizes


def nothing_is_left(worker: WorkerProcess, job: Job) -> bool:
    """Return True if no entry waits on the streams and none is claimed."""
    return not worker.container.queue.streams.present(job.version_id) and not worker._held


# batches


def test_pictures_are_classified_and_taken_off_the_stream(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(number) for number in range(10)])

    consumer.consume(worker, job.version_id)

    done = again(container, job)
    assert (done.status, done.done, done.failed) == (Status.DONE, 10, 0)
    assert labels(container, job) == list("0123456789")
    assert nothing_is_left(worker, job)


def test_what_waits_becomes_one_batch_up_to_the_limit(container: Container, worker: WorkerProcess) -> None:
    sizes = spied(worker)
    several = [submit(container, [picture(number % 10)]) for number in range(20)]

    consumer.consume(worker, several[0].version_id)

    assert sizes == [16, 4]
    assert [again(container, job).status for job in several] == [Status.DONE] * 20


def test_a_job_tells_the_batches_in_which_it_ran(container: Container, worker: WorkerProcess) -> None:
    first, second = submit(container, [picture(1), picture(2)]), submit(container, [picture(3)])
    consumer.consume(worker, first.version_id)
    timelines = [again(container, job).timeline for job in (first, second)]
    assert [[run["pictures"] for run in timeline or ()] for timeline in timelines] == [[2], [1]]
    run = (timelines[0] or [{}])[0]
    assert (run["batch"], run["attempt"], run["worker"]) == (3, 1, worker.id)
    assert first.created_at <= run["claimed_at"] <= run["stored_at"]
    took = (run["stored_at"] - run["claimed_at"]) * 1000
    assert 0 < run["decode_ms"] < took
    assert 0 < run["forward_ms"] < took


def test_a_batch_says_why_it_closed(container: Container, worker: WorkerProcess) -> None:
    several = [submit(container, [picture(number % 10)]) for number in range(20)]
    consumer.consume(worker, several[0].version_id)
    closed = [(again(container, job).timeline or [{}])[0]["closed"] for job in (several[0], several[-1])]
    assert closed == ["full", "none_left"]


def test_the_rate_is_that_of_the_runtime_which_answers_now(worker: WorkerProcess) -> None:
    for number in range(20):
        worker.count("v", 10, number, number + 1.0, 0.5, "torch")
    assert worker.rates["v"] == pytest.approx(10)
    worker.count("v", 10, 20.0, 20.1, 0.05, "openvino")
    assert worker.rates["v"] == pytest.approx(100)


def test_a_worker_counts_for_the_history_what_it_has_run(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(1), picture(2), broken()])
    cancelled = submit(container, [picture(3), picture(4)])
    jobs.cancel(container, "anna", cancelled.id)
    consumer.consume(worker, job.version_id)
    worker._store_counts()
    worker._store_counts()  # nothing is counted twice
    later = replace(container, now=lambda: time.time() + 60 + history.SETTLED)
    seen = history.read(later, "anna", "hour").recent
    assert (seen.answered, seen.failed, seen.batches) == (3, 1, {5: 3})
    assert seen.latency is not None
    ended = again(container, job)
    assert 0 < seen.latency.p50 <= ((ended.finished_at or 0.0) - job.created_at) * 1.2
    with container.database.read() as uow:
        rows = uow.history.sums(0, 2**31 - 1, ["anna"])
    assert [total for _, measure, _, total, _ in rows if measure is Measure.DROPPED] == [2]


def test_counts_that_cannot_be_stored_are_stored_later(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(container, [picture(1)])
    consumer.consume(worker, job.version_id)

    def fail(*_: Any) -> None:
        raise errors.Unavailable("Away.")

    with monkeypatch.context() as away:
        away.setattr(history, "add", fail)
        with pytest.raises(errors.Unavailable):
            worker._store_counts()
    worker._store_counts()
    later = replace(container, now=lambda: time.time() + 60 + history.SETTLED)
    assert history.read(later, "anna", "hour").recent.answered == 1


def test_a_long_timeline_keeps_its_beginning_and_its_end(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.engine.load(named(container, "digits")).max_batch = 1
    monkeypatch.setattr(consumer, "MOST", 1)
    job = submit(container, [picture(number % 10) for number in range(12)])
    consumer.consume(worker, job.version_id)
    timeline = again(container, job).timeline or ()
    assert len(timeline) == LONGEST_TIMELINE
    assert timeline[-1]["stored_at"] == pytest.approx(again(container, job).finished_at, abs=0.001)


def test_pictures_that_are_slow_to_decode_run_a_few_at_a_time(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spied(worker)
    monkeypatch.setattr(consumer, "DECODED", 0.0)  # by this measure every picture is slow
    job = submit(container, [picture(number) for number in range(10)])

    consumer.consume(worker, job.version_id)

    assert sizes == [1] * 10
    assert labels(container, job) == list("0123456789")
    assert nothing_is_left(worker, job)


def test_a_tenant_is_not_delayed_by_a_full_batch_of_slow_pictures_of_another(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    run_batch = consumer.BatchConsumer._run

    def spy(self: consumer.BatchConsumer, batch: Batch) -> None:
        if not order:
            run(jobs.submit(container, "ben", Submission([picture(7)], model="digits")))
        order.extend(entry.tenant for entry in batch.entries)
        run_batch(self, batch)

    monkeypatch.setattr(consumer.BatchConsumer, "_run", spy)
    monkeypatch.setattr(streams, "FRESH", 0.0)  # these pictures run in less time than tenants are kept in memory
    monkeypatch.setattr(consumer, "DECODED", 0.0)
    job = submit(container, [picture(number % 10) for number in range(20)])

    consumer.consume(worker, job.version_id)

    assert len(order) == 21
    # One picture runs when ben's arrives, the next may be claimed already, and of two tenants either may be first.
    assert order.index("ben") <= 3


def test_after_slow_pictures_the_others_run_in_full_batches_again(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "MOST", 16)
    sizes = spied(worker)
    version_id = named(container, "digits").id
    worker.decoding[version_id] = 0.5
    several = [submit(container, [picture(number % 10)]) for number in range(80)]

    consumer.consume(worker, version_id)

    assert sizes[0] == 2
    assert max(sizes) == 16
    assert [again(container, job).status for job in several] == [Status.DONE] * 80


def test_a_single_picture_of_a_fast_model_is_claimed_decoded_and_run_by_one_thread(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = named(container, "digits")
    model, threads = worker.engine.load(version), list[threading.Thread]()
    prepare, claim = model.prepare, consumer.BatchConsumer._claim_batch

    def prepare_here(data: bytes, *, exif: bool = True) -> torch.Tensor:
        threads.append(threading.current_thread())
        return prepare(data, exif=exif)

    def claim_here(self: consumer.BatchConsumer, watch: float) -> Batch:
        threads.append(threading.current_thread())
        return claim(self, watch)

    monkeypatch.setattr(model, "prepare", prepare_here)
    monkeypatch.setattr(consumer.BatchConsumer, "_claim_batch", claim_here)
    monkeypatch.setattr(worker, "count", lambda *about, **more: None)  # or it were as fast as this machine is
    worker._forward[version.id] = 0.001
    job = submit(container, [picture(3)])

    consumer.consume(worker, version.id)

    assert labels(container, job) == ["3"]
    assert threads == [threading.current_thread()] * 3  # the picture, and the claims of it and of nothing


def test_a_broken_picture_fails_alone(container: Container, worker: WorkerProcess) -> None:
    sizes = spied(worker)
    job = submit(container, [picture(3), broken(), picture(5)])

    consumer.consume(worker, job.version_id)

    assert labels(container, job) == ["3", "broken_picture", "5"]
    assert "damaged" in items(container, job)[1].error
    assert (again(container, job).status, again(container, job).failed) == (Status.DONE, 1)
    assert sizes == [2]
    assert nothing_is_left(worker, job)


def test_a_job_of_broken_pictures_only_has_failed(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [broken(), broken()])
    consumer.consume(worker, job.version_id)
    assert (again(container, job).status, again(container, job).failed) == (Status.FAILED, 2)
    with pytest.raises(errors.BrokenPicture) as caught:
        jobs.raise_failure(container, again(container, job))
    assert caught.value.job_id == job.id


def test_a_picture_that_makes_the_model_fail_fails_alone(container: Container, worker: WorkerProcess) -> None:
    spied(worker, fails=lambda tensor: int(tensor.min()) == 255)
    first = submit(container, [picture(number) for number in range(5)])
    second = submit(container, [picture(7), marked(), picture(8)])

    consumer.consume(worker, first.version_id)

    assert labels(container, first) == list("01234")
    assert labels(container, second) == ["7", "model_failed", "8"]
    assert "RuntimeError" in items(container, second)[1].error
    assert nothing_is_left(worker, second)


def test_options_of_different_jobs_meet_in_one_batch(container: Container, worker: WorkerProcess) -> None:
    sizes = spied(worker)
    wanted = [
        AnswerOptions(top_k=10),
        AnswerOptions(top_k=10, function_to_apply="none"),
        AnswerOptions(top_k=3),
        AnswerOptions(top_k=99),
    ]
    wanted += [AnswerOptions(top_k=1, function_to_apply="sigmoid")]
    softmax, plain, three, all_of_them, sigmoid = (
        submit(container, [picture(6)], options=options) for options in wanted
    )

    consumer.consume(worker, softmax.version_id)

    assert sizes == [5]
    logits = dict(items(container, plain)[0].result)
    total = sum(math.exp(logit) for logit in logits.values())
    expected = {label: pytest.approx(math.exp(logit) / total, abs=1e-5) for label, logit in logits.items()}
    assert dict(items(container, softmax)[0].result) == expected
    assert items(container, three)[0].result == items(container, softmax)[0].result[:3]
    assert len(items(container, all_of_them)[0].result) == 10
    ((label, score),) = items(container, sigmoid)[0].result
    assert (label, score) == ("6", pytest.approx(1 / (1 + math.exp(-logits["6"])), abs=1e-5))


@pytest.fixture
def multi_label(container: Container) -> tuple[float, ...]:
    """The thresholds of `digits`, made multi-label: of ten labels three always reach theirs, and five hardly ever."""
    thresholds = tuple(0.999999 if label in "24689" else 0.5 if label in "17" else 0.0 for label in "0123456789")
    version = replace(named(container, "digits"), problem_type=ProblemType.MULTI_LABEL, thresholds=thresholds)
    with container.database.write() as uow:
        uow.model_versions.save(version)
    return thresholds


def test_a_multi_label_version_answers_with_the_labels_that_reach_their_thresholds(
    container: Container, worker: WorkerProcess, multi_label: tuple[float, ...]
) -> None:
    wanted: list[dict[str, Any]] = [
        {}, {"top_k": 2}, {"top_k": 10, "function_to_apply": "sigmoid"}, {"top_k": 10},
    ]  # fmt: skip
    several = [submit(container, [picture(7)], options=AnswerOptions(**options), remember=True) for options in wanted]

    consumer.consume(worker, several[0].version_id)

    five, two, every, enough = (items(container, job)[0].result for job in several)
    assert len(every) == 10
    assert all(0 < score < 1 for _, score in every)
    limits = dict(zip("0123456789", multi_label, strict=True))
    reached = [[label, score] for label, score in every if score >= limits[label]]
    assert 2 < len(reached) < 10
    assert (five, two, enough) == (reached[:5], reached[:2], reached)
    for options, answer in zip(wanted, (five, two, every, enough), strict=True):
        assert recalled(container, **options) == [[label, pytest.approx(score, rel=1e-12)] for label, score in answer]


def test_a_picture_without_a_label_has_an_empty_answer(container: Container, worker: WorkerProcess) -> None:
    version = replace(named(container, "digits"), problem_type=ProblemType.MULTI_LABEL, thresholds=(0.9999999,))
    with container.database.write() as uow:
        uow.model_versions.save(version)
    job = submit(container, [picture(7)], remember=True)

    consumer.consume(worker, job.version_id)

    assert [item.result for item in items(container, job)] == [[]]
    assert again(container, job).status is Status.DONE
    assert recalled(container) == []


def test_an_entry_of_the_version_before_has_no_thresholds(
    container: Container, worker: WorkerProcess, multi_label: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = StreamEntry.pack
    monkeypatch.setattr(StreamEntry, "pack", lambda entry: {"e": pack(entry)["e"]})
    job = submit(container, [picture(7)], options=AnswerOptions(top_k=10))

    consumer.consume(worker, job.version_id)

    assert len(items(container, job)[0].result) == 10


def test_features_are_the_input_of_the_last_layer(container: Container, worker: WorkerProcess) -> None:
    features = submit(container, [picture(1), picture(2)], options=AnswerOptions(task="features"))
    classify = submit(container, [picture(1)], options=AnswerOptions(top_k=10, function_to_apply="none"))

    consumer.consume(worker, features.version_id)

    first, two = (item.result for item in items(container, features))
    assert (len(first), len(two)) == (896, 896)
    assert first != two
    version = named(container, "digits")
    state = safetensors.torch.load(container.storage.read(version.weights))
    last = max((name for name in state if name.endswith(".weight")), key=lambda name: int(name.split(".")[0]))
    logits = state[last] @ torch.tensor(first) + state[last.replace("weight", "bias")]
    answered = dict(items(container, classify)[0].result)
    assert [answered[label] for label in version.labels] == pytest.approx(logits.tolist(), abs=1e-3)


def test_exif_is_applied_unless_switched_off(container: Container, worker: WorkerProcess) -> None:
    plain = Image.open(io.BytesIO(digits()[7][1]))
    turned, tag = io.BytesIO(), Image.Exif()
    tag[0x0112] = 3
    plain.transpose(Image.Transpose.ROTATE_180).save(turned, "PNG", exif=tag)
    lying = images.check("lying.png", turned.getvalue(), LIMITS)
    upright, left, right = (
        submit(container, [p], options=o)
        for p, o in [(picture(7), AnswerOptions()), (lying, AnswerOptions(exif=False)), (lying, AnswerOptions())]
    )

    consumer.consume(worker, upright.version_id)

    assert items(container, right)[0].result == items(container, upright)[0].result
    assert items(container, left)[0].result != items(container, upright)[0].result


# pictures that are not run, or run again


def test_what_made_the_model_fail_is_answered_by_a_retry_once_the_model_is_mended(
    container: Container, worker: WorkerProcess
) -> None:
    mended: list[bool] = []
    spied(worker, fails=lambda tensor: int(tensor.min()) == 255 and not mended)
    job = submit(container, [picture(1), marked(), picture(2)])
    consumer.consume(worker, job.version_id)
    assert labels(container, job)[1] == "model_failed"

    mended.append(True)
    job_retries.retry(container, "anna", job.id)
    sizes = spied(worker)
    consumer.consume(worker, job.version_id)

    assert sizes == [1]
    assert (again(container, job).status, again(container, job).done) == (Status.DONE, 3)
    assert nothing_is_left(worker, job)


def test_cancelled_jobs_are_skipped(container: Container, worker: WorkerProcess) -> None:
    sizes = spied(worker)
    cancelled, kept = submit(container, [picture(1)] * 3), submit(container, [picture(2)])
    jobs.cancel(container, "anna", cancelled.id)

    consumer.consume(worker, kept.version_id)

    assert sizes == [1]
    assert (again(container, cancelled).status, again(container, cancelled).done) == (Status.CANCELLED, 0)
    assert again(container, kept).status is Status.DONE
    assert nothing_is_left(worker, kept)


def test_a_job_whose_deadline_has_passed_expires_and_costs_no_forward_pass(
    container: Container, worker: WorkerProcess
) -> None:
    sizes = spied(worker)
    late, kept = submit(container, [picture(1)], deadline=time.time() - 1), submit(container, [picture(2)])
    consumer.consume(worker, kept.version_id)
    assert sizes == [1]
    assert again(container, late).status is Status.EXPIRED
    assert again(container, kept).status is Status.DONE
    assert nothing_is_left(worker, kept)


def test_what_is_left_of_a_running_job_at_its_deadline_is_not_run(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(1), picture(2)], deadline=time.time() + 3600)
    first = container.queue.streams.claim(job.version_id, "another", 1)
    jobs.begin(container, first)
    jobs.finish(container, [Outcome(job.id, 0, [["1", 1.0]])])
    container.queue.conclude(first, [])
    worker.container = replace(container, now=lambda: time.time() + 4000)

    consumer.consume(worker, job.version_id)

    assert labels(container, job) == ["1", "expired"]
    assert (again(container, job).status, again(container, job).failed) == (Status.DONE, 1)
    assert nothing_is_left(worker, job)


def test_an_image_that_was_deleted_before_it_ran_is_gone(container: Container, worker: WorkerProcess) -> None:
    kept, deleted = (stored_images.store(container, "anna", "live", picture(number)) for number in (4, 5))
    both: list[Picture | ImageReference] = [
        ImageReference(image.id, image.name, image.blob, image.size) for image in (kept, deleted)
    ]
    job = submit(container, both)
    stored_images.delete(container, "anna", "live", deleted.id)

    consumer.consume(worker, job.version_id)

    assert labels(container, job) == ["4", "gone"]
    assert "removed" in items(container, job)[1].error


def test_a_notification_for_a_version_that_is_gone_or_not_ready_is_ignored(
    container: Container, worker: WorkerProcess
) -> None:
    consumer.consume(worker, "unknown")
    consumer.consume(worker, named(container, "resnet50").id)
    assert worker.engine.loaded() == []


# workers that are killed, and outages


def fail_attempts(container: Container, version_id: str, attempts: int) -> None:
    """Claim all entries as a worker that is then killed; let the first entry fail so many attempts in all."""
    assert container.queue.streams.claim(version_id, "killed-1", 99)
    for _ in range(attempts - 1):
        until(lambda: container.queue.streams.claim_expired(version_id, "killed") is not None, 10)
    until(lambda: container.queue.streams.has_expired(version_id), 10)


def consume_until_ended(worker: WorkerProcess, job: Job) -> None:
    def ended() -> bool:
        consumer.consume(worker, job.version_id)
        return again(worker.container, job).status.terminal

    until(ended, 20)


def test_the_pictures_of_a_killed_worker_run_alone(container: Container, worker: WorkerProcess) -> None:
    sizes = spied(worker)
    job = submit(container, [picture(number) for number in range(4)])
    fail_attempts(container, job.version_id, 1)

    consume_until_ended(worker, job)

    assert sizes == [1, 1, 1, 1]
    assert labels(container, job) == list("0123")
    assert nothing_is_left(worker, job)


def test_a_picture_that_killed_three_workers_is_poison_and_the_others_are_done(
    container: Container, worker: WorkerProcess
) -> None:
    job = submit(container, [picture(0)])
    fail_attempts(container, job.version_id, 3)
    innocent = submit(container, [picture(number) for number in range(1, 5)])

    consume_until_ended(worker, job)
    consume_until_ended(worker, innocent)

    assert labels(container, job) == ["poison"]
    assert "3 workers crashed" in items(container, job)[0].error
    assert again(container, job).status is Status.FAILED
    assert labels(container, innocent) == list("1234")
    assert nothing_is_left(worker, job)


def test_after_two_failed_attempts_a_picture_gets_a_third(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(0)])
    fail_attempts(container, job.version_id, 2)
    consume_until_ended(worker, job)
    assert labels(container, job) == ["0"]


def test_the_timeline_tells_the_attempt(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(3)])
    fail_attempts(container, job.version_id, 1)
    consume_until_ended(worker, job)
    assert [run["attempt"] for run in again(container, job).timeline or ()] == [2]


def test_what_was_stored_but_not_acknowledged_is_not_run_again(container: Container, worker: WorkerProcess) -> None:
    sizes = spied(worker)
    job = submit(container, [picture(1), picture(2)])
    claimed = container.queue.streams.claim(job.version_id, "killed", 1)
    jobs.begin(container, claimed)
    jobs.finish(container, [Outcome(job.id, 0, [["stored", 1.0]])])
    until(lambda: container.queue.streams.has_expired(job.version_id), 10)

    consumer.consume(worker, job.version_id)

    assert labels(container, job) == ["stored", "2"]
    assert sum(sizes) == 1
    assert nothing_is_left(worker, job)


def test_two_workers_share_the_work_and_record_it_once(container: Container, worker: WorkerProcess) -> None:
    second = WorkerProcess(container)
    several = [submit(container, [picture(number) for number in range(10)]) for _ in range(8)]

    threads = [
        threading.Thread(target=consumer.consume, args=(each, several[0].version_id)) for each in (worker, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for job in several:
        consume_until_ended(worker, job)

    assert [(again(container, job).done, again(container, job).failed) for job in several] == [(10, 0)] * 8
    assert all(labels(container, job) == list("0123456789") for job in several)


def test_a_database_that_is_away_while_the_outcome_is_stored_only_delays_it(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spied(worker)
    write, refused = container.database.write, list[bool]()

    def away_twice() -> AbstractContextManager[Any]:
        if sizes and len(refused) < 2:
            refused.append(True)
            raise errors.Unavailable()
        return write()

    monkeypatch.setattr(container.database, "write", away_twice)
    job = submit(container, [picture(1), picture(2)])

    consumer.consume(worker, job.version_id)

    assert refused == [True, True]
    assert sizes == [2]
    assert labels(container, job) == ["1", "2"]
    assert nothing_is_left(worker, job)


def test_a_job_that_is_retried_before_redis_is_back_for_its_failure_runs_again(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spied(worker, fails=lambda tensor: len(sizes) == 1)
    job = submit(container, [picture(1)])
    conclude, announced = container.queue.conclude, list[list[JobChange]]()

    def away_once(entries: list[StreamEntry], changes: list[JobChange]) -> None:
        announced.append(list(changes))
        if len(announced) == 1:
            raise errors.Unavailable()
        if len(announced) == 2:
            assert again(container, job).status is Status.FAILED
            job_retries.retry(container, "anna", job.id)
        conclude(entries, changes)

    monkeypatch.setattr(container.queue, "conclude", away_once)

    consume_until_ended(worker, job)

    assert sizes == [1, 1, 1]  # the second is the model's own example, by which the worker finds the picture at fault
    assert labels(container, job) == ["1"]
    assert (again(container, job).status, again(container, job).retries) == (Status.DONE, 1)
    assert nothing_is_left(worker, job)
    assert [change.outcome is None for changes in announced[:2] for change in changes] == [False, True]


def test_a_poisoned_entry_of_the_first_run_does_not_end_the_retried_job(
    container: Container, worker: WorkerProcess
) -> None:
    job = submit(container, [picture(3)])
    fail_attempts(container, job.version_id, 3)
    jobs.finish(container, [Outcome(job.id, 0, error_code="poison", error="It is.")])
    job_retries.retry(container, "anna", job.id)

    def all_is_run() -> bool:
        consumer.consume(worker, job.version_id)
        return nothing_is_left(worker, job)

    until(all_is_run, 20)
    assert labels(container, job) == ["3"]
    assert (again(container, job).status, again(container, job).failed) == (Status.DONE, 0)


def test_a_storage_that_is_away_only_delays_the_picture(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.engine.load(named(container, "digits"))
    read, refused = container.storage.read, list[str]()

    def away_once(key: str, offset: int = 0, size: int | None = None) -> bytes:
        if not refused:
            refused.append(key)
            raise errors.Unavailable()
        return read(key, offset, size)

    monkeypatch.setattr(container.storage, "read", away_once)
    job = submit(container, [picture(1), picture(2)])
    consumer.consume(worker, job.version_id)
    assert refused == [job.blob]
    assert labels(container, job) == ["1", "2"]


def test_damaged_weights_fail_the_waiting_pictures_with_the_reason(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(1), picture(2)])
    container.storage.write(named(container, "digits").weights, b"nothing of use")

    consumer.consume(worker, job.version_id)

    assert labels(container, job) == ["model_unavailable"] * 2
    assert "damaged" in items(container, job)[0].error
    assert nothing_is_left(worker, job)


# when a consumer ends


def record_notifications(container: Container) -> list[tuple[str, ...]]:
    sent: list[tuple[str, ...]] = []

    def send_task(task: str, *arguments: str) -> bool:
        sent.append((task, *arguments))
        return True

    container.queue.notifications.send_task = send_task  # type: ignore[method-assign]
    return sent


def test_a_stopping_worker_finishes_its_batch_and_leaves_the_rest_to_others(
    container: Container, worker: WorkerProcess
) -> None:
    job = submit(container, [picture(number % 10) for number in range(40)])
    sent = record_notifications(container)
    worker.stop()

    consumer.consume(worker, job.version_id)

    assert again(container, job).done == 16
    assert ("drain", job.version_id) in sent
    consume_until_ended(WorkerProcess(container), job)
    assert again(container, job).done == 40


def test_a_consumer_whose_time_is_over_notifies_of_the_rest(container: Container) -> None:
    job = submit(container, [picture(number % 10) for number in range(40)])
    sent = record_notifications(container)
    hasty = WorkerProcess(replace(container, settings=container.settings.changed(time_slice=0.0)))
    consumer.consume(hasty, job.version_id)
    assert again(container, job).done == 16
    assert sent == [("drain", job.version_id)]


def test_a_consumer_that_kept_others_quiet_while_it_polled_notifies_of_the_rest_all_the_same(
    container: Container,
) -> None:
    job = submit(container, [picture(number % 10) for number in range(40)])
    sent = record_notifications(container)
    hasty = WorkerProcess(replace(container, settings=container.settings.changed(time_slice=0.0)))
    notifications, backlog = container.queue.notifications, container.queue.streams.backlog

    def polled_just_now(version_id: str) -> bool:
        notifications.suppress(container.queue.connection.redis, version_id, hasty.id, 60.0)
        return backlog(version_id)

    container.queue.streams.backlog = polled_just_now  # type: ignore[method-assign]
    consumer.consume(hasty, job.version_id)
    assert sent == [("drain", job.version_id)]


def test_entries_that_cannot_be_given_back_are_held_until_they_can(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(1)])
    entries = container.queue.streams.claim(job.version_id, worker.id, 1)
    worker.hold(entries)
    put_back = container.queue.streams.put_back

    def fail(*_: Any, **__: Any) -> None:
        raise errors.Unavailable("The queue does not answer; try taken soon.")

    container.queue.streams.put_back = fail  # type: ignore[method-assign]
    with pytest.raises(errors.Unavailable):
        worker.put_back(entries)
    container.queue.streams.put_back = put_back  # type: ignore[method-assign]
    worker.put_back_all()
    taken = container.queue.streams.claim_expired(job.version_id, "other")
    assert taken
    assert taken.attempts == 1


def test_a_backlog_calls_another_worker_in(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "MOST", 0)  # as for a slow model
    small = submit(container, [picture(1)] * 16)
    sent = record_notifications(container)
    consumer.consume(worker, small.version_id)
    assert sent == []

    big = submit(container, [picture(1)] * 17)
    sent.clear()
    consumer.consume(worker, big.version_id)
    assert ("drain", big.version_id) in sent


def test_a_consumer_that_watches_takes_what_comes_in(container: Container) -> None:
    worker = WorkerProcess(replace(container, settings=container.settings.changed(linger=20.0)))
    first = submit(container, [picture(1)])
    thread = threading.Thread(target=consumer.consume, args=(worker, first.version_id))
    thread.start()
    until(lambda: again(container, first).status is Status.DONE, 20)

    second = submit(container, [picture(2)])

    until(lambda: again(container, second).status is Status.DONE, 10)
    container.queue.connection.redis.rpush(f"{container.queue.connection.settings.broker_prefix}bells", "end the watch")
    thread.join(20)
    assert not thread.is_alive()


def test_high_priority_overtakes_what_waits(container: Container) -> None:
    worker = WorkerProcess(replace(container, settings=container.settings.changed(time_slice=0.0)))
    low = submit(container, [picture(1)] * 20, priority="low")
    high = submit(container, [picture(2)] * 16, priority="high")
    consumer.consume(worker, low.version_id)
    assert (again(container, high).status, again(container, low).status) == (Status.DONE, Status.QUEUED)


# checks of versions


def imported(container: Container, architecture: str, data: bytes, labels: list[str]) -> ModelVersion:
    container.storage.write("uploads/x", data)
    return models.add(
        container, "anna", "mine", architecture=architecture, imported=ModelImport("uploads/x", tuple(labels))
    )


def state_of(container: Container, version: ModelVersion) -> ModelVersion:
    with container.database.read() as uow:
        version_now = uow.model_versions.find(version.id)
    assert version_now is not None
    return version_now


def test_the_checked_digits_are_ready_with_labels_and_an_example(container: Container) -> None:
    version = named(container, "digits")
    assert (version.state, version.reason, version.family) == (ModelState.READY, "", "digits")
    assert version.labels == tuple("0123456789")
    assert version.example is not None
    assert len(version.example.logits) == 10
    assert container.storage.read(version.weights)


def test_weights_that_cannot_be_fetched_lead_back_to_absent_with_what_to_do(
    container: Container, worker: WorkerProcess
) -> None:
    version = named(container, "resnet50")
    with pytest.raises(errors.ModelNotReady):  # the first use has it fetched
        models.get_ready_version(container, "anna", "resnet50")
    model_check.check(worker, version.id)
    after = state_of(container, version)
    assert after.state is ModelState.ABSENT
    assert "import the model from a file" in after.reason


def test_an_upload_that_is_no_weights_is_refused_with_the_reason(container: Container, worker: WorkerProcess) -> None:
    version = imported(container, "digits", b"these are no weights at all", list("0123456789"))
    model_check.check(worker, version.id)
    after = state_of(container, version)
    assert after.state is ModelState.REFUSED
    assert "neither safetensors nor" in after.reason
    with pytest.raises(errors.BadWeights):
        run(models.wait(container, after, 1.0))
    with container.database.read() as uow:
        assert uow.model_versions.named("anna", "mine") == []
    assert container.storage.list("uploads") == []


def test_a_good_upload_becomes_ready_and_the_upload_goes(container: Container, worker: WorkerProcess) -> None:
    weights = container.storage.read(named(container, "digits").weights)
    version = imported(container, "digits", weights, list("abcdefghij"))
    model_check.check(worker, version.id)
    after = state_of(container, version)
    assert (after.state, after.labels, after.source) == (ModelState.READY, tuple("abcdefghij"), "")
    assert container.storage.list("uploads") == []


def test_two_versions_with_the_same_weights_share_the_blob_until_the_last_one_goes(
    container: Container, worker: WorkerProcess
) -> None:
    shared = named(container, "digits").weights
    version = imported(container, "digits", container.storage.read(shared), list("abcdefghij"))
    model_check.check(worker, version.id)
    assert state_of(container, version).weights == shared
    models.remove(container, "anna", "mine")
    assert container.storage.read(shared)


def test_a_version_that_kills_its_checkers_is_refused(container: Container, worker: WorkerProcess) -> None:
    version = imported(container, "digits", b"x", [])
    with container.database.write() as uow:
        uow.model_versions.save(replace(version, attempts=3))
    model_check.check(worker, version.id)
    assert (state_of(container, version).state, state_of(container, version).reason) == (
        ModelState.REFUSED,
        "3 workers crashed while checking it",
    )


def test_a_version_is_checked_by_one_worker_at_a_time(container: Container, worker: WorkerProcess) -> None:
    version = imported(container, "digits", b"x", [])
    lock = container.queue.locks.acquire(lock_names.model_check(version.id), 60)
    assert lock
    model_check.check(worker, version.id)
    assert state_of(container, version).state is ModelState.CHECKING
    lock.release()
    model_check.check(worker, version.id)
    assert state_of(container, version).state is ModelState.REFUSED


def test_a_check_that_was_sent_again_to_the_same_worker_meanwhile_is_not_a_try(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imported(container, "digits", b"x", [])
    tries: list[int] = []

    def examine(_: WorkerProcess, seen: ModelVersion, __: Path) -> ModelVersion:
        tries.append(seen.attempts)
        again = threading.Thread(target=model_check.check, args=(worker, version.id))
        again.start()
        again.join()
        raise errors.BadWeights("It is no good.")

    monkeypatch.setattr(model_check, "_examine", examine)
    model_check.check(worker, version.id)
    assert tries == [1]
    assert state_of(container, version).reason == "It is no good."


def test_the_heartbeat_renews_the_lease_of_what_is_held(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(1), picture(2)])
    held: list[StreamEntry] = container.queue.streams.claim(job.version_id, worker.id, 1)
    worker.hold(held)
    container.queue.streams.claim(job.version_id, "killed", 1)

    until(lambda: container.queue.streams.has_expired(job.version_id), 10)  # the entry that no worker renews

    expired = container.queue.streams.claim_expired(job.version_id, "second")
    assert expired is not None
    assert expired.position == 1
    worker.release(held)
    until(lambda: container.queue.streams.has_expired(job.version_id), 10)


def test_a_database_that_is_away_at_a_heartbeat_only_delays_the_mark_of_running(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(container, [picture(1)])
    tried = threading.Event()

    def away(*_: object) -> None:
        tried.set()
        raise errors.Unavailable("The database does not answer.")

    with monkeypatch.context() as outage:
        outage.setattr(jobs, "mark_running", away)
        worker.hold(container.queue.streams.claim(job.version_id, worker.id, 1))
        assert tried.wait(10)
        assert again(container, job).status is Status.QUEUED
    until(lambda: again(container, job).status is Status.RUNNING, 10)
    until(lambda: not worker._new, 10)


def test_a_database_that_hangs_does_not_keep_leases_from_being_renewed(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(container, [picture(1)])
    hangs, goes_on, renewed = threading.Event(), threading.Event(), list[int]()
    renew = container.queue.streams.renew

    def hang(*_: object) -> None:
        hangs.set()
        goes_on.wait(30)

    def count(*arguments: Any) -> None:
        if hangs.is_set():
            renewed.append(1)
        renew(*arguments)

    monkeypatch.setattr(jobs, "mark_running", hang)
    monkeypatch.setattr(container.queue.streams, "renew", count)
    worker.hold(container.queue.streams.claim(job.version_id, worker.id, 1))
    assert hangs.wait(10)
    until(lambda: len(renewed) >= 3, 10)
    goes_on.set()


def test_the_heartbeat_reports_what_the_worker_has(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(1), picture(2)])
    consumer.consume(worker, job.version_id)
    until(lambda: container.queue.workers.list()[0]["rates"].get(job.version_id, 0) > 0, 10)
    until(lambda: container.queue.workers.list()[0]["pictures"] == 2, 10)
    (listed,) = container.queue.workers.list()
    assert (listed["id"], listed["device"], listed["models"]) == (worker.id, "cpu", ["digits/1"])


def recalled(container: Container, tenant: str = "anna", number: int = 7, **options: Any) -> Any:
    found = result_cache.recall(
        container, tenant, named(container, "digits"), AnswerOptions(**options), picture(number).data
    )
    return found and found.result


def test_what_is_remembered_is_recalled_as_if_it_had_run(container: Container, worker: WorkerProcess) -> None:
    both_options = [AnswerOptions(top_k=3), AnswerOptions(top_k=10, function_to_apply="none")]
    jobs_run = [submit(container, [picture(7)], options=options, remember=True) for options in both_options]
    consumer.consume(worker, named(container, "digits").id)
    (best,), (raw,) = ([item.result for item in items(container, job)] for job in jobs_run)

    assert recalled(container, top_k=3) == [[label, pytest.approx(score, rel=1e-12)] for label, score in best]
    assert recalled(container, top_k=10, function_to_apply="none") == raw


def test_only_what_was_asked_to_be_remembered_is_and_only_for_its_tenant(
    container: Container, worker: WorkerProcess
) -> None:
    submit(container, [picture(7)], remember=True)
    submit(container, [picture(2)])
    consumer.consume(worker, named(container, "digits").id)

    assert recalled(container, number=7)
    assert recalled(container, number=2) is None
    assert recalled(container, "bert", number=7) is None
    assert recalled(container, number=7, exif=False) is None


def test_an_exact_answer_is_never_one_that_was_remembered_with_the_precision_fast(
    container: Container, worker: WorkerProcess
) -> None:
    fast = replace(container, settings=container.settings.changed(precision="fast"))
    worker.container = fast
    submit(fast, [picture(7)], remember=True)
    consumer.consume(worker, named(fast, "digits").id)
    assert recalled(fast, number=7)
    assert recalled(container, number=7) is None


def test_the_cache_has_no_more_places_than_it_is_given(container: Container, worker: WorkerProcess) -> None:
    small = replace(container, settings=container.settings.changed(cache_entries=1))
    worker.container = small
    for number in (4, 5):
        submit(small, [picture(number)], remember=True)
        consumer.consume(worker, named(small, "digits").id)

    assert recalled(small, number=4) is None
    assert recalled(small, number=5)
    assert recalled(replace(small, settings=small.settings.changed(cache_entries=0)), number=5) is None


@pytest.mark.parametrize("error", [RuntimeError("no device memory"), FileNotFoundError("no blob")])
def test_a_default_model_that_cannot_be_loaded_keeps_no_worker_from_the_others(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    worker.container = replace(container, settings=container.settings.changed(default_model="digits"))

    def fail(version: ModelVersion) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(worker.engine, "load", fail)
        worker.preload()
    worker.preload()
    assert worker.engine.loaded() == ["digits/1"]
