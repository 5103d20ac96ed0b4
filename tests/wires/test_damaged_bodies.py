"""Bodies with any damage, sent to every wire, are answered in the words of the wire, and never by a 500."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.dialects.huggingface import common
from shared.container import Container
from tests import apps, picture_files
from tests.fuzzing import damaged, examples
from tests.unit.archive_files import as_tar, as_tgz, as_zip
from tests.wires.test_checklist import WIRES, Wire

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the client closes no body that was not read
]

BOUND = 20.0
"""Seconds of one answer, on a busy machine."""
WAITS = (503, 504)
"""What wires without polling answer as long as no worker has run the picture, which none does here."""
PICTURES = [*picture_files.small().values()]
ARCHIVES = [pack([("a.png", PICTURES[2]), ("b.jpg", PICTURES[0])]) for pack in (as_zip, as_tar, as_tgz)]
FIELDS = ("files", "file", "sampleContent", "image", "modelId", "name", "options", "webhook", "top_k", "inputs", "")
contents = st.one_of(
    st.sampled_from([*PICTURES, *ARCHIVES]),
    damaged(st.sampled_from(PICTURES)),
    damaged(st.sampled_from(ARCHIVES)),
    st.binary(max_size=60),
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
words = st.text(st.characters(exclude_characters="\r\n"), max_size=20).map(lambda text: text.encode("utf-8", "replace"))


@st.composite
def multipart(draw: st.DrawFn, boundary: bytes) -> bytes:
    """Return a multipart body of parts with usual, unusual and meaningless headers, now and then without its end."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(FIELDS)).encode()
        disposition = draw(
            st.sampled_from(
                (
                    b'form-data; name="%s"; filename="a.png"' % name,
                    b'form-data; name="%s"' % name,
                    b"form-data; name=%s; filename*=utf-8''%%e2%%82%%ac.png" % name,
                    b'form-data; name="%s"; filename="a"b".png"' % name,
                    b"form-data; filename*0=a; filename*1=b; name*=latin-9''%s" % name,
                    b"attachment",
                    b"",
                )
            )
        )
        lines = [b"Content-Disposition: " + disposition]
        lines += draw(
            st.lists(
                st.one_of(
                    st.sampled_from(
                        (
                            b"Content-Type: image/png",
                            b"Content-Type: application/json",
                            b"Content-Type: text/plain; charset=utf-7",
                            b"Content-Type: multipart/mixed; boundary=" + boundary,
                            b"Content-Transfer-Encoding: base64",
                            b"Content-Length: 99999999999",
                            b"Content-Length: -1",
                        )
                    ),
                    st.tuples(words, words).map(b": ".join),
                    words,
                ),
                max_size=3,
            )
        )
        lines = draw(st.permutations(lines))
        parts.append(b"--" + boundary + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + draw(contents) + b"\r\n")
    end = draw(st.sampled_from((b"--" + boundary + b"--\r\n", b"--" + boundary + b"--", b"--" + boundary, b"")))
    return draw(st.sampled_from((b"", b"\r\n", b"before the first part\r\n"))) + b"".join(parts) + end


boundaries = st.one_of(st.sampled_from((b"x", b"-", b"a b", b"'()+_,-./:=?", b"--", b"0" * 70)), words)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return Content-Type and body of a request: multipart, or raw under any type."""
    if draw(st.integers(0, 3)):
        boundary = draw(boundaries)
        body = draw(damaged(multipart(boundary)) if draw(st.booleans()) else multipart(boundary))
        said = draw(st.sampled_from((b'multipart/form-data; boundary="%s"', b"multipart/form-data; boundary=%s")))
        return (said % boundary).decode("latin-1"), body
    kinds = (
        "image/png",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain",
        "",
    )
    json = st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=9)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from((*FIELDS, "url", "base64", "parameters")), inner, max_size=3),
        ),
        max_leaves=8,
    ).map(lambda value: repr(value).replace("'", '"').replace("None", "null").encode("utf-8", "replace"))
    return draw(st.sampled_from(kinds)), draw(st.one_of(contents, json))


@pytest.fixture
def client(container: Container, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr(common, "PATIENCE", 0.0)
    settings = container.settings.changed(img_live_rate="off", max_wait=0.01, max_queued=100_000)
    return apps.over(replace(container, settings=settings)).test_client()


def refused_in_words(wire: Wire, path: str, client: FlaskClient, kind: str, body: bytes) -> None:
    """Send the body; fails unless the answer is what the wire says, in its media type."""
    began = time.monotonic()
    answer = client.post(path, data=body, headers={"Content-Type": kind} if kind else {})
    assert time.monotonic() - began < BOUND
    assert answer.status_code < 500 or answer.status_code in WAITS, answer.text
    if answer.status_code >= 400:
        assert answer.mimetype == wire.complains_as
        assert answer.get_json(), "an error without a word"


@pytest.mark.parametrize("name", WIRES)
def test_any_body_is_answered_in_the_words_of_the_wire(client: FlaskClient, name: str) -> None:
    wire = WIRES[name]

    @examples(50)
    @given(requests())
    def check(request: tuple[str, bytes]) -> None:
        refused_in_words(wire, wire.path, client, *request)

    check()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/datasets", "/v1/models", "/v1/images/upload"])
def test_any_body_is_answered_in_words_by_what_stores_it(client: FlaskClient, path: str) -> None:
    wire = WIRES["IMG" if "images" in path else "native"]

    @examples(50)
    @given(requests())
    def check(request: tuple[str, bytes]) -> None:
        refused_in_words(wire, path, client, *request)

    check()


@pytest.mark.parametrize("name", WIRES)
def test_a_damaged_picture_or_archive_is_answered_in_the_words_of_the_wire(client: FlaskClient, name: str) -> None:
    wire = WIRES[name]

    @examples(40)
    @given(contents)
    def check(data: bytes) -> None:
        about, body = wire.body(data)
        refused_in_words(wire, wire.path, client, about.get("Content-Type", ""), body)

    check()
