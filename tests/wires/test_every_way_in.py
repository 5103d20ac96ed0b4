"""Every way in takes every picture that its wire takes, however clients write the body, and says what is wrong."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.web.openapi import describe
from shared import errors
from shared.adapters.fetch_many import AT_ONCE
from shared.container import Container
from shared.domain.pictures import ALL_FORMATS
from shared.settings import Settings
from tests import apps
from tests.conftest import container_in
from tests.wires.ways import JSON, MULTIPART, RAW, WAYS, Body, File, Way, disposition, form, picture

NO_PICTURE = b"just some text, whatever it is called"
FORMS = {name: way for name, way in WAYS.items() if way.part and "base64" not in name}
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
EVERY_FORM = pytest.mark.parametrize("way", FORMS.values(), ids=FORMS)
ARCHIVES = {name: way for name, way in WAYS.items() if way.archives}
EVERY_WAY_OF_ARCHIVES = pytest.mark.parametrize("way", ARCHIVES.values(), ids=ARCHIVES)
OTHERS = {
    ("Datasets", MULTIPART): "archives of label folders; their examples are in test_native_datasets.py",
    ("Datasets", RAW): "archives of label folders",
    ("Models", MULTIPART): "weights",
}
"""Bodies with files that are no pictures to classify, and where they are tested."""


@pytest.fixture(scope="module")
def shared_container(tmp_path_factory: pytest.TempPathFactory, empty_file: Path) -> Iterator[Container]:
    """One container for all these tests, which waits for no worker, and whose IMG wire has no limit."""
    with container_in(tmp_path_factory.mktemp("ways"), empty_file) as container:
        settings = container.settings.changed(max_wait=0.001, img_live_rate="off", max_queued=100_000)
        yield replace(container, settings=settings)


@pytest.fixture
def client(shared_container: Container) -> FlaskClient:
    """Requests to the app over the one container."""
    return apps.over(shared_container).test_client()


def send(client: FlaskClient, way: Way, *files: File) -> TestResponse:
    return post(client, way, way.write(way, files))


def post(client: FlaskClient, way: Way, body: Body, **environ: Any) -> TestResponse:
    return client.post(way.path, headers=body[0], data=body[1], **environ)


def assert_taken(way: Way, answer: TestResponse) -> None:
    assert answer.status_code == way.taken, answer.text


def assert_refused(way: Way, answer: TestResponse, *words: str) -> None:
    assert answer.status_code == way.refused, answer.text
    for word in words:
        assert word in json.dumps(answer.json, ensure_ascii=False), answer.text


def test_every_body_of_every_wire_that_carries_pictures_is_tried(client: FlaskClient) -> None:
    with client.application.app_context():
        document = describe(client.application, Settings(), "0")
    described = set(_bodies_with_files(document))
    assert described == {(way.tag, way.kind) for way in WAYS.values()} | set(OTHERS)


def _bodies_with_files(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (tag, media type) of the bodies in which there may be a file, or a picture in base64."""
    for entry in document["paths"].values():
        for call in entry.values():
            for kind, body in call.get("requestBody", {}).get("content", {}).items():
                if _has_file(body["schema"], document["components"]["schemas"]):
                    yield call["tags"][0], kind


def _has_file(schema: Any, schemas: dict[str, Any]) -> bool:
    if isinstance(schema, list):
        return any(_has_file(each, schemas) for each in schema)
    if not isinstance(schema, dict):
        return False
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return _has_file(schemas[name], schemas)
    in_base64 = "base64" in str(schema.get("description", "")) and "string" in str(schema)
    return "contentMediaType" in schema or in_base64 or any(_has_file(each, schemas) for each in schema.values())


@EVERY_WAY
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_a_path_that_takes_pictures_by_post_says_so_to_any_other_method(
    client: FlaskClient, way: Way, method: str
) -> None:
    answer = client.open(way.path, method=method)
    if answer.status_code != 200:  # another call has the path too
        assert answer.status_code == 405
        assert "POST" in answer.headers["Allow"]
        assert method == "HEAD" or "POST" in answer.text
    assert "POST" in client.options(way.path).headers["Allow"]


# pictures


@EVERY_WAY
@pytest.mark.parametrize("format", sorted(ALL_FORMATS))
def test_a_picture_is_taken_in_every_format_of_the_wire_and_in_no_other(
    client: FlaskClient, way: Way, format: str
) -> None:
    answer = send(client, way, ("a", picture(format)))
    if format in way.formats:
        assert_taken(way, answer)
    else:
        assert_refused(way, answer)


@EVERY_WAY
@pytest.mark.parametrize(
    "data", [NO_PICTURE, b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", b""], ids=["text", "PNG", "PDF", "none"]
)
def test_what_is_no_picture_is_refused(client: FlaskClient, way: Way, data: bytes) -> None:
    assert_refused(way, send(client, way, ("a", data)))


SEVERAL = {name: way for name, way in WAYS.items() if way.several}


@pytest.mark.parametrize("way", SEVERAL.values(), ids=SEVERAL)
@pytest.mark.parametrize("data", [NO_PICTURE, picture("PNG")[:30], b"%PDF-1.7"], ids=["text", "cut PNG", "PDF"])
def test_of_several_pictures_the_one_at_fault_is_named_by_place_and_name(
    client: FlaskClient, way: Way, data: bytes
) -> None:
    good = ("image.png", picture("PNG"))
    answer = send(client, way, good, good, ("image.png", data), good)
    assert_refused(way, answer, "files[2]: " if way.part else "inputs[2]: ", "'image.png'")


# archives


def zipped(*files: File) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(*files: File) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


PNG = picture("PNG")
PACKED = {
    "zip": zipped(("a.png", PNG), ("b.png", PNG)),
    "tar": tarred(("a.png", PNG), ("b.png", PNG)),
    "tar.gz": gzip.compress(tarred(("a.png", PNG), ("b.png", PNG))),
    "tar.bz2": bz2.compress(tarred(("a.png", PNG), ("b.png", PNG))),
    "tar.xz": lzma.compress(tarred(("a.png", PNG), ("b.png", PNG))),
}


@EVERY_WAY
@pytest.mark.parametrize("packed", PACKED)
def test_an_archive_is_taken_by_the_ways_that_take_archives(client: FlaskClient, way: Way, packed: str) -> None:
    answer = send(client, way, ("a", PACKED[packed]))
    if way.archives:
        assert_taken(way, answer)
        assert answer.json["request"]["files"] == ["a.png", "b.png"]
    else:
        assert_refused(way, answer)


@EVERY_WAY_OF_ARCHIVES
@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07\x01\0", "rar"), (b"\x28\xb5\x2f\xfd", "zstd")],
)
def test_an_archive_of_another_kind_is_named_with_those_that_are_taken(
    client: FlaskClient, way: Way, head: bytes, kind: str
) -> None:
    assert_refused(way, send(client, way, ("a", head + bytes(600))), kind, "Send zip, tar, tar.gz, tar.bz2 or tar.xz")


@EVERY_WAY_OF_ARCHIVES
def test_what_systems_leave_in_a_flat_archive_is_left_out(client: FlaskClient, way: Way) -> None:
    junk = [(name, b"junk") for name in ("._a.png", ".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r")]
    answer = send(client, way, ("a.zip", zipped(("a.png", PNG), *junk, ("b.png", PNG))))
    assert_taken(way, answer)
    assert answer.json["request"]["files"] == ["a.png", "b.png"]


NAMES = {"utf-8": "möwe", "cp437": "möwe", "cp1252": "möwe", "shift_jis": "日本語", "gbk": "照片", "cp866": "фото"}


@EVERY_WAY_OF_ARCHIVES
@pytest.mark.parametrize("charset", NAMES)
def test_no_archive_is_refused_for_the_charset_of_its_names(client: FlaskClient, way: Way, charset: str) -> None:
    name = NAMES[charset].encode(charset)
    in_zip = zipped(("N" * len(name), PNG)).replace(b"N" * len(name), name)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding=charset) as archive:
        member = tarfile.TarInfo(NAMES[charset])
        member.size = len(PNG)
        archive.addfile(member, io.BytesIO(PNG))
    for data in (in_zip, file.getvalue()):
        assert_taken(way, answer := send(client, way, ("a", data)))
        assert answer.json["request"]["files"] == [NAMES[charset]]


@EVERY_WAY_OF_ARCHIVES
def test_bytes_of_a_name_in_no_code_page_are_shown_as_numbers(client: FlaskClient, way: Way) -> None:
    assert_taken(way, answer := send(client, way, ("a.zip", zipped(("NN.png", PNG)).replace(b"NN", b"a\xa0"))))
    assert answer.json["request"]["files"] == ["a%A0.png"]


@EVERY_WAY_OF_ARCHIVES
def test_a_picture_in_an_archive_that_cannot_be_used_is_named(client: FlaskClient, way: Way) -> None:
    answer = send(client, way, ("a.zip", zipped(("a.png", PNG), ("b.png", NO_PICTURE))))
    assert_refused(way, answer, "'b.png'")


# forms

AS_FILE = {
    "a name in UTF-8 (RFC 5987)": "; filename*=UTF-8''m%C3%B6we.png",
    "both kinds of name": "; filename=\"a.png\"; filename*=UTF-8''m%C3%B6we.png",
    "a name with quotes": '; filename="a \\"b\\".png"',
    "a name in UTF-8": '; filename="möwe.png"',
    "a name in Latin-1": '; filename="m\udcf6we.png"',
    "a name without quotes": "; filename=a.png",
    "an empty name": '; filename=""',
    "octets": '; filename="a"\r\nContent-Type: application/octet-stream',
    "a wrong type": '; filename="a"\r\nContent-Type: text/plain; charset=utf-8',
    "no name": "",
    "no name, octets": "\r\nContent-Type: application/octet-stream",
    "no name, a picture": "\r\nContent-Type: image/png",
    "no name, a wrong type": "\r\nContent-Type: text/plain",
}
"""What may follow the name of the part, by RFC 7578 or by habit."""


@EVERY_FORM
@pytest.mark.parametrize("rest", AS_FILE.values(), ids=AS_FILE)
def test_a_part_is_a_file_however_it_is_headed(client: FlaskClient, way: Way, rest: str) -> None:
    head = f'Content-Disposition: form-data; name="{way.part}"{rest}'
    assert_taken(way, post(client, way, form((head, PNG), fields=way.fields)))


@EVERY_FORM
def test_a_part_in_base64_is_decoded(client: FlaskClient, way: Way) -> None:
    head = disposition(way.part, "a.png") + "\r\nContent-Transfer-Encoding: base64"
    assert_taken(way, post(client, way, form((head, base64.encodebytes(PNG)), fields=way.fields)))
    broken = post(client, way, form((head, b"A"), fields=way.fields))
    assert_refused(way, broken, f"'{way.part}' is not in base64")


@EVERY_FORM
def test_a_part_may_hold_several_files(client: FlaskClient, way: Way) -> None:
    names = ("a.png", "b.png") if way.several else ("a.png",)
    inner = form(*((f'Content-Disposition: file; filename="{name}"', PNG) for name in names), boundary="inner")[1]
    head = f'Content-Disposition: form-data; name="{way.part}"\r\nContent-Type: multipart/mixed; boundary=inner'
    answer = post(client, way, form((head, inner), fields=way.fields))
    assert_taken(way, answer)
    if way.several:
        assert answer.json["request"]["files"] == list(names)


@EVERY_FORM
def test_a_file_input_that_was_left_empty_is_no_part(client: FlaskClient, way: Way) -> None:
    blank = (disposition(way.part, "") + "\r\nContent-Type: application/octet-stream", b"")
    body = form(blank, (disposition(way.part, "a.png"), PNG), blank, fields=way.fields)
    assert_taken(way, post(client, way, body))
    assert_refused(way, post(client, way, form(blank, fields=way.fields)))


@pytest.mark.parametrize("name", ["files", "files[]", "file", "image"])
def test_several_files_may_have_one_name_whatever_it_is(client: FlaskClient, name: str) -> None:
    for way in (way for way in FORMS.values() if way.several):
        answer = post(client, way, form(*[(disposition(name, f"{number}.png"), PNG) for number in range(3)]))
        assert answer.json["request"]["files"] == ["0.png", "1.png", "2.png"]


@EVERY_FORM
@pytest.mark.parametrize(
    ("kind", "says"),
    [(MULTIPART, "boundary"), (f"{MULTIPART}; boundary=other", "'other'")],
    ids=["no boundary", "another boundary"],
)
def test_a_form_whose_parts_cannot_be_found_says_why(client: FlaskClient, way: Way, kind: str, says: str) -> None:
    _, body = way.write(way, [("a.png", PNG)])
    assert_refused(way, post(client, way, ({"Content-Type": kind}, body)), says)


@EVERY_FORM
def test_a_form_that_is_cut_says_so(client: FlaskClient, way: Way) -> None:
    headers, body = way.write(way, [("a.png", PNG)])
    assert_refused(way, post(client, way, (headers, body[:-40])), "ends before")


@pytest.mark.parametrize("kind", ["multipart/mixed", "multipart/related"])
def test_a_body_of_pictures_that_is_no_form_is_taken(client: FlaskClient, kind: str) -> None:
    headers, body = form(("Content-Type: image/png", PNG), ('Content-Disposition: attachment; filename="b.png"', PNG))
    answer = client.post("/v1/jobs", data=body, content_type=headers["Content-Type"].replace(MULTIPART, kind))
    assert answer.json["request"]["files"] == ["file", "b.png"]


def test_a_text_that_begins_like_a_picture_stays_a_text(client: FlaskClient) -> None:
    for value in ("BMW", "P1 ", "GIF89a", "<svg"):
        way = WAYS["native, form"]
        answer = post(
            client, way, form((disposition("files", "a.png"), PNG), fields={"metadata": f'{{"a": "{value}"}}'})
        )
        assert answer.json["metadata"] == {"a": value}
        odd = post(client, way, form((disposition("files", "a.png"), PNG), fields={"model": value}))
        assert odd.status_code == 404, odd.text


# packed bodies


def deflated(data: bytes) -> bytes:
    """Return deflate without the header of zlib, as some clients send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "gzip in two members": ("gzip", lambda data: gzip.compress(data[:30]) + gzip.compress(data[30:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", deflated),
    "identity": ("identity", bytes),
}


@EVERY_WAY
@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_packed_body_is_unpacked(client: FlaskClient, way: Way, packer: str, chunked: bool) -> None:
    encoding, pack = PACKERS[packer]
    headers, body = way.write(way, [("a.png", PNG)])
    assert_taken(way, post_packed(client, way, headers, pack(body), encoding, chunked=chunked))


def post_packed(
    client: FlaskClient, way: Way, headers: dict[str, str], packed: bytes, encoding: str, *, chunked: bool = False
) -> TestResponse:
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"} if chunked else {}
    length = {} if chunked else {"Content-Length": str(len(packed))}
    return client.post(
        way.path,
        input_stream=io.BytesIO(packed),
        headers=headers | {"Content-Encoding": encoding} | length,
        environ_overrides=environ,
    )


@EVERY_WAY
@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip"])
def test_a_body_packed_otherwise_is_415_and_says_what_is_read(client: FlaskClient, way: Way, encoding: str) -> None:
    answer = post_packed(client, way, *way.write(way, [("a.png", PNG)]), encoding)
    assert_refused(replace(way, refused=415), answer, encoding, "gzip, deflate")
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"


@EVERY_WAY
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-9] + bytes(9)], ids=["cut", "changed"])
def test_a_packed_body_that_is_damaged_is_refused(client: FlaskClient, way: Way, damage: Any) -> None:
    headers, body = way.write(way, [("a.png", PNG)])
    answer = post_packed(client, way, headers, damage(gzip.compress(body)), "gzip")
    assert_refused(way, answer, "The packed body")


@EVERY_WAY
def test_the_limit_of_a_body_counts_what_is_unpacked(shared_container: Container, way: Way) -> None:
    settings = shared_container.settings.changed(max_body=50_000, max_picture=30_000)
    client = apps.over(replace(shared_container, settings=settings)).test_client()
    headers, body = way.write(way, [("a.png", PNG + bytes(5_000_000))])
    packed = gzip.compress(body)
    assert len(packed) < 50_000
    for chunked in (False, True):
        answer = post_packed(client, way, headers, packed, "gzip", chunked=chunked)
        assert_refused(replace(way, refused=413), answer)


@EVERY_WAY
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_the_limit_of_a_body_counts_what_is_packed_as_well(
    shared_container: Container, way: Way, chunked: bool
) -> None:
    settings = shared_container.settings.changed(max_body=50_000, max_picture=30_000)
    client = apps.over(replace(shared_container, settings=settings)).test_client()
    headers, body = way.write(way, [("a.png", PNG)])
    assert len(body) < 50_000
    empty = gzip.compress(b"") * 100_000
    for packed in (empty, empty + gzip.compress(body)):
        answer = post_packed(client, way, headers, packed, "gzip", chunked=chunked)
        assert_refused(replace(way, refused=413), answer)


def test_a_packed_archive_in_chunks_needs_no_length(client: FlaskClient) -> None:
    way = WAYS["native, raw"]
    headers, body = way.write(way, [("", PACKED["zip"])])
    assert_taken(way, post_packed(client, way, headers, gzip.compress(body), "gzip", chunked=True))


# JSON

JSON_WAYS = {name: way for name, way in WAYS.items() if way.kind == JSON}
EVERY_JSON = pytest.mark.parametrize("way", JSON_WAYS.values(), ids=JSON_WAYS)
JSON_TYPES = (JSON, "text/json", "application/vnd.api+json", "text/plain", "application/x-www-form-urlencoded", RAW, "")


@EVERY_JSON
@pytest.mark.parametrize("kind", JSON_TYPES)
@pytest.mark.parametrize("rest", ["", "; charset=utf-8", "; charset=UTF8", "; charset=unheard-of"])
def test_json_is_known_whatever_its_type(client: FlaskClient, way: Way, kind: str, rest: str) -> None:
    headers, body = way.write(way, [("a", PNG)])
    if kind:
        headers["Content-Type"] = kind + rest
    else:
        del headers["Content-Type"]
    for start in (b"", b"\r\n ", b"\xef\xbb\xbf"):
        assert_taken(way, post(client, way, (headers, start + body)))


@EVERY_JSON
@pytest.mark.parametrize("charset", ["utf-16", "utf-32-le", "iso-8859-1", "windows-1252", "shift_jis"])
def test_json_is_read_in_the_charset_that_it_names(client: FlaskClient, way: Way, charset: str) -> None:
    _, body = way.write(way, [("a", PNG)])
    letter = "日" if charset == "shift_jis" else "ö"
    named = body.decode().replace('"name": "a"', f'"name": "{letter}"').replace('"name": "n"', f'"name": "{letter}"')
    body = named.encode(charset)
    if way.tag != "Hugging Face":
        answer = post(client, way, ({"Content-Type": f"{JSON}; charset={charset}"}, body))
        assert_taken(way, answer)
        assert letter in json.dumps(answer.json, ensure_ascii=False)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", RAW, "", "application/zip"])
def test_a_raw_picture_is_known_whatever_its_type(client: FlaskClient, kind: str) -> None:
    for name in ("native, raw", "Hugging Face, raw"):
        way = WAYS[name]
        assert_taken(way, client.post(way.path, data=PNG, content_type=kind or None))


@pytest.mark.parametrize("kind", [JSON, RAW, "application/x-www-form-urlencoded", ""])
def test_a_form_that_is_called_something_else_is_known(client: FlaskClient, kind: str) -> None:
    _, body = form((disposition("files", "a.png"), PNG))
    answer = client.post("/v1/jobs", data=body, content_type=kind or None)
    assert_refused(WAYS["native, form"], answer, "The body is a form")


def test_a_picture_that_is_called_json_is_known(client: FlaskClient) -> None:
    way = WAYS["native, JSON"]
    assert_refused(way, client.post(way.path, data=PNG, content_type=JSON), "the body is a PNG")
    way = WAYS["IMG, JSON"]
    assert_refused(way, client.post(way.path, data=PNG, content_type=JSON), "the body is a PNG")


# base64 and URLs

BASE64 = {name: way for name, way in WAYS.items() if way.kind == JSON or "base64" in name}
EVERY_BASE64 = pytest.mark.parametrize("way", BASE64.values(), ids=BASE64)
TEXT = base64.b64encode(PNG).decode()
SPELLINGS = {
    "plain": TEXT,
    "without padding": TEXT.rstrip("="),
    "too much padding": f"{TEXT.rstrip('=')}==" if TEXT.endswith("=") and not TEXT.endswith("==") else TEXT,
    "for URLs": TEXT.replace("+", "-").replace("/", "_"),
    "in lines": base64.encodebytes(PNG).decode().replace("\n", "\r\n"),
    "with spaces around": f"\n {TEXT} \t",
    "a data URL": f"data:image/png;base64,{TEXT}",
    "a data URL with a name": f"data:image/png;name=a%20b.png;base64,{TEXT}",
    "a data URL without a type": f"DATA:;base64,{TEXT}",
    "a data URL that is escaped": f"data:image/png;base64,{quote(TEXT, safe='')}",
    "a data URL with spaces around": f" data:image/png;base64,{TEXT}\n",
}


@EVERY_BASE64
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_base64_is_read_however_it_is_spelled(client: FlaskClient, way: Way, spelling: str) -> None:
    headers, body = way.write(way, [("a", PNG)])
    written = json.dumps(spelling)[1:-1].encode() if way.kind == JSON else spelling.encode()
    assert_taken(way, post(client, way, (headers, body.replace(TEXT.encode(), written))))


@pytest.mark.parametrize(
    ("way", "body"),
    [
        ("native, JSON", {"json": {"inputs": [{"url": SPELLINGS["a data URL"]}, SPELLINGS["a data URL"]]}}),
        ("IMG, JSON", {"json": {"name": "n", "url": SPELLINGS["a data URL"]}}),
        ("Einstein", {"data": {"modelId": "digits", "sampleLocation": SPELLINGS["a data URL"]}}),
    ],
)
def test_a_data_url_is_taken_where_a_url_is(client: FlaskClient, way: str, body: dict[str, Any]) -> None:
    assert_taken(WAYS[way], client.post(WAYS[way].path, **body))


@pytest.mark.parametrize("url", ["HTTP://example.org/a.png", " https://example.org/a.png ", "Ftp://example.org/a.png"])
def test_a_text_with_a_scheme_is_a_url(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("shared.adapters.http_fetch.fetch", lambda url, **_: PNG)
    answer = client.post("/v1/jobs", json={"inputs": [url]})
    assert answer.json["request"]["files"] == ["a.png"]


# several URLs


def test_several_urls_are_fetched_at_once_and_answered_in_their_order(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(AT_ONCE, timeout=10)

    def fetch(url: str, **_: Any) -> bytes:
        together.wait()
        return PNG

    monkeypatch.setattr("shared.adapters.http_fetch.fetch", fetch)
    urls = [f"http://example.org/{number}.png" for number in range(2 * AT_ONCE)]
    answer = client.post("/v1/jobs", json={"inputs": [TEXT, *urls, {"base64": TEXT, "name": "last"}]})
    assert answer.json["request"]["files"] == ["input-0", *(f"{n}.png" for n in range(2 * AT_ONCE)), "last"]


def test_of_several_urls_each_that_fails_is_named_and_the_far_ones_are_left_alone(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(url: str, **_: Any) -> bytes:
        asked.append(url)
        if "bad" in url:
            raise errors.BadUrl(f"{url[-5:]} is away.")
        return PNG

    monkeypatch.setattr("shared.adapters.http_fetch.fetch", fetch)
    urls = [f"http://example.org/{'good' if number in (0, 2) else 'bad'}-{number:03}" for number in range(100)]
    urls[3] = "not base64!"
    answer = client.post("/v1/jobs", json={"inputs": urls})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_url")
    detail = answer.json["detail"]
    assert detail.startswith("inputs[1]: d-001 is away. inputs[3]: The text is not valid base64")
    assert detail.endswith(f"inputs[{AT_ONCE}]: d-{AT_ONCE:03} is away.")
    assert len(asked) < 3 * AT_ONCE


def test_urls_that_there_is_no_time_left_for_say_so(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.dialects.native.requests.jobs.FETCHING", 0.0)
    answer = client.post("/v1/jobs", json={"inputs": ["http://example.org/a", "http://example.org/b"]})
    assert "inputs[1]: It was not fetched" in answer.json["detail"]
