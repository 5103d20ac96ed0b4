"""Files of labels, in the forms that people have, and the line of what is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from shared.domain import labels
from shared.errors import BadOption

NAMES = ("möwe", "cat, house cat", "dog")


@pytest.mark.parametrize(
    "data",
    [
        "möwe\ncat, house cat\ndog\n".encode(),
        "\ufeffmöwe\r\ncat, house cat\r\ndog\r\n\r\n".encode(),
        "möwe\rcat, house cat\rdog".encode(),
        "möwe\ncat, house cat\ndog\n".encode("utf-16"),
        json.dumps(NAMES).encode(),
        json.dumps({"0": "möwe", "2": "dog", "1": "cat, house cat"}).encode(),
        json.dumps({"id2label": {"0": "möwe", "1": "cat, house cat", "2": "dog"}}).encode(),
        json.dumps({"möwe": 0, "dog": 2, "cat, house cat": 1}).encode(),
        json.dumps({"0": ["n1", "möwe"], "1": ["n2", "cat, house cat"], "2": ["n3", "dog"]}).encode(),
        '0,möwe\n1,"cat, house cat"\n2,dog\n'.encode(),
        'label;index\nmöwe;1\n"cat, house cat";2\ndog;3\n'.encode(),
        "2\tdog\n0\tmöwe\n1\tcat, house cat\n".encode(),
        "0 möwe\n1 cat, house cat\n2 dog\n".encode(),
        "1: möwe\n2: cat, house cat\n3: dog\n".encode(),
        '0,möwe\r1,"cat, house cat"\r2,dog\r'.encode(),
        '0, möwe\n1, "cat, house cat"\n2, dog\n'.encode(),
        'id,wnid,name\n0,n1,möwe\n2,n3,dog\n1,n2,"cat, house cat"\n'.encode(),
        "Class;wnid;Class_Name\n0;n1;möwe\n1;n2;cat, house cat\n2;n3;dog\n".encode(),
    ],
)
def test_labels_are_read_in_the_order_of_the_outputs(data: bytes) -> None:
    assert labels.parse(data) == NAMES


def test_lines_with_commas_are_no_table() -> None:
    assert labels.parse(b"tench, Tinca tinca\ngoldfish, Carassius auratus\n") == (
        "tench, Tinca tinca", "goldfish, Carassius auratus",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a\nb\na\n", "l.txt, line 3: 'a' is the label of line 1 already"),
        (b"a\n\nb\n", "l.txt, line 2: the label is empty"),
        (b"a\nb\0c\n", "l.txt, line 2: the label contains the unprintable character U+0000"),
        (b"a\n" + b"x" * 301, "l.txt, line 2: the label has more than 300 characters"),
        (b"a\nm\xf6we\n", "l.txt, line 2: it is not UTF-8"),
        (b"x\n" * (2 * 1024 * 1024 + 1), "l.txt has more than 4 MiB"),
        (b'["a", "b"', "l.txt is not valid JSON"),
        (b'["a", ["b"]]', "l.txt must be a list of labels"),
        (b'{"0": "a", "2": "b"}', "must run from 0 to 1 without gaps"),
        (b'["a", "a"]', "l.txt, entry 2: 'a' is the label of entry 1 already"),
        (b'["a", true]', "l.txt must be a list of labels"),
        (b'{"0": []}', "l.txt must be a list of labels"),
        (b"{}", "l.txt has no labels"),
        (b"\xef\xbb\xbf", "l.txt has no labels"),
        (b'{"' + b"9" * 5000 + b'": "a"}', "must run from 0 to 0 without gaps"),
        (b'{"a": ' + b"9" * 5000 + b"}", "l.txt is not valid JSON"),
        (b"[" * 100_000, "l.txt is not valid JSON"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "l.txt"),
        (b"0," + b"a" * 200_000 + b"\n1,b", "l.txt, line 1: the label has more than 300 characters"),
        (b"a\nb\x7f\n", "line 2: the label contains the unprintable character U+007F"),
        ("a\nb\u200bc\n".encode(), "line 2: the label contains the unprintable character U+200B"),
        ("a\nb\u2028c\n".encode(), "line 2: the label contains the unprintable character U+2028"),
        (b'["a", "\\ud800"]', "entry 2: the label contains the unprintable character U+D800"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "l.txt is no text"),
        (b"0,a\n0,b\n", "l.txt, line 2: the number is 0 again; the numbers of the labels must run"),
        (b"i,l\n0,a\n2,b\n", "l.txt, line 3: the number is 2; the numbers"),
        (b"0,n1,tench\n1,n2,goldfish\n", "l.txt, line 1: there are 3 columns, and two are wanted"),
        (b"0,cat\n1,dog, big\n", "l.txt, line 2: there are 3 columns, and two are wanted"),
        (b"0,1\n1,2\n2,0\n", "l.txt: several columns are numbers"),
        (b'{"0": 1, "1": 2, "2": 0}', "l.txt: both keys and values are numbers from 0"),
    ],
)
def test_what_cannot_be_labels_is_refused_with_the_line(data: bytes, complaint: str) -> None:
    with pytest.raises(BadOption) as caught:
        labels.parse(data, "l.txt")
    assert complaint in caught.value.message


def test_indexes_without_quotes_are_the_indexes_also_of_labels_that_are_digits() -> None:
    folders = sorted(map(str, range(11)))
    class_to_idx = {label: index for index, label in enumerate(folders)}
    assert labels.parse(json.dumps(class_to_idx).encode()) == tuple(folders)
    assert labels.parse(json.dumps(dict(enumerate(folders))).encode()) == tuple(folders)


def test_a_heading_tells_the_numbers_from_labels_that_are_numbers() -> None:
    assert labels.parse(b"label,index\n1,0\n2,1\n0,2\n") == ("1", "2", "0")


@pytest.mark.parametrize("label", ["نامه\u200cها", "क्\u200dष", "👩\u200d🚀", "東京\u3000タワー", "Ærø-ß"])
def test_labels_of_any_script_are_taken(label: str) -> None:
    assert labels.parse(label.encode()) == (label,)


def test_imagenets_thousand_labels_may_have_their_two_cranes() -> None:
    names = [f"label {n}" for n in range(998)]
    assert len(labels.parse("\n".join([*names, "crane", "crane"]).encode())) == 1000
    with pytest.raises(BadOption, match="line 1000"):
        labels.parse("\n".join([*names, "duck", "duck"]).encode())


@pytest.mark.parametrize("write", ["\n".join, json.dumps], ids=["lines", "json"])
def test_labels_without_end_are_refused(write: Callable[[list[str]], str]) -> None:
    names = [str(number) for number in range(labels.MAX_LABELS)]
    assert len(labels.parse(write(names).encode(), "l.txt")) == labels.MAX_LABELS
    with pytest.raises(BadOption, match=r"l\.txt has 100001 labels; a model may have 100000"):
        labels.parse(write([*names, "one more"]).encode(), "l.txt")
