"""Retraining on the SAP wire: store, jobs, models, deployments, as their documentation and clients show them."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uuid6
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.datasets import Dataset, DatasetState, Split
from shared.domain.jobs import Status
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import ALL_TENANTS, ModelState, ModelVersion
from shared.domain.pictures import Picture
from shared.domain.trainings import Training, TrainingRequest
from shared.services import dataset_import, datasets, jobs, keys, models, promotions, training_runs, trainings
from tests import apps, stacks

BASE = "/api/v2/image/retraining"
UNSET = "0001-01-01T00:00:00.000Z"
MUGS = {"dataset": "mugs", "modelName": "cups"}
THREE = stacks.digits()[3]


def picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), shade).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def mugs(container: Container) -> Dataset:
    """A dataset that was created on the native wire."""
    dataset = datasets.create(container, "default", "mugs", labels=["blue", "red"])
    for number in range(6):
        example = Picture(f"{number}.png", picture(number), "PNG", 8, 8)
        datasets.add_example(container, "default", dataset.id, [1 + number % 2], example)
    return dataset


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The bucket of a store, with one dataset in it."""
    bucket = tmp_path / "bucket"
    shade = 0
    for split, count in (("training", 3), ("validation", 1), ("test", 1)):
        for label in ("blue", "red"):
            folder = bucket / "mugs" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                shade += 1
                (folder / f"{number}.png").write_bytes(picture(shade))
    return bucket


@pytest.fixture
def with_store(container: Container, store: Path) -> Container:
    store_settings = {
        "sap_store_endpoint": "https://store.example",
        "sap_store_access_key": "AK",
        "sap_store_secret_key": "SK",
    }
    return replace(container, settings=container.settings.changed(sap_store=f"file://{store}", **store_settings))


def app(container: Container, **changed: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**changed))).test_client()


def another_tenant(container: Container) -> dict[str, str]:
    """The headers of a tenant other than `default`; all requests need a key from then on."""
    return key(container, tenant="other", scopes=["infer", "models"])


def key(container: Container, **terms: Any) -> dict[str, str]:
    owner = Caller("default", SCOPES)
    keys.create(container, owner, scopes=SCOPES)  # the first one must be able to make others
    _, text = keys.create(container, owner, **terms)
    return {"Authorization": f"Bearer {text}"}


def job(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    answer = client.post(f"{BASE}/jobs", json=MUGS | fields)
    assert answer.status_code == 202, answer.json
    return dict(answer.get_json())


def training(container: Container, job_id: str) -> Training:
    with container.database.read() as uow:
        stored = uow.trainings.find_by_title("default", "sap", job_id)
    assert stored
    return stored


def run(container: Container, job_id: str) -> ModelVersion:
    """Begin and finish a job as a trainer does, without training."""
    begun = training_runs.begin(container, training(container, job_id))
    with container.database.read() as uow:
        digits = uow.model_versions.named(ALL_TENANTS, "digits")[0]
    version = replace(digits, id=str(uuid6.uuid7()), tenant=begun.tenant, name=begun.name, training_id=begun.id,
                      checksum="ab" * 32, labels=("blue", "red"))  # fmt: skip
    return training_runs.finish(container, begun, version, {"accuracy": 0.875, "method": "head", "curve": []})


@pytest.fixture
def trained(client: FlaskClient, container: Container, mugs: Dataset) -> ModelVersion:
    """The version `1` of `cups`, trained on this wire and not deployed yet."""
    return run(container, job(client)["id"])


def predict(client: FlaskClient, name: str = "cups", what: str = "classification") -> TestResponse:
    parts = {"files": [(io.BytesIO(THREE[1]), THREE[0])]}
    return client.post(f"/api/v2/image/{what}/models/{name}/versions/1", data=parts)


def complaint(answer: TestResponse, status: int) -> str:
    assert answer.status_code == status
    assert answer.json["error"]["code"] == str(status)
    return str(answer.json["error"]["message"])


# -- the store


@pytest.mark.parametrize("ask", [FlaskClient.get, FlaskClient.post])
def test_the_store_is_shown_to_the_tenant_default(with_store: Container, ask: Callable[..., TestResponse]) -> None:
    answer = ask(app(with_store), f"{BASE}/storage")
    assert answer.status_code == 200
    assert answer.json == {"endpoint": "https://store.example", "accessKey": "AK", "secretKey": "SK"}
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_one_key_of_the_store_is_not_handed_to_another_tenant(with_store: Container) -> None:
    answer = app(with_store).get(f"{BASE}/storage", headers=another_tenant(with_store))
    assert "POST /v1/datasets" in complaint(answer, 403)


@pytest.mark.parametrize("missing", ["sap_store", "sap_store_endpoint", "sap_store_secret_key"])
def test_without_a_store_the_native_api_is_named(with_store: Container, missing: str) -> None:
    assert "POST /v1/datasets" in complaint(app(with_store, **{missing: ""}).get(f"{BASE}/storage"), 404)


def test_a_folder_of_the_store_becomes_a_dataset_while_its_job_is_pending(with_store: Container) -> None:
    client = app(with_store)
    created = job(client)
    (dataset,) = page(with_store)
    assert (dataset.name, dataset.state, created["status"]) == ("mugs", DatasetState.LOADING, "PENDING")
    assert with_store.storage.list("uploads") == []  # nothing is copied while the caller waits
    dataset_import.load(with_store, dataset.id)
    with with_store.database.read() as uow:
        loaded = uow.datasets.find("default", dataset.id)
        assert loaded
        examples = uow.datasets.examples(loaded)
        labels = [label.name for label in uow.datasets.labels(loaded)]
    assert labels == ["blue", "red"]
    assert [example.split for example in examples].count(Split.TRAINING) == 6
    assert {example.split for example in examples} == {Split.TRAINING, Split.VALIDATION, Split.TEST}
    assert with_store.storage.list("uploads") == []
    run(with_store, created["id"])
    assert client.get(f"{BASE}/jobs/{created['id']}").json["status"] == "SUCCEEDED"


def test_jobs_that_name_a_new_folder_at_once_share_one_dataset(with_store: Container) -> None:
    client = app(with_store)
    with ThreadPoolExecutor(4) as pool:
        jobs_created = list(pool.map(lambda n: job(client.application.test_client(), modelName=f"cups{n}"), range(4)))
    (dataset,) = page(with_store)
    assert {training(with_store, created["id"]).dataset_id for created in jobs_created} == {dataset.id}


def page(container: Container) -> list[Dataset]:
    with container.database.read() as uow:
        return uow.datasets.page("default")


def test_a_dataset_that_is_there_is_not_fetched_again(with_store: Container, mugs: Dataset) -> None:
    created = job(app(with_store))
    assert training(with_store, created["id"]).dataset_id == mugs.id
    assert [dataset.id for dataset in page(with_store)] == [mugs.id]


def test_a_folder_that_could_not_be_used_is_read_again(with_store: Container, store: Path) -> None:
    client = app(with_store)
    (store / "lids").mkdir()
    (store / "lids" / "notes.txt").write_text("no picture")
    created = job(client, dataset="lids")
    dataset_import.load(with_store, page(with_store)[0].id)
    with pytest.raises(training_runs.TrainingEnded):
        training_runs.begin(with_store, training(with_store, created["id"]))
    assert client.get(f"{BASE}/jobs/{created['id']}").json["status"] == "FAILED"
    for shade, label in enumerate(["blue", "blue", "red", "red"]):
        (store / "lids" / label).mkdir(exist_ok=True)
        (store / "lids" / label / f"{shade}.png").write_bytes(picture(shade))
    created = job(client, dataset="lids")
    dataset_import.load(with_store, page(with_store)[0].id)
    assert run(with_store, created["id"]).version == "1"


def test_a_picture_that_is_too_large_is_listed_and_does_not_spoil_the_folder(
    with_store: Container, store: Path
) -> None:
    container = replace(with_store, settings=with_store.settings.changed(max_picture=500))
    (store / "mugs" / "test" / "red" / "huge.png").write_bytes(bytes(5000))
    job(app(container))
    dataset_import.load(container, page(container)[0].id)
    (dataset,) = page(container)
    assert (dataset.state, dataset.unreadable) == (DatasetState.READY, 1)
    assert dataset.reasons[0][0] == "test/red/huge.png"


@pytest.mark.parametrize("bound", [{"max_dataset_files": 9}, {"max_dataset_unpacked": 500}])
def test_a_folder_of_more_than_may_be_loaded_fails_with_the_reason(
    with_store: Container, bound: dict[str, int]
) -> None:
    container = replace(with_store, settings=with_store.settings.changed(**bound))
    job(app(container))
    assert failed(container).startswith("The folder 'mugs' holds more than the allowed")


def failed(container: Container) -> str:
    """Load the only dataset, which must fail; return the reason."""
    (loading,) = page(container)
    dataset_import.load(container, loading.id)
    (loaded,) = page(container)
    assert loaded.state is DatasetState.FAILED
    return loaded.message


def test_a_folder_that_went_before_it_was_read_fails_with_the_reason(with_store: Container, store: Path) -> None:
    job(app(with_store))
    shutil.rmtree(store / "mugs")
    assert "no file below mugs/" in failed(with_store)


def test_a_folder_that_is_a_link_is_not_followed(with_store: Container, store: Path) -> None:
    (store.parent / "elsewhere").mkdir()
    (store.parent / "elsewhere" / "secret.png").write_bytes(picture(1))
    (store / "out").symlink_to(store.parent / "elsewhere")
    answer = app(with_store).post(f"{BASE}/jobs", json=MUGS | {"dataset": "out"})
    assert "no file below out/" in complaint(answer, 404)
    assert page(with_store) == []


def test_a_dataset_cannot_lead_out_of_the_store(with_store: Container) -> None:
    client = app(with_store)
    for name in ("..", ".", "../bucket/mugs", "mugs/training", "/etc", "..\\mugs"):
        answer = client.post(f"{BASE}/jobs", json=MUGS | {"dataset": name})
        assert "without slashes" in complaint(answer, 400)


def test_a_folder_that_is_not_there_says_what_to_do(with_store: Container) -> None:
    answer = app(with_store).post(f"{BASE}/jobs", json=MUGS | {"dataset": "plates"})
    complaint_text = complaint(answer, 404)
    assert "plates/" in complaint_text
    assert "POST /v1/datasets" in complaint_text
    assert page(with_store) == []


def test_the_store_serves_the_tenant_default_only(with_store: Container) -> None:
    answer = app(with_store).post(f"{BASE}/jobs", json=MUGS, headers=another_tenant(with_store))
    assert "POST /v1/datasets" in complaint(answer, 404)
    assert page(with_store) == []


# -- jobs


def test_a_job_is_accepted_and_can_be_polled(client: FlaskClient, mugs: Dataset) -> None:
    answer = client.post(f"{BASE}/jobs", json=MUGS)
    assert answer.status_code == 202
    assert re.fullmatch(r"mugs-\d{4}-\d\d-\d\dt\d{4}z\d{6}", answer.json["id"])
    assert answer.headers["Location"] == f"{BASE}/jobs/{answer.json['id']}"
    assert (answer.json["status"], answer.json["startTime"], answer.json["finishTime"]) == ("PENDING", UNSET, UNSET)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer.json["submissionTime"])
    assert client.get(answer.headers["Location"]).json == answer.json
    assert client.get(f"{BASE}/jobs").json == {"jobs": [answer.json]}


def test_a_job_runs_and_succeeds(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    job_id = job(client)["id"]
    training_runs.begin(container, training(container, job_id))
    running = client.get(f"{BASE}/jobs/{job_id}").json
    assert (running["status"], running["finishTime"]) == ("RUNNING", UNSET)
    assert running["startTime"] > running["submissionTime"]
    run(container, job_id)
    done = client.get(f"{BASE}/jobs/{job_id}").json
    assert (done["status"], done["modelName"], done["modelVersion"]) == ("SUCCEEDED", "cups", "1")
    assert done["finishTime"] >= done["startTime"]


def test_what_is_not_given_has_the_documented_default(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    used = training(container, job(client)["id"]).parameters
    assert (used.epochs, used.max_unimproved_epochs, used.batch_size, used.learning_rate) == (150, 15, 64, 0.001)
    assert used.max_seconds == 24 * 3600


ALL = {"batchSize": 8, "learningRate": 0.5, "maxEpochs": 3, "maxUnimprovedEpochs": 2, "completionTime": 1,
       "memory": 16384, "generateTfSummaries": True}  # fmt: skip


@pytest.mark.parametrize(
    "body", [MUGS | ALL, {"mode": "image", "options": MUGS | ALL}], ids=["flat", "nested, as an older client sends it"]
)
def test_every_documented_field_is_taken(
    client: FlaskClient, container: Container, mugs: Dataset, body: dict[str, Any]
) -> None:
    answer = client.post(f"{BASE}/jobs", json=body)
    assert answer.status_code == 202
    stored = training(container, answer.json["id"])
    used = stored.parameters
    assert (used.epochs, used.max_unimproved_epochs, used.batch_size, used.learning_rate) == (3, 2, 8, 0.5)
    assert (used.max_seconds, stored.name, stored.wire, stored.requires_deployment) == (3600, "cups", "sap", True)


LIMITS = {"batchSize": (1, 1024), "maxEpochs": (1, 10000), "maxUnimprovedEpochs": (1, 10000),
          "completionTime": (1, 168), "memory": (8192, 32768)}  # fmt: skip


def test_each_number_is_taken_within_its_limits_only(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    for field, (low, high) in LIMITS.items():
        for value in (low, high):
            trainings.cancel(container, "default", training(container, job(client, **{field: value})["id"]).id)
        for wrong in (low - 1, high + 1):
            answer = client.post(f"{BASE}/jobs", json=MUGS | {field: wrong})
            assert complaint(answer, 400) == f"Invalid request: {field} must be from {low} to {high}, not {wrong}"
        assert field in complaint(client.post(f"{BASE}/jobs", json=MUGS | {field: "many"}), 400)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"learningRate": 0}, "learningRate"),
    ({"learningRate": 1}, "learningRate"),
    ({"generateTfSummaries": "perhaps"}, "generateTfSummaries"),
    ({"dataset": ""}, "dataset is missing"),
    ({"modelName": None}, "modelName is missing"),
    ({"modelName": "my cups"}, "modelName"),
    ({"mode": "text"}, "mode must be image"),
    ({"options": [1]}, "options"),
]


def test_what_is_wrong_is_named_and_nothing_begins(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    for wrong, says in WRONG:
        text = complaint(client.post(f"{BASE}/jobs", json=MUGS | wrong), 400)
        assert text.startswith("Invalid request: ")
        assert says in text
    assert client.get(f"{BASE}/jobs").json == {"jobs": []}


def test_a_body_that_is_no_json_is_refused_as_such(client: FlaskClient) -> None:
    assert "JSON" in complaint(client.post(f"{BASE}/jobs", data=b"dataset=mugs"), 400)


def test_an_unknown_dataset_says_which_there_are_and_how_to_make_one(client: FlaskClient, mugs: Dataset) -> None:
    text = complaint(client.post(f"{BASE}/jobs", json=MUGS | {"dataset": "plates"}), 404)
    assert "there are: mugs" in text
    assert "POST /v1/datasets" in text


def test_a_model_is_trained_by_one_job_at_a_time(with_store: Container) -> None:
    client = app(with_store)
    created = job(client)
    answer = client.post(f"{BASE}/jobs", json=MUGS | {"dataset": "another"})
    assert f"being trained already, by job {created['id']};" in complaint(answer, 409)
    assert len(page(with_store)) == 1


def test_of_a_training_by_another_wire_no_id_is_shown(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    trainings.submit(container, "default", TrainingRequest(mugs.id, "cups"))
    text = complaint(client.post(f"{BASE}/jobs", json=MUGS), 409)
    assert text == "The model 'cups' is being trained already."


def test_a_dataset_of_one_label_fails_its_job_with_the_reason(client: FlaskClient, container: Container) -> None:
    datasets.create(container, "default", "mugs", labels=["blue"])
    created = job(client)
    assert (created["status"], created["finishTime"] == UNSET) == ("FAILED", False)
    assert "at least 2 labels" in created["message"]


def test_a_job_that_lives_is_cancelled_and_one_that_came_to_nothing_goes(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    path = f"{BASE}/jobs/{job(client)['id']}"
    first = client.delete(path)
    assert (first.status_code, first.data) == (204, b"")
    assert (client.get(path).json["status"], client.get(path).json["message"]) == ("FAILED", "it was cancelled")
    assert client.delete(path).status_code == 204
    assert "There is no job" in complaint(client.get(path), 404)
    assert "There is no job" in complaint(client.delete(path), 404)


def test_a_job_that_made_a_version_leaves_the_list_and_its_evidence_stays(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    job_id = job(client)["id"]
    version = run(container, job_id)
    assert client.delete(f"{BASE}/jobs/{job_id}").status_code == 204
    complaint(client.get(f"{BASE}/jobs/{job_id}"), 404)
    assert client.get(f"{BASE}/jobs").json == {"jobs": []}
    complaint(client.get(f"{BASE}/jobs/cups"), 404)
    assert trainings.get(container, "default", version.training_id).evidence


def test_jobs_of_another_wire_or_tenant_are_not_shown(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    native = TrainingRequest(mugs.id, "saucers", title="mugs-2020-01-31t0915z004211")
    trainings.submit(container, "default", native)
    assert client.get(f"{BASE}/jobs").json == {"jobs": []}
    complaint(client.get(f"{BASE}/jobs/{native.title}"), 404)
    path = f"{BASE}/jobs/{job(client)['id']}"
    headers = another_tenant(container)
    complaint(client.get(path, headers=headers), 404)
    complaint(client.delete(path, headers=headers), 404)
    assert client.get(f"{BASE}/jobs", headers=headers).json == {"jobs": []}


def test_the_id_of_a_job_fits_into_a_path_whatever_its_dataset_is_called(
    client: FlaskClient, container: Container
) -> None:
    for name in ("Big Red/Mugs", "größe", "…"):
        datasets.create(container, "default", name)
        job_id = job(client, dataset=name)["id"]
        assert re.fullmatch(r"[a-z0-9._-]+-\d{4}-\d\d-\d\dt\d{4}z\d{6}", job_id)
        assert client.get(f"{BASE}/jobs/{job_id}").json["id"] == job_id


def test_the_name_of_a_dataset_may_be_as_long_as_names_may_be(client: FlaskClient, container: Container) -> None:
    for length in (157, 158, 180):
        datasets.create(container, "default", "m" * length)
        job_id = job(client, dataset="m" * length)["id"]
        assert re.fullmatch(r"m{157}-\d{4}-\d\d-\d\dt\d{4}z\d{6}", job_id)


# -- models


def test_models_are_listed_with_their_versions_and_what_was_measured(
    client: FlaskClient, container: Container, trained: ModelVersion
) -> None:
    run(container, job(client)["id"])
    body = client.get(f"{BASE}/models").json
    ((model,), (first, second)) = (body["models"], body["models"][0]["versions"])
    assert (first["modelName"], first["version"], second["version"]) == ("cups", "1", "2")
    assert (first["accuracy"], first["checksum"], first["deployed"]) == (0.875, "ab" * 32, False)
    assert first["createdAt"] == first["updatedAt"]
    assert client.get(f"{BASE}/models/cups/versions").json == {"versions": model["versions"]}


def test_only_models_of_ones_own_that_are_ready_are_listed(
    client: FlaskClient, container: Container, trained: ModelVersion
) -> None:
    models.add(container, "default", "unchecked", architecture="resnet50")
    assert [each["versions"][0]["modelName"] for each in client.get(f"{BASE}/models").json["models"]] == ["cups"]
    assert "digits" in complaint(client.get(f"{BASE}/models/digits/versions"), 404)
    assert client.get(f"{BASE}/models", headers=another_tenant(container)).json == {"models": []}


# -- deployments


def deploy(client: FlaskClient, name: str = "cups", version: str = "1") -> TestResponse:
    return client.post(f"{BASE}/deployments", json={"modelName": name, "modelVersion": version})


@pytest.mark.parametrize("what", ["classification", "feature-extraction"])
def test_a_trained_version_answers_once_it_is_deployed_and_no_longer_when_it_is_not(
    client: FlaskClient, trained: ModelVersion, what: str
) -> None:
    assert f"{BASE}/deployments" in complaint(predict(client, what=what), 404)
    assert client.get(f"{BASE}/deployments").json == {"deployments": []}
    answer = deploy(client)
    assert answer.status_code == 200
    assert (answer.json["modelName"], answer.json["modelVersion"]) == ("cups", "1")
    assert answer.json["status"] == {"state": "SUCCEEDED", "description": "ready"}
    assert client.get(f"{BASE}/deployments").json == {"deployments": [answer.json]}
    assert predict(client, what=what).status_code == 202
    gone = client.delete(f"{BASE}/deployments/{answer.json['id']}")
    assert (gone.status_code, gone.data) == (204, b"")
    complaint(predict(client, what=what), 404)
    complaint(client.delete(f"{BASE}/deployments/{answer.json['id']}"), 404)


def unnamed(client: FlaskClient, path: str = "/api/v2/image/classification") -> TestResponse:
    return client.post(path, data={"files": [(io.BytesIO(THREE[1]), THREE[0])]})


def test_a_version_that_is_not_deployed_does_not_answer_as_a_default_either(
    container: Container, trained: ModelVersion
) -> None:
    paths = {"default_model": "/api/v2/image/classification",
             "sap_product_model": "/ml/prodimgclassifier/inference_sync"}  # fmt: skip
    for setting, path in paths.items():
        client = app(container, **{setting: "cups"})
        assert "is not deployed" in unnamed(client, path).get_data(as_text=True)
        deploy(client)
        assert unnamed(client, path).status_code == 202
        client.delete(f"{BASE}/deployments/{trained.id}")


def test_a_canary_that_is_not_deployed_leaves_this_wire_to_the_default(
    client: FlaskClient, container: Container, trained: ModelVersion
) -> None:
    deploy(client)
    second = run(container, job(client)["id"])
    deploy(client, version="2")
    promotions.set_canary(container, "default", "cups", "2", 1.0)
    answering = app(container, default_model="cups")
    for version in ("2", "1"):
        assert jobs.get(container, "default", unnamed(answering).json["id"]).version == version
        client.delete(f"{BASE}/deployments/{second.id}")


def test_deploying_twice_changes_nothing(client: FlaskClient, trained: ModelVersion) -> None:
    assert deploy(client).json == deploy(client).json
    assert len(client.get(f"{BASE}/deployments").json["deployments"]) == 1


def test_the_native_wire_does_not_ask_for_deployments(client: FlaskClient, trained: ModelVersion) -> None:
    parts = {"files": [(io.BytesIO(THREE[1]), THREE[0])], "model": "cups"}
    assert client.post("/v1/jobs", data=parts).status_code == 202


def test_a_promoted_version_is_deployed(client: FlaskClient, container: Container, trained: ModelVersion) -> None:
    version = run(container, job(client)["id"])
    with container.database.write() as uow:
        uow.comparisons.add_done(
            training(container, trained_title(container, version)), version, trained, {}, container.now()
        )
    promotions.promote(container, "default", "cups", "2")
    (deployed,) = client.get(f"{BASE}/deployments").json["deployments"]
    assert (deployed["modelVersion"], deployed["id"]) == ("2", version.id)


def trained_title(container: Container, version: ModelVersion) -> str:
    return trainings.get(container, "default", version.training_id).title


def test_a_version_that_was_brought_is_deployed_and_pending_while_it_is_checked(
    client: FlaskClient, container: Container
) -> None:
    added = models.add(container, "default", "brought", architecture="resnet50")
    (deployment,) = client.get(f"{BASE}/deployments").json["deployments"]
    assert (deployment["id"], deployment["status"]["state"]) == (added.id, "PENDING")
    assert deploy(client, "brought").json["status"]["state"] == "PENDING"


def test_what_cannot_be_deployed_is_refused_with_the_reason(
    client: FlaskClient, container: Container, trained: ModelVersion
) -> None:
    assert "no version '7'" in complaint(deploy(client, version="7"), 404)
    assert "nothing" in complaint(deploy(client, "nothing"), 404)
    assert "catalogue" in complaint(deploy(client, "digits"), 403)
    assert "modelVersion is missing" in complaint(client.post(f"{BASE}/deployments", json={"modelName": "cups"}), 400)
    with container.database.write() as uow:
        uow.model_versions.save(replace(trained, state=ModelState.REFUSED, reason="its weights are damaged"))
    assert "its weights are damaged" in complaint(deploy(client), 409)


def test_another_tenant_cannot_take_a_deployment_back(
    client: FlaskClient, container: Container, trained: ModelVersion
) -> None:
    deployment = deploy(client).json
    headers = another_tenant(container)
    complaint(client.delete(f"{BASE}/deployments/{deployment['id']}", headers=headers), 404)
    assert client.get(f"{BASE}/deployments", headers=headers).json == {"deployments": []}


# -- keys


def test_only_a_key_for_models_may_change_anything_or_see_the_key_of_the_store(with_store: Container) -> None:
    client = app(with_store)
    headers = key(with_store, scopes=["infer"])
    for method, path in (
        ("get", "storage"), ("post", "storage"), ("post", "jobs"), ("delete", "jobs/1"),
        ("post", "deployments"), ("delete", "deployments/1"),
    ):  # fmt: skip
        complaint(getattr(client, method)(f"{BASE}/{path}", headers=headers), 403)
    for path in ("jobs", "models", "deployments"):
        assert client.get(f"{BASE}/{path}", headers=headers).status_code == 200


def test_the_key_of_the_store_is_in_no_log(with_store: Container, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    app(with_store).get(f"{BASE}/storage")
    job(app(with_store))
    assert "SK" not in [word for record in caplog.records for word in record.getMessage().split()]


def test_an_unknown_path_has_the_words_of_the_wire(client: FlaskClient) -> None:
    assert complaint(client.get(f"{BASE}/nothing"), 404).startswith("URL does not exist")


def test_a_cancelled_training_has_failed(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    job_id = job(client)["id"]
    assert trainings.cancel(container, "default", training(container, job_id).id).status is Status.CANCELLED
    assert client.get(f"{BASE}/jobs").json["jobs"][0]["status"] == "FAILED"
