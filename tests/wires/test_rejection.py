"""What each wire answers for a picture that a rejection rule does not believe, and the calls of rules."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.jobs import Job
from shared.domain.models import ModelVersion
from shared.domain.rejection import RejectionRequest, RejectionRule
from shared.services import jobs, models, rejection, result_cache
from tests import apps, stacks
from tests.wires.described import described_client
from worker import answers
from worker.judging import Judge
from worker.rejection import FeatureBank

PICTURE = stacks.digits()[3][1]
LOGITS = [2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0]
BEST = float(torch.tensor(LOGITS, dtype=torch.double).softmax(0)[0])
LOW, FAR, SURE = RejectionRule(0.95, 0.9, None), RejectionRule(0.95, 0.1, 1.1, "bank"), RejectionRule(0.95, 0.1, None)

Labels = list[tuple[str, float]]


def digits(container: Container) -> ModelVersion:
    return models.get_version(container, "default", "digits")


@pytest.fixture
def client(container: Container) -> FlaskClient:
    """A client whose requests and answers are compared with `/openapi.json`."""
    return described_client(container)


@pytest.fixture
def become(container: Container, monkeypatch: pytest.MonkeyPatch) -> Callable[[RejectionRule | None], None]:
    """A function that gives `digits` a rule, and answers with LOGITS at a distance of 1.5."""

    def change(rule: RejectionRule | None) -> None:
        version = digits(container)
        with container.database.write() as uow:
            uow.model_versions.set_rejection(version.id, rule)
        monkeypatch.setattr(jobs, "wait", lambda *asked: run(replace(version, rejection=rule), *asked))

    return change


async def run(version: ModelVersion, container: Container, job: Job, _: float) -> Job:
    """Answer what waits as a worker does; return the job."""
    entries = container.queue.streams.claim(version.id, "worker", 9)
    jobs.begin(container, entries)
    rule = version.rejection
    bank = FeatureBank(torch.ones(1, 1)) if rule and rule.bank else None
    rows = torch.tensor([LOGITS + ([1.5] if bank else [])] * len(entries))
    jobs.finish(container, answers.outcomes(version, "classify", entries, rows, Judge(rule, bank) if rule else None))
    container.queue.conclude(entries, [])
    return jobs.get(container, job.tenant, job.id)


def multipart(client: FlaskClient, path: str, part: str, **fields: str) -> TestResponse:
    return client.post(path, data={part: (io.BytesIO(PICTURE), "three.png")} | fields)


def of_results(results: list[dict[str, Any]], score: str = "score") -> Labels:
    return [(result["label"], result[score]) for result in results]


def sap(path: str) -> Callable[[FlaskClient], Labels]:
    return lambda client: of_results(multipart(client, path, "files").json["predictions"][0]["results"])


def einstein(client: FlaskClient) -> Labels:
    answer = multipart(client, "/v2/vision/predict", "sampleContent", modelId="digits")
    return of_results(answer.json["probabilities"], "probability")


def huggingface(client: FlaskClient) -> Labels:
    return of_results(client.post("/models/digits", data=PICTURE).get_json())


def huggingface_cached(client: FlaskClient) -> Labels:
    container = client.application.extensions["inferq"]
    version = digits(container)
    rule = version.rejection
    key = result_cache.key("default", result_cache.source(version.id, rule), "classify", True, PICTURE)
    result_cache.keep(container, {key: LOGITS + ([1.5] if rule and rule.bank else [])})
    answer = client.post("/models/digits", data=PICTURE)
    assert answer.headers["x-compute-type"] == "cache"
    return of_results(answer.get_json())


def img_processing(client: FlaskClient) -> Labels:
    kept = multipart(client, "/v1/images/upload", "image", name="three").json["id"]
    body = client.post(f"/v1/images/{kept}/classify").json
    return [(body["main_label"].lower(), body["main_score"]), *of_results(body["secondary_labels"])]


WIRES: dict[str, Callable[[FlaskClient], Labels]] = {
    "SAP v1": sap("/inference_sync"),
    "SAP v2": sap("/api/v2/image/classification"),
    "Einstein": einstein,
    "Hugging Face": huggingface,
    "Hugging Face, cached": huggingface_cached,
    "IMG": img_processing,
}


@pytest.mark.parametrize("wire", WIRES)
def test_a_wire_without_a_word_for_doubt_answers_the_label_of_the_rule(
    client: FlaskClient, become: Callable[..., None], wire: str
) -> None:
    become(replace(LOW, label="unknown"))
    ((label, score),) = WIRES[wire](client)
    assert label == "unknown"
    assert score == pytest.approx(1 - BEST)
    become(replace(FAR, label="unknown"))
    assert WIRES[wire](client) == [("unknown", 1.0)]


@pytest.mark.parametrize("wire", WIRES)
def test_a_wire_answers_as_ever_if_the_answer_is_believed_or_the_rule_has_no_label(
    client: FlaskClient, become: Callable[..., None], wire: str
) -> None:
    for rule in (None, LOW, FAR, replace(SURE, label="unknown")):
        become(rule)
        answered = WIRES[wire](client)
        assert [label for label, _ in answered] == ["0", "1", "2", "3", "4"]
        assert answered[0][1] == pytest.approx(BEST)


@pytest.mark.parametrize(
    ("rule", "code", "says"), [(LOW, "low_score", "score is too low"), (FAR, "unlike_training", "unlike those")]
)
def test_a_native_answer_says_that_it_is_not_believed_and_why(
    client: FlaskClient, container: Container, become: Callable[..., None], rule: RejectionRule, code: str, says: str
) -> None:
    become(replace(rule, label="unknown"))
    job = multipart(client, "/v1/classify", "files", top_k="2").json
    (prediction,) = job["predictions"]
    assert [result["label"] for result in prediction["results"]] == ["0", "1"]
    assert prediction["confident"] is False
    assert prediction["doubt"]["code"] == code
    assert says in prediction["doubt"]["message"]
    streamed = apps.over(container).test_client()  # the answers are no JSON documents
    line = json.loads(streamed.get(f"/v1/jobs/{job['_id']}/results").text)
    assert line == prediction | {"position": 0}
    header, first, second = streamed.get(f"/v1/jobs/{job['_id']}/results?format=csv").text.splitlines()
    assert header == "position,name,status,rank,label,score,error,doubt"
    assert first.startswith("0,three.png,DONE,1,0,")
    assert [row.rsplit(",", 2)[1:] for row in (first, second)] == [["", code]] * 2


def test_a_native_answer_that_is_believed_says_so(client: FlaskClient, become: Callable[..., None]) -> None:
    become(SURE)
    job = multipart(client, "/v1/classify", "files", top_k="1").json
    (prediction,) = job["predictions"]
    assert (prediction["confident"], "doubt" in prediction) == (True, False)
    rows = client.get(f"/v1/jobs/{job['_id']}/results?format=csv").text.splitlines()
    assert rows[1].endswith(",,")


def test_a_native_answer_of_a_version_without_a_rule_says_nothing_of_it(
    client: FlaskClient, become: Callable[..., None]
) -> None:
    become(None)
    job = multipart(client, "/v1/classify", "files", top_k="1").json
    assert set(job["predictions"][0]) == {"name", "results"}
    rows = client.get(f"/v1/jobs/{job['_id']}/results?format=csv").text.splitlines()
    assert rows[0] == "position,name,status,rank,label,score,error"


def test_an_answer_keeps_its_verdict_when_the_rule_is_gone(client: FlaskClient, become: Callable[..., None]) -> None:
    become(LOW)
    job = multipart(client, "/v1/classify", "files").json
    become(None)
    assert client.get(f"/v1/jobs/{job['_id']}").json["predictions"][0]["confident"] is False


def own(container: Container) -> ModelVersion:
    """Store a READY model `mine` of the caller with two labels."""
    version = replace(digits(container), id="mine-1", tenant="default", name="mine", labels=("pear", "plum"))
    with container.database.write() as uow:
        uow.model_versions.add(version)
    return version


def fruit(container: Container, counts: dict[str, int] | None = None) -> int:
    from tests.dataset_fixtures import Ground

    ground = Ground(container, [])
    return ground.dataset(counts or {"pear": 15, "plum": 15}, tenant="default").id


PATH = "/v1/models/mine/versions/1/rejection"


def test_a_rule_is_asked_for_followed_changed_and_removed(client: FlaskClient, container: Container) -> None:
    own(container)
    dataset = fruit(container)
    wanted = {"precision": 0.9, "dataset": "fruit", "unknown_label": "unknown"}
    answer = client.put(PATH, json=wanted)
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert answer.json == {"rejection": None, "fitting": True, "error": None}
    assert client.get(PATH).json["fitting"] is True

    rejection.finish(container, "mine-1", RejectionRequest(0.9, dataset, "unknown"), RejectionRule(0.9, 0.5, None))
    shown = {"precision": 0.9, "min_score": 0.5, "max_distance": None, "unknown_label": ""}
    assert client.get(PATH).json == {"rejection": shown, "fitting": False, "error": None}
    assert client.get("/v1/models/mine/versions/1").json["rejection"] == shown

    answer = client.put(PATH, json={"unknown_label": "no fruit"})
    assert (answer.status_code, answer.json["rejection"]) == (200, shown | {"unknown_label": "no fruit"})
    assert client.delete(PATH).status_code == 204
    assert client.get(PATH).json == {"rejection": None, "fitting": False, "error": None}
    assert client.put(PATH, json={"unknown_label": "no fruit"}).status_code == 409


def test_a_failed_fit_says_why(client: FlaskClient, container: Container) -> None:
    own(container)
    dataset = fruit(container)
    client.put(PATH, json={"precision": 0.9, "dataset": "fruit"})
    rejection.fail(container, "mine-1", RejectionRequest(0.9, dataset), "No score separates them.")
    assert client.get(PATH).json == {"rejection": None, "fitting": False, "error": "No score separates them."}


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"precision": 0.9}, 400, "needs both precision and dataset"),
    ({"dataset": "fruit"}, 400, "needs both precision and dataset"),
    ({"precision": 1, "dataset": "fruit"}, 400, "precision"),
    ({"precision": 0.4, "dataset": "fruit"}, 400, "precision"),
    ({"precision": "high", "dataset": "fruit"}, 400, "precision"),
    ({"precision": 0.9, "dataset": "nuts"}, 404, "nuts"),
    ({"precision": 0.9, "dataset": "fruit", "unknown_label": "x" * 101}, 400, "unknown_label"),
    ({"precision": 0.9, "dataset": "fruit", "unknown": "x"}, 400, "unknown_label"),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD)
def test_a_bad_request_for_a_rule_names_what_is_wrong(
    client: FlaskClient, container: Container, body: dict[str, Any], status: int, says: str
) -> None:
    own(container)
    fruit(container)
    answer = client.put(PATH, data=json.dumps(body), content_type="application/json")
    assert answer.status_code == status
    assert says in answer.json["detail"]


def test_labels_that_are_not_those_of_the_version_are_named(client: FlaskClient, container: Container) -> None:
    own(container)
    fruit(container, {"pear": 15, "nut": 15})
    answer = client.put(PATH, json={"precision": 0.9, "dataset": "fruit"})
    assert (answer.status_code, "does not know 'nut'" in answer.json["detail"]) == (400, True)


def test_the_rule_of_a_model_of_the_catalogue_cannot_be_changed(client: FlaskClient, container: Container) -> None:
    fruit(container)
    path = PATH.replace("mine", "digits")
    assert client.put(path, json={"precision": 0.9, "dataset": "fruit"}).status_code == 403
    assert client.delete(path).status_code == 403
    assert client.get(path).json["rejection"] is None


def upload(client: FlaskClient, **fields: str) -> TestResponse:
    return client.post("/v1/models", data={"name": "mine", "weights": (io.BytesIO(b"x"), "x.pth")} | fields)


def test_an_import_asks_for_a_rule(client: FlaskClient, container: Container) -> None:
    dataset = fruit(container)
    fields = {"reject_below_precision": "0.95", "reject_on": "fruit", "unknown_label": "unknown"}
    assert upload(client, **fields).status_code == 202
    stored = models.get_version(container, "default", "mine").import_options
    assert stored is not None
    assert stored.rejection == RejectionRequest(0.95, dataset, "unknown")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"reject_below_precision": "0.95"}, "needs both reject_below_precision and reject_on"),
        ({"reject_on": "fruit"}, "needs both reject_below_precision and reject_on"),
        ({"unknown_label": "unknown"}, "needs both reject_below_precision and reject_on"),
        ({"reject_below_precision": "95", "reject_on": "fruit"}, "reject_below_precision must be from 0.5 to 0.999"),
        ({"reject_below_precision": "high", "reject_on": "fruit"}, "reject_below_precision must be a number"),
        ({"reject_below_precision": "0.9", "reject_on": "nuts"}, "nuts"),
    ],
)
def test_an_import_with_half_a_rule_is_refused_and_leaves_nothing(
    client: FlaskClient, container: Container, fields: dict[str, str], says: str
) -> None:
    fruit(container)
    answer = upload(client, **fields)
    assert answer.status_code in (400, 404)
    assert says in answer.json["detail"]
    assert container.storage.list("uploads") == []
