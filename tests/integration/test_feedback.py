"""Feedback: a corrected prediction becomes an example for training, and never one for the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uuid6

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.domain.datasets import Dataset, DatasetExample, Source
from shared.domain.jobs import AnswerOptions, Item, Job, Status
from shared.domain.models import ModelVersion
from shared.domain.trainings import TrainingParameters
from shared.services import absences, datasets, feedback, models, training_runs, trainings
from tests import dataset_fixtures
from tests.dataset_fixtures import LIMITS, NOW, Ground, picture


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    return dataset_fixtures.on(database, tmp_path)


def predicted(ground: Ground, version: ModelVersion, tenant: str = "anna") -> Job:
    """Store a DONE job with two pictures that the version has classified; the second picture has no name."""
    first, second = picture(101).data, picture(102).data
    job = Job(
        str(uuid6.uuid7()),
        tenant,
        "native",
        Status.QUEUED,
        version.name,
        version.version,
        version.id,
        AnswerOptions(),
        "normal",
        NOW,
        2,
        blob="jobs/x",
    )
    ground.container.storage.write(job.blob, first + second)
    items = [
        Item(job.id, 0, "101.png", job.blob, 0, len(first)),
        Item(job.id, 1, "", job.blob, len(first), len(second)),
    ]
    with ground.container.database.write() as uow:
        uow.jobs.add([(job, items)])
    return job


def correct(ground: Ground, job: Job, position: int, label: str, dataset: Dataset | None = None) -> DatasetExample:
    dataset_id = dataset.id if dataset else None
    return feedback.correct_job(ground.container, job.tenant, job.id, position, [label], dataset_id, LIMITS)


def test_a_corrected_picture_of_a_job_becomes_an_example_that_only_trains(ground: Ground) -> None:
    dataset = ground.dataset()
    job = predicted(ground, ground.trained(dataset))
    first, second = correct(ground, job, 0, "plum"), correct(ground, job, 1, " pear")
    assert (first.dataset_id, first.label, first.name, first.source) == (dataset.id, "plum", "101.png", Source.FEEDBACK)
    assert (second.name, second.since) == (f"{job.id}-1", 2)
    assert ground.container.storage.read(first.blob, first.offset, first.size) == picture(101).data
    with pytest.raises(errors.Conflict, match="has this picture already"):
        correct(ground, job, 0, "plum")
    with ground.container.database.read() as uow:
        assert uow.datasets.examples(ground.again(dataset), source=Source.FEEDBACK) == [first, second]

    for seed in range(5):
        training = training_runs.begin(
            ground.container, ground.submit(dataset, parameters=TrainingParameters(seed=seed))
        )
        dealt = training_runs.get_splits(ground.container, training)
        assert {first, second} <= set(dealt.training)
        assert not {first, second} & {*dealt.validation, *dealt.test}
        trainings.cancel(ground.container, "anna", training.id)
    without = ground.submit(dataset, parameters=TrainingParameters(with_feedback=False))
    dealt = training_runs.get_splits(ground.container, without)
    assert not {first, second} & {*dealt.training, *dealt.validation, *dealt.test}


def test_a_correction_can_be_corrected(ground: Ground) -> None:
    dataset = ground.dataset()
    job = predicted(ground, ground.trained(dataset))
    correct(ground, job, 0, "plum")

    second = correct(ground, job, 0, "pear")

    with ground.container.database.read() as uow:
        assert uow.datasets.examples(ground.again(dataset), source=Source.FEEDBACK) == [second]
    assert second.label == "pear"


def test_what_cannot_be_corrected_is_refused_and_nothing_is_added(ground: Ground) -> None:
    dataset, theirs = ground.dataset(), ground.dataset(tenant="bert")
    version = ground.trained(dataset)
    job, brought = predicted(ground, version), predicted(ground, ground.version("brought"))
    gone = predicted(ground, replace(version, id="gone"))
    refusals: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (errors.NotFound, "no picture 2; its 2", lambda: correct(ground, job, 2, "plum")),
        (errors.NotFound, "no picture -1", lambda: correct(ground, job, -1, "plum")),
        (errors.BadOption, "has no label 'fig'; it has: pear, plum", lambda: correct(ground, job, 0, "fig")),
        (errors.NotFound, "no job", lambda: correct(ground, replace(job, tenant="bert"), 0, "plum", theirs)),
        (errors.NotFound, "no dataset", lambda: correct(ground, job, 0, "plum", theirs)),
        (errors.Conflict, "was not trained here", lambda: correct(ground, brought, 0, "plum")),
        (errors.Conflict, "was not trained here", lambda: correct(ground, gone, 0, "plum")),
        (errors.PictureTooLarge, "pixels", lambda: feedback.correct_job(
            ground.container, "anna", job.id, 0, ["plum"], None, replace(LIMITS, max_pixels=9))),
    ]  # fmt: skip
    for error, match, ask in refusals:
        with pytest.raises(error, match=match):
            ask()
    assert correct(ground, brought, 0, "plum", dataset).dataset_id == dataset.id
    ground.container.storage.delete(job.blob)
    with pytest.raises(errors.Unavailable, match="which nobody removed"):
        correct(ground, job, 1, "plum")
    ground.container.absences.forget(job.blob)
    ground.container.absences.note(job.blob, ground.container.now() - absences.WAITED)
    with pytest.raises(errors.Conflict, match="not kept any more"):
        correct(ground, job, 1, "plum")
    assert len(ground.ids(dataset)) == 7


def test_a_picture_that_a_model_got_wrong_can_be_sent_with_its_label(ground: Ground) -> None:
    dataset = ground.dataset()
    ground.trained(dataset)
    added = feedback.correct_model(ground.container, "anna", "fruits", ["plum"], picture(1))
    assert (added.dataset_id, added.source, added.label) == (dataset.id, Source.FEEDBACK, "plum")
    ground.version("brought")
    for error, name in ((errors.NotFound, "none"), (errors.Conflict, "brought")):
        with pytest.raises(error):
            feedback.correct_model(ground.container, "anna", name, ["plum"], picture(2))
    with pytest.raises(errors.NotFound):
        feedback.correct_model(ground.container, "bert", "fruits", ["plum"], picture(2))
    datasets.delete(ground.container, "anna", dataset.id)
    with pytest.raises(errors.Conflict, match="being deleted"):
        feedback.correct_model(ground.container, "anna", "fruits", ["plum"], picture(2))
    datasets.drop_deleted(ground.container)
    with pytest.raises(errors.NotFound, match="no dataset"):
        feedback.correct_model(ground.container, "anna", "fruits", ["plum"], picture(2))
    assert models.get_version(ground.container, "anna", "fruits").training_id  # the model and its evidence stay
