"""Options out of form, query and JSON: read alike, and refused by name."""

from __future__ import annotations

from typing import Any, cast

import pytest
from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict

from api.reading import SMALL, Fields, file_name, json_object
from shared.errors import BadJson, BadOption


def request(body: bytes, content_type: str = "application/json") -> Request:
    return cast(Request, Request.from_values("/", method="POST", data=body, content_type=content_type))


def test_the_first_source_wins_and_empty_values_count_as_none() -> None:
    fields = Fields({"a": "1", "b": "", "c": None}, MultiDict({"a": "2", "b": "3"}))
    assert (fields.text("a"), fields.text("b"), fields.text("c", "default")) == ("1", "3", "default")
    assert fields.has("b")
    assert not fields.has("c")
    assert fields.raw("nowhere") is None


@pytest.mark.parametrize(("value", "expected"), [(" text ", "text"), (5, "5"), (1.5, "1.5")])
def test_texts_are_stripped_and_numbers_are_texts_too(value: Any, expected: str) -> None:
    assert Fields({"a": value}).text("a") == expected


@pytest.mark.parametrize("value", [[], ["x"], {"x": 1}])
def test_other_things_are_no_text(value: Any) -> None:
    with pytest.raises(BadOption, match="a must be a text"):
        Fields({"a": value}).text("a")


@pytest.mark.parametrize(("value", "expected"), [("7", 7), (7, 7), (7.0, 7), ("-1", -1), (" 3 ", 3)])
def test_whole_numbers_are_read(value: Any, expected: int) -> None:
    assert Fields({"a": value}).whole("a", 5) == expected


@pytest.mark.parametrize("value", ["7.5", 7.5, "many", True, [], {}, float("inf"), "9" * 5000])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(BadOption, match="a must be a whole number"):
        Fields({"a": value}).whole("a", 5)


@pytest.mark.parametrize(("value", "expected"), [("1.5", 1.5), (2, 2.0), ("1e3", 1000.0)])
def test_numbers_are_read(value: Any, expected: float) -> None:
    assert Fields({"a": value}).number("a", 0) == expected


@pytest.mark.parametrize("value", ["much", "nan", "inf", "-inf", "1e999", True, [], {}])
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(BadOption, match="a must be a"):
        Fields({"a": value}).number("a", 0)


def test_a_whole_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(BadOption, match="a must be a"):
        Fields({"a": 10**400}).number("a", 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), ("TRUE", True), ("1", True), (1, True), (False, False), ("no", False), (0, False)],
)
def test_flags_are_read_in_the_usual_words(value: Any, expected: bool) -> None:
    assert Fields({"a": value}).flag("a", not expected) is expected


@pytest.mark.parametrize("value", ["maybe", 2, [], "tru"])
def test_other_words_are_no_flag(value: Any) -> None:
    with pytest.raises(BadOption, match="a must be true or false"):
        Fields({"a": value}).flag("a", False)


@pytest.mark.parametrize("value", [{"k": 1}, '{"k": 1}'])
def test_an_object_may_come_as_text(value: Any) -> None:
    assert Fields({"a": value}).mapping("a") == {"k": 1}


@pytest.mark.parametrize("value", ["[1]", "{", "x", [1], 5, "[" * 100_000])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(BadOption, match="a must be a JSON object"):
        Fields({"a": value}).mapping("a")


def test_missing_options_have_their_defaults() -> None:
    fields = Fields({})
    assert (fields.text("a"), fields.whole("a", 5), fields.number("a", 1.5), fields.flag("a", True)) == (
        "",
        5,
        1.5,
        True,
    )
    assert fields.mapping("a") == {}


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1,}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadJson):
        json_object(request(body), SMALL)


def test_bad_json_is_refused_with_the_place_where_it_breaks() -> None:
    with pytest.raises(BadJson, match="line 1 column 7"):
        json_object(request(b'{"a": }'), SMALL)


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('form-data; name="files"; filename="duck.jpg"', "duck.jpg"),
        ('form-data; name="files"; filename="my "best" duck.jpg"', 'my "best" duck.jpg'),
        ('form-data; name="files"; filename="a \\"b\\".jpg"', 'a \\"b\\".jpg'),
    ],
)
def test_a_name_with_quotes_in_it_arrives_whole(disposition: str, expected: str) -> None:
    parsed = {"duck.jpg": "duck.jpg"}.get(expected, expected if "\\" in expected else "my ")
    part = FileStorage(filename=parsed, headers=Headers({"Content-Disposition": disposition}))
    assert file_name(part) == expected


def test_a_part_without_a_name_is_called_file() -> None:
    assert file_name(FileStorage(headers=Headers())) == "file"
