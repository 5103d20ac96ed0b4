"""Seen pictures: kept once and by choice only, counted, bounded, and gone with what they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from shared import errors
from shared.adapters.database.seen_pictures import SeenPictures
from shared.adapters.database.stored_images import StoredImages
from shared.adapters.database.unit_of_work import Database
from shared.adapters.pauses import run
from shared.container import Container
from shared.domain.datasets import Source
from shared.domain.jobs import Job, Status, Submission
from shared.domain.models import ModelVersion
from shared.domain.seen_pictures import DAY, SeenChoice, SeenPicture, blob_key
from shared.domain.tenant_limits import TenantLimits
from shared.services import (
    datasets,
    jobs,
    kept_bytes,
    maintenance,
    models,
    seen_pictures,
    stored_images,
    suggestions,
    tenant_limits,
    trainings,
)
from shared.services.seen_pictures import Sighting
from tests import dataset_fixtures
from tests.dataset_fixtures import LIMITS, Ground, picture


@dataclass
class Scene:
    """A model of anna, and what workers tell of the pictures that it sees."""

    ground: Ground
    version: ModelVersion
    choice: SeenChoice | None = None

    def choose(self, most: int = 100, days: int = 30) -> None:
        suggestions.choose(self.ground.container, "anna", self.version.name, most, days)
        self.choice = seen_pictures.list_choices(self.ground.container, self.version.name)["anna"]

    def job(self, *numbers: int) -> Job:
        pictures = [picture(number) for number in numbers]
        return run(jobs.submit(self.ground.container, "anna", Submission(pictures, self.version.name)))[0]

    def see(
        self, job: Job, *numbers: int, uncertainty: Sequence[float] = (), version: ModelVersion | None = None,
        is_unlike: bool = False, fingerprint: int | None = None, image_id: str = "",
    ) -> None:  # fmt: skip
        """Keep the pictures of a job, which are in the order of `numbers`; each has features of its own."""
        assert self.choice
        seen_pictures.keep(
            self.ground.container, self.choice,
            [
                Sighting(
                    job.id, position, (version or self.version).id, picture(number).data, "pear", 0.6,
                    uncertainty[position] if uncertainty else 0.5, is_unlike, fingerprint, features(number),
                    image_id,
                )
                for position, number in enumerate(numbers)
            ],
        )  # fmt: skip

    def kept(self) -> list[SeenPicture]:
        assert self.choice
        with self.ground.container.database.read() as uow:
            return uow.seen_pictures.least_worth(self.choice.id, 1000)

    def names(self) -> list[str]:
        return sorted(each.name for each in self.kept())

    def blobs(self) -> list[str]:
        storage = self.ground.container.storage
        return [key for folder in storage.list("seen") for key in storage.list(folder)]

    def used(self) -> int:
        return kept_bytes.used(self.ground.container, "anna")

    def suggested(self, limit: int = 20, version: str = "") -> list[SeenPicture]:
        return list(suggestions.suggest(self.ground.container, "anna", self.version.name, version, limit).pictures)

    def check_counts(self) -> None:
        """Compare the bytes that are counted with the rows, and the blobs with the rows."""
        with self.ground.container.database.read() as uow:
            assert uow.kept_bytes.missing() == []
        assert sorted(self.blobs()) == sorted(blob_key(each.choice_id, each.id) for each in self.kept())


def features(number: int) -> bytes:
    row = np.random.default_rng(number).normal(size=16)
    return (row / np.linalg.norm(row)).astype(np.float16).tobytes()


def end(scene: Scene, job: Job) -> None:
    jobs.cancel(scene.ground.container, "anna", job.id)


@pytest.fixture
def scene(database: Database, tmp_path: Path) -> Scene:
    """A scene on each kind of database; the model was trained on a dataset of anna."""
    ground = dataset_fixtures.on(database, tmp_path)
    return Scene(ground, ground.trained(ground.dataset()))


# keeping


def test_a_picture_is_kept_once_with_the_answer_that_it_got_last(scene: Scene) -> None:
    scene.choose()
    first, second = scene.job(1, 2), scene.job(2)
    before = scene.used()
    scene.see(first, 1, 2)
    scene.see(second, 2, uncertainty=[0.9])
    kept = {each.name: each for each in scene.kept()}
    assert {name: (each.uncertainty, each.job_id) for name, each in kept.items()} == {
        "1.png": (0.5, first.id), "2.png": (0.9, second.id),
    }  # fmt: skip
    assert scene.used() == before + len(picture(1).data) + len(picture(2).data)
    scene.check_counts()


def test_of_more_than_are_allowed_the_least_worth_labelling_go_and_of_equal_ones_the_oldest(scene: Scene) -> None:
    scene.choose(most=3)
    scene.see(scene.job(1, 2, 3, 4), 1, 2, 3, 4, uncertainty=[0.2, 0.9, 0.5, 0.7])
    assert scene.names() == ["2.png", "3.png", "4.png"]
    scene.see(scene.job(5), 5, uncertainty=[0.3])
    assert scene.names() == ["2.png", "3.png", "4.png"]
    scene.see(scene.job(6), 6, uncertainty=[0.5])
    assert scene.names() == ["2.png", "4.png", "6.png"]
    scene.see(scene.job(7), 7, uncertainty=[0.01], is_unlike=True)
    assert scene.names() == ["2.png", "4.png", "7.png"]
    scene.choose(most=1)
    assert scene.names() == ["7.png"]
    scene.check_counts()


def test_nothing_is_kept_of_a_job_that_was_erased_meanwhile_nor_by_a_choice_that_was_taken_back(scene: Scene) -> None:
    scene.choose()
    erased, other = scene.job(1), scene.job(2)
    end(scene, erased)
    jobs.erase(scene.ground.container, "anna", erased.id)
    scene.see(erased, 1)
    assert scene.kept() == []
    suggestions.take_back(scene.ground.container, "anna", scene.version.name)
    scene.see(other, 2)
    assert scene.kept() == []
    assert scene.blobs() == []


def test_a_tenant_without_room_keeps_nothing_more_and_its_most_worth_first(scene: Scene) -> None:
    scene.choose()
    job = scene.job(1, 2, 3)
    limit = scene.used() + len(picture(2).data) + 1
    tenant_limits.replace(scene.ground.container, "default", TenantLimits("anna", max_bytes=limit))
    scene.see(job, 1, 2, 3, uncertainty=[0.2, 0.9, 0.5])
    assert scene.names() == ["2.png"]
    scene.check_counts()


# going


def test_erasing_the_last_job_that_sent_a_picture_erases_it_and_age_does_not(scene: Scene) -> None:
    scene.choose()
    first, second = scene.job(1, 2), scene.job(2)
    scene.see(first, 1, 2)
    scene.see(second, 2)
    end(scene, second)
    jobs.erase(scene.ground.container, "anna", second.id)
    assert scene.names() == ["1.png"]
    scene.check_counts()

    end(scene, first)
    maintenance.drop_old_jobs(replace(scene.ground.container, now=lambda: dataset_fixtures.NOW + 400 * DAY))
    with pytest.raises(errors.NotFound):
        jobs.get(scene.ground.container, "anna", first.id)
    assert scene.names() == ["1.png"]
    (kept,) = scene.kept()
    assert suggestions.read(scene.ground.container, "anna", "fruits", kept.id)[1] == picture(1).data


def test_deleting_a_stored_image_erases_the_picture_that_a_job_has_referred_to(scene: Scene) -> None:
    scene.choose()
    container = scene.ground.container
    image = stored_images.store(container, "anna", "live", picture(1))
    scene.see(scene.job(1), 1, image_id=image.id)
    scene.see(scene.job(2), 2)
    stored_images.delete(container, "anna", "live", image.id)
    assert scene.names() == ["2.png"]
    scene.check_counts()


def test_nothing_is_kept_of_a_stored_image_that_was_deleted_meanwhile(scene: Scene) -> None:
    scene.choose()
    container = scene.ground.container
    image = stored_images.store(container, "anna", "live", picture(1))
    job = scene.job(1)
    stored_images.delete(container, "anna", "live", image.id)
    scene.see(job, 1, image_id=image.id)
    assert (scene.kept(), scene.blobs()) == ([], [])


def test_maintenance_removes_the_picture_of_an_image_that_is_gone_and_no_other(scene: Scene) -> None:
    scene.choose()
    container = scene.ground.container
    gone, present = (stored_images.store(container, "anna", "live", picture(number)) for number in (1, 2))
    scene.see(scene.job(1), 1, image_id=gone.id)
    scene.see(scene.job(2), 2, image_id=present.id)
    scene.see(scene.job(3), 3)
    with container.database.write() as uow:
        uow.stored_images.delete([gone.id])
    seen_pictures.drop_old(container)
    assert scene.names() == ["2.png", "3.png"]
    scene.check_counts()


def test_an_image_that_is_deleted_while_it_is_kept_takes_the_seen_picture_with_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.choose()
    container = scene.ground.container
    image = stored_images.store(container, "anna", "live", picture(1))
    job = scene.job(1)
    deleting = Thread(target=stored_images.delete, args=(container, "anna", "live", image.id))
    add = SeenPictures.add
    deletes = Event()
    delete = StoredImages.delete

    def note(images: StoredImages, image_ids: Sequence[str]) -> None:
        deletes.set()
        delete(images, image_ids)

    def add_meanwhile(pictures: SeenPictures, choice: SeenChoice, added: Mapping[SeenPicture, bytes]) -> None:
        deleting.start()
        if not _writes_alone(container):
            assert deletes.wait(10.0)
        add(pictures, choice, added)

    monkeypatch.setattr(SeenPictures, "add", add_meanwhile)
    monkeypatch.setattr(StoredImages, "delete", note)
    scene.see(job, 1, image_id=image.id)
    deleting.join(10.0)
    assert not deleting.is_alive()
    assert (scene.kept(), scene.blobs()) == ([], [])


def _writes_alone(container: Container) -> bool:
    """Return True for SQLite, where one transaction writes at a time."""
    return container.database.engine.dialect.name == "sqlite"


def test_a_choice_that_is_taken_back_leaves_nothing(scene: Scene) -> None:
    before = scene.used()
    scene.choose()
    job = scene.job(1, 2)
    sent = scene.used()
    scene.see(job, 1, 2)
    suggestions.take_back(scene.ground.container, "anna", scene.version.name)
    assert (scene.kept(), scene.blobs(), scene.used()) == ([], [], sent)
    assert sent > before
    suggestions.take_back(scene.ground.container, "anna", scene.version.name)
    with pytest.raises(errors.Conflict, match="inferq models keep-seen fruits"):
        scene.suggested()


def test_what_a_removed_version_has_seen_goes_and_with_the_model_the_choice(scene: Scene) -> None:
    scene.choose()
    other = scene.ground.version("fruits", "2")
    scene.see(scene.job(1), 1)
    late = scene.job(2)
    scene.see(late, 2, version=other)
    models.remove(scene.ground.container, "anna", "fruits", "2")
    assert scene.names() == ["1.png"]
    scene.check_counts()

    for live in jobs.list_page(
        scene.ground.container, "anna", status=Status.QUEUED, model="", before="", since=None, until=None, limit=9
    ):
        end(scene, live)
    models.remove(scene.ground.container, "anna", "fruits")
    assert (scene.kept(), scene.blobs()) == ([], [])
    assert seen_pictures.list_choices(scene.ground.container, "fruits") == {}
    scene.check_counts()


def test_maintenance_removes_what_was_not_seen_for_long_and_blobs_without_a_row(scene: Scene) -> None:
    scene.choose(days=1)
    scene.see(scene.job(1, 2), 1, 2)
    (kept, other) = scene.kept()
    orphan = "019a0000-0000-7000-8000-000000000000"  # of 2025
    assert scene.choice
    for key in (blob_key(scene.choice.id, orphan), blob_key("another", orphan)):
        scene.ground.container.storage.write(key, b"left over")
    young = replace(scene.ground.container, now=lambda: kept.seen_at + DAY - 1)
    seen_pictures.drop_old(young)
    assert scene.names() == ["1.png", "2.png"]
    scene.check_counts()
    seen_pictures.drop_old(replace(young, now=lambda: other.seen_at + DAY + 2))
    assert (scene.kept(), scene.blobs()) == ([], [])
    scene.check_counts()


# suggesting


def test_a_dataset_keeps_its_pictures_and_what_is_labelled_joins_them_and_is_suggested_no_more(scene: Scene) -> None:
    scene.choose()
    container = scene.ground.container
    dataset_id = trainings.get(container, "anna", scene.version.training_id).dataset_id
    known = datasets.add_example(container, "anna", dataset_id, [1], picture(1))
    scene.see(scene.job(1, 2, 3), 1, 2, 3, uncertainty=[0.9, 0.8, 0.7])
    assert [each.name for each in scene.suggested()] == ["2.png", "3.png"]
    second, third = scene.suggested()

    example = suggestions.label(container, "anna", "fruits", second.id, ["plum"], None, LIMITS)
    assert (example.dataset_id, example.label, example.source) == (dataset_id, "plum", Source.FEEDBACK)
    assert container.storage.read(example.blob, example.offset, example.size) == picture(2).data
    suggestions.dismiss(container, "anna", "fruits", third.id)

    assert scene.suggested() == []
    for settled in (second, third):
        with pytest.raises(errors.NotFound, match="was labelled, dismissed or removed"):
            suggestions.read(container, "anna", "fruits", settled.id)
    scene.see(scene.job(2, 3), 2, 3)
    assert scene.suggested() == []
    scene.check_counts()

    datasets.remove_example(container, "anna", dataset_id, known.id)
    assert [each.name for each in scene.suggested()] == ["1.png"]


def test_copies_of_each_other_are_suggested_once(scene: Scene) -> None:
    scene.choose()
    scene.see(scene.job(1, 2), 1, 2, uncertainty=[0.4, 0.8], fingerprint=0x0123_4567_89AB)
    assert [each.name for each in scene.suggested()] == ["2.png"]
    suggestions.dismiss(scene.ground.container, "anna", "fruits", scene.suggested()[0].id)
    assert scene.suggested() == []


def test_copies_of_a_dismissed_scene_leave_room_for_other_pictures(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.services.suggestions.COMPARED", 2)
    scene.choose()
    scene.see(scene.job(1), 1, fingerprint=0x0123_4567_89AB)
    suggestions.dismiss(scene.ground.container, "anna", "fruits", scene.suggested()[0].id)
    scene.see(scene.job(2, 3, 4), 2, 3, 4, uncertainty=[0.9, 0.9, 0.9], fingerprint=0x0123_4567_89AB)
    scene.see(scene.job(5), 5, fingerprint=0x0123_4567_89AB, is_unlike=True)
    scene.see(scene.job(6, 7, 8), 6, 7, 8, uncertainty=[0.8, 0.7, 0.6])
    assert [each.name for each in scene.suggested()] == ["6.png", "7.png"]


def test_pictures_whose_features_have_another_width_than_most_are_left_out(scene: Scene) -> None:
    scene.choose()
    scene.see(scene.job(1, 2, 3), 1, 2, 3, uncertainty=[0.9, 0.8, 0.7])
    first = next(each for each in scene.kept() if each.name == "1.png")
    with scene.ground.container.database.write() as uow:
        uow.seen_pictures.see_again(first, features(1)[:20])
    assert [each.name for each in scene.suggested()] == ["2.png", "3.png"]


def test_a_version_suggests_what_it_has_seen_itself(scene: Scene) -> None:
    scene.choose()
    other = scene.ground.version("fruits", "2")
    scene.see(scene.job(1), 1)
    scene.see(scene.job(2), 2, version=other)
    found = suggestions.suggest(scene.ground.container, "anna", "fruits", "2", 20)
    assert ([each.name for each in found.pictures], found.dataset) == (["2.png"], None)
    assert (found.candidates, found.kept) == (1, {"1": 1, "2": 1})
    assert [each.name for each in scene.suggested()] == ["1.png"]
    with pytest.raises(errors.Conflict, match="name the dataset"):
        suggestions.label(scene.ground.container, "anna", "fruits", found.pictures[0].id, ["plum"], None, LIMITS)


def test_a_label_that_the_dataset_lacks_is_refused_and_the_picture_stays(scene: Scene) -> None:
    scene.choose()
    scene.see(scene.job(1), 1)
    (kept,) = scene.suggested()
    with pytest.raises(errors.BadOption, match="has no label 'cat'; it has: pear, plum"):
        suggestions.label(scene.ground.container, "anna", "fruits", kept.id, ["cat"], None, LIMITS)
    assert scene.suggested() == [kept]


def test_of_a_model_of_all_tenants_each_keeps_its_own_pictures(scene: Scene) -> None:
    container = scene.ground.container
    shared = scene.ground.version("shared", tenant="*")
    for tenant in ("anna", "bert"):
        suggestions.choose(container, tenant, "shared", 10, 30)
    choices = seen_pictures.list_choices(container, "shared")
    assert set(choices) == {"anna", "bert"}
    own = Scene(scene.ground, shared, choices["anna"])
    own.see(own.job(1), 1)
    (kept,) = own.suggested()
    assert suggestions.suggest(container, "bert", "shared", "", 20).pictures == []
    with pytest.raises(errors.NotFound):
        suggestions.read(container, "bert", "shared", kept.id)
    with pytest.raises(errors.NotFound):
        suggestions.dismiss(container, "bert", "shared", kept.id)
    suggestions.take_back(container, "bert", "shared")
    assert own.suggested() == [kept]
