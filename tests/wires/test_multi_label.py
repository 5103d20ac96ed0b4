"""A multi-label model and a model with one output get the same labels and scores on every wire, and may get none; but
on Einstein's, which answers with all labels."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.jobs import Job, Outcome
from shared.domain.models import ModelVersion, ProblemType
from shared.domain.scores import lowest_logits
from shared.services import jobs, models, result_cache
from tests import stacks
from worker.engine import top_k

PICTURE = stacks.digits()[3][1]
LABELS = ("cat", "dog", "fish", "horse", "bird", "cow", "hen", "owl")
LOGITS = [1.5, -0.5, 3.0, 0.0, -4.0, 0.25, 2.0, -9.0]

Labels = list[tuple[str, float]]


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def digits(container: Container) -> ModelVersion:
    return models.get_version(container, "default", "digits")


@pytest.fixture
def become(container: Container, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that gives `digits` labels, thresholds and the logits that a worker answers every picture with."""

    def change(logits: list[float], *thresholds: float, problem_type: ProblemType = ProblemType.MULTI_LABEL) -> None:
        version = replace(
            digits(container), labels=LABELS[: len(logits)], problem_type=problem_type, thresholds=thresholds
        )
        with container.database.write() as uow:
            uow.model_versions.save(version)
        monkeypatch.setattr(jobs, "wait", lambda *asked: run(version, logits, *asked))

    return change


async def run(version: ModelVersion, logits: list[float], container: Container, job: Job, _: float) -> Job:
    """Answer what waits as a worker does; return the job."""
    entries = container.queue.streams.claim(version.id, "worker", 9)
    jobs.begin(container, entries)
    for entry in entries:
        lowest = lowest_logits(version, with_thresholds=entry.with_thresholds)
        (result,) = top_k(torch.tensor([logits]), version.labels, entry.top_k, entry.function_to_apply, lowest)
        jobs.finish(container, [Outcome(entry.job_id, entry.position, result)])
    container.queue.conclude(entries, [])
    return jobs.get(container, job.tenant, job.id)


def multipart(client: FlaskClient, path: str, part: str, **fields: str) -> TestResponse:
    return client.post(path, data={part: (io.BytesIO(PICTURE), "three.png")} | fields)


def of_results(results: list[dict[str, Any]], score: str = "score") -> Labels:
    return [(result["label"], result[score]) for result in results]


def native(client: FlaskClient) -> Labels:
    return of_results(multipart(client, "/v1/classify", "files").json["predictions"][0]["results"])


def sap(path: str) -> Callable[[FlaskClient], Labels]:
    return lambda client: of_results(multipart(client, path, "files").json["predictions"][0]["results"])


def huggingface(client: FlaskClient) -> Labels:
    return of_results(client.post("/models/digits", data=PICTURE).get_json())


def huggingface_cached(client: FlaskClient) -> Labels:
    container = client.application.extensions["inferq"]
    key = result_cache.key("default", digits(container).id, "classify", True, PICTURE)
    result_cache.keep(container, {key: LOGITS[: len(digits(container).labels)]})
    answer = client.post("/models/digits", data=PICTURE)
    assert answer.headers["x-compute-type"] == "cache"
    return of_results(answer.get_json())


def img_processing(client: FlaskClient) -> Labels:
    kept = multipart(client, "/v1/images/upload", "image", name="three").json["id"]
    body = client.post(f"/v1/images/{kept}/classify").json
    answered = [(body["main_label"].lower(), body["main_score"])]
    return answered + [(label.lower(), score) for label, score in of_results(body["secondary_labels"])]


WIRES: dict[str, Callable[[FlaskClient], Labels]] = {
    "native": native,
    "SAP v1": sap("/inference_sync"),
    "SAP v2": sap("/api/v2/image/classification"),
    "Hugging Face": huggingface,
    "Hugging Face, cached": huggingface_cached,
    "IMG": img_processing,
}


def expected(*labels: str) -> list[Any]:
    return [(label, pytest.approx(sigmoid(LOGITS[LABELS.index(label)]), rel=1e-9)) for label in labels]


@pytest.mark.parametrize("wire", WIRES)
def test_every_wire_gives_the_labels_that_reach_their_thresholds(
    client: FlaskClient, become: Callable[..., None], wire: str
) -> None:
    become(LOGITS, 0.5)
    assert WIRES[wire](client) == expected("fish", "hen", "cat", "cow", "horse")
    become(LOGITS, 0.1, 0.1, 0.99, 0.51, 0.01, 0.9, 0.5, 0.5)
    assert WIRES[wire](client) == expected("hen", "cat", "dog", "bird")


@pytest.mark.parametrize("wire", WIRES)
def test_every_wire_gives_five_labels_at_most(client: FlaskClient, become: Callable[..., None], wire: str) -> None:
    become(LOGITS)
    assert WIRES[wire](client) == expected("fish", "hen", "cat", "cow", "horse")


@pytest.mark.parametrize("wire", WIRES)
def test_the_score_of_a_model_with_one_output_is_the_sigmoid_of_its_logit(
    client: FlaskClient, become: Callable[..., None], wire: str
) -> None:
    become(LOGITS[:1])
    assert WIRES[wire](client) == expected("cat")


@pytest.mark.parametrize("wire", WIRES)
def test_every_wire_can_say_that_there_is_no_label(client: FlaskClient, become: Callable[..., None], wire: str) -> None:
    become(LOGITS, 0.99)
    assert WIRES[wire](client) == ([("", 0.0)] if wire == "IMG" else [])


def test_einstein_answers_with_all_labels_as_its_clients_expect(
    client: FlaskClient, become: Callable[..., None]
) -> None:
    become(LOGITS, 0.99)
    answer = multipart(client, "/v2/vision/predict", "sampleContent", modelId="digits", numResults="2")
    assert answer.json["object"] == "multilabelpredictresponse"
    assert of_results(answer.json["probabilities"], "probability") == expected(
        "fish", "hen", "cat", "cow", "horse", "dog", "bird", "owl"
    )
    become(LOGITS, problem_type=ProblemType.SINGLE_LABEL)
    answer = multipart(client, "/v2/vision/predict", "sampleContent", modelId="digits", numResults="2")
    assert (answer.json["object"], len(answer.json["probabilities"])) == ("predictresponse", 2)


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_a_function_that_is_asked_for_is_applied_without_thresholds(
    client: FlaskClient, become: Callable[..., None], function: str
) -> None:
    become(LOGITS, 0.99)
    fields = {"function_to_apply": function, "top_k": "99"}
    first = of_results(multipart(client, "/v1/classify", "files", **fields).json["predictions"][0]["results"])
    assert len(first) == len(LABELS)
    softmax = math.exp(3.0) / sum(map(math.exp, LOGITS))
    assert dict(first)["fish"] == pytest.approx({"softmax": softmax, "sigmoid": sigmoid(3.0), "none": 3.0}[function])


@pytest.mark.parametrize(
    ("problem_type", "function"), [(ProblemType.SINGLE_LABEL, "softmax"), (ProblemType.MULTI_LABEL, "sigmoid")]
)
def test_a_job_shows_the_function_that_was_applied(
    client: FlaskClient, become: Callable[..., None], problem_type: ProblemType, function: str
) -> None:
    become(LOGITS, problem_type=problem_type)
    options = multipart(client, "/v1/classify", "files").json["request"]["options"]
    assert options == {"task": "classify", "exif": True, "top_k": 5, "function_to_apply": function}


def test_an_empty_answer_is_written_as_such_in_every_format(client: FlaskClient, become: Callable[..., None]) -> None:
    become(LOGITS, 0.99)
    job = multipart(client, "/v1/classify", "files").json
    results = f"/v1/jobs/{job['_id']}/results"
    assert job["predictions"] == [{"name": "three.png", "results": []}]
    assert json.loads(client.get(results).text) == {"name": "three.png", "results": [], "position": 0}
    assert client.get(f"{results}?format=csv").text.splitlines()[1:] == ["0,three.png,DONE,,,,"]


def test_a_version_is_shown_with_its_problem_type_and_thresholds(
    client: FlaskClient, become: Callable[..., None]
) -> None:
    become(LOGITS, 0.5)
    version = client.get("/v1/models/digits/versions/1").json
    assert (version["problem_type"], version["thresholds"]) == ("multi_label_classification", [0.5])
