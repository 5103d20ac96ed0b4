"""`inferq models export` and the client: what arrives, waiting for a conversion, and what is never overwritten."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from api import streamed_zip
from inferq.cli import main
from inferq.client import Client, exports
from inferq.errors import BadAnswer, InferqError, InferqHTTPError
from tests.unit import toy_server
from tests.unit.toy_server import ToyServer

FILES = {"inferq.json": b"{}", "labels.txt": b"ant\n", "model.onnx": b"weights" * 1000}
ROUTE = "GET /v1/models/birds/versions/2/export"


@pytest.fixture
def server() -> Iterator[ToyServer]:
    with toy_server.serving() as toy:
        yield toy


def packed(files: dict[str, bytes]) -> bytes:
    return b"".join(streamed_zip.stream([(name, [data]) for name, data in files.items()], 0.0))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def problem(code: str) -> tuple[int, dict[str, str], dict[str, str]]:
    return 409, {"Retry-After": "3"}, {"code": code, "detail": "It is being converted.", "title": "Conflict"}


def test_a_streamed_zip_is_an_ordinary_zip_and_the_same_each_time() -> None:
    members = [("a", [b"one", b"two"]), ("b", [])]
    parts = list(streamed_zip.stream(members, 1.7e9))
    assert len(parts) > 2  # it is sent while it is written
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as whole:
        assert whole.testzip() is None
        assert (whole.read("a"), whole.read("b")) == (b"onetwo", b"")
        assert whole.getinfo("a").date_time[0] == 2023
    assert parts == list(streamed_zip.stream(members, 1.7e9))


def test_the_files_of_an_export_are_written_into_a_folder(server: ToyServer, tmp_path: Path) -> None:
    server.on(ROUTE, (200, {}, packed(FILES)))
    with Client(server.url, "") as client:
        folder = client.models.export("birds", "2", "onnx", tmp_path / "new" / "birds")
    assert contents(folder) == FILES
    assert server.requests[0].path.endswith("?format=onnx")


def test_a_conversion_is_waited_for(server: ToyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_PAUSE", 0.0)
    server.on(ROUTE, problem("model_not_ready"), problem("model_not_ready"), (200, {}, packed(FILES)))
    seen: list[int] = []
    with Client(server.url, "") as client:
        client.models.export("birds", "2", "onnx", tmp_path / "birds", progress=seen.append)
    assert (seen[:2], contents(tmp_path / "birds")) == ([0, 0], FILES)


def test_a_conversion_that_failed_is_an_error_and_leaves_no_folder(server: ToyServer, tmp_path: Path) -> None:
    server.on(ROUTE, problem("conflict"))
    with Client(server.url, "") as client, pytest.raises(InferqHTTPError, match="being converted"):
        client.models.export("birds", "2", "onnx", tmp_path / "birds")
    assert not (tmp_path / "birds").exists()


@pytest.mark.parametrize(
    "answer", [packed(FILES)[:-40], packed({"../escaped": b"x"}), packed({"a/b": b"x"}), b"no zip"]
)
def test_an_answer_that_is_no_export_is_not_unpacked(answer: bytes, server: ToyServer, tmp_path: Path) -> None:
    server.on(ROUTE, (200, {}, answer))
    with Client(server.url, "") as client, pytest.raises(BadAnswer):
        client.models.export("birds", "2", "onnx", tmp_path / "birds")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(server: ToyServer, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with Client(server.url, "") as client, pytest.raises(InferqError, match="not an empty folder"):
        client.models.export("birds", "2", "onnx", tmp_path)
    assert contents(tmp_path) == {"mine": b"keep"}
    assert server.requests == []


def test_the_command_exports_the_default_version(
    server: ToyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = {"name": "birds", "default_version": "2", "is_default": False, "shared": False, "aliases": [],
             "versions": [], "label_names": [], "engine": None}  # fmt: skip
    server.on("GET /v1/models/birds", (200, {}, model))
    server.on(ROUTE, (200, {}, packed(FILES)))
    done = CliRunner().invoke(main, ["models", "export", "birds", "--url", server.url])
    assert done.exit_code == 0, done.output
    assert "birds-2: birds 2 as safetensors" in done.output
    assert contents(tmp_path / "birds-2") == FILES
