"""Multi-label datasets on both databases: from tables of labels, one picture at a time, in versions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain import near_duplicates
from shared.domain.datasets import Contradiction, Dataset, DatasetState, Source, Split, warnings
from shared.domain.models import ProblemType
from shared.domain.searches import Collection
from shared.domain.splits import Tally
from shared.services import dataset_import, datasets, searches, training_runs
from tests import dataset_fixtures
from tests.dataset_fixtures import Ground, picture
from tests.unit.archive_files import Files, Pack, as_tgz, as_zip

MULTI, SINGLE = ProblemType.MULTI_LABEL, ProblemType.SINGLE_LABEL
TABLE = b"file,labels\n1.png,cat|dog\nmore/2.png,cat\n3.png,\n4.png,dog|hen\n"
PETS: Files = [
    ("labels.csv", TABLE),
    ("1.png", picture(1).data),
    ("more/2.png", picture(2).data),
    ("3.png", picture(3).data),
    ("4.png", picture(4).data),
]


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    return dataset_fixtures.on(database, tmp_path)


@pytest.fixture
def here(container: Container, tmp_path: Path) -> Ground:
    """The same on SQLite only, for tests that do not depend on the kind of database."""
    return dataset_fixtures.on(container.database, tmp_path)


def packed(table: bytes, *numbers: int) -> Files:
    """Return a table and the pictures of these numbers."""
    return [("labels.csv", table), *((f"{number}.png", picture(number).data) for number in numbers)]


def load(ground: Ground, archive: bytes, problem_type: ProblemType | None = None, name: str = "pets") -> Dataset:
    source = dataset_import.keep_upload(ground.container, "anna", io.BytesIO(archive))
    dataset = datasets.create(ground.container, "anna", name, source=source, problem_type=problem_type)
    dataset_import.load(ground.container, dataset.id)
    return ground.again(dataset)


def add(ground: Ground, dataset: Dataset, files: Files) -> Dataset:
    source = dataset_import.keep_upload(ground.container, "anna", io.BytesIO(as_zip(files)))
    datasets.add_archive(ground.container, "anna", dataset.id, source)
    dataset_import.load(ground.container, dataset.id)
    return ground.again(dataset)


def labelled(ground: Ground, dataset: Dataset, label: str = "") -> dict[str, tuple[str, ...]]:
    """Return name -> labels of the examples, optionally of one label."""
    label_id = datasets.label_ids(ground.container, "anna", dataset.id, [label])[0] if label else None
    examples = datasets.list_examples(ground.container, dataset, label_id=label_id, limit=99)
    return {example.name: example.labels for example in examples}


def counted(ground: Ground, dataset: Dataset) -> tuple[int, dict[str, int]]:
    held = datasets.inventory(ground.container, dataset)
    return held.examples, {label.name: label.examples for label in held.labels}


@pytest.mark.parametrize("pack", [as_zip, as_tgz])
def test_a_table_makes_a_multi_label_dataset_whose_pictures_keep_all_their_labels(ground: Ground, pack: Pack) -> None:
    dataset = load(ground, pack(PETS))
    assert (dataset.state, dataset.problem_type, dataset.unreadable) == (DatasetState.READY, MULTI, 0)
    everything = {"1.png": ("cat", "dog"), "2.png": ("cat",), "3.png": (), "4.png": ("dog", "hen")}
    assert labelled(ground, dataset) == everything
    assert counted(ground, dataset) == (4, {"cat": 2, "dog": 2, "hen": 1})
    assert labelled(ground, dataset, "dog") == {name: everything[name] for name in ("1.png", "4.png")}
    with ground.container.database.read() as uow:
        assert uow.datasets.tallies(dataset) == [
            Tally("cat", Source.UPLOAD, Split.OPEN, 2),
            Tally("dog", Source.UPLOAD, Split.OPEN, 2),
            Tally("hen", Source.UPLOAD, Split.OPEN, 1),
        ]
    assert [held.examples for _, held in datasets.list_page(ground.container, "anna", limit=9)] == [4]


def test_a_table_with_one_label_for_each_picture_makes_an_ordinary_dataset_unless_asked(here: Ground) -> None:
    files: Files = [
        ("labels.csv", b"file,labels\n1.png,cat\n2.png,dog\n"),
        ("1.png", picture(1).data),
        ("2.png", picture(2).data),
    ]
    single = load(here, as_zip(files))
    assert single.problem_type is SINGLE
    assert counted(here, single) == (2, {"cat": 1, "dog": 1})
    examples = datasets.list_examples(here.container, single, limit=9)
    assert [(example.label, example.label_ids) for example in examples] == [("cat", ()), ("dog", ())]
    asked = load(here, as_zip(files), MULTI, "asked")
    assert asked.problem_type is MULTI
    assert labelled(here, asked) == {"1.png": ("cat",), "2.png": ("dog",)}


def test_a_picture_with_two_labels_is_refused_where_one_is_asked_for(here: Ground) -> None:
    failed = load(here, as_zip(PETS), SINGLE)
    assert failed.state is DatasetState.FAILED
    assert failed.message.startswith(
        "'1.png' has 2 labels, and the dataset has one for each picture. Make a multi-label dataset for"
    )
    ready = here.dataset()
    assert add(here, ready, PETS).message.startswith("the last archive could not be read: '1.png' has 2 labels")


def test_files_that_the_table_lacks_and_rows_without_a_file_are_listed(here: Ground) -> None:
    table = b"file,labels\n1.png,cat|dog\n2.png,cat\n9.png,dog\nnotes.txt,\n"
    dataset = load(
        here, as_zip([("labels.csv", table), *[(f"{n}.png", picture(n).data) for n in (1, 2, 3)], ("notes.txt", b"?")])
    )
    assert labelled(here, dataset) == {"1.png": ("cat", "dog"), "2.png": ("cat",)}
    reasons = dict(dataset.reasons)
    assert set(reasons) == {"labels.csv, line 4", "3.png", "notes.txt"}
    assert reasons["labels.csv, line 4"] == "names '9.png', which is not in the archive"
    assert reasons["3.png"] == "is not in 'labels.csv'; add a row for it, with no label if it shows none of them"
    assert dataset.unreadable == 3


def test_a_picture_whose_copies_have_different_labels_is_used_by_none(here: Ground) -> None:
    table = b"file,labels\n1.png,cat|dog\nagain.png,cat\ntwice.png,dog|cat\n2.png,cat\n"
    same = picture(1).data
    dataset = load(
        here, as_zip([("labels.csv", table), ("1.png", same), ("again.png", same), ("2.png", picture(2).data)])
    )
    assert labelled(here, dataset) == {"2.png": ("cat",)}
    assert dataset.contradictions == (Contradiction(("cat | dog", "cat"), ("1.png", "again.png")),)
    [warning] = [
        each for each in warnings(dataset, datasets.labels(here.container, "anna", dataset.id)) if "sent" in each
    ]
    assert warning.startswith("Pictures that were sent under different labels: 1. Decide for the labels of each")
    again = add(here, dataset, [("labels.csv", b"file,labels\nx.png,dog|hen\n"), ("x.png", picture(2).data)])
    assert again.contradictions[1] == Contradiction(("cat", "dog | hen"), ("cat/2.png", "x.png"), 1)


def test_label_folders_of_a_multi_label_dataset_add_up(here: Ground) -> None:
    files: Files = [("cat/1.png", picture(1).data), ("dog/1.png", picture(1).data), ("dog/2.png", picture(2).data),
                    ("dog/3.png", picture(2).data)]  # fmt: skip
    dataset = load(here, as_zip(files), MULTI)
    assert labelled(here, dataset) == {"1.png": ("cat", "dog"), "2.png": ("dog",)}
    assert (dataset.contradicting, dataset.duplicates) == (0, 1)
    again = add(here, dataset, files)
    assert (again.contradicting, again.duplicates, again.version) == (0, 5, 1)
    assert labelled(here, again) == labelled(here, dataset)


def test_label_folders_that_give_a_known_picture_another_label_contradict_the_dataset(here: Ground) -> None:
    dataset = load(here, as_zip([("cat/1.png", picture(1).data), ("dog/1.png", picture(1).data)]), MULTI)
    again = add(here, dataset, [(f"{label}/1.png", picture(1).data) for label in ("cat", "dog", "hen")])
    assert again.contradictions == (
        Contradiction(
            ("cat | dog", "cat", "dog", "hen"), ("cat | dog/1.png", "cat/1.png", "dog/1.png", "hen/1.png"), 1
        ),
    )
    assert (labelled(here, again), again.duplicates) == ({"1.png": ("cat", "dog")}, 0)


def test_a_file_named_like_a_table_beside_label_folders_is_only_listed(here: Ground) -> None:
    files: Files = [("cat/1.png", picture(1).data), ("dog/2.png", picture(2).data), ("labels.csv", b"0,cat\n1,dog\n")]
    dataset = load(here, as_zip(files))
    assert dataset.problem_type is SINGLE
    assert dataset.reasons == (("labels.csv", "is no table of labels: its heading has no column file or file_name"),)
    assert counted(here, dataset) == (2, {"cat": 1, "dog": 1})


def test_an_archive_with_neither_a_table_nor_folders_says_what_is_wrong_with_the_table(here: Ground) -> None:
    dataset = load(here, as_zip([("1.png", picture(1).data), ("labels.csv", b"cat\ndog\n")]))
    assert dataset.state is DatasetState.FAILED
    assert "neither a table of labels nor label folders: 'labels.csv' is no table of labels" in dataset.message


def test_single_pictures_have_any_number_of_labels(ground: Ground) -> None:
    dataset = datasets.create(ground.container, "anna", "pets", labels=["cat", "dog"], problem_type=MULTI)
    both = datasets.add_example(ground.container, "anna", dataset.id, [2, 1, 2], picture(1))
    assert (both.label_ids, both.labels, both.all_labels) == ((1, 2), ("cat", "dog"), ("cat", "dog"))
    none = datasets.add_example(ground.container, "anna", dataset.id, [], picture(2))
    assert datasets.example(ground.container, "anna", dataset.id, none.id).labels == ()
    assert datasets.example(ground.container, "anna", dataset.id, both.id) == both
    with pytest.raises(
        errors.Conflict, match=r"example 1, 'cat \| dog'\. If 'dog' is right, remove that example first"
    ):
        datasets.add_example(ground.container, "anna", dataset.id, [2], picture(1))
    with pytest.raises(errors.NotFound, match="no label 3"):
        datasets.add_example(ground.container, "anna", dataset.id, [1, 3], picture(3))
    assert datasets.get_names_and_labels(ground.container, dataset.id, [1, 2, 9]) == {
        1: ("1.png", ("cat", "dog")), 2: ("2.png", ()),
    }  # fmt: skip
    single = ground.dataset()
    for label_ids in ([], [1, 2]):
        with pytest.raises(
            errors.BadOption, match=f"one label for each picture, not {len(label_ids)}; a multi-label dataset takes"
        ):
            datasets.add_example(ground.container, "anna", single.id, label_ids, picture(5))


def test_all_labels_of_a_picture_are_looked_up_in_one_query_and_are_a_hundred_at_most(ground: Ground) -> None:
    names = [f"label {number}" for number in range(100)]
    dataset = datasets.create(ground.container, "anna", "pets", labels=names, problem_type=MULTI)

    def ids(*wanted: str) -> list[int]:
        return datasets.label_ids(ground.container, "anna", dataset.id, wanted)

    assert ids(*names) == list(range(1, 101))
    assert len(ground.statements(lambda: ids(*names))) == len(ground.statements(lambda: ids(names[0])))
    assert ids(names[1], names[0], names[1]) == [2, 1]
    for unknown in ("cow", ""):
        with pytest.raises(errors.BadOption, match=f"no label '{unknown}'; it has: label 0, label 1"):
            ids("label 0", unknown)
    with pytest.raises(errors.BadOption, match="a picture may have 100 labels, not 101"):
        ids(*names, names[0])
    with pytest.raises(errors.BadOption, match="a picture may have 100 labels, not 101"):
        datasets.add_example(ground.container, "anna", dataset.id, [1] * 101, picture(1))


def test_a_correction_replaces_the_labels_of_the_one_before(here: Ground) -> None:
    dataset = datasets.create(here.container, "anna", "pets", labels=["cat", "dog"], problem_type=MULTI)
    first = datasets.add_example(here.container, "anna", dataset.id, [1], picture(1), source=Source.FEEDBACK)
    second = datasets.add_example(here.container, "anna", dataset.id, [1, 2], picture(1), source=Source.FEEDBACK)
    assert here.ids(dataset) == [second.id] != [first.id]
    assert counted(here, here.again(dataset)) == (1, {"cat": 1, "dog": 1})


def test_many_pictures_are_read_with_their_labels_as_few_are(here: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load(here, as_zip(PETS))
    few = labelled(here, dataset)
    monkeypatch.setattr("shared.adapters.database.datasets.CHUNK", 3)
    assert labelled(here, dataset) == few


def test_a_multi_label_dataset_has_so_many_labels_at_most_wherever_they_come_from(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.domain.datasets.MOST_LABELS", 3)
    too_many = "would have 4 labels; it may have 3"
    one_each = [("labels.csv", b"file,labels\n1.png,a\n2.png,b\n3.png,c\n4.png,d\n"), *PETS[1:2],
                *((f"{n}.png", picture(n).data) for n in (2, 3, 4))]  # fmt: skip
    assert load(here, as_zip(one_each), name="single").state is DatasetState.READY
    failed = load(here, as_zip(one_each), MULTI, "failed")
    assert (failed.state, too_many in failed.message) == (DatasetState.FAILED, True)
    dataset = load(here, as_zip(PETS))  # cat, dog, hen
    refused = add(here, dataset, [("cat/5.png", picture(5).data), ("owl/5.png", picture(5).data)])
    assert (refused.state, too_many in refused.message) == (DatasetState.READY, True)
    assert labelled(here, refused) == labelled(here, dataset)
    with pytest.raises(errors.BadDataset, match=f"'pets' {too_many}"):
        datasets.add_label(here.container, "anna", dataset.id, "owl")
    with pytest.raises(errors.BadDataset, match=f"'new' {too_many}"):
        datasets.create(here.container, "anna", "new", labels=list("abcd"), problem_type=MULTI)
    assert add(here, dataset, [("cat/6.png", picture(6).data)]).message == ""


def test_a_sealed_version_keeps_the_labels_of_its_pictures(ground: Ground) -> None:
    dataset = load(ground, as_zip(PETS))
    with ground.container.database.write() as uow:
        uow.datasets.save(replace(dataset, sealed=True))
    datasets.remove_example(ground.container, "anna", dataset.id, 1)
    datasets.add_example(ground.container, "anna", dataset.id, [3], picture(9))
    after = ground.again(dataset)
    assert after.version == 2
    assert counted(ground, after) == (4, {"cat": 1, "dog": 1, "hen": 2})
    assert counted(ground, dataset) == (4, {"cat": 2, "dog": 2, "hen": 1})
    datasets.remove_example(ground.container, "anna", dataset.id, 5)
    assert counted(ground, after) == (3, {"cat": 1, "dog": 1, "hen": 1})
    datasets.delete(ground.container, "anna", dataset.id)
    datasets.drop_deleted(ground.container)
    assert datasets.find(ground.container, "anna", dataset.id) is None


def test_near_duplicates_with_other_labels_contradict_each_other(here: Ground) -> None:
    dataset = load(here, as_zip(PETS))
    examples = [replace(each, fingerprint=5) for each in datasets.list_examples(here.container, dataset, limit=9)]
    found = near_duplicates.among(examples + [replace(examples[1], id=9, fingerprint=1 << 40)] * 2, 1)
    assert [{example.labels for example in group} for group in found.groups] == [
        {("cat", "dog"), ("cat",), (), ("dog", "hen")}, {("cat",)},
    ]  # fmt: skip


def test_a_search_shows_all_labels_of_a_neighbour(here: Ground) -> None:
    dataset = load(here, as_zip(PETS))
    of = Collection("anna", dataset_id=dataset.id)
    hits = searches.describe(here.container, [(1.0, of, 1), (0.5, of, 3)])
    assert [hit.label for hit in hits] == ["cat, dog", ""]


def table_of(rows: Sequence[Sequence[str]]) -> bytes:
    return b"file,labels\n" + b"".join(f"{n}.png,{'|'.join(row)}\n".encode() for n, row in enumerate(rows))


def test_a_split_gives_the_few_pictures_of_a_rare_label_to_all_parts(here: Ground) -> None:
    rows = [["cat", "dog"] if n % 2 else ["cat"] for n in range(60)] + [["cat", "rare"]] * 5 + [[]] * 15
    files = packed(table_of(rows), *range(len(rows)))
    dataset = load(here, as_zip(files))
    training = here.submit(dataset)
    splits = training_runs.get_splits(here.container, training_runs.begin(here.container, training))
    assert splits.is_multi_label
    parts = [splits.training, splits.validation, splits.test]
    assert [sum("rare" in each.labels for each in part) for part in parts] == [3, 1, 1]
    assert [sum("dog" in each.labels for each in part) for part in parts] == [24, 3, 3]
    assert [sum(not each.labels for each in part) for part in parts] == [12, 1, 2]
    assert sum(map(len, parts)) == 80


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([[], [], []], "at least 1 label with pictures; this dataset has 0"),
        ([["cat"], [], []], "at least 2 pictures of each label.*'cat'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(here: Ground, rows: list[list[str]], complaint: str) -> None:
    files = packed(table_of(rows), *range(len(rows)))
    with pytest.raises(errors.BadDataset, match=complaint):
        here.submit(load(here, as_zip(files), MULTI))


def test_pictures_that_all_have_the_same_labels_have_nothing_to_tell_apart(here: Ground) -> None:
    files = packed(table_of([["cat", "dog"]] * 4), *range(4))
    begun = training_runs.begin(here.container, here.submit(load(here, as_zip(files))))
    with pytest.raises(errors.BadDataset, match="have the same labels, so that there is nothing to tell apart"):
        training_runs.get_splits(here.container, begun)
