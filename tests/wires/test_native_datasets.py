"""Datasets on the native wire: archives, labels, examples and feedback, and what is refused."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared import errors
from shared.container import Container
from shared.domain.datasets import DatasetState
from shared.services import dataset_import, dataset_import_runs, datasets
from tests.unit.archive_files import as_tbz, as_tgz, as_txz, as_zip
from tests.wires.described import described_client
from tests.wires.training_requests import archive, complaint, form, keys, new_dataset, png

EMPTY_7Z = b"7z\xbc\xaf\x27\x1c" + bytes(26)


@pytest.fixture
def client(container: Container) -> FlaskClient:
    return described_client(container)


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_connection(container: Container) -> Iterator[None]:
    yield
    container.waiters.close()


@pytest.fixture
def patient(container: Container) -> Iterator[FlaskClient]:
    """A client whose requests may wait; each notification loads all waiting datasets at once."""
    loaders: list[threading.Thread] = []

    def notify(task: str, *_: str) -> bool:
        loaders.append(threading.Thread(target=load, args=(container,)))
        loaders[-1].start()
        return True

    container.queue.notifications.send_task = notify  # type: ignore[method-assign]
    yield described_client(replace(container, settings=container.settings.changed(max_wait=30.0)))
    for loader in loaders:
        loader.join()


def load(container: Container) -> None:
    """Load all waiting datasets, as a trainer does on a notification."""
    for waiting in dataset_import_runs.list_waiting(container, {}):
        dataset_import.load(container, waiting.id)


def nothing_is_left(client: FlaskClient, container: Container) -> bool:
    datasets.drop_deleted(container)
    return client.get("/v1/datasets").json["datasets"] == [] and container.storage.list("uploads") == []


# creating


def test_an_empty_dataset_is_there_at_once_with_its_labels(client: FlaskClient) -> None:
    answer = client.post("/v1/datasets", json={"name": "birds", "labels": ["teal", "mallard"]})
    assert answer.status_code == 201
    assert answer.headers["Location"] == answer.json["links"]["self"] == f"/v1/datasets/{answer.json['id']}"
    assert (answer.json["state"], answer.json["version"], answer.json["examples"]) == ("READY", 1, 0)
    assert [(label["id"], label["name"]) for label in answer.json["labels"]] == [(1, "teal"), (2, "mallard")]


def test_an_archive_is_taken_at_once_and_loaded_by_and_by(client: FlaskClient, container: Container) -> None:
    files = [("teal/1.png", png(1)), ("teal/2.png", png(2)), ("mallard/1.png", png(3)), ("mallard/same.png", png(3)),
             ("mallard/no.png", b"no picture"), ("readme.txt", b"hello")]  # fmt: skip
    answer = client.post("/v1/datasets", **form("ducks.zip", as_zip(files), name="birds"))
    assert (answer.status_code, answer.json["state"]) == (202, "LOADING")
    assert answer.headers["Location"] == f"/v1/datasets/{answer.json['id']}"
    assert client.get(answer.headers["Location"]).headers["Retry-After"]

    load(container)
    shown = client.get(answer.headers["Location"])
    assert "Retry-After" not in shown.headers
    assert (shown.json["state"], shown.json["progress"], shown.json["message"]) == ("READY", 1.0, "")
    assert (shown.json["examples"], shown.json["duplicates"], shown.json["unreadable"]) == (3, 1, 2)
    assert {reason["path"] for reason in shown.json["reasons"]} == {"mallard/no.png", "readme.txt"}
    assert {label["name"]: label["examples"] for label in shown.json["labels"]} == {"mallard": 1, "teal": 2}
    assert container.storage.list("uploads") == []


NAMED: list[Any] = [
    (form("ducks.tar.gz", as_tgz([("a/1.png", png())])), "ducks"),
    (form("ducks.tar.bz2", as_tbz([("a/1.png", png())])), "ducks"),
    (form("ducks.txz", as_txz([("a/1.png", png())])), "ducks"),
    (form("pictures/Wild ducks.ZIP", archive(a=1)), "Wild ducks"),
    (form("x.zip", archive(a=1), name="geese"), "geese"),
    (form("x" * 200 + ".zip", archive(a=1)), "x" * 180),
    (form("two\x07 ducks.zip", archive(a=1)), "two\N{REPLACEMENT CHARACTER} ducks"),
    (form(".zip", archive(a=1)), "dataset"),
    ({"json": {"url": "https://93.184.216.34/"}}, "dataset"),
    ({"data": archive(a=1), "query_string": {"name": "swans"}}, "swans"),
    ({"data": archive(a=1), "query_string": {"name": "swans"},
      "content_type": "application/x-www-form-urlencoded"}, "swans"),
]  # fmt: skip


def _forget(container: Container, dataset_id: int) -> None:
    with container.database.write() as uow:
        uow.datasets.delete(dataset_id)


def test_a_name_that_is_taken_is_refused_unless_nothing_came_of_it(client: FlaskClient, container: Container) -> None:
    first = new_dataset(client, "wild birds", teal=1)
    answer = client.post("/v1/datasets", json={"name": "wild birds"})
    assert str(first["id"]) in complaint(answer, 409, "conflict")
    with container.database.write() as uow:
        dataset = uow.datasets.find("default", first["id"])
        assert dataset is not None
        uow.datasets.save(replace(dataset, state=DatasetState.FAILED))
    assert client.post("/v1/datasets", json={"name": "wild birds"}).status_code == 201
    states = [each["state"] for each in client.get("/v1/datasets").json["datasets"] if each["name"] == "wild birds"]
    assert states == ["READY", "DELETING"]


def test_a_dataset_is_called_as_asked_or_like_its_file(client: FlaskClient, container: Container) -> None:
    for sent, name in NAMED:
        answer = client.post("/v1/datasets", **sent)
        assert (answer.status_code, answer.json["name"]) == (202, name)
        _forget(container, answer.json["id"])


def test_a_request_that_waits_gets_the_loaded_dataset(patient: FlaskClient) -> None:
    answer = patient.post("/v1/datasets", headers={"Prefer": "wait=30"}, **form("x.zip", archive(teal=2, mallard=1)))
    assert (answer.status_code, answer.json["state"], answer.json["examples"]) == (201, "READY", 3)
    assert "Retry-After" not in answer.headers


def test_what_cannot_be_loaded_within_the_wait_leaves_nothing_behind(
    patient: FlaskClient, container: Container
) -> None:
    flat = as_zip([("1.png", png())])
    answer = patient.post("/v1/datasets", headers={"Prefer": "wait=30"}, **form("x.zip", flat))
    assert "LABEL/picture" in complaint(answer, 400, "bad_dataset")
    assert nothing_is_left(patient, container)


def test_what_cannot_be_loaded_later_says_why(client: FlaskClient, container: Container) -> None:
    created = client.post("/v1/datasets", **form("x.zip", as_zip([("1.png", png())]))).json
    load(container)
    shown = client.get(created["links"]["self"]).json
    assert shown["state"] == "FAILED"
    assert "LABEL/picture" in shown["message"]


def test_a_dataset_may_come_from_a_url(container: Container) -> None:
    settings = container.settings.changed(fetch_private=True)
    client = described_client(replace(container, settings=settings))
    answer = client.post("/v1/datasets", json={"url": "http://127.0.0.1:9/a/wild%20ducks.zip?signature=secret"})
    assert (answer.status_code, answer.json["name"]) == (202, "wild ducks")
    assert "secret" not in answer.text + client.get("/v1/datasets").text


def test_a_wait_that_runs_out_is_202(client: FlaskClient) -> None:
    answer = client.post("/v1/datasets", headers={"Prefer": "wait=0.1"}, **form("x.zip", archive(a=1)))
    assert (answer.status_code, answer.json["state"]) == (202, "LOADING")


BAD_DATASETS: list[Any] = [
    ({"data": b""}, "no_input"),
    ({"data": {"name": "x"}, "content_type": "multipart/form-data"}, "no_input"),
    (form("x.zip", b""), "no_input"),
    (form("x.zip", png()), "bad_archive"),
    (form("x.7z", EMPTY_7Z), "bad_archive"),
    (form("x.zip", archive(a=1), more="x") | {"headers": {"Prefer": "wait=long"}}, "bad_option"),
    (form("x.zip", archive(a=1), name="two\nlines"), "bad_option"),
    ({"data": archive(a=1)}, "bad_option"),
    ({"json": {}}, "bad_option"),
    ({"json": {"name": {"a": 1}}}, "bad_option"),
    ({"json": {"name": "x", "labels": "teal"}}, "bad_option"),
    ({"json": {"name": "x", "labels": [1]}}, "bad_option"),
    ({"json": {"name": "x", "labels": [""]}}, "bad_option"),
    ({"json": {"name": "x", "url": 5}}, "bad_url"),
    ({"json": {"labels": ["teal"]}}, "bad_option"),
    ({"json": {"name": "x", "url": "https://93.184.216.34/a.zip", "labels": ["teal"]}}, "bad_option"),
    ({"json": {"name": "x"}, "headers": {"Idempotency-Key": "1"}}, "bad_option"),
    ({"json": {"name": "x", "url": "ftp://example.org/a.zip"}}, "bad_url"),
    ({"json": {"name": "x", "url": "http://127.0.0.1/a.zip"}}, "bad_url"),
    ({"json": {"name": "x", "url": "http://169.254.169.254/a.zip"}}, "bad_url"),
    ({"json": ["x"]}, "bad_json"),
    ({"data": b"{", "content_type": "application/json"}, "bad_json"),
]


def test_a_bad_dataset_is_refused_and_nothing_is_kept(client: FlaskClient, container: Container) -> None:
    for sent, code in BAD_DATASETS:
        complaint(client.post("/v1/datasets", **sent), 400, code)
        assert nothing_is_left(client, container), sent


def test_two_archives_at_once_are_refused(client: FlaskClient, container: Container) -> None:
    first, second = (form(name, archive(a=1))["data"]["file"] for name in ("a.zip", "b.zip"))
    answer = client.post("/v1/datasets", data={"file": [first, second]}, content_type="multipart/form-data")
    complaint(answer, 400, "too_many_files")
    assert nothing_is_left(client, container)


def test_a_body_that_is_too_large_is_413(container: Container) -> None:
    client = described_client(replace(container, settings=container.settings.changed(max_body=1000)))
    complaint(client.post("/v1/datasets", **form("x.zip", bytes(2000))), 413, "too_large")
    complaint(client.post("/v1/datasets", json={"name": "x" * 300_000}), 413, "too_large")
    assert nothing_is_left(client, container)


def test_nothing_is_kept_when_the_queue_is_away(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise errors.Unavailable

    monkeypatch.setattr(container.queue, "ping", away)
    complaint(client.post("/v1/datasets", **form("x.zip", archive(a=1))), 503, "unavailable")
    assert nothing_is_left(client, container)


# looking, adding, removing


def test_a_dataset_is_found_by_its_id_or_its_name(client: FlaskClient) -> None:
    birds = new_dataset(client, "wild birds", teal=1)
    assert client.get("/v1/datasets/wild%20birds").json == birds
    assert client.get(f"/v1/datasets/{birds['id']}").json == birds
    for unknown in ("none", "5", "\u00b2", "9" * 40):
        assert "wild birds" in complaint(client.get(f"/v1/datasets/{unknown}"), 404, "not_found")


def test_the_list_is_newest_first_in_pages(client: FlaskClient) -> None:
    names = ["a", "b", "c"]
    for name in names:
        client.post("/v1/datasets", json={"name": name})
    first = client.get("/v1/datasets?limit=2").json
    second = client.get(f"/v1/datasets?limit=2&cursor={first['next']}").json
    assert [dataset["name"] for dataset in first["datasets"] + second["datasets"]] == names[::-1]
    assert second["next"] is None


def test_a_list_shows_the_first_labels_of_each_and_counts_them_all(client: FlaskClient) -> None:
    labels = [f"bird {number}" for number in range(101)]
    whole = client.post("/v1/datasets", json={"name": "birds", "labels": labels}).json
    assert (len(whole["labels"]), whole["label_count"]) == (101, 101)
    (listed,) = client.get("/v1/datasets").json["datasets"]
    assert ([label["name"] for label in listed["labels"]], listed["label_count"]) == (labels[:100], 101)


def test_a_bad_page_is_refused(client: FlaskClient) -> None:
    path = new_dataset(client, teal=1)["links"]["self"]
    for query in ("limit=0", "limit=501", "limit=x", "cursor=x", "cursor=-1", f"cursor={10**30}"):
        for listed in ("/v1/datasets", f"{path}/examples"):
            complaint(client.get(f"{listed}?{query}"), 400, "bad_option")


def test_another_archive_adds_to_what_is_there(patient: FlaskClient) -> None:
    path = new_dataset(patient, teal=1)["links"]["self"]
    answer = patient.post(f"{path}/archive", headers={"Prefer": "wait=30"}, **form("x.zip", archive(teal=2, mallard=1)))
    assert (answer.status_code, answer.json["duplicates"]) == (200, 1)
    assert {label["name"]: label["examples"] for label in answer.json["labels"]} == {"teal": 2, "mallard": 1}


def test_one_picture_under_two_labels_is_a_contradiction_and_no_duplicate(patient: FlaskClient) -> None:
    files = [("teal/1.png", png(1)), ("mallard/1.png", png(2)), ("teal/2.png", png(3)), ("mallard/2.png", png(3))]
    answer = patient.post("/v1/datasets", headers={"Prefer": "wait=30"}, **form("x.zip", as_zip(files)))
    assert (answer.json["examples"], answer.json["duplicates"], answer.json["contradicting"]) == (2, 0, 1)
    expected = {"labels": ["teal", "mallard"], "paths": ["teal/2.png", "mallard/2.png"], "example": None}
    assert answer.json["contradictions"] == [expected]
    assert "under two labels: 1" in answer.json["warnings"][-1]
    path = answer.json["links"]["self"]
    again = patient.post(
        f"{path}/archive", headers={"Prefer": "wait=30"}, **form("x.zip", as_zip([("mallard/3.png", png(1))]))
    )
    [known] = [each for each in patient.get(f"{path}/examples").json["examples"] if each["label"]["name"] == "teal"]
    assert again.json["contradictions"][1] == {
        "labels": ["teal", "mallard"], "paths": ["teal/1.png", "mallard/3.png"], "example": known["id"],
    }  # fmt: skip
    refused = patient.post(f"{path}/examples", **form("x.png", png(1), label="mallard"))
    assert (refused.status_code, "'teal'" in refused.json["detail"], "'mallard'" in refused.json["detail"]) == (
        409, True, True,
    )  # fmt: skip


def test_copies_of_a_picture_are_listed_the_contradicting_first(patient: FlaskClient) -> None:
    with Image.radial_gradient("L") as image, Image.linear_gradient("L") as other:
        first, second = image.crop((0, 20, 200, 220)), other.rotate(30).crop((30, 60, 200, 150))
        files = [
            ("train/teal/a.png", as_png(first)), ("test/teal/b.png", as_png(first.resize((90, 90)))),
            ("train/teal/c.png", as_png(second)), ("train/mallard/d.png", as_png(second.resize((300, 300)))),
            ("train/mallard/plain.png", png(4)), ("test/mallard/plain.png", png(5)),
        ]  # fmt: skip
    made = patient.post("/v1/datasets", headers={"Prefer": "wait=30"}, **form("x.zip", as_zip(files)))
    listed = patient.get(made.json["links"]["duplicates"])
    assert [(group["labels"], group["splits"], [each["name"] for each in group["examples"]])
            for group in listed.json["groups"]] == [
        (["mallard", "teal"], ["training"], ["c.png", "d.png"]),
        (["teal"], ["test", "training"], ["a.png", "b.png"]),
    ]  # fmt: skip
    counts = ("total", "contradicting", "across", "uncompared")
    assert [listed.json[count] for count in counts] == [2, 1, 1, 0]
    path = made.json["links"]["duplicates"]
    assert len(patient.get(f"{path}?limit=1").json["groups"]) == 1
    for query in ("distance=8", "distance=-1", "limit=0", "limit=501"):
        complaint(patient.get(f"{path}?{query}"), 400, "bad_option")
    copy = second.resize((250, 250))
    added = patient.post(f"{made.json['links']['self']}/examples", **form("x.png", as_png(copy), label="teal"))
    assert added.status_code == 201
    listed = patient.get(path)
    assert [each["name"] for each in listed.json["groups"][0]["examples"]] == ["c.png", "d.png", "x.png"]
    assert listed.json["uncompared"] == 0


def as_png(image: Image.Image) -> bytes:
    with io.BytesIO() as out:
        image.convert("RGB").save(out, "PNG")
        return out.getvalue()


def test_a_bad_archive_takes_nothing_away(patient: FlaskClient) -> None:
    path = new_dataset(patient, teal=1)["links"]["self"]
    bad = form("x.zip", as_zip([("1.png", png())]))
    complaint(patient.post(f"{path}/archive", headers={"Prefer": "wait=30"}, **bad), 400, "bad_dataset")
    dataset = patient.get(path).json
    assert (dataset["state"], dataset["examples"]) == ("READY", 1)


def test_nothing_is_changed_while_an_archive_is_being_loaded(client: FlaskClient, container: Container) -> None:
    path = new_dataset(client, teal=1)["links"]["self"]
    answer = client.post(f"{path}/archive", **form("x.zip", archive(teal=2)))
    assert (answer.status_code, answer.json["state"]) == (202, "LOADING")
    for changed in (
        client.post(f"{path}/archive", **form("x.zip", archive(teal=2))),
        client.post(f"{path}/labels", json={"name": "mallard"}),
        client.post(f"{path}/examples", **form("1.png", png(9), label="teal")),
        client.delete(f"{path}/examples/1"),
        client.delete(path),
    ):
        assert "loaded" in complaint(changed, 409, "conflict")
    assert len(container.storage.list("uploads")) == 1


def test_an_archive_that_is_none_is_refused(client: FlaskClient) -> None:
    path = client.post("/v1/datasets", json={"name": "birds"}).json["links"]["self"]
    sent: dict[str, Any]
    for sent in ({"json": {}}, {"data": b""}, form("x.zip", b"")):
        complaint(client.post(f"{path}/archive", **sent), 400, "no_input")


def test_a_deleted_dataset_is_soon_gone(client: FlaskClient, container: Container) -> None:
    dataset = new_dataset(client, teal=1)
    for _ in range(2):
        answer = client.delete("/v1/datasets/birds" if _ == 0 else dataset["links"]["self"])
        assert (answer.status_code, answer.json["state"]) == (202, "DELETING")
    datasets.drop_deleted(container)
    complaint(client.get(dataset["links"]["self"]), 404, "not_found")
    assert container.storage.list(f"datasets/{dataset['id']}") == []


def test_a_label_is_added_once(client: FlaskClient) -> None:
    path = client.post("/v1/datasets", json={"name": "birds"}).json["links"]["self"]
    answer = client.post(f"{path}/labels", json={"name": "teal"})
    assert (answer.status_code, answer.json) == (201, {"id": 1, "name": "teal", "examples": 0})
    complaint(client.post(f"{path}/labels", json={"name": "teal"}), 409, "conflict")
    for bad in ("", "two\nlines", "x" * 200, ["teal"], None):
        complaint(client.post(f"{path}/labels", json={"name": bad}), 400, "bad_option")
    assert client.get(f"{path}/labels").json == {"labels": [answer.json]}


# examples


def test_an_example_is_kept_as_it_came(client: FlaskClient) -> None:
    path = client.post("/v1/datasets", json={"name": "birds", "labels": ["teal"]}).json["links"]["self"]
    answer = client.post(f"{path}/examples", **form("a.png", png(), label="teal", split="Test"))
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{path}/examples/1")
    assert (answer.json["name"], answer.json["split"], answer.json["source"]) == ("a.png", "test", "upload")
    assert answer.json["label"] == {"id": 1, "name": "teal"}
    assert client.get(answer.headers["Location"]).json == answer.json
    assert client.get(path).json["splits"] == {"test": 1}

    picture = client.get(answer.json["links"]["picture"])
    assert (picture.data, picture.mimetype) == (png(), "image/png")
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert picture.headers["Cache-Control"].startswith("private")
    again = client.get(answer.json["links"]["picture"], headers={"If-None-Match": picture.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_an_example_that_is_taken_out_is_gone(client: FlaskClient) -> None:
    path = new_dataset(client, teal=2)["links"]["self"]
    assert client.delete(f"{path}/examples/1").status_code == 204
    for answer in (client.get(f"{path}/examples/1"), client.get(f"{path}/examples/1/picture"),
                   client.delete(f"{path}/examples/1"), client.get(f"{path}/examples/{2**60}"),
                   client.get(f"{path}/examples/x")):  # fmt: skip
        complaint(answer, 404, "not_found")
    assert client.get(path).json["examples"] == 1


def test_a_picture_that_the_storage_lacks_is_asked_for_again(client: FlaskClient, container: Container) -> None:
    dataset = new_dataset(client, teal=1)
    for key in container.storage.list(f"datasets/{dataset['id']}"):
        container.storage.delete(key)
    answer = client.get(f"/v1/datasets/{dataset['id']}/examples/1/picture")
    assert "lacks the picture of example 1, which nobody removed" in complaint(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]


def test_the_same_picture_is_an_example_once(client: FlaskClient) -> None:
    path = new_dataset(client, teal=1, mallard=1)["links"]["self"]
    assert "example 1" in complaint(
        client.post(f"{path}/examples", **form("other.png", png(0), label="mallard")), 409, "conflict"
    )


def test_no_name_of_a_file_costs_the_picture(client: FlaskClient) -> None:
    path = client.post("/v1/datasets", json={"name": "birds", "labels": ["teal"]}).json["links"]["self"]
    answer = client.post(f"{path}/examples", **form("x" * 300 + "\x07.png", png(), label="teal"))
    assert (answer.status_code, answer.json["name"][-6:], len(answer.json["name"])) == (201, "x\ufffd.png", 180)


BAD_EXAMPLES: list[Any] = [
    (form("a.png", png(9), label="goose"), "bad_option", "teal, mallard"),
    (form("a.png", png(9)), "bad_option", "label"),
    (form("a.png", png(9), label="teal", split="exam"), "bad_option", "split"),
    (form("a.png", b"text", label="teal"), "not_a_picture", "'a.png'"),
    (form("a.png", b"", label="teal"), "not_a_picture", "empty"),
    (form("a.zip", archive(a=1), label="teal"), "not_a_picture", "'a.zip'"),
    ({"data": {"label": "teal"}, "content_type": "multipart/form-data"}, "no_input", "file"),
    ({"json": {"label": "teal"}}, "no_input", "multipart"),
]  # fmt: skip


def test_a_bad_example_is_refused(client: FlaskClient) -> None:
    path = new_dataset(client, teal=1, mallard=0)["links"]["self"]
    for sent, code, says in BAD_EXAMPLES:
        assert says in complaint(client.post(f"{path}/examples", **sent), 400, code)
    assert client.get(path).json["examples"] == 1


def test_examples_are_listed_by_label_and_source_in_pages(client: FlaskClient) -> None:
    path = new_dataset(client, teal=3, mallard=2)["links"]["self"]

    def listed(query: str) -> tuple[list[int], str | None]:
        page = client.get(f"{path}/examples?{query}").json
        return [example["id"] for example in page["examples"]], page["next"]

    assert listed("") == ([1, 2, 3, 4, 5], None)
    assert listed("limit=2") == ([1, 2], "2")
    assert listed("limit=2&cursor=2") == ([3, 4], "4")
    assert listed("label=mallard") == ([4, 5], None)
    assert listed("label=teal&source=UPLOAD&limit=2") == ([1, 2], "2")
    assert listed("source=feedback") == ([], None)
    assert "teal, mallard" in complaint(client.get(f"{path}/examples?label=goose"), 400, "bad_option")
    assert "feedback" in complaint(client.get(f"{path}/examples?source=rumour"), 400, "bad_option")


# feedback


def job(client: FlaskClient, number: int = 40) -> str:
    return str(client.post("/v1/jobs?name=odd%0aname.png", data=png(number)).json["_id"])


def test_a_corrected_prediction_becomes_an_example(client: FlaskClient) -> None:
    path = new_dataset(client, teal=1)["links"]["self"]
    correction = {"label": "teal", "dataset": "birds"}
    answer = client.post(f"/v1/jobs/{job(client)}/feedback", json=correction)
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{path}/examples/2")
    assert (answer.json["source"], answer.json["name"]) == ("feedback", "odd\ufffdname.png")
    assert client.get(answer.json["links"]["picture"]).data == png(40)
    assert [example["id"] for example in client.get(f"{path}/examples?source=feedback").json["examples"]] == [2]


BAD_CORRECTIONS: list[Any] = [
    ({"dataset": "birds"}, 400, "bad_option"),
    ({"dataset": "birds", "label": "goose"}, 400, "bad_option"),
    ({"dataset": "birds", "label": ["teal"]}, 400, "bad_option"),
    ({"dataset": "birds", "label": "teal", "position": 1.5}, 400, "bad_option"),
    ({"dataset": "birds", "label": "teal", "position": 1}, 404, "not_found"),
    ({"dataset": "birds", "label": "teal", "position": -1}, 400, "bad_option"),
    ({"dataset": "birds", "label": "teal", "position": 10**30}, 404, "not_found"),
    ({"dataset": "none", "label": "teal"}, 404, "not_found"),
    ({"label": "teal"}, 409, "conflict"),
]


def test_a_bad_correction_is_refused(client: FlaskClient) -> None:
    path, job_id = new_dataset(client, teal=1)["links"]["self"], job(client)
    for correction, status, code in BAD_CORRECTIONS:
        complaint(client.post(f"/v1/jobs/{job_id}/feedback", json=correction), status, code)
    assert client.get(path).json["examples"] == 1


def test_a_job_that_is_none_cannot_be_corrected(client: FlaskClient) -> None:
    complaint(client.post("/v1/jobs/none/feedback", json={"label": "teal"}), 404, "not_found")


# tenants and scopes


def test_one_tenant_never_sees_anothers_datasets(client: FlaskClient) -> None:
    both = ["infer", "models"]
    headers = keys(client, anna=both, bert=both)
    annas = client.post("/v1/datasets", json={"name": "birds", "labels": ["teal"]}, headers=headers["anna"]).json
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("POST", "/archive"), ("GET", "/labels"), ("POST", "/labels"),
        ("GET", "/examples"), ("POST", "/examples"), ("GET", "/examples/1"), ("DELETE", "/examples/1"),
        ("GET", "/examples/1/picture"),
    ):  # fmt: skip
        answers = [
            client.open(f"/v1/datasets/{which}{path}", method=method, json={"name": "x"}, headers=headers["bert"])
            for which in (annas["id"], 5)
        ]
        same, none = (complaint(answer, 404, "not_found") for answer in answers)
        assert same.replace(str(annas["id"]), "5") == none
    assert client.get("/v1/datasets", headers=headers["bert"]).json["datasets"] == []
    assert len(client.get("/v1/datasets", headers=headers["anna"]).json["datasets"]) == 1


def test_a_key_that_may_only_infer_reads_and_corrects_and_changes_nothing(client: FlaskClient) -> None:
    path = new_dataset(client, teal=1)["links"]["self"]
    headers = keys(client, default=["infer"])["default"]
    for looked in ("/v1/datasets", path, f"{path}/labels", f"{path}/examples/1", f"{path}/examples/1/picture"):
        assert client.get(looked, headers=headers).status_code == 200
    for method, changed in (
        ("POST", "/v1/datasets"), ("DELETE", path), ("POST", f"{path}/archive"), ("POST", f"{path}/labels"),
        ("POST", f"{path}/examples"), ("DELETE", f"{path}/examples/1"),
    ):  # fmt: skip
        assert "models" in complaint(client.open(changed, method=method, headers=headers), 403, "forbidden")
    sent = client.post("/v1/jobs", data=png(50), headers=headers).json["_id"]
    correction = {"label": "teal", "dataset": "birds"}
    assert client.post(f"/v1/jobs/{sent}/feedback", json=correction, headers=headers).status_code == 201
