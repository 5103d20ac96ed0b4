"""Datasets on the Einstein Vision wire: uploads, labels, examples, feedback, and the words of refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.application import create_app
from api.dialects import einstein_vision
from api.dialects.einstein_vision import datasets as einstein_datasets
from shared import errors
from shared.adapters import http_fetch
from shared.container import Container
from shared.domain.datasets import Dataset
from shared.domain.keys import SCOPES, Caller
from shared.services import dataset_import, datasets, keys, signed_urls
from shared.settings import Settings
from tests import apps
from tests.unit.archive_files import as_tgz, as_zip
from tests.wires.einstein import TIME, fine, listed, picture, post, refused, send

PREFIXES = ("/v2", "/v1")
ROOT = "/v2/vision/datasets"
URL = "https://example.test/sets/mugs.zip"
NEITHER = "Uploading a dataset requires either the 'data' field or the 'path' field."
BOTH = "The 'data' parameter cannot be duplicated, nor sent along with the 'path' parameter."
NAMELESS = "The 'name' parameter is required to create a dataset."
BUSY = "The dataset is not yet available for update, try again once the dataset is ready."
UNREACHABLE = "Failed to download the dataset from the public URL."


MUGS = as_zip([("Red/1.png", picture(1)), ("Red/2.png", picture(2)), ("Blue/1.png", picture(3)),
               ("Blue/again.png", picture(3))])  # fmt: skip


@pytest.fixture
def loader(container: Container, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Load each dataset when a request waits for it; return the list of their ids."""
    loaded: list[int] = []

    async def until_loaded(container: Container, dataset: Dataset, seconds: float) -> Dataset:
        dataset_import.load(container, dataset.id)
        loaded.append(dataset.id)
        return datasets.get(container, dataset.tenant, dataset.id)

    monkeypatch.setattr(datasets, "until_loaded", until_loaded)
    return loaded


@pytest.fixture
def mugs(client: FlaskClient, loader: list[int]) -> dict[str, Any]:
    """A dataset of three pictures with two labels."""
    return fine(post(client, f"{ROOT}/upload/sync", data=MUGS), "EinsteinDataset")


def served(monkeypatch: pytest.MonkeyPatch, data: bytes) -> list[str]:
    """Let every URL give these bytes; return the list of URLs that were fetched."""
    fetched: list[str] = []

    def fetch_to(url: str, file: Any, *, max_bytes: int, on_progress: Callable[[int, int], None], **_: Any) -> None:
        fetched.append(url)
        if len(data) > max_bytes:
            raise errors.BadUrl("too large")
        file.write(data)
        on_progress(len(data), 0)

    monkeypatch.setattr(http_fetch, "fetch_to", fetch_to)
    monkeypatch.setattr(http_fetch, "check_url", lambda url, **_: None)
    return fetched


def with_settings(container: Container, **changed: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**changed))).test_client()


def uploads(container: Container) -> list[str]:
    return container.storage.list("uploads")


# -- uploading


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_synchronous_upload_is_a_dataset_that_can_be_used(
    client: FlaskClient, container: Container, loader: list[int], prefix: str
) -> None:
    body = fine(post(client, f"{prefix}/vision/datasets/upload/sync", data=MUGS, type="image"), "EinsteinDataset")
    for name in ("createdAt", "updatedAt"):
        assert re.fullmatch(TIME, body.pop(name))
    of = body["id"]
    assert body == {
        "id": of,
        "name": "mugs",
        "labelSummary": {"labels": [{"id": 1, "datasetId": of, "name": "Blue", "numExamples": 1},
                                    {"id": 2, "datasetId": of, "name": "Red", "numExamples": 2}]},
        "totalExamples": 3,
        "totalLabels": 2,
        "available": True,
        "statusMsg": "SUCCEEDED",
        "type": "image",
        "language": "N/A",
        "numOfDuplicates": 1,
        "object": "dataset",
    }  # fmt: skip
    assert fine(client.get(f"{prefix}/vision/datasets/{of}"), "EinsteinDataset")["totalExamples"] == 3
    assert not uploads(container)


def test_tars_are_taken_like_zips(client: FlaskClient, loader: list[int]) -> None:
    tar = as_tgz([("Red/1.png", picture(1)), ("Blue/1.png", picture(2))])
    assert fine(post(client, f"{ROOT}/upload/sync", data=tar), "EinsteinDataset")["totalLabels"] == 2


def test_a_synchronous_upload_by_url_is_fetched_while_the_caller_waits(
    client: FlaskClient, loader: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = served(monkeypatch, MUGS)
    body = fine(post(client, f"{ROOT}/upload/sync", path=f" {URL}?size=8  ", type="image"), "EinsteinDataset")
    assert (body["name"], body["available"], fetched) == ("mugs", True, [f"{URL}?size=8"])


def test_an_archive_that_nothing_can_be_learned_from_is_refused_and_leaves_no_dataset(
    client: FlaskClient, container: Container, loader: list[int]
) -> None:
    for bad in (b"no archive", as_zip([("picture.png", picture(1))]), as_zip([("Red/notes.txt", b"text")])):
        refused(post(client, f"{ROOT}/upload/sync", data=bad))
    assert len(loader) == 3
    assert {dataset["statusMsg"] for dataset in listed(client.get(ROOT), "EinsteinDataset")} <= {"DELETE_PENDING"}
    datasets.drop_deleted(container)
    assert listed(client.get(ROOT), "EinsteinDataset") == []
    assert not uploads(container)


def test_a_load_that_outlasts_the_wait_goes_on_and_is_no_error(client: FlaskClient, container: Container) -> None:
    body = fine(post(client, f"{ROOT}/upload/sync", data=MUGS), "EinsteinDataset")
    assert (body["available"], body["statusMsg"], body["totalExamples"]) == (False, "UPLOADING", 0)
    dataset_import.load(container, body["id"])
    assert fine(client.get(f"{ROOT}/{body['id']}"), "EinsteinDataset")["available"]


def test_no_request_waits_where_every_place_is_taken(client: FlaskClient, container: Container) -> None:
    full = with_settings(container, max_waiting=1)
    assert full.application.extensions["inferq.waiting_places"].acquire()
    answer = post(full, f"{ROOT}/upload/sync", data=MUGS)
    refused(answer, 503)
    assert answer.headers["Retry-After"]
    assert (listed(client.get(ROOT), "EinsteinDataset"), uploads(container)) == ([], [])


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_upload_in_the_background_is_polled(client: FlaskClient, container: Container, prefix: str) -> None:
    body = fine(post(client, f"{prefix}/vision/datasets/upload", data=MUGS, name="cups  "), "EinsteinDataset")
    assert (body["name"], body["available"], body["statusMsg"]) == ("cups", False, "UPLOADING")
    assert (body["labelSummary"], body["totalLabels"]) == ({"labels": []}, 0)
    dataset_import.load(container, body["id"])
    polled = fine(client.get(f"{prefix}/vision/datasets/{body['id']}"), "EinsteinDataset")
    assert (polled["available"], polled["statusMsg"], polled["totalExamples"]) == (True, "SUCCEEDED", 3)


def test_a_wrong_layout_in_the_background_is_reported_by_the_dataset(client: FlaskClient, container: Container) -> None:
    dataset = fine(post(client, f"{ROOT}/upload", data=as_zip([("a.png", picture(1))])), "EinsteinDataset")
    dataset_import.load(container, dataset["id"])
    body = fine(client.get(f"{ROOT}/{dataset['id']}"), "EinsteinDataset")
    assert not body["available"]
    assert re.match("FAILED: .*label folder", body["statusMsg"])


def test_an_upload_by_url_in_the_background_is_fetched_by_the_loader(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = served(monkeypatch, MUGS)
    dataset = fine(post(client, f"{ROOT}/upload", path=URL), "EinsteinDataset")
    assert fetched == []
    dataset_import.load(container, dataset["id"])
    assert fetched == [URL]
    assert fine(client.get(f"{ROOT}/{dataset['id']}"), "EinsteinDataset")["totalExamples"] == 3


def test_a_url_that_leads_nowhere_or_inside_is_refused_in_the_documented_words(client: FlaskClient) -> None:
    for url in ("http://127.0.0.1:9/mugs.zip", "file:///etc/passwd", "nowhere"):
        for call in ("upload/sync", "upload"):
            assert refused(post(client, f"{ROOT}/{call}", path=url)) == UNREACHABLE
    assert listed(client.get(ROOT), "EinsteinDataset") == []


def test_exactly_one_archive_must_be_sent(client: FlaskClient, container: Container) -> None:
    sent: dict[str, Any]
    for where in (f"{ROOT}/upload/sync", f"{ROOT}/upload"):
        for sent in ({}, {"path": ""}, {"path": "  "}, {"data": "text, not a file"}):
            assert refused(post(client, where, **sent)) == NEITHER
        for sent in ({"data": MUGS, "path": URL}, {"data": [MUGS, MUGS]}):
            assert refused(post(client, where, **sent)) == BOTH
        assert "JSON" in refused(client.post(where, json={"path": URL}))
        assert "empty" in refused(post(client, where, data=b""))
    assert uploads(container) == []


def test_other_types_are_not_served_and_say_so(client: FlaskClient) -> None:
    for kind in ("image-detection", "text-intent"):
        for where in (ROOT, f"{ROOT}/upload", f"{ROOT}/upload/sync"):
            assert kind in refused(post(client, where, type=kind, name="mugs", path=URL))


def test_a_dataset_without_a_name_is_called_like_its_archive(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, MUGS)
    files = {"mugs.zip": "mugs", "set/mugs.tar": "mugs", f"{'x' * 101}.zip": "dataset", "  ": "dataset"}
    for file, name in files.items():
        assert fine(post(client, f"{ROOT}/upload", data=MUGS, file=file), "EinsteinDataset")["name"] == name
    for url, name in {
        URL: "mugs",
        "https://example.test/a%20b.zip?x=1/c.zip": "a b",
        "https://example.test": "dataset",
    }.items():
        assert fine(post(client, f"{ROOT}/upload", path=url), "EinsteinDataset")["name"] == name


def test_large_archives_are_refused_however_they_come(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(einstein_datasets, "MAX_ARCHIVE", len(MUGS) - 1)
    for path in ("upload/sync", "upload"):
        assert str(len(MUGS) - 1) in refused(post(client, f"{ROOT}/{path}", data=MUGS), 413)
    served(monkeypatch, MUGS)
    assert refused(post(client, f"{ROOT}/upload/sync", path=URL)) == UNREACHABLE
    refused(post(client, f"{ROOT}/upload", data=MUGS + bytes(300_000)), 413)  # before it is read
    assert uploads(container) == []


# -- creating, looking, adding, deleting


def test_an_empty_dataset_has_the_labels_that_are_named(client: FlaskClient) -> None:
    dataset = fine(post(client, ROOT, name="mugs", labels=" Red,Blue,, Red ,light green"), "EinsteinDataset")
    assert [label["name"] for label in dataset["labelSummary"]["labels"]] == ["Red", "Blue", "light green"]
    assert (dataset["available"], dataset["statusMsg"], dataset["totalExamples"]) == (True, "SUCCEEDED", 0)
    assert fine(post(client, ROOT, name="none", type="image"), "EinsteinDataset")["totalLabels"] == 0


def test_a_dataset_needs_a_name_that_can_be_one(client: FlaskClient) -> None:
    assert refused(post(client, ROOT, labels="Red,Blue")) == NAMELESS
    assert refused(post(client, ROOT, name="  ", labels="Red,Blue")) == NAMELESS
    assert "180" in refused(post(client, ROOT, name="x" * 181))
    assert "180" in refused(post(client, ROOT, name="mugs", labels="x" * 181))
    assert "1000" in refused(post(client, ROOT, name="mugs", labels="x," * 501))


def test_datasets_are_listed_in_pages_of_25(client: FlaskClient) -> None:
    dataset_ids = [fine(post(client, ROOT, name=f"set {number}"), "EinsteinDataset")["id"] for number in range(27)]
    pages = [listed(client.get(f"{ROOT}?offset={offset}&count=100"), "EinsteinDataset") for offset in (0, 25, 50)]
    assert [len(page) for page in pages] == [25, 2, 0]
    assert {dataset["id"] for page in pages for dataset in page} == set(dataset_ids)
    assert [dataset["id"] for dataset in listed(client.get(f"{ROOT}?count=2&offset=1"), "EinsteinDataset")] == [
        dataset["id"] for dataset in pages[0][1:3]
    ]
    assert listed(client.get(f"{ROOT}?global=true"), "EinsteinDataset") == []
    assert len(listed(client.get(f"{ROOT}?type=all"), "EinsteinDataset")) == 25
    for wrong in ("offset=-1", "count=0", "count=many"):
        refused(client.get(f"{ROOT}?{wrong}"))


def test_what_belongs_to_others_is_not_there(client: FlaskClient, container: Container) -> None:
    owner = Caller("default", SCOPES)
    keys.create(container, owner)
    _, mine = keys.create(container, owner, tenant="anna")
    theirs = datasets.create(container, "ben", "cups", labels=["Red"])
    headers = {"Authorization": f"Bearer {mine}"}
    assert listed(client.get(ROOT, headers=headers), "EinsteinDataset") == []
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/labels/1"), ("GET", "/examples"), ("GET", "/models")]:
        refused(client.open(f"{ROOT}/{theirs.id}{path}", method=method, headers=headers), 404)


def test_a_key_that_may_only_infer_changes_no_dataset_but_corrects(client: FlaskClient, container: Container) -> None:
    owner = Caller("default", SCOPES)
    keys.create(container, owner)
    _, key = keys.create(container, owner, scopes=("infer",))
    dataset = datasets.create(container, "default", "mugs", labels=["Red"])
    headers = {"Authorization": f"Bearer {key}"}
    mugs = f"{ROOT}/{dataset.id}"
    for method, path in [("POST", ROOT), ("POST", f"{ROOT}/upload"), ("POST", f"{ROOT}/upload/sync"), ("DELETE", mugs),
                         ("PUT", f"{mugs}/upload"), ("POST", f"{mugs}/labels"), ("POST", f"{mugs}/examples"),
                         ("DELETE", f"{mugs}/examples/1"), ("POST", "/v2/vision/train"), ("POST", "/v2/vision/retrain"),
                         ("DELETE", "/v2/vision/models/M")]:  # fmt: skip
        assert "models" in refused(client.open(path, method=method, headers=headers), 403)
    assert fine(client.get(mugs, headers=headers), "EinsteinDataset")["id"] == dataset.id
    refused(client.post("/v2/vision/feedback", headers=headers), 400)


def test_pictures_are_added_in_the_background(client: FlaskClient, container: Container, mugs: dict[str, Any]) -> None:
    dataset_path = f"{ROOT}/{mugs['id']}"
    more = as_zip([("Green/1.png", picture(9)), ("Red/1.png", picture(1))])
    body = fine(send(client, "PUT", f"{dataset_path}/upload", data=more), "EinsteinDataset")
    assert (body["available"], body["statusMsg"], body["totalExamples"]) == (False, "UPLOADING", 3)
    assert refused(send(client, "PUT", f"{dataset_path}/upload", data=more)) == BUSY
    assert "loaded" in refused(post(client, f"{dataset_path}/labels", name="Black"))
    refused(client.delete(dataset_path))
    dataset_import.load(container, mugs["id"])
    after = fine(client.get(dataset_path), "EinsteinDataset")
    assert (after["available"], after["totalExamples"], after["totalLabels"], after["numOfDuplicates"]) == (
        True,
        4,
        3,
        2,
    )


def test_pictures_that_could_not_be_added_are_reported_and_cost_nothing(
    client: FlaskClient, container: Container, mugs: dict[str, Any]
) -> None:
    fine(send(client, "PUT", f"{ROOT}/{mugs['id']}/upload", data=b"no archive"), "EinsteinDataset")
    dataset_import.load(container, mugs["id"])
    after = fine(client.get(f"{ROOT}/{mugs['id']}"), "EinsteinDataset")
    assert (after["available"], after["totalExamples"]) == (True, 3)
    assert after["statusMsg"].startswith("FAILED: ")
    fine(post(client, f"{ROOT}/{mugs['id']}/labels", name="Green"), "EinsteinLabel")
    assert fine(client.get(f"{ROOT}/{mugs['id']}"), "EinsteinDataset")["statusMsg"] == "SUCCEEDED"


def test_to_a_dataset_that_failed_nothing_is_added(client: FlaskClient, container: Container) -> None:
    dataset_id = fine(post(client, f"{ROOT}/upload", data=b"no archive"), "EinsteinDataset")["id"]
    dataset_import.load(container, dataset_id)
    assert fine(client.get(f"{ROOT}/{dataset_id}"), "EinsteinDataset")["statusMsg"].startswith("FAILED: ")
    complaint = refused(send(client, "PUT", f"{ROOT}/{dataset_id}/upload", data=MUGS))
    assert "unusable" in complaint
    assert "delete it" in complaint
    assert uploads(container) == []


def test_a_deleted_dataset_goes_soon(client: FlaskClient, container: Container, mugs: dict[str, Any]) -> None:
    dataset_path = f"{ROOT}/{mugs['id']}"
    gone = fine(client.delete(dataset_path), "EinsteinDeletion")
    assert (gone["type"], gone["status"], gone["progress"]) == ("DATASET", "QUEUED", 0)
    assert (gone["object"], gone["organizationId"], gone["deletedObjectId"]) == ("deletion", "default", str(mugs["id"]))
    assert fine(client.get(dataset_path), "EinsteinDataset")["statusMsg"] == "DELETE_PENDING"
    assert "deleted" in refused(post(client, f"{dataset_path}/labels", name="Black"))
    datasets.drop_deleted(container)
    refused(client.get(dataset_path), 404)
    refused(client.delete(dataset_path), 404)


def test_what_is_not_there_is_answered_in_the_form_of_this_wire(client: FlaskClient) -> None:
    for path in ("/57", "/57/labels/1", "/57/examples", "/57/examples/1", "/57/models", "/nothing"):
        refused(client.get(ROOT + path), 404)


def test_numbers_beyond_all_ids_are_not_found_and_an_offset_behind_all_lists_nothing(
    client: FlaskClient, mugs: dict[str, Any]
) -> None:
    dataset_path = f"{ROOT}/{mugs['id']}"
    for number in (2**53, 2**63, 10**30, "9" * 5000):
        for path in (f"{ROOT}/{number}", f"{dataset_path}/labels/{number}", f"{dataset_path}/examples/{number}"):
            refused(client.get(path), 404)
    assert listed(client.get(f"{ROOT}?offset={10**30}"), "EinsteinDataset") == []
    assert listed(client.get(f"{dataset_path}/examples?offset={2**64}"), "EinsteinExample") == []
    assert listed(client.get(f"{dataset_path}/models?offset={2**64}"), "EinsteinModel") == []


# -- labels and examples


def test_a_label_is_added_and_found(client: FlaskClient, mugs: dict[str, Any]) -> None:
    labels_path = f"{ROOT}/{mugs['id']}/labels"
    label = fine(post(client, labels_path, name="Green "), "EinsteinLabel")
    assert label == {"id": 3, "datasetId": mugs["id"], "name": "Green", "object": "label"}
    assert fine(client.get(f"{labels_path}/3"), "EinsteinLabel") == label
    refused(client.get(f"{labels_path}/4"), 404)
    for name in ("", "x" * 181, "Green"):
        refused(post(client, labels_path, name=name))


def test_an_example_is_added_found_listed_and_deleted(client: FlaskClient, mugs: dict[str, Any]) -> None:
    examples_path = f"{ROOT}/{mugs['id']}/examples"
    added = fine(post(client, examples_path, name="my mug ", labelId="2 ", data=picture(7, "JPEG")), "EinsteinExample")
    assert (added["id"], added["name"], added["object"]) == (4, "my mug", "example")
    assert added["label"] == {"id": 2, "datasetId": mugs["id"], "name": "Red", "numExamples": 3}
    shown = fine(client.get(f"{examples_path}/4"), "EinsteinExample")
    assert {**shown, "location": ""} == {**added, "location": ""}
    assert [example["id"] for example in listed(client.get(examples_path), "EinsteinExample")] == [1, 2, 3, 4]
    assert [
        example["id"] for example in listed(client.get(f"{examples_path}?offset=1&count=2"), "EinsteinExample")
    ] == [2, 3]
    by_label = listed(client.get(f"{ROOT}/{mugs['id']}/labels/1/examples"), "EinsteinExample")
    assert [example["label"]["name"] for example in by_label] == ["Blue"]
    gone = client.delete(f"{examples_path}/4")
    assert (gone.status_code, gone.data) == (204, b"")
    refused(client.get(f"{examples_path}/4"), 404)
    refused(client.delete(f"{examples_path}/4"), 404)


def test_an_example_is_a_new_png_or_jpeg_of_a_megabyte_with_a_label(client: FlaskClient, mugs: dict[str, Any]) -> None:
    examples_path = f"{ROOT}/{mugs['id']}/examples"
    good = {"name": "mug", "labelId": "1", "data": picture(8)}
    for wrong in ({"data": picture(8, "GIF")}, {"data": b"text"}, {"data": picture(8) + bytes(1 << 20)}, {"data": ""},
                  {"data": [picture(8), picture(9)]}, {"labelId": ""}, {"labelId": "Red"}, {"name": "x" * 181},
                  {"data": picture(1)}):  # fmt: skip
        refused(post(client, examples_path, **good | wrong))
    refused(post(client, examples_path, **good | {"labelId": "7"}), 404)
    refused(post(client, examples_path, **good | {"data": picture(8) + bytes(2 << 20)}), 413)
    del good["name"]
    assert fine(post(client, examples_path, **good), "EinsteinExample")["name"] == "mugs.zip"  # as its file is called


def test_examples_are_filtered_by_how_they_came(
    client: FlaskClient, container: Container, mugs: dict[str, Any]
) -> None:
    examples_path = f"{ROOT}/{mugs['id']}/examples"
    for query, count in [
        ("source=all", 3),
        ("source=upload", 3),
        ("source=feedback", 0),
        ("type=upload", 3),
        ("type=", 3),
    ]:
        assert len(listed(client.get(f"{examples_path}?{query}"), "EinsteinExample")) == count
    assert "feedback" in refused(client.get(f"{examples_path}?source=elsewhere"))


# -- URLs of pictures


def seen(client: FlaskClient, location: str, **how: Any) -> TestResponse:
    where = urlsplit(location)
    return client.get(f"{where.path}?{where.query}", **how)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_example_can_be_seen_without_a_key(
    client: FlaskClient, container: Container, mugs: dict[str, Any], prefix: str
) -> None:
    location = client.get(f"{prefix}/vision/datasets/{mugs['id']}/examples").get_json()["data"][2]["location"]
    keys.create(container, Caller("default", SCOPES))
    assert location.startswith(f"http://localhost{prefix}/vision/datasets/{mugs['id']}/examples/3/picture?")
    answer = seen(client, location, environ_base={"REMOTE_ADDR": "203.0.113.9"})
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    assert answer.data in (picture(1), picture(2), picture(3))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_links_lead_to_the_public_address(client: FlaskClient, container: Container, mugs: dict[str, Any]) -> None:
    public = with_settings(container, public_url="https://vision.example.test/")
    (first, *_) = listed(public.get(f"{ROOT}/{mugs['id']}/examples"), "EinsteinExample")
    assert first["location"].startswith(f"https://vision.example.test{ROOT}/{mugs['id']}/examples/1/picture?")


def test_a_link_shows_one_example_for_half_an_hour(
    client: FlaskClient, container: Container, mugs: dict[str, Any]
) -> None:
    (first, *_) = listed(client.get(f"{ROOT}/{mugs['id']}/examples"), "EinsteinExample")
    location = first["location"]
    later = create_app(replace(container, now=lambda: container.now() + 29 * 60)).test_client()
    assert seen(later, location).status_code == 200
    late = create_app(replace(container, now=lambda: container.now() + 31 * 60)).test_client()
    assert "expired" in refused(seen(late, location), 403)
    expires = re.search(r"expires=(\d+)", location)
    assert expires
    for forged in (location.replace("examples/1/", "examples/2/"), location[:-1] + "x", location.split("&")[0],
                   location.replace(expires[1], f"{expires[1]}0"), location.replace("/v2/", "/v1/")):  # fmt: skip
        assert "not made here" in refused(seen(client, forged), 403)
    assert client.delete(f"{ROOT}/{mugs['id']}/examples/1").status_code == 204
    refused(seen(client, location), 404)


def test_a_link_ends_with_the_key_that_it_was_made_with(
    client: FlaskClient, container: Container, mugs: dict[str, Any]
) -> None:
    owner = Caller("default", SCOPES)
    _, lasting = keys.create(container, owner)
    _, short = keys.create(container, owner, expires_at=container.now() + 60)
    for secret, seconds in ((lasting, 1800), (short, 60)):
        asked = client.get(f"{ROOT}/{mugs['id']}/examples", headers={"Authorization": f"Bearer {secret}"})
        (first, *_) = listed(asked, "EinsteinExample")
        expires = re.search(r"expires=(\d+)", first["location"])
        assert expires
        assert seconds - 40 < int(expires[1]) - container.now() <= seconds


def test_all_processes_sign_with_one_secret(container: Container) -> None:
    signed = signed_urls.sign(container, ["/a", "/b"], 10)
    assert signed_urls.sign(container, ["/a", "/b"], 10) == signed
    assert len({*signed, *signed_urls.sign(container, ["/a"], 11)}) == 3
    with container.database.write() as uow:
        kept = uow.key_values.get(signed_urls.SECRET)
        assert uow.key_values.get_or_set(signed_urls.SECRET, "another") == kept


# -- bodies as its clients send them


def test_padded_values_and_names_are_trimmed(client: FlaskClient, loader: list[int]) -> None:
    boundary = "0123456789abcdef0123456789abcdef"
    body = b""
    for name, value in (("type", b"image  "), ("name", b"cups "), ("data", MUGS)):
        file = '; filename="mugs.zip"' if name == "data" else ""
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}  \r\n\r\n'.encode() + value + b"\r\n"
        )
    kind = f'multipart/form-data; charset="UTF-8"; boundary="{boundary}"'
    answer = client.post(f"{ROOT}/upload/sync", data=body + f"--{boundary}--".encode(), content_type=kind)
    assert fine(answer, "EinsteinDataset")["name"] == "cups"


def test_nothing_that_is_sent_with_a_look_or_a_deletion_disturbs(client: FlaskClient, mugs: dict[str, Any]) -> None:
    body = {"name": "mugs", "datasetId": str(mugs["id"]), "type": "image"}
    assert len(listed(client.get(ROOT, data=body, content_type="multipart/form-data"), "EinsteinDataset")) == 1
    assert client.delete(f"{ROOT}/{mugs['id']}", data=body, content_type="multipart/form-data").status_code == 200


def test_only_200_and_204_are_successes() -> None:
    part = einstein_vision.openapi(Settings())
    statuses = {status for entry in part["paths"].values() for call in entry.values() for status in call["responses"]}
    assert statuses == {"200", "204", "default"}
