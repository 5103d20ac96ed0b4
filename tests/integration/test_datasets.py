"""Datasets on both databases: pictures are stored once, sealed versions never change, deleted datasets go."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain import splits
from shared.domain.datasets import DatasetExample, DatasetState, Source, Split
from shared.domain.splits import Tally
from shared.domain.trainings import TrainingParameters
from shared.services import comparisons, datasets, training_runs, trainings
from tests import dataset_fixtures
from tests.dataset_fixtures import Ground, at_once, picture


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    return dataset_fixtures.on(database, tmp_path)


@pytest.fixture
def here(container: Container, tmp_path: Path) -> Ground:
    """The same on SQLite only, for tests that do not depend on the kind of database."""
    return dataset_fixtures.on(container.database, tmp_path)


def test_a_dataset_comes_back_with_its_labels_and_an_id_that_javascript_reads(ground: Ground) -> None:
    dataset = datasets.create(ground.container, "anna", " fruit ", labels=["pear", "plum", "pear"])
    assert (dataset.name, dataset.state, dataset.version, dataset.sealed) == ("fruit", DatasetState.READY, 1, False)
    assert 0 < dataset.id < 2**53
    later = datasets.create(ground.container, "anna", "fruit")
    assert later.id > dataset.id
    labels = datasets.labels(ground.container, "anna", dataset.id)
    assert [(label.id, label.name, label.examples) for label in labels] == [(1, "pear", 0), (2, "plum", 0)]
    assert datasets.get_by_reference(ground.container, "anna", str(dataset.id)) == dataset
    assert datasets.get_by_reference(ground.container, "anna", "fruit") == later


def test_one_with_an_archive_waits_for_a_trainer_and_refuses_everything_meanwhile(here: Ground) -> None:
    dataset = datasets.create(here.container, "anna", "fruit", source="uploads/1", labels=["pear"])
    assert dataset.state is DatasetState.LOADING
    assert here.sent == [("load",)]
    for change in (
        lambda: datasets.add_label(here.container, "anna", dataset.id, "fig"),
        lambda: datasets.add_example(here.container, "anna", dataset.id, [1], picture(1)),
        lambda: datasets.add_archive(here.container, "anna", dataset.id, "uploads/2"),
        lambda: datasets.delete(here.container, "anna", dataset.id),
    ):
        with pytest.raises(errors.Conflict, match="being loaded"):
            change()
    assert here.blobs(dataset) == []
    assert here.again(dataset) == dataset


def test_labels_count_on_and_are_there_once(ground: Ground) -> None:
    dataset = datasets.create(ground.container, "anna", "fruit", labels=["pear"])
    assert datasets.add_label(ground.container, "anna", dataset.id, "plum").id == 2
    with pytest.raises(errors.Conflict, match="'plum' already"):
        datasets.add_label(ground.container, "anna", dataset.id, unicodedata.normalize("NFD", " plum "))
    outcomes = at_once(*[lambda: datasets.add_label(ground.container, "anna", dataset.id, "fig")] * 2)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "DatasetLabel"]
    assert [label.id for label in datasets.labels(ground.container, "anna", dataset.id)] == [1, 2, 3]
    assert ground.again(dataset).last_label == 3


def test_a_picture_is_there_once_by_its_bytes_whatever_its_name_and_label(here: Ground) -> None:
    dataset = datasets.create(here.container, "anna", "fruit", labels=["pear", "plum"])
    first = datasets.add_example(here.container, "anna", dataset.id, [1], picture(1))
    assert here.container.storage.read(first.blob, first.offset, first.size) == picture(1).data
    assert datasets.example(here.container, "anna", dataset.id, first.id) == first
    with pytest.raises(errors.Conflict, match="example 1, 'pear'"):
        datasets.add_example(here.container, "anna", dataset.id, [2], replace(picture(1), name="other.png"))
    with pytest.raises(errors.NotFound, match="no label 3"):
        datasets.add_example(here.container, "anna", dataset.id, [3], picture(2))
    assert here.blobs(dataset) == [first.blob]


def test_of_two_requests_that_add_one_picture_at_once_one_wins_and_no_blob_is_left(ground: Ground) -> None:
    dataset = datasets.create(ground.container, "anna", "fruit", labels=["pear", "plum"])

    def add(label: int) -> DatasetExample:
        return datasets.add_example(ground.container, "anna", dataset.id, [label], picture(1))

    outcomes = at_once(partial(add, 1), partial(add, 2), partial(add, 1))
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, DatasetExample)]
    for lost in outcomes:
        if lost is not won:
            assert isinstance(lost, errors.Conflict)
            assert "has this picture already" in lost.message
    assert ground.blobs(dataset) == [won.blob]
    assert (ground.ids(dataset), ground.again(dataset).last_example) == ([1], 1)


def test_what_others_add_at_once_is_all_there(ground: Ground) -> None:
    dataset = datasets.create(ground.container, "anna", "fruit", labels=["pear"])

    def add(number: int) -> DatasetExample:
        return datasets.add_example(ground.container, "anna", dataset.id, [1], picture(number))

    fig = partial(datasets.add_label, ground.container, "anna", dataset.id, "fig")
    at_once(*[partial(add, number) for number in range(4)], fig)
    assert ground.ids(dataset) == [1, 2, 3, 4]
    assert (ground.again(dataset).last_example, ground.again(dataset).last_label) == (4, 2)


def test_a_blob_stays_when_it_is_unknown_whether_its_example_was_stored(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = datasets.create(container, "anna", "fruit", labels=["pear"])

    def lost(*_: object) -> None:
        raise errors.Unavailable("gone")

    monkeypatch.setattr("shared.adapters.database.datasets.Datasets.add_examples", lost)
    with pytest.raises(errors.Unavailable):
        datasets.add_example(container, "anna", dataset.id, [1], picture(1))
    assert len(container.storage.list(f"datasets/{dataset.id}")) == 1


def test_a_version_that_was_trained_on_keeps_exactly_its_examples(ground: Ground) -> None:
    dataset = ground.dataset({"pear": 2, "plum": 2})
    training = ground.submit(dataset)
    sealed = ground.again(dataset)
    assert (training.dataset_version, sealed.version, sealed.sealed) == (1, 1, True)
    added = datasets.add_example(ground.container, "anna", dataset.id, [1], picture(1))
    datasets.remove_example(ground.container, "anna", dataset.id, 1)
    datasets.add_label(ground.container, "anna", dataset.id, "fig")
    now = ground.again(dataset)
    assert (now.version, now.sealed, added.since) == (2, False, 2)
    assert ground.ids(dataset) == [2, 3, 4, 5]
    assert ground.ids(dataset, version=1) == [1, 2, 3, 4]
    dealt = training_runs.get_splits(ground.container, training)
    ids = sorted(example.id for part in (dealt.training, dealt.validation, dealt.test) for example in part)
    assert ids == [1, 2, 3, 4]
    with pytest.raises(errors.NotFound, match="no example 1"):
        datasets.remove_example(ground.container, "anna", dataset.id, 1)
    counted = [(label.name, label.examples) for label in datasets.labels(ground.container, "anna", dataset.id)]
    assert counted == [("pear", 2), ("plum", 2), ("fig", 0)]


def test_what_was_removed_from_a_sealed_version_may_come_again(ground: Ground) -> None:
    dataset = datasets.create(ground.container, "anna", "fruit", labels=["pear", "plum"])
    for number in range(4):
        datasets.add_example(ground.container, "anna", dataset.id, [number // 2 + 1], picture(number))
    ground.submit(dataset)
    datasets.remove_example(ground.container, "anna", dataset.id, 1)
    assert len(ground.blobs(dataset)) == 4  # the sealed version still needs it
    again = datasets.add_example(ground.container, "anna", dataset.id, [2], picture(0))
    assert (ground.ids(dataset), ground.ids(dataset, version=1)) == ([2, 3, 4, again.id], [1, 2, 3, 4])
    with pytest.raises(errors.Conflict, match=f"example {again.id}, 'plum'"):
        datasets.add_example(ground.container, "anna", dataset.id, [1], picture(0))
    datasets.remove_example(ground.container, "anna", dataset.id, again.id)
    assert len(ground.blobs(dataset)) == 4


def test_what_no_version_was_trained_on_goes_with_its_blob_when_the_last_in_it_goes(here: Ground) -> None:
    dataset = here.dataset({"pear": 2})
    alone = datasets.add_example(here.container, "anna", dataset.id, [1], picture(1))
    datasets.remove_example(here.container, "anna", dataset.id, alone.id)
    (shared,) = here.blobs(dataset)
    datasets.remove_example(here.container, "anna", dataset.id, 1)
    assert here.blobs(dataset) == [shared]
    datasets.remove_example(here.container, "anna", dataset.id, 2)
    assert (here.blobs(dataset), here.ids(dataset)) == ([], [])
    assert datasets.add_example(here.container, "anna", dataset.id, [1], picture(1)).id == alone.id + 1


def test_a_dataset_that_is_trained_on_is_not_deleted_and_afterwards_goes_whole(ground: Ground) -> None:
    dataset, other = ground.dataset(), ground.dataset(name="other")
    training = ground.submit(dataset)
    with pytest.raises(errors.Conflict, match=training.id):
        datasets.delete(ground.container, "anna", dataset.id)
    trainings.cancel(ground.container, "anna", training.id)
    assert datasets.delete(ground.container, "anna", dataset.id).state is DatasetState.DELETING
    with pytest.raises(errors.Conflict, match="being deleted"):
        datasets.add_label(ground.container, "anna", dataset.id, "fig")
    with pytest.raises(errors.NotFound):
        ground.submit(dataset, allow_unready_dataset=True)
    with pytest.raises(errors.NotFound, match=r"there are: other\.$"):
        datasets.get_by_reference(ground.container, "anna", "fruit")
    assert len(ground.blobs(dataset)) == 1

    datasets.drop_deleted(ground.container)
    datasets.drop_deleted(ground.container)

    assert ground.blobs(dataset) == []
    with pytest.raises(errors.NotFound):
        ground.again(dataset)
    assert len(ground.ids(other)) == 6
    assert len(ground.blobs(other)) == 1


def test_a_dataset_that_is_compared_on_is_not_deleted(ground: Ground) -> None:
    container, dataset = ground.container, ground.dataset()
    ground.trained(dataset), ground.trained(dataset)
    comparison = comparisons.request(container, "anna", "fruits", "2")
    with pytest.raises(errors.Conflict, match=f"comparison {comparison.id} uses the dataset"):
        datasets.delete(container, "anna", dataset.id)
    with container.database.write() as uow:
        uow.comparisons.end(comparison.id, container.now(), error="no")
    assert datasets.delete(container, "anna", dataset.id).state is DatasetState.DELETING


def test_what_became_of_the_last_archive_is_no_news_after_a_change(here: Ground) -> None:
    dataset = here.dataset()
    for change in (
        lambda: datasets.add_label(here.container, "anna", dataset.id, "fig"),
        lambda: datasets.add_example(here.container, "anna", dataset.id, [1], picture(1)),
        lambda: datasets.remove_example(here.container, "anna", dataset.id, 1),
    ):
        with here.container.database.write() as uow:
            uow.datasets.save(replace(here.again(dataset), message="the last archive could not be read"))
        change()
        assert here.again(dataset).message == ""


def test_the_pictures_of_a_deleted_dataset_go_before_its_rows(here: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = here.dataset()
    datasets.delete(here.container, "anna", dataset.id)
    with monkeypatch.context() as patched:

        def away(key: str) -> None:
            raise errors.Unavailable("away")

        patched.setattr(here.container.storage, "delete", away)
        with pytest.raises(errors.Unavailable):
            datasets.drop_deleted(here.container)
    assert here.again(dataset).state is DatasetState.DELETING
    datasets.drop_deleted(here.container)
    assert here.blobs(dataset) == []


def test_another_tenant_sees_and_changes_nothing(ground: Ground) -> None:
    dataset = ground.dataset()
    container = ground.container
    for ask in (
        lambda: datasets.get(container, "bert", dataset.id),
        lambda: datasets.get_by_reference(container, "bert", "fruit"),
        lambda: datasets.get_by_reference(container, "bert", str(dataset.id)),
        lambda: datasets.labels(container, "bert", dataset.id),
        lambda: datasets.label(container, "bert", dataset.id, 1),
        lambda: datasets.example(container, "bert", dataset.id, 1),
        lambda: datasets.add_label(container, "bert", dataset.id, "fig"),
        lambda: datasets.add_example(container, "bert", dataset.id, [1], picture(1)),
        lambda: datasets.add_archive(container, "bert", dataset.id, "uploads/1"),
        lambda: datasets.remove_example(container, "bert", dataset.id, 1),
        lambda: datasets.delete(container, "bert", dataset.id),
        lambda: ground.submit(replace(dataset, tenant="bert")),
    ):
        with pytest.raises(errors.NotFound, match="no dataset"):
            ask()
    assert (ground.again(dataset), len(ground.ids(dataset)), len(ground.blobs(dataset))) == (dataset, 6, 1)


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "a\nb", "a\x7f", "\ud800", "x" * 181, "a\u202eb"])
def test_names_that_cannot_be_shown_are_refused(container: Container, name: str) -> None:
    created = datasets.create(container, "anna", "fruit")
    with pytest.raises(errors.BadOption, match="1 to 180 characters"):
        datasets.create(container, "anna", name)
    with pytest.raises(errors.BadOption):
        datasets.create(container, "anna", "more", labels=["pear", name])
    with pytest.raises(errors.BadOption):
        datasets.add_label(container, "anna", created.id, name)
    with container.database.read() as uow:
        assert [dataset.name for dataset in uow.datasets.page("anna")] == ["fruit"]


def test_names_that_look_alike_are_equal_and_fit_both_databases(ground: Ground) -> None:
    composed, decomposed, long = "Äpfel 🍏", unicodedata.normalize("NFD", "Äpfel 🍏"), "长" * 180
    dataset = datasets.create(ground.container, "anna", decomposed, labels=[composed, decomposed, long])
    assert dataset.name == composed
    assert [label.name for label in datasets.labels(ground.container, "anna", dataset.id)] == [composed, long]
    assert datasets.get_by_reference(ground.container, "anna", decomposed) == dataset
    assert datasets.label_ids(ground.container, "anna", dataset.id, [decomposed, composed]) == [1]
    odd = replace(picture(1), name="\ud800\0" + "x" * 400)
    assert datasets.add_example(ground.container, "anna", dataset.id, [1], odd).name == "x" * 180


def test_the_last_of_a_label_is_counted_by_version_source_and_split(ground: Ground) -> None:
    dataset = ground.dataset({"pear": 2, "plum": 1})
    datasets.add_example(ground.container, "anna", dataset.id, [2], picture(1), split=Split.TEST)
    datasets.add_example(ground.container, "anna", dataset.id, [2], picture(2), source=Source.FEEDBACK)
    with ground.container.database.read() as uow:
        tallies = uow.datasets.tallies(ground.again(dataset))
    assert sorted(tallies, key=str) == sorted(
        [
            Tally("pear", Source.UPLOAD, Split.OPEN, 2),
            Tally("plum", Source.UPLOAD, Split.OPEN, 1),
            Tally("plum", Source.UPLOAD, Split.TEST, 1),
            Tally("plum", Source.FEEDBACK, Split.OPEN, 1),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    ("tallies", "complaint"),
    [
        ([], "at least 2 labels"),
        ([("pear", "upload", "", 9)], "has 1"),
        ([("pear", "upload", "", 9), ("plum", "upload", "", 1)], "too few of 'plum'"),
        ([("pear", "upload", "", 9), ("plum", "feedback", "", 9)], ""),
        ([("pear", "upload", "test", 9), ("plum", "upload", "", 9)], "of 'pear' to learn from"),
        ([("pear", "feedback", "", 9), ("plum", "feedback", "", 9)], "to test on"),
        ([("pear", "upload", "", 1), ("pear", "feedback", "", 1), ("plum", "feedback", "", 2)], "to test on"),
        ([("pear", "upload", "training", 2), ("plum", "upload", "training", 2)], ""),
    ],
)
def test_what_cannot_be_trained_on_is_recognised_by_counts_as_by_dealing(
    container: Container, tallies: list[tuple[str, str, str, int]], complaint: str
) -> None:
    counted = [Tally(label, Source(source), Split(split), count) for label, source, split, count in tallies]
    numbers = {label: number for number, label in enumerate(sorted({group.label for group in counted}), 1)}
    examples = [
        DatasetExample(
            1, 0, numbers[group.label], group.label, "", group.split, group.source, f"{group} {number}", "",
            0, 1, 1, 0.0,
        )
        for group in counted
        for number in range(group.count)
    ]  # fmt: skip
    if complaint:
        for ask in (lambda: splits.check(counted), lambda: splits.deal(examples, 0.8, 0)):
            with pytest.raises(errors.BadDataset, match=complaint):
                ask()
        return
    splits.check(counted)
    dealt = splits.deal(examples, 0.8, 0)
    assert dealt.test
    assert {example.label for example in dealt.training} == set(numbers)
    assert all(example.source is Source.UPLOAD for example in (*dealt.test, *dealt.validation))


def test_corrections_that_are_left_out_do_not_count_as_pictures_of_a_label(here: Ground) -> None:
    dataset = here.dataset({"pear": 4, "plum": 0})
    for number in range(3):
        datasets.add_example(here.container, "anna", dataset.id, [2], picture(number), source=Source.FEEDBACK)
    with pytest.raises(errors.BadDataset, match="has 1"):
        here.submit(dataset, parameters=TrainingParameters(with_feedback=False))
    assert here.submit(dataset).dataset_version == 1


def test_one_picture_is_looked_up_by_an_index_and_the_few_that_move_by_another(here: Ground) -> None:
    dataset, database = here.dataset(), here.container.database
    with database.engine.connect() as connection:
        for ask, index in (
            (lambda r: r.datasets.in_state(DatasetState.LOADING), "ix_datasets_moving"),
            (lambda r: r.datasets.find_by_sha256(dataset, "0" * 64), "uq_examples_dataset_id_sha256"),
        ):
            with database.read() as uow:
                ((statement, parameters),) = here.statements(partial(ask, uow))
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert index in str(plan)


def test_a_dataset_of_many_pictures_is_submitted_without_reading_them(here: Ground) -> None:
    dataset = here.dataset()
    statements = " ".join(statement for statement, _ in here.statements(lambda: here.submit(dataset)))
    assert "examples.blob" not in statements
