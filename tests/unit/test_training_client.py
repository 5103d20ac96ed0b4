"""The Python client for datasets, trainings, feedback and versions, against a small real HTTP server."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from inferq.client import Client, connection
from inferq.client.connection import Connection
from inferq.client.folder_archive import packed
from inferq.errors import InferqError, InferqHTTPError, Unreachable
from shared.schemas.datasets import DatasetPage, Example
from shared.schemas.models import VersionDetails, VersionList
from shared.schemas.promotions import Canary, Comparison
from shared.schemas.trainings import TrainingPage
from tests.unit.answers import complete, dataset, training, version
from tests.unit.toy_server import Answer, ToyRequest, ToyServer

EVIDENCE = {"accuracy": 0.9, "method": "head"}


@pytest.fixture
def client(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(connection, "EVERY", 0.0)
    with Client(server.url) as client:
        yield client


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A folder of label folders, with hidden files that operating systems leave."""
    for name in ("rose/1.jpg", "daisy/2.jpg", "rose/.hidden.jpg", ".git/config", "__MACOSX/rose/1.jpg", "Thumbs.db"):
        file = tmp_path / "flowers" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path / "flowers"


def sent_zip(body: bytes) -> zipfile.ZipFile:
    """Return the archive in a multipart body."""
    return zipfile.ZipFile(io.BytesIO(body[body.index(b"PK\x03\x04") : body.rindex(b"\r\n--")]))


def test_a_folder_is_packed_without_hidden_files_and_junk(server: ToyServer, client: Client, flowers: Path) -> None:
    server.on("POST /v1/datasets", (202, {}, dataset("LOADING", progress=0.0)))
    created = client.datasets.create("mine", flowers)
    assert (created.id, created.state) == (7, "LOADING")
    body = server.requests[0].body
    assert b'name="name"\r\n\r\nmine' in body
    assert b'name="file"; filename="flowers.zip"' in body
    with sent_zip(body) as archive:
        assert archive.namelist() == ["daisy/2.jpg", "rose/1.jpg"]
        assert archive.read("rose/1.jpg") == b"rose/1.jpg"


def test_an_archive_is_sent_as_it_is_and_adds_to_a_dataset_by_its_name(
    server: ToyServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "more.tgz").write_bytes(b"tar and gz")
    server.on("POST /v1/datasets/my%20flowers/archive", (202, {}, dataset("LOADING")))
    client.datasets.add_archive("my flowers", tmp_path / "more.tgz")
    body = server.requests[0].body
    assert b'name="file"; filename="more.tgz"' in body
    assert b"tar and gz" in body


def test_a_url_and_labels_are_sent_as_json(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/datasets", (201, {}, dataset("READY")))
    client.datasets.create("a", "https://example.org/flowers.zip")
    client.datasets.create("b", labels=["rose", "daisy"])
    assert [json.loads(request.body) for request in server.requests] == [
        {"name": "a", "url": "https://example.org/flowers.zip"},
        {"name": "b", "labels": ["rose", "daisy"]},
    ]


def test_an_archive_that_is_not_there_is_an_error_before_anything_is_sent(server: ToyServer, client: Client) -> None:
    with pytest.raises(OSError, match="nowhere"):
        client.datasets.create("a", "nowhere.zip")
    assert server.requests == []


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rose").mkdir()
    with pytest.raises(InferqError, match="LABEL/picture"), packed(tmp_path):
        pass


def test_linked_label_folders_are_packed_but_not_for_ever(flowers: Path) -> None:
    (flowers / "linked").symlink_to(flowers / "rose")
    with packed(flowers) as file, zipfile.ZipFile(file) as archive:
        assert "linked/1.jpg" in archive.namelist()
    (flowers / "rose" / "loop").symlink_to(flowers)
    with pytest.raises(InferqError, match="leads back"), packed(flowers):
        pass


def test_files_from_before_1980_and_names_that_are_no_utf8_are_packed(flowers: Path) -> None:
    os.utime(flowers / "rose" / "1.jpg", (0, 0))
    try:
        (flowers / "rose" / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    except OSError:  # macOS has no such names
        pytest.skip("this file system takes only UTF-8")
    with packed(flowers) as file, zipfile.ZipFile(file) as archive:
        assert {"rose/1.jpg", "rose/\N{REPLACEMENT CHARACTER}.jpg"} <= set(archive.namelist())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(flowers: Path) -> None:
    (flowers / "rose" / "1.jpg").chmod(0)
    with pytest.raises(InferqError, match=r"rose/1\.jpg"), packed(flowers):
        pass


def test_a_dataset_is_read_with_its_labels_and_reasons(server: ToyServer, client: Client) -> None:
    answer = dataset(
        "READY", examples=5, labels=[{"id": 1, "name": "rose", "examples": 5}], duplicates=2, unreadable=1,
        reasons=[{"path": "rose/x.jpg", "why": "is damaged"}],
    )  # fmt: skip
    server.on("GET /v1/datasets", (200, {}, complete(DatasetPage, datasets=[answer])))
    (listed,) = client.datasets.list()
    assert [(label.name, label.examples) for label in listed.labels] == [("rose", 5)]
    assert [(file.path, file.why) for file in listed.reasons] == [("rose/x.jpg", "is damaged")]
    assert (listed.examples, listed.duplicates, listed.unreadable) == (5, 2, 1)


def test_a_dataset_is_followed_until_it_is_loaded(server: ToyServer, client: Client) -> None:
    steps = [dataset("LOADING", progress=share) for share in (0.0, 0.5, 0.5)]
    server.on("GET /v1/datasets/7", *[(200, {}, step) for step in steps], (200, {}, dataset("FAILED", message="empty")))
    followed = list(client.datasets.stream(7))
    progress = [(dataset.state, dataset.progress) for dataset in followed]
    assert progress == [("LOADING", 0.0), ("LOADING", 0.5), ("FAILED", 1.0)]
    assert followed[-1].message == "empty"


def test_a_training_is_asked_for_with_what_was_chosen_and_nothing_else(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/trainings", (202, {}, training("QUEUED", position=3)))
    started = client.trainings.start(
        7, "flowers", base="mobilenet_v2", epochs=5, seed=0, flip=False, learning_rate=None
    )
    assert (started.id, started.position, started.terminal) == ("t1", 3, False)
    client.trainings.start("mine", "flowers", options={"metadata": {"who": "me"}})
    parameters = {"epochs": 5, "seed": 0, "flip": False}
    assert [json.loads(request.body) for request in server.requests] == [
        {"dataset": 7, "name": "flowers", "base": "mobilenet_v2", "parameters": parameters},
        {"dataset": "mine", "name": "flowers", "metadata": {"who": "me"}},
    ]


def test_a_training_is_followed_through_an_outage_to_its_end(server: ToyServer, client: Client) -> None:
    server.on(
        "GET /v1/trainings/t1",
        (200, {}, training("QUEUED", position=1)),
        (502, {}, b"bad gateway"),
        (200, {}, training("RUNNING", curve=[{"stage": "head", "epoch": 1}])),
        (200, {}, training("DONE", model={"name": "flowers", "version": "2"}, evidence=EVIDENCE)),
    )
    waiting, running, done = client.trainings.stream("t1")
    assert (waiting.status, running.status, done.status) == ("QUEUED", "RUNNING", "DONE")
    assert [(epoch.stage, epoch.epoch) for epoch in running.curve] == [("head", 1)]
    assert done.model
    assert done.evidence
    assert (done.model.version, done.evidence.accuracy, done.evidence.method) == ("2", 0.9, "head")
    assert server.requests[1].headers["prefer"] == "wait=1"


def test_a_server_that_goes_away_for_a_moment_is_waited_for(
    server: ToyServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([training("RUNNING"), Unreachable("no server is there"), training("CANCELLED")])

    async def request(self: Connection, method: str, path: str, **rest: object) -> httpx.Response:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer)

    monkeypatch.setattr(Connection, "request", request)
    assert [training.status for training in client.trainings.stream("t1")] == ["RUNNING", "CANCELLED"]


def test_a_server_that_stays_away_is_given_up(
    server: ToyServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "OUTAGE", 0.0)
    server.on("GET /v1/trainings/t1", (200, {}, training("RUNNING")), (504, {}, b""))
    with pytest.raises(InferqHTTPError, match="504"):
        list(client.trainings.stream("t1"))


def test_an_error_that_will_not_pass_ends_following_at_once(server: ToyServer, client: Client) -> None:
    server.on("GET /v1/trainings/t1", (200, {}, training("RUNNING")), (404, {}, {"detail": "There is no training."}))
    with pytest.raises(InferqHTTPError, match="There is no training"):
        list(client.trainings.stream("t1"))
    assert len(server.requests) == 2


def test_trainings_are_listed_through_pages_and_cancelled(server: ToyServer, client: Client) -> None:
    def page(request: ToyRequest) -> Answer:
        more = "cursor=two" not in request.path
        return 200, {}, complete(TrainingPage, trainings=[{"id": "t1"}], next="two" if more else None)

    server.on("GET /v1/trainings", page)
    server.on("DELETE /v1/trainings/t1", (200, {}, training("CANCELLED")))
    assert len(client.trainings.list(status="RUNNING")) == 2
    assert "status=RUNNING" in server.requests[1].path
    assert client.trainings.cancel("t1").status == "CANCELLED"


def test_a_plot_comes_as_bytes(server: ToyServer, client: Client) -> None:
    server.on("GET /v1/trainings/t1/plots/confusion.svg", (200, {}, b"<svg/>"))
    assert client.trainings.plot("t1", "confusion.svg") == b"<svg/>"


def test_feedback_says_which_picture_and_only_where_asked_which_dataset(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/jobs/j1/feedback", (201, {}, complete(Example, id=5, label={"name": "rose"})))
    example = client.jobs.correct("j1", "rose")
    assert (example.id, example.label.name) == (5, "rose")
    client.jobs.correct("j1", "rose", 3, dataset="flowers")
    assert [json.loads(request.body) for request in server.requests] == [
        {"label": "rose", "position": 0},
        {"label": "rose", "position": 3, "dataset": "flowers"},
    ]


def test_a_comparison_is_waited_for(server: ToyServer, client: Client) -> None:
    answer = complete(Comparison, id="c1", status="QUEUED")
    ended = complete(Comparison, id="c1", status="DONE", terminal=True, report={"agreement": 0.9})
    server.on("POST /v1/models/flowers/compare", (202, {}, answer))
    server.on("GET /v1/comparisons/c1", (200, {}, answer), (200, {}, ended))
    assert client.models.compare("flowers", "2").to_json() == ended
    client.models.compare("flowers", "2", baseline="1", dataset=7)
    bodies = [json.loads(request.body) for request in server.requests if request.method == "POST"]
    assert bodies == [{"version": "2"}, {"version": "2", "baseline": "1", "dataset": 7}]


def test_versions_are_promoted_rolled_back_and_given_a_share(server: ToyServer, client: Client) -> None:
    first, second = version("ready", version="1"), version("ready", version="2")
    shared = complete(Canary, version="2", share=0.1, compared=4, agreed=3, agreement=0.75)
    server.on("GET /v1/models/flowers/versions", (200, {}, complete(VersionList, versions=[first, second])))
    details = complete(VersionDetails, version="1", label_names=["rose"], evidence=EVIDENCE)
    server.on("GET /v1/models/flowers/versions/1", (200, {}, details))
    server.on("POST /v1/models/flowers/promote", (200, {}, second))
    server.on("POST /v1/models/flowers/rollback", (200, {}, first))
    server.on("PUT /v1/models/flowers/canary", lambda request: (200, {}, complete(Canary, **json.loads(request.body))))
    server.on("GET /v1/models/flowers/canary", (200, {}, shared))
    server.on("DELETE /v1/models/flowers/canary", (204, {}, b""))
    assert [version.version for version in client.models.list_versions("flowers")] == ["1", "2"]
    assert client.models.get_version("flowers", "1").to_json() == details
    assert client.models.promote("flowers", "2").version == "2"
    assert client.models.rollback("flowers").version == "1"
    begun = client.models.set_canary("flowers", "2", 0.1)
    assert (begun.version, begun.share, begun.agreement) == ("2", 0.1, None)
    assert client.models.get_canary("flowers").to_json() == shared
    client.models.clear_canary("flowers")
    assert server.requests[-1].method == "DELETE"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.datasets.get("none"),
        lambda client: client.datasets.remove("none"),
        lambda client: next(client.trainings.stream("none")),
        lambda client: client.trainings.plot("none", "curve.png"),
        lambda client: client.models.compare("none", "1"),
    ],
)
def test_what_the_server_refuses_is_an_error_in_its_words(client: Client, call: Callable[[Client], object]) -> None:
    with pytest.raises(InferqHTTPError, match=re.escape("There is nothing here.")) as caught:
        call(client)
    assert caught.value.status == 404
