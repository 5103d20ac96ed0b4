"""`POST /v1/images/search`: every way to send a picture, what it finds with a worker and a trainer, what it refuses."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from inferq.cli import main
from inferq.client import Client
from shared.container import Container
from shared.domain.jobs import Outcome
from shared.domain.searches import Hit, SearchResult
from shared.schemas.searches import Similar
from shared.services import jobs
from tests import apps, digit_images, stacks
from tests.stacks import Stack, digits, until
from tests.wires.described import described_client
from tests.wires.training_requests import keys, new_dataset

SEVEN = digits()[7][1]
PATH = "/v1/images/search"
RAW = {"data": SEVEN, "content_type": "image/png"}


@pytest.fixture
def client(container: Container) -> Iterator[FlaskClient]:
    yield described_client(container)
    container.waiters.close()


def image(client: FlaskClient, **headers: str) -> str:
    body = {"name": "seven.png", "base64": base64.b64encode(SEVEN).decode()}
    return str(client.post("/v1/images", json=body, headers=headers).json["id"])


WAYS: dict[str, Any] = {
    "form": lambda _: {"data": {"files": (io.BytesIO(SEVEN), "seven.png")}, "content_type": "multipart/form-data"},
    "raw": lambda _: RAW,
    "base64": lambda _: {"json": {"inputs": {"base64": base64.b64encode(SEVEN).decode()}}},
    "text": lambda _: {"json": {"inputs": base64.b64encode(SEVEN).decode()}},
    "stored image": lambda client: {"json": {"inputs": [{"image_id": image(client)}]}},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_taken_in_every_way(client: FlaskClient, way: str) -> None:
    answer = client.post(PATH, **WAYS[way](client), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json['_id']}"
    options = answer.json["request"]["options"]
    assert options == {"task": "search", "exif": True, "limit": 10, "stage": "live", "datasets": None}


def test_options_come_with_a_form_with_json_and_in_the_query(client: FlaskClient) -> None:
    dataset = new_dataset(client, "birds", teal=3)["id"]
    form = {"files": (io.BytesIO(SEVEN), "seven.png"), "limit": "3", "dataset": "birds"}
    seven = base64.b64encode(SEVEN).decode()
    for sent in (
        {"data": form, "content_type": "multipart/form-data"},
        {"json": {"inputs": seven, "limit": 3, "dataset": dataset}},
        {"query_string": {"limit": 3, "dataset": dataset}, **RAW},
    ):
        answer = client.post(PATH, **sent, headers={"Prefer": "respond-async"})
        options = answer.json["request"]["options"]
        assert (options["limit"], options["stage"], options["datasets"]) == (3, "", [dataset])
    both = client.post(f"{PATH}?images=true&dataset=birds", **RAW).json["request"]["options"]
    assert (both["stage"], both["datasets"]) == ("live", [dataset])
    alone = client.post(f"{PATH}?images=true", **RAW).json["request"]["options"]
    assert (alone["stage"], alone["datasets"]) == ("live", [])


@pytest.mark.parametrize(
    ("query", "sent", "status", "code"),
    [
        ("limit=0", RAW, 400, "bad_option"),
        ("limit=1001", RAW, 400, "bad_option"),
        ("top_k=3", RAW, 400, "bad_option"),
        ("dataset=nothing", RAW, 404, "not_found"),
        ("model=nothing", RAW, 404, "not_found"),
        ("", {"data": b"no picture"}, 400, "not_a_picture"),
        ("", {"data": b""}, 400, "no_input"),
        ("", {"json": {"inputs": []}}, 400, "no_input"),
        ("", {"json": {"inputs": [base64.b64encode(SEVEN).decode()] * 2}}, 400, "too_many_files"),
        ("", {"json": {"inputs": {"image_id": "image_of_nobody"}}}, 404, "not_found"),
    ],
)
def test_what_is_wrong_is_refused_as_a_problem(
    client: FlaskClient, query: str, sent: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post(f"{PATH}?{query}", **sent)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.mimetype == "application/problem+json"


def test_the_images_of_another_stage_and_the_dataset_of_another_tenant_are_not_searched(container: Container) -> None:
    client = described_client(container)
    headers = keys(client, anna=["infer", "models", "keys"], bert=["infer", "models", "keys"])
    client.environ_base["HTTP_AUTHORIZATION"] = headers["anna"]["Authorization"]
    dataset = new_dataset(client, "birds", teal=3)["id"]
    hers = image(client)
    client.environ_base["HTTP_AUTHORIZATION"] = headers["bert"]["Authorization"]
    for reference in ("birds", dataset):
        assert client.post(f"{PATH}?dataset={reference}", **RAW).status_code == 404
    assert client.post(PATH, json={"inputs": {"image_id": hers}}).status_code == 404
    container.waiters.close()


def test_an_ended_search_shows_what_it_found(client: FlaskClient, container: Container) -> None:
    job = client.post(PATH, **RAW, headers={"Prefer": "respond-async"}).json
    hits = [Hit(1.0, "=a.png", image_id="image_1"), Hit(0.5, "b.png", dataset_id=7, example_id=2, label="duck")]
    jobs.finish(container, [Outcome(job["_id"], 0, SearchResult(hits, 2, 3).to_json())])
    (prediction,) = client.get(f"/v1/jobs/{job['_id']}").json["predictions"]
    assert prediction["similar"] == {
        "hits": [
            {"similarity": 1.0, "name": "=a.png", "image_id": "image_1",
             "links": {"self": "/v1/images/image_1", "picture": "/v1/images/image_1/download"}},
            {"similarity": 0.5, "name": "b.png", "dataset_id": 7, "example_id": 2, "label": "duck",
             "links": {"self": "/v1/datasets/7/examples/2", "picture": "/v1/datasets/7/examples/2/picture"}},
        ],
        "searched": 2,
        "of": 3,
    }  # fmt: skip
    rows = client.get(f"/v1/jobs/{job['_id']}/results?format=csv").text.splitlines()
    assert rows[1:] == ["0,file,DONE,1,'=a.png,1.0,", "0,file,DONE,2,duck,0.5,"]
    lines = apps.over(container).test_client().get(f"/v1/jobs/{job['_id']}/results").text.splitlines()
    assert [len(json.loads(line)["similar"]["hits"]) for line in lines] == [2]
    assert client.get(f"/jobs/{job['_id']}").status_code == 404  # the SAP wire has no words for it


def test_the_features_that_an_older_worker_answers_with_can_be_read(client: FlaskClient, container: Container) -> None:
    job = client.post(PATH, **RAW, headers={"Prefer": "respond-async"}).json
    jobs.finish(container, [Outcome(job["_id"], 0, [0.5, 1.5])])
    (prediction,) = client.get(f"/v1/jobs/{job['_id']}").json["predictions"]
    assert (prediction["featureVectors"], "similar" in prediction) == ([0.5, 1.5], False)
    assert client.get(f"/v1/jobs/{job['_id']}/results?format=csv").text.splitlines()[1] == "0,file,DONE,,,0.5 1.5,"


def test_a_repeated_key_gives_the_same_search(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "once", "Prefer": "respond-async"}
    first, second = (client.post(PATH, **RAW, headers=headers) for _ in range(2))
    assert first.json["_id"] == second.json["_id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert client.post(f"{PATH}?limit=3", **RAW, headers=headers).status_code == 409


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a trainer."""
    folder = tmp_path_factory.mktemp("searches")
    with stacks.running(folder / "data", "--workers", "1", trainer=True) as running:
        yield running


@pytest.mark.long
def test_real_processes_find_what_is_stored(whole: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in digits():
        body = {"name": name, "base64": base64.b64encode(data).decode()}
        assert httpx.post(f"{whole.url}/v1/images", json=body, timeout=30).status_code == 201
    (tmp_path / "numbers.tgz").write_bytes(digit_images.archive(digit_images.files({1: 4, 7: 4})))
    (tmp_path / "seven.png").write_bytes(SEVEN)
    with Client(whole.url) as client:
        dataset = client.datasets.create("numbers", tmp_path / "numbers.tgz").id
        assert [*client.datasets.stream(dataset)][-1].state == "READY"

        def search(**about: Any) -> Similar:
            similar = client.jobs.search(tmp_path / "seven.png", **about).predictions[0].similar
            assert similar is not None
            return similar

        assert search().of == 18
        until(lambda: search().searched == 18, 60, whole.output)
        best = search(images=True).hits[0]
        assert (best.name, round(best.similarity, 4)) == ("digit_7.png", 1.0)
        picture = httpx.get(whole.url + best.links.picture, timeout=30)
        assert picture.content == SEVEN
        of_dataset = search(dataset="numbers", limit=4)
        assert {hit.label for hit in of_dataset.hits[:2]} == {"seven"}
        assert (len(of_dataset.hits), of_dataset.searched, of_dataset.of) == (4, 8, 8)
        example = httpx.get(whole.url + of_dataset.hits[0].links.picture, timeout=30)
        assert example.headers["Content-Type"] == "image/png"

    monkeypatch.setenv("INFERQ_URL", whole.url)
    shown = CliRunner().invoke(main, ["search", str(tmp_path / "seven.png"), "--limit", "3"])
    assert shown.exit_code == 0, shown.output
    assert "digit_7.png" in shown.stdout.splitlines()[3]


def test_features_of_a_stored_image_are_those_of_its_bytes(whole: Stack) -> None:
    body = {"name": "seven.png", "base64": base64.b64encode(SEVEN).decode()}
    image_id = httpx.post(f"{whole.url}/v1/images", json=body, timeout=30).json()["id"]
    ways = ({"image_id": image_id}, {"base64": base64.b64encode(SEVEN).decode()})
    vectors = []
    for way in ways:
        sent = {"inputs": [way], "task": "features"}
        job = httpx.post(f"{whole.url}/v1/classify", json=sent, timeout=60).json()
        vectors.append(job["predictions"][0]["featureVectors"])
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)
    assert any(vectors[0])
