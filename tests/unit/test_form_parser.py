"""form_parser.py: what is a file in a form, and what a hostile form can cost."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.test import EnvironBuilder

from api.form_parser import FormRequest
from shared.errors import BadRequest
from tests.wires.ways import form, picture

PNG = picture("PNG")


def parsed(*parts: tuple[str, bytes], most: int | None = None, most_parts: int | None = None) -> FormRequest:
    request = received(*form(*parts))
    request.max_form_memory_size, request.max_form_parts = most, most_parts
    return request


def received(headers: dict[str, str], body: bytes) -> FormRequest:
    sent = Headers(headers | {"Content-Length": str(len(body))})
    return FormRequest(EnvironBuilder(method="POST", input_stream=io.BytesIO(body), headers=sent).get_environ())


def field(rest: str = "") -> str:
    return f'Content-Disposition: form-data; name="a"{rest}'


def mixed(inner: bytes, boundary: str) -> tuple[str, bytes]:
    return field(f"\r\nContent-Type: multipart/mixed; boundary={boundary}"), inner


def test_fields_and_files_come_in_order_with_their_names() -> None:
    request = parsed((field(), b"1"), (field('; filename="a.png"'), PNG), (field(), "zwei ö".encode()))
    assert request.form.getlist("a") == ["1", "zwei ö"]
    assert [(file.name, file.filename, file.read()) for file in request.files.getlist("a")] == [("a", "a.png", PNG)]
    request.close()


@pytest.mark.parametrize(
    ("charset", "sent", "text"),
    [
        ("utf-8", "ö".encode(), "ö"),
        ("iso-8859-1", b"\xf6", "ö"),
        ("windows-1251", b"\xf4", "ф"),
        ("SHIFT_JIS", "日".encode("shift_jis"), "日"),
        ("utf-8", b"\xf6", "\N{REPLACEMENT CHARACTER}"),
        ("unheard-of", "ö".encode(), "ö"),
        ("zip", b"text", "text"),
    ],
)
def test_a_text_is_read_in_its_charset(charset: str, sent: bytes, text: str) -> None:
    assert parsed((field(f"\r\nContent-Type: text/plain; charset={charset}"), sent)).form["a"] == text


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape"])
def test_a_charset_that_takes_long_is_not_used(charset: str) -> None:
    sent = b"a-" + b"9" * 200_000
    began = time.process_time()
    assert parsed((field(f"\r\nContent-Type: text/plain; charset={charset}"), sent)).form["a"] == sent.decode()
    assert time.process_time() - began < 5


def test_parts_in_parts_are_opened_once_and_no_deeper() -> None:
    _, inmost = form((field('; filename="c.png"'), PNG), boundary="three")
    _, inner = form(mixed(inmost, "three"), (field('; filename="b.png"'), PNG), boundary="two")
    request = parsed(mixed(inner, "two"))
    assert [file.filename for file in request.files.getlist("a")] == ["b.png"]
    assert "c.png" in request.form["a"]
    request.close()


def test_parts_in_parts_count() -> None:
    _, inner = form(*[(field('; filename="b.png"'), b"x")] * 30, boundary="two")
    with parsed(mixed(inner, "two"), most_parts=30) as request:
        assert len(request.files.getlist("a")) == 30
    request = parsed(*[mixed(inner, "two")] * 2, most_parts=59)
    with pytest.raises(RequestEntityTooLarge):
        _ = request.files


def test_a_field_is_limited_and_a_file_is_not() -> None:
    for head in (field(), field("\r\nContent-Type: image/png")):
        request = parsed((head, bytes(300_000)), most=200_000)
        with pytest.raises(RequestEntityTooLarge):
            _ = request.files
    in_base64 = parsed((field('; filename="b.png"\r\nContent-Transfer-Encoding: base64'), b"A" * 300_000), most=200_000)
    with pytest.raises(RequestEntityTooLarge):
        _ = in_base64.files
    request = parsed((field('; filename="b.png"'), bytes(300_000)), most=200_000)
    assert len(request.files["a"].read()) == 300_000
    request.close()


@pytest.mark.parametrize("damage", [lambda body: body[:-30], lambda body: body[:700_000] + body[700_100:-30]])
def test_a_damaged_form_leaves_no_file_open(damage: Callable[[bytes], bytes]) -> None:
    """A file that is left open is a warning, and warnings fail."""
    headers, body = form(*[(field('; filename="a.png"'), bytes(600_000))] * 2)
    request = received(headers, damage(body))
    with pytest.raises((BadRequest, RequestEntityTooLarge)):
        _ = request.files
    request.close()
