"""Rejection rules in a worker of this process: fitted on a dataset, followed by the next answers, and removed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared import errors
from shared.adapters import pauses
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.datasets import Dataset
from shared.domain.jobs import AnswerOptions, Item, Job, Submission
from shared.domain.models import ALL_TENANTS, ImportOptions, ModelImport, ModelState, ModelVersion, check_task, pick
from shared.domain.pictures import Limits
from shared.domain.rejection import Doubt, RejectionRequest, RejectionRule, Verdict, bank_key, fit_name
from shared.imaging import images
from shared.services import absences, dataset_import, datasets, jobs, maintenance, models, rejection, result_cache
from tests import digit_images
from tests.workers import checked_container, registered
from worker import consumer, dataset_run, model_check, process, rejection_fit
from worker.process import WorkerProcess

pytestmark = pytest.mark.slow

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)
TEN = dict.fromkeys(range(10), 12)
WANTED = {"precision": 0.9, "label": "unknown"}


@pytest.fixture
def container(checked: Path, tmp_path: Path, valkey_queue: Queue) -> Iterator[Container]:
    with checked_container(checked, tmp_path, valkey_queue) as container:
        yield container


@pytest.fixture
def worker(container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """A worker that reads a version again for each notification."""
    monkeypatch.setattr(process, "FRESH", 0.0)
    with registered(container) as worker:
        yield worker


def dataset(container: Container, members: Mapping[str, bytes], name: str = "numbers") -> Dataset:
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(digit_images.archive(members)))
    created = datasets.create(container, "anna", name, source=key)
    dataset_import.load(container, created.id)
    return datasets.get(container, "anna", created.id)


def imported(worker: WorkerProcess, request: RejectionRequest | None = None, name: str = "mine") -> ModelVersion:
    """Import the weights of `digits` with words for labels, and check them."""
    container = worker.container
    with container.database.read() as uow:
        digits = pick(uow.model_versions.named(ALL_TENANTS, "digits"), "digits")
    container.storage.write("uploads/x", container.storage.read(digits.weights))
    options = ImportOptions(rejection=request) if request else None
    wanted = ModelImport("uploads/x", digit_images.WORDS, options=options)
    added = models.add(container, "anna", name, architecture="digits", imported=wanted)
    model_check.check(worker, added.id)
    return again(container, added)


def again(container: Container, version: ModelVersion) -> ModelVersion:
    found = models.find_version_by_id(container, version.id)
    assert found is not None
    return found


def fitted(worker: WorkerProcess, source: Dataset, version: str = "1", **about: object) -> rejection.Fit:
    """Ask for a rule, and fit it as a worker does."""
    request = RejectionRequest(dataset_id=source.id, **WANTED | about)  # type: ignore[arg-type]
    fit = rejection.request(worker.container, "anna", "mine", version, request)
    assert fit.is_running
    rejection_fit.fit_requested(worker, fit.version.id)
    return rejection.get(worker.container, "anna", "mine", version)


def digit(number: int, which: int = 100) -> bytes:
    return digit_images.pictures(number)[which]


def noise(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8)
    return png(Image.fromarray(pixels))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def run(worker: WorkerProcess, *pictures: bytes, remember: bool = False, **options: object) -> tuple[Job, list[Item]]:
    """Submit pictures and run them; return the job with its items."""
    container = worker.container
    checked = [images.check(f"{number}.png", data, LIMITS) for number, data in enumerate(pictures)]
    answer = AnswerOptions(**options)  # type: ignore[arg-type]
    job, _ = pauses.run(
        jobs.submit(container, "anna", Submission(checked, model="mine", options=answer, remember=remember))
    )
    consumer.consume(worker, job.version_id)
    with container.database.read() as uow:
        return job, uow.jobs.items(job.id)


def doubts(items: list[Item]) -> list[str | None]:
    return [item.verdict.doubt if item.verdict else None for item in items]


def test_an_import_with_a_rule_believes_digits_and_no_noise(container: Container, worker: WorkerProcess) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker, RejectionRequest(0.9, source.id, "unknown"))

    assert (version.state, version.reason) == (ModelState.READY, "")
    assert version.rejection is not None
    assert (version.rejection.precision, version.rejection.label) == (0.9, "unknown")
    assert container.storage.list(bank_key(version.id)) == [version.rejection.bank]
    assert version.import_options is not None
    assert version.import_options.rejection is None

    _, items = run(worker, *(digit(number, which) for number in range(10) for which in (100, 101, 102)))
    assert sum(doubt == "" for doubt in doubts(items)) >= 25
    _, items = run(worker, *(noise(seed) for seed in range(5)), png(Image.new("L", (32, 32), 255)))
    assert doubts(items) == [Doubt.UNLIKE_TRAINING] * 6
    assert {item.verdict for item in items} == {Verdict(Doubt.UNLIKE_TRAINING, "unknown", 1.0)}


def test_an_import_is_refused_with_the_reason_if_no_rule_can_be_fitted(
    container: Container, worker: WorkerProcess
) -> None:
    three = dataset(container, digit_images.files({1: 5, 2: 5, 3: 5}), "three")
    other = dataset(container, {f"{label}/1.png": digit(n) for n, label in enumerate(["cat", "dog"])}, "pets")
    few = dataset(container, digit_images.files(dict.fromkeys(range(10), 1)), "few")
    for source, precision, reason in (
        (three, 0.9, "no new pictures of 'zero', 'four', 'five', 'six', 'seven' and 2 more"),
        (other, 0.9, "does not know 'cat', 'dog'"),
        (few, 0.95, "10 labelled pictures do not suffice for a precision of 0.95: at least 19 are needed"),
    ):
        version = imported(worker, RejectionRequest(precision, source.id))
        assert version.state is ModelState.REFUSED
        assert reason in version.reason
        models.forget(container, [version])
        assert container.storage.list(bank_key(version.id)) == []
    version = imported(worker, RejectionRequest(0.9, 12345))
    assert (version.state, version.reason) == (ModelState.REFUSED, "There is no dataset 12345.")


def test_a_rule_is_fitted_later_and_replaced_and_removed_without_a_restart(
    container: Container, worker: WorkerProcess
) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker)
    assert doubts(run(worker, digit(0), noise())[1]) == [None, None]

    first = fitted(worker, source).version.rejection
    assert first
    assert doubts(run(worker, digit(0), noise())[1]) == ["", Doubt.UNLIKE_TRAINING]
    datasets.create(container, "anna", "other")  # another write, which must not matter
    more = dataset(container, digit_images.files(dict.fromkeys(range(10), 15)), "more")
    second = fitted(worker, more, label="").version.rejection
    assert second
    assert second.bank != first.bank
    assert container.storage.list(bank_key(version.id)) == [second.bank]
    assert run(worker, noise())[1][0].verdict == Verdict(Doubt.UNLIKE_TRAINING, "", 1.0)

    rejection.relabel(container, "anna", "mine", "1", "no digit")
    assert run(worker, noise())[1][0].verdict == Verdict(Doubt.UNLIKE_TRAINING, "no digit", 1.0)
    rejection.remove(container, "anna", "mine", "1")
    assert container.storage.list(bank_key(version.id)) == []
    assert doubts(run(worker, digit(0), noise())[1]) == [None, None]


def test_a_fit_that_fails_says_why_and_leaves_the_rule_as_it_was(container: Container, worker: WorkerProcess) -> None:
    source = dataset(container, digit_images.files(TEN))
    imported(worker)
    rule = fitted(worker, source).version.rejection
    failed = fitted(worker, source, precision=0.999)
    assert not failed.is_running
    assert "at least 999 are needed" in failed.failure
    assert failed.version.rejection == rule
    assert fitted(worker, source).failure == ""


def test_a_fit_waits_for_pictures_that_the_storage_lacks_and_then_fails_with_their_name(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = dataset(container, digit_images.files(TEN))
    imported(worker)
    for blob in container.storage.list(f"datasets/{source.id}"):
        container.storage.delete(blob)
    waiting = fitted(worker, source)
    assert (waiting.is_running, waiting.failure) == (True, "")
    monkeypatch.setattr(absences, "WAITED", 0.0)
    rejection_fit.fit_requested(worker, waiting.version.id)
    failed = rejection.get(container, "anna", "mine", "1")
    assert not failed.is_running
    assert "is not in the storage any more" in failed.failure
    assert "It has been missing since 20" in failed.failure


def test_a_rule_that_was_removed_while_it_was_fitted_does_not_come_back(
    container: Container, worker: WorkerProcess
) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker)
    request = RejectionRequest(0.9, source.id)
    rejection.request(container, "anna", "mine", "1", request)
    rule = rejection_fit.fit(worker, version, worker.engine.load(version), request)
    rejection.remove(container, "anna", "mine", "1")
    rejection.finish(container, version.id, request, rule)
    assert again(container, version).rejection is None
    assert container.storage.list(bank_key(version.id)) == []


@pytest.mark.parametrize("meanwhile", ["another", "removed"])
def test_a_fit_that_fails_takes_nothing_from_what_was_asked_for_meanwhile(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker)
    fit = rejection_fit.fit

    def changed(*arguments: Any) -> Any:
        monkeypatch.setattr(rejection_fit, "fit", fit)
        if meanwhile == "another":
            rejection.request(container, "anna", "mine", "1", RejectionRequest(0.8, source.id))
        else:
            rejection.remove(container, "anna", "mine", "1")
        return fit(*arguments)

    monkeypatch.setattr(rejection_fit, "fit", changed)
    found = fitted(worker, source, precision=0.999)
    assert (found.is_running, found.failure) == (False, "")
    assert (again(container, version).rejection is not None) == (meanwhile == "another")


def test_a_removed_model_leaves_neither_features_nor_requests(container: Container, worker: WorkerProcess) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker, RejectionRequest(0.9, source.id))
    rejection.request(container, "anna", "mine", "1", RejectionRequest(0.8, source.id))
    models.remove(container, "anna", "mine")
    assert container.storage.list(bank_key(version.id)) == []
    with container.database.read() as uow:
        assert uow.key_values.get(fit_name(version.id)) == ""


def test_only_a_ready_version_of_the_tenant_gets_a_rule(container: Container, worker: WorkerProcess) -> None:
    source = dataset(container, digit_images.files(TEN))
    request = RejectionRequest(0.9, source.id)
    with pytest.raises(errors.Forbidden, match="catalogue"):
        rejection.request(container, "anna", "digits", "1", request)
    with pytest.raises(errors.NotFound):
        rejection.request(container, "anna", "mine", "1", request)
    version = imported(worker)
    with pytest.raises(errors.NotFound, match="no version '2'"):
        rejection.request(container, "anna", "mine", "2", request)
    with pytest.raises(errors.Conflict, match="no rejection rule"):
        rejection.relabel(container, "anna", "mine", "1", "unknown")
    with container.database.write() as uow:
        uow.model_versions.save(replace(version, state=ModelState.REFUSED, reason="It is broken."))
    with pytest.raises(errors.Conflict, match="It is broken"):
        rejection.request(container, "anna", "mine", "1", request)


def test_the_pictures_of_another_tenant_cannot_be_used(container: Container, worker: WorkerProcess) -> None:
    foreign = datasets.create(container, "bert", "numbers")
    imported(worker)
    with pytest.raises(errors.NotFound, match="There is no dataset"):
        rejection.request(container, "anna", "mine", "1", RejectionRequest(0.9, foreign.id))


def spied(worker: WorkerProcess, version: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the tasks of the passes of a model."""
    model = worker.engine.load(version)
    run_piece, passes = model._run, list[str]()

    def record(inputs: object, task: str) -> object:
        passes.append(task)
        return run_piece(inputs, task)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "_run", record)
    return passes


def test_logits_and_distance_come_from_one_pass_and_a_version_without_a_rule_makes_no_other(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imported(worker)
    passes = spied(worker, version, monkeypatch)
    run(worker, digit(0))
    assert passes == ["classify"]
    fitted(worker, dataset(container, digit_images.files(TEN)))
    passes.clear()
    run(worker, digit(0))
    assert passes == ["both"]
    run(worker, digit(0), task="features")
    assert passes == ["both", "features"]


def test_a_rule_changes_no_score_and_no_feature(container: Container, worker: WorkerProcess) -> None:
    imported(worker)
    before = [run(worker, digit(0), **options)[1][0] for options in ({"top_k": 10}, {"task": "features"})]
    fitted(worker, dataset(container, digit_images.files(TEN)))
    after = [run(worker, digit(0), **options)[1][0] for options in ({"top_k": 10}, {"task": "features"})]
    assert [label for label, _ in after[0].result] == [label for label, _ in before[0].result]
    scores = [[score for _, score in item.result] for item in (before[0], after[0])]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4, abs=1e-9)
    assert after[1].result == pytest.approx(before[1].result, rel=1e-4, abs=1e-6)
    assert after[1].verdict is None


def test_the_score_is_judged_as_softmax_whatever_function_is_asked_for(
    container: Container, worker: WorkerProcess
) -> None:
    version = imported(worker)
    with container.database.write() as uow:
        uow.model_versions.set_rejection(version.id, RejectionRule(0.9, 0.5, None))
    for function in ("softmax", "sigmoid", "none"):
        assert doubts(run(worker, digit(0), function_to_apply=function, top_k=1)[1]) == [""]
    with container.database.write() as uow:
        uow.model_versions.set_rejection(version.id, RejectionRule(0.9, 1.1, None))
    (item,) = run(worker, digit(0), function_to_apply="none")[1]
    assert item.verdict is not None
    assert item.verdict.doubt == Doubt.LOW_SCORE
    assert 0 < item.verdict.score < 0.1


def recalled(worker: WorkerProcess, version: ModelVersion, picture: bytes) -> result_cache.Recalled | None:
    container = worker.container
    return result_cache.recall(container, "anna", again(container, version), AnswerOptions(), picture)


def test_a_cached_answer_is_judged_as_a_fresh_one(container: Container, worker: WorkerProcess) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker, RejectionRequest(0.9, source.id, "unknown"))
    for picture in (digit(0), noise()):
        _, (item,) = run(worker, picture, remember=True)
        found = recalled(worker, version, picture)
        assert found is not None
        assert found.verdict == item.verdict
        assert found.result == [[label, pytest.approx(score, rel=1e-12)] for label, score in item.result]


def test_an_answer_that_was_cached_without_a_distance_is_not_recalled_for_a_rule_that_needs_it(
    container: Container, worker: WorkerProcess
) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker)
    run(worker, digit(0), remember=True)
    assert recalled(worker, version, digit(0)) is not None

    first = fitted(worker, source).version.rejection
    assert first
    assert recalled(worker, version, digit(0)) is None
    run(worker, digit(0), remember=True)
    with container.database.write() as uow:  # a stricter rule by the same features judges what is cached
        uow.model_versions.set_rejection(version.id, replace(first, max_distance=0.0))
    found = recalled(worker, version, digit(0))
    assert found is not None
    assert found.verdict == Verdict(Doubt.UNLIKE_TRAINING, "unknown", 1.0)
    rejection.remove(container, "anna", "mine", "1")
    found = recalled(worker, version, digit(0))
    assert found is not None
    assert found.verdict is None
    assert len(found.result) == 5


def test_pictures_wait_while_the_storage_lacks_the_features_and_fail_where_these_are_damaged(
    container: Container, worker: WorkerProcess
) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker, RejectionRequest(0.9, source.id))
    assert version.rejection is not None
    kept = container.storage.read(version.rejection.bank)
    container.storage.delete(version.rejection.bank)
    with pytest.raises(errors.Unavailable):
        run(worker, digit(0))
    container.storage.write(version.rejection.bank, kept[:-9])
    consumer.consume(worker, version.id)
    with container.database.read() as uow:
        (job,) = uow.jobs.page("anna")
        (item,) = uow.jobs.items(job.id)
    assert (item.error_code, "fit it again" in item.error) == ("model_unavailable", True)


def test_a_fit_that_the_storage_did_not_allow_is_tried_again_by_maintenance_and_counts_no_attempt(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker)
    request = RejectionRequest(0.9, source.id)
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(container.queue.notifications, "send_task", lambda *task: sent.append(task))

    def away(*_: object) -> bytes:
        raise errors.Unavailable("The storage is away.")

    rejection.request(container, "anna", "mine", "1", request)
    with monkeypatch.context() as patched:
        patched.setattr(dataset_run, "read", away)
        for _ in range(2 * container.settings.max_attempts):
            rejection_fit.fit_requested(worker, version.id)
    assert rejection.get(container, "anna", "mine", "1").is_running
    sent.clear()
    maintenance.reconcile(container)
    assert ("fit_rejection", version.id) in sent
    rejection_fit.fit_requested(worker, version.id)
    assert rejection.get(container, "anna", "mine", "1").version.rejection
    sent.clear()
    maintenance.reconcile(container)
    assert ("fit_rejection", version.id) not in sent


def test_a_fit_that_crashes_workers_fails_after_some_attempts(container: Container, worker: WorkerProcess) -> None:
    source = dataset(container, digit_images.files(TEN))
    version = imported(worker)
    rejection.request(container, "anna", "mine", "1", RejectionRequest(0.9, source.id))
    for _ in range(container.settings.max_attempts):
        assert rejection.begin(container, version.id)
    assert rejection.begin(container, version.id) is None
    fit = rejection.get(container, "anna", "mine", "1")
    assert (fit.is_running, "workers crashed while fitting it" in fit.failure) == (False, True)


def test_a_version_is_known_while_the_database_is_away_and_not_after_it_was_removed(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imported(worker)
    assert worker.find_ready(version.id) == version

    def away(*_: object) -> ModelVersion:
        raise errors.Unavailable("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr(models, "find_version_by_id", away)
        assert worker.find_ready(version.id) == version
        with pytest.raises(errors.Unavailable):
            worker.find_ready("another")
    models.remove(container, "anna", "mine")
    assert worker.find_ready(version.id) is None


def test_workers_of_an_older_release_leave_an_import_with_a_rule_alone(
    container: Container, worker: WorkerProcess
) -> None:
    version = imported(worker)
    names = [
        check_task(replace(version, import_options=options))
        for options in (None, ImportOptions(), ImportOptions(rejection=RejectionRequest(0.9, 1)))
    ]
    assert names == ["check", "check_import", "check_with_rule"]
