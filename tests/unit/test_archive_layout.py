"""archive_layout.py: a path in an archive gives a label and a split, or a reason."""

from __future__ import annotations

import unicodedata

import pytest

from shared.domain.archive_layout import ExamplePath, resolve
from shared.domain.datasets import Split
from shared.errors import BadDataset


def placed(*paths: str) -> list[tuple[str, str]]:
    """(label, split) of each path; an empty label for one that has no place."""
    return [
        (place.labels[0], place.split.value) if isinstance(place, ExamplePath) else ("", "") for place in resolve(paths)
    ]


def reason(path: str, *others: str) -> str:
    outcome = resolve([path, *others])[0]
    assert isinstance(outcome, str)
    return outcome


def test_a_folder_is_a_label() -> None:
    assert resolve(["red/1.jpg", "blue/1.jpg"]) == [
        ExamplePath(("red",), Split.OPEN, "1.jpg"),
        ExamplePath(("blue",), Split.OPEN, "1.jpg"),
    ]


def test_the_folders_for_training_validation_and_test_are_splits() -> None:
    paths = [f"{split}/{label}/1.jpg" for split in ("training", "validation", "test") for label in ("red", "blue")]
    assert placed(*paths) == [
        ("red", "training"), ("blue", "training"), ("red", "validation"), ("blue", "validation"), ("red", "test"),
        ("blue", "test"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "training"), ("Train", "training"), ("TRAINING", "training"), ("val", "validation"),
     ("valid", "validation"), ("Test", "test"), ("Testing", "test"), ("TEST", "test"), ("tests", "test"),
     ("test_set", "test"), ("testing-set", "test"), ("Test Images", "test"), ("test_data", "test"),
     ("training_set", "training"), ("Trainset", "training"), ("train_images", "training"), ("Train data", "training"),
     ("validation_set", "validation"), ("valid_split", "validation"), ("vals", "validation"), ("dev", "validation")],
)  # fmt: skip
def test_other_habits_of_calling_a_split_are_known(folder: str, split: str) -> None:
    assert placed(f"{folder}/red/1.jpg", f"{folder}/blue/2.jpg") == [("red", split), ("blue", split)]


@pytest.mark.parametrize("folder", ["mugs", "data set", "test", "training"])
def test_one_folder_around_the_labels_or_splits_changes_nothing(folder: str) -> None:
    paths = ["training/red/1.jpg", "test/red/2.jpg", "test/blue/3.jpg"]
    assert resolve([f"{folder}/{path}" for path in paths]) == resolve(paths)


def test_one_folder_around_plain_labels_changes_nothing() -> None:
    assert placed("mugs/red/1.jpg", "mugs/blue/2.jpg") == [("red", ""), ("blue", "")]


def test_a_single_label_is_not_a_folder_around_others() -> None:
    assert placed("red/1.jpg", "red/2.jpg") == [("red", ""), ("red", "")]
    assert placed("red/1.jpg", "red/2.jpg", "red/closer/3.jpg") == [("red", ""), ("red", ""), ("", "")]


def test_a_single_split_is_not_a_folder_around_labels() -> None:
    assert placed("training/red/1.jpg", "training/blue/2.jpg") == [("red", "training"), ("blue", "training")]


@pytest.mark.parametrize("around", ["my/mugs", "data/data", "archive/my/mugs", "a/b/c/d/e", "a/train/b"])
def test_any_number_of_single_folders_around_the_labels_or_splits_changes_nothing(around: str) -> None:
    for paths in (
        ["red/1.jpg", "blue/2.jpg"],
        ["Training/red/1.jpg", "Testing/red/2.jpg", "Testing/blue/3.jpg"],
    ):
        assert resolve([f"{around}/{path}" for path in paths]) == resolve(paths)
        with_notes = resolve(["readme.txt", *(f"{around}/{path}" for path in paths), f"{around}/notes.txt"])
        assert with_notes[1:-1] == resolve(paths)


def test_a_split_that_was_packed_by_itself_has_its_folder_twice() -> None:
    paths = ["training_set/training_set/cats/1.jpg", "training_set/training_set/dogs/2.jpg"]
    paths += ["test_set/test_set/cats/3.jpg", "seg_test.csv"]
    expected = [("cats", "training"), ("dogs", "training"), ("cats", "test"), ("", "")]
    assert placed(*paths) == expected
    assert placed("train/test/cats/1.jpg", "train/dogs/2.jpg") == [("", ""), ("dogs", "training")]
    assert placed("train/train/1.jpg", "train/bus/2.jpg") == [("train", "training"), ("bus", "training")]


@pytest.mark.parametrize(
    "label", ["set", "data", "images", "testudo", "trainer", "value", "valve", "s", "devil", "pic"]
)
def test_a_label_that_only_resembles_a_split_is_a_label(label: str) -> None:
    assert placed(f"{label}/1.jpg", f"{label}/2.jpg", "red/3.jpg") == [(label, ""), (label, ""), ("red", "")]


def test_files_beside_the_folder_around_do_not_hide_it() -> None:
    paths = ["readme.txt", "mugs/red/1.jpg", "mugs/blue/2.jpg", "mugs/labels.csv"]
    assert placed(*paths) == [("", ""), ("red", ""), ("blue", ""), ("", "")]
    assert reason(*paths) == "lies beside the label folders; put it into one of them"


def test_a_label_may_be_called_like_a_split() -> None:
    assert placed("test/1.jpg", "red/1.jpg") == [("test", ""), ("red", "")]
    assert placed("mugs/Train/1.jpg", "mugs/bus/1.jpg") == [("Train", ""), ("bus", "")]
    assert placed("training/test/1.jpg", "training/red/1.jpg") == [("test", "training"), ("red", "training")]


def test_a_folder_beside_the_splits_has_no_place() -> None:
    paths = ["training/red/1.jpg", "test/red/2.jpg", *(f"extra/{number}.jpg" for number in range(9))]
    assert placed(*paths)[:3] == [("red", "training"), ("red", "test"), ("", "")]
    assert "beside the folders for training, validation and test" in reason("extra/red/1.jpg", *paths)
    assert "beside the folders for training, validation and test" in reason("1.jpg", *paths)


def test_pictures_that_lie_too_deep_do_not_make_a_split_of_a_label() -> None:
    deep = ["test/red/closer/1.jpg", "test/red/closer/2.jpg"]
    assert placed(*deep, "test/3.jpg", "red/4.jpg") == [("", ""), ("", ""), ("test", ""), ("red", "")]


def test_a_picture_directly_in_a_split_has_no_label() -> None:
    assert "beside the label folders" in reason("training/1.jpg", "training/red/2.jpg")
    with pytest.raises(BadDataset, match="beside the label folders"):
        resolve(["training/1.jpg", "test/2.jpg"])


def test_a_picture_below_a_label_is_too_deep() -> None:
    assert "deeper than LABEL/picture" in reason("red/closer/1.jpg", "red/2.jpg", "blue/3.jpg")
    assert "deeper than LABEL/picture" in reason("test/red/closer/1.jpg", "test/red/2.jpg", "training/red/3.jpg")


def test_labels_that_differ_only_in_case_are_two() -> None:
    assert placed("red/1.jpg", "Red/2.jpg") == [("red", ""), ("Red", "")]


def test_a_label_is_one_however_its_accents_were_typed_and_spaced() -> None:
    apart = unicodedata.normalize("NFD", "grün")
    assert apart != "grün"
    assert placed(f"{apart}/1.jpg", " grün/2.jpg", "grün /3.jpg") == [("grün", "")] * 3


def test_a_label_has_up_to_180_characters() -> None:
    assert placed(f"{'x' * 180}/1.jpg") == [("x" * 180, "")]
    assert "1 to 180 characters" in reason(f"{'x' * 181}/1.jpg", "red/1.jpg")


@pytest.mark.parametrize("label", [" ", "re\nd", "re\x7fd", "re\u2028d"])
def test_a_label_that_cannot_be_read_is_none(label: str) -> None:
    assert reason(f"{label}/1.jpg", "red/1.jpg").startswith("lies in a folder that names no label: ")


def test_labels_that_could_not_be_decoded_are_not_thrown_together() -> None:
    for name in ("gr\ufffdn", "gr\udc81n"):
        assert "in no known encoding" in reason(f"{name}/1.jpg", "red/1.jpg")


def test_the_name_of_a_picture_never_costs_the_picture() -> None:
    paths = ["red/" + "x" * 300 + ".jpg", "red/a\tb\udc81.jpg", "red/" + unicodedata.normalize("NFD", "ü.jpg")]
    names = [place.name for place in resolve(paths) if isinstance(place, ExamplePath)]
    assert names == ["x" * 176 + ".jpg", "a\ufffdb%81.jpg", "ü.jpg"]


def test_where_nothing_has_a_place_the_layout_is_explained_and_what_was_found() -> None:
    with pytest.raises(BadDataset) as caught:
        resolve([f"{number}.jpg" for number in range(10)])
    assert caught.value.message == (
        "No file of the archive lies in a label folder. Pack the pictures as LABEL/picture.jpg, or with the folders "
        "training, validation and test around the labels. Found: "
        + "; ".join(f"'{number}.jpg' lies beside the label folders; put it into one of them" for number in range(3))
        + "; and 7 more."
    )


def test_no_paths_are_no_dataset() -> None:
    with pytest.raises(BadDataset, match="Found: nothing"):
        resolve([])


def test_endless_paths_do_not_make_an_endless_complaint() -> None:
    with pytest.raises(BadDataset) as caught:
        resolve(["x" * 1024] * 5)
    assert len(caught.value.message) < 1000
