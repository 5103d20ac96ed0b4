"""Files of labels, in the forms that people have, and the line of what is wrong in them."""

from __future__ import annotations

import json

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
        (b"a\nb\0c\n", "l.txt, line 2: the label contains a control character or NUL"),
        (b"a\n" + b"x" * 301, "l.txt, line 2: the label has more than 300 characters"),
        (b"a\nm\xf6we\n", "l.txt, line 2: it is not UTF-8"),
        (b"x\n" * (2 * 1024 * 1024 + 1), "l.txt has more than 4194304 bytes"),
        (b'["a", "b"', "l.txt is not valid JSON"),
        (b'["a", ["b"]]', "l.txt must be a list of labels"),
        (b'{"0": "a", "2": "b"}', "must run from 0 to 1 without gaps"),
        (b'["a", "a"]', "l.txt, entry 2: 'a' is the label of entry 1 already"),
    ],
)
def test_what_cannot_be_labels_is_refused_with_the_line(data: bytes, complaint: str) -> None:
    with pytest.raises(BadOption) as caught:
        labels.parse(data, "l.txt")
    assert complaint in caught.value.message


def test_imagenets_thousand_labels_may_have_their_two_cranes() -> None:
    names = [f"label {n}" for n in range(998)]
    assert len(labels.parse("\n".join([*names, "crane", "crane"]).encode())) == 1000
    with pytest.raises(BadOption, match="line 1000"):
        labels.parse("\n".join([*names, "duck", "duck"]).encode())
