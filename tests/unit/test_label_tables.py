"""Tables of labels beside pictures: the formats that people have, and what is said of a row that does not fit."""

from __future__ import annotations

import json

import pytest

from shared.domain import label_tables
from shared.domain.archive_layout import ExamplePath
from shared.domain.datasets import Split
from shared.domain.label_tables import TableLayout
from shared.errors import BadDataset


def laid_out(paths: list[str], **tables: str | bytes) -> TableLayout:
    """Resolve tables, given by their names with two underscores for the dot."""
    data = {name.replace("__", "."): text.encode() if isinstance(text, str) else text for name, text in tables.items()}
    found = label_tables.resolve([*paths, *data], data)
    assert isinstance(found, TableLayout), found
    return found


def labels(layout: TableLayout) -> dict[str, tuple[str, ...]]:
    return {place.name: place.labels for place in layout.places if isinstance(place, ExamplePath)}


PATHS = ["1.jpg", "2.jpg", "3.jpg"]
EXPECTED = {"1.jpg": ("cat", "dog"), "2.jpg": ("cat",), "3.jpg": ()}
ROWS = [
    {"file": "1.jpg", "labels": ["cat", "dog"]},
    {"file": "2.jpg", "labels": ["cat"]},
    {"file": "3.jpg", "labels": []},
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels__csv", "file,labels\n1.jpg,cat|dog\n2.jpg,cat\n3.jpg,\n"),
        ("labels__csv", "labels,file\r\ncat;dog,1.jpg\r\ncat,2.jpg\r\n,3.jpg\r\n"),
        ("labels__csv", '"file_name","Tags"\n1.jpg, cat | dog \n2.jpg,cat\n3.jpg,'),
        ("labels__csv", "file;labels\n1.jpg;cat|dog\n2.jpg;cat\n3.jpg;\n"),
        ("labels__csv", "file\tlabels\n1.jpg\tcat|dog\n2.jpg\tcat\n3.jpg\t\n"),
        ("labels__csv", "file,cat,dog\n1.jpg,1,1\n2.jpg,1,0\n3.jpg,0,0\n"),
        ("labels__csv", "image_id,cat,dog\n1,1.0,true\n2,1.0,\n3,0.0,false\n"),
        ("labels__json", json.dumps(ROWS)),
        ("labels__json", json.dumps({"1.jpg": ["cat", "dog"], "2.jpg": "cat", "3.jpg": None})),
        ("labels__jsonl", "\n".join(map(json.dumps, ROWS))),
        ("metadata__jsonl", "\n".join(json.dumps({"file_name": row["file"], "labels": row["labels"]}) for row in ROWS)),
        ("metadata__csv", "file_name,labels\n1.jpg,cat|dog\n2.jpg,cat\n3.jpg,\n"),
    ],
)
def test_the_formats_that_people_have_say_the_same(name: str, text: str) -> None:
    layout = laid_out(PATHS, **{name: text})
    assert labels(layout) == EXPECTED
    assert layout.faults == []
    assert layout.places[-1] is None, "the table itself is neither a picture nor a fault"
    assert layout.odd == ("1.jpg", 2)


def test_a_table_may_be_utf_16_as_spreadsheets_write_it() -> None:
    assert labels(laid_out(["1.jpg"], labels__csv="file\tlabels\n1.jpg\tägypten|dog".encode("utf-16"))) == {
        "1.jpg": ("ägypten", "dog")
    }


def test_a_bar_separates_labels_and_then_a_semicolon_belongs_to_them() -> None:
    assert labels(laid_out(["1.jpg"], labels__csv="file,labels\n1.jpg,cat; tabby|dog")) == {
        "1.jpg": ("cat; tabby", "dog")
    }


def test_a_row_names_its_file_by_its_path_or_by_its_name_if_only_one_file_has_that() -> None:
    paths = ["pets/images/a/1.jpg", "pets/images/b/1.jpg", "pets/images/a/2.jpg"]
    layout = laid_out(
        paths, **{"pets/labels__csv": "file,labels\nimages/a/1.jpg,cat\n2.jpg,dog\n1.jpg,cow\n3.jpg,hen\n"}
    )
    assert [place.labels if isinstance(place, ExamplePath) else place for place in layout.places] == [
        ("cat",),
        "is not in 'pets/labels.csv'; add a row for it, with no label if it shows none of them",
        ("dog",),
        None,
    ]
    assert layout.faults == [
        ("pets/labels.csv, line 4", "names '1.jpg', and 2 files have that name; name its folder too"),
        ("pets/labels.csv, line 5", "names '3.jpg', which is not in the archive"),
    ]


def test_each_split_may_have_a_table_of_its_own_as_image_folders_do() -> None:
    rows = '{"file_name": "1.jpg", "labels": ["cat"]}'
    layout = laid_out(
        ["data/train/1.jpg", "data/test/1.jpg"],
        **{"data/train/metadata__jsonl": rows, "data/test/metadata__jsonl": rows},
    )
    assert layout.places[:2] == [
        ExamplePath(("cat",), Split.TRAINING, "1.jpg"),
        ExamplePath(("cat",), Split.TEST, "1.jpg"),
    ]


def test_a_column_says_the_split_and_one_folder_around_all_pictures_does_not() -> None:
    text = "file,labels,split\n1.jpg,cat,train\n2.jpg,cat,\n3.jpg,cat,later\n"
    layout = laid_out([f"train/{path}" for path in PATHS], labels__csv=text)
    assert layout.places[:2] == [
        ExamplePath(("cat",), Split.TRAINING, "1.jpg"),
        ExamplePath(("cat",), Split.OPEN, "2.jpg"),
    ]
    assert "has the split 'later'" in str(layout.places[2])
    assert layout.faults == [("labels.csv, line 4", "has the split 'later'; name training, validation or test")]


def test_a_file_with_other_labels_in_another_row_is_used_by_neither() -> None:
    text = "file,labels\n1.jpg,cat|dog\n2.jpg,cat\n1.jpg,cat\n2.jpg,cat\n"
    layout = laid_out(["1.jpg", "2.jpg"], labels__csv=text)
    assert labels(layout) == {"2.jpg": ("cat",)}
    assert layout.places[0] == (
        "is 'cat | dog' in labels.csv, line 2, and 'cat' in labels.csv, line 4; decide for the labels of one row"
    )


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("1.jpg", "has 1 columns, and the heading has 2"),
        (
            "1.jpg,a\tb",
            "has a text that is no label: the name of a label has 1 to 180 characters, all of them printable",
        ),
        (f"1.jpg,{'|'.join(map(str, range(101)))}", "has 101 labels; a picture may have 100"),
        (",cat", "names no file"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(row: str, fault: str) -> None:
    layout = laid_out(["1.jpg", "2.jpg"], labels__csv=f"file,labels\n{row}\n2.jpg,cat\n")
    assert layout.faults == [("labels.csv, line 2", fault)]
    assert labels(layout) == {"2.jpg": ("cat",)}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("labels.csv", b"", "is empty"),
        ("labels.csv", b"cat\ndog\n", "its heading has no column file or file_name"),
        ("labels.csv", b"file\n1.jpg\n", "neither a column labels nor one for each label"),
        ("metadata.csv", b"file,age\n1.jpg,41\n", "line 2 has '41' in the column 'age', which is neither 0 nor 1"),
        ("labels.csv", b"file,labels\n1.jpg,\xff", "is not UTF-8 at line 2"),
        ("labels.csv", b"file,labels\n1.jpg," + b"x" * 200_000, "is no CSV at line 2: field larger"),
        ("labels.json", b"[1", "is not valid JSON"),
        ("labels.json", b"7", "neither a list of objects, nor an object of file to labels"),
        ("labels.json", b"[]", "is empty"),
        ("labels.json", b'{"0": "cat", "1": "dog"}', "its keys are no files"),
        ("labels.json", b'["cat", "dog"]', "entry 1 is no object"),
        ("metadata.jsonl", b'{"file_name": "1.jpg", "text": "a cat"}', "line 1 has no `labels`"),
        ("metadata.jsonl", b'{"text": "a cat"}', "line 1 has no text `file` or `file_name`"),
        ("labels.json", b"[" * 100_000, "is not valid JSON"),
    ],
)
def test_a_file_that_is_no_table_says_why(name: str, data: bytes, reason: str) -> None:
    found = label_tables.resolve(["1.jpg", name], {name: data})
    assert isinstance(found, dict)
    assert reason in found[name]


def test_a_table_that_names_no_picture_of_the_archive_says_so() -> None:
    with pytest.raises(
        BadDataset, match=r"No row of 'labels.csv' can be used: labels.csv, line 2 names '9.jpg', which is"
    ):
        laid_out(["1.jpg"], labels__csv="file,labels\n9.jpg,cat\n")


def test_rows_and_bytes_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "file,labels\n1.jpg,a|b\n2.jpg,c\n"
    monkeypatch.setattr(label_tables, "MOST_ROWS", 1)
    for name, data in (("labels__csv", text), ("labels__json", '{"1.jpg": "a", "2.jpg": "b"}')):
        with pytest.raises(BadDataset, match=r"has more than 1 rows\."):
            laid_out(PATHS, **{name: data})
    monkeypatch.setattr(label_tables, "MAX_BYTES", 10)
    with pytest.raises(BadDataset, match=r"'labels.csv' has more than 10 bytes\."):
        laid_out(PATHS, labels__csv=text)


def test_the_limits_are_those_of_all_tables_of_an_archive_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {f"{n}/labels__csv": f"file,labels\n{n}.jpg,a\n" for n in range(5)}
    paths = [f"{n}/{n}.jpg" for n in range(5)]
    named = r"'0/labels.csv', '1/labels.csv', '2/labels.csv' and 2 more"
    assert len(labels(laid_out(paths, **tables))) == 5
    monkeypatch.setattr(label_tables, "MAX_BYTES", 99)
    with pytest.raises(BadDataset, match=f"{named} together have more than 99 bytes"):
        laid_out(paths, **tables)
    monkeypatch.undo()
    monkeypatch.setattr(label_tables, "MOST_ROWS", 2)
    with pytest.raises(BadDataset, match="together have more than 2 rows"):
        laid_out(paths, **tables)
    monkeypatch.setattr(label_tables, "MOST_TABLES", 4)
    with pytest.raises(BadDataset, match=f"has 5 files that are named like a table of labels: {named}. It may have 4"):
        label_tables.find([*paths, *(name.replace("__", ".") for name in tables)])


def test_the_reason_of_an_unlisted_file_names_three_tables_and_is_made_once() -> None:
    tables = {f"{n}/labels__csv": f"file,labels\n{n}.jpg,a\n" for n in range(5)}
    layout = laid_out([*(f"{n}/{n}.jpg" for n in range(5)), "a.jpg", "b.jpg"], **tables)
    reason = layout.places[5]
    assert isinstance(reason, str)
    assert reason.startswith("is not in '0/labels.csv', '1/labels.csv', '2/labels.csv' and 2 more; add a row")
    assert layout.places[6] is reason


def test_the_files_below_a_folder_are_looked_through_once_for_all_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def normal(path: str) -> str:
        looked_at.append(path)
        return path

    monkeypatch.setattr(label_tables, "_normal", normal)
    laid_out(["1.jpg", "2.jpg"], labels__csv="file,labels\n1.jpg,a\n", metadata__csv="file,labels\n2.jpg,b\n")
    assert sorted(looked_at) == ["1.jpg", "1.jpg", "2.jpg", "2.jpg"]  # once as a file, once in a row


def test_entries_with_labels_that_are_no_texts_are_named() -> None:
    layout = laid_out(PATHS, labels__json=json.dumps({"1.jpg": [["cat"]], "2.jpg": [7], "3.jpg": [True]}))
    assert labels(layout) == {"2.jpg": ("7",)}
    assert [where for where, _ in layout.faults] == ["labels.json, entry 1", "labels.json, entry 3"]
