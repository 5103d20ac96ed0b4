"""The Hugging Face wire: classification, errors, waiting for models, and the result cache."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from werkzeug.test import TestResponse

from api.application import create_app
from api.dialects.huggingface import common
from shared import errors
from shared.container import Container
from shared.domain.jobs import Job, Outcome
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import CHECK_SECONDS, ModelImport, ModelState, ModelVersion, ProblemType
from shared.services import jobs, keys, models, result_cache
from tests import apps, stacks
from tests.stacks import Stack

PATHS = ("/models/digits", "/hf-inference/models/digits")
MODEL = PATHS[0]
THREE = stacks.digits()[3][1]
ALIAS = "google/vit-base-patch16-224"
LOGITS = [0.5, -3.25, 2.0, 9.5, -12.0, 4.75, 0.0, 1.5, 3.0, -0.5]


def in_json(picture: bytes = THREE, **more: Any) -> bytes:
    return json.dumps({"inputs": base64.b64encode(picture).decode()} | more).encode()


def post(client: FlaskClient, path: str = MODEL, body: bytes = THREE, **headers: str) -> TestResponse:
    """Send POST without a Content-Type; names of headers are written with underscores."""
    return client.post(path, data=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def send(stack: Stack, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(stack.url + MODEL, content=body, headers=named, timeout=90)


def with_settings(container: Container, **changed: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**changed))).test_client()


def close_the_door(container: Container) -> dict[str, Any]:
    """Create a key, so that requests need one; return the header with it."""
    _, text = keys.create(container, Caller("default", SCOPES), scopes=SCOPES)
    return {"Authorization": f"Bearer {text}"}


def another_tenant(container: Container) -> dict[str, Any]:
    _, text = keys.create(container, Caller("default", SCOPES), tenant="other")
    return {"Authorization": f"Bearer {text}"}


def digits(container: Container) -> ModelVersion:
    return models.get_version(container, "default", "digits")


def change_digits(container: Container, **changed: Any) -> None:
    with container.database.write() as uow:
        uow.model_versions.save(replace(digits(container), **changed))


def a_picture_never_seen() -> bytes:
    """Return the picture of a three with a unique text in it: the same pixels, other bytes."""
    out, text = io.BytesIO(), PngInfo()
    text.add_text("Comment", uuid.uuid4().hex)
    Image.open(io.BytesIO(THREE)).save(out, "PNG", pnginfo=text)
    return out.getvalue()


Worker = Callable[..., list[Job]]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A function that lets every job end with the given outcome and returns the list of jobs that were submitted."""

    def answers(**outcome: Any) -> list[Job]:
        seen: list[Job] = []

        async def wait(container: Container, job: Job, seconds: float) -> Job:
            jobs.finish(container, [Outcome(job.id, 0, **outcome)])
            seen.append(jobs.get(container, job.tenant, job.id))
            return seen[-1]

        monkeypatch.setattr(jobs, "wait", wait)
        return seen

    return answers


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that each request would wait for its model; no request waits in these tests."""
    seen: list[float] = []

    async def impatient(container: Container, tenant: str, name: str, seconds: float) -> ModelVersion:
        seen.append(seconds)
        return models.get_ready_version(container, tenant, name)

    monkeypatch.setattr(models, "until_ready", impatient)
    return seen


# -- answers


@pytest.mark.parametrize("path", PATHS)
def test_a_picture_as_the_body_is_answered_with_a_flat_list_best_first(stack: Stack, path: str) -> None:
    answer = httpx.post(stack.url + path, content=THREE, timeout=90)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert all(set(entry) == {"label", "score"} for entry in answer.json())
    scores = [entry["score"] for entry in answer.json()]
    assert (answer.json()[0]["label"], len(scores)) == ("3", 5)
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1


def test_the_headers_say_what_was_computed_and_how_long_it_took(stack: Stack) -> None:
    headers = send(stack, a_picture_never_seen()).headers
    assert headers["x-compute-type"] == "cpu"
    assert headers["x-compute-images"] == "1"
    whole, _, decimals = headers["x-compute-time"].partition(".")
    assert whole.isdigit()
    assert len(decimals) == 3
    assert headers["access-control-expose-headers"] == "x-compute-type, x-compute-time"


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda", "gpu"), ("cuda:1", "gpu")])
def test_the_headers_say_what_the_workers_compute_with(
    client: FlaskClient, container: Container, worker: Worker, device: str, kind: str
) -> None:
    worker(result=[["3", 1.0]])
    container.queue.workers.heartbeat("one", {"device": device}, 60)
    assert post(client).headers["x-compute-type"] == kind


@pytest.mark.parametrize("body", [THREE, in_json()], ids=["picture", "json"])
def test_the_content_type_is_not_looked_at(client: FlaskClient, worker: Worker, body: bytes) -> None:
    worker(result=[["3", 1.0]])
    for kind in ("", "image/jpeg", "application/x-www-form-urlencoded", "multipart/form-data", "application/json", "x"):
        answer = client.post(MODEL, data=body, content_type=kind)
        assert (answer.status_code, answer.json) == (200, [{"label": "3", "score": 1.0}]), kind


BASE64 = base64.b64encode(THREE).decode()


def test_json_brings_the_picture_in_any_base64(client: FlaskClient, worker: Worker) -> None:
    worker(result=[["3", 1.0]])
    for body in (
        {"inputs": BASE64},
        {"image": BASE64},
        {"image": BASE64, "inputs": "something else"},
        {"inputs": "\n".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76))},
        {"inputs": f"*{BASE64[:40]}!ü {BASE64[40:]}"},
        {"inputs": f"data:image/png;base64,{BASE64}"},
        {"inputs": base64.urlsafe_b64encode(THREE).decode()},
        {"inputs": BASE64, "parameters": None, "options": None},
        {"inputs": BASE64, "options": {"use_gpu": True}},
    ):
        assert post(client, body=json.dumps(body).encode()).status_code == 200, body


def test_the_function_and_the_number_of_labels_can_be_chosen(stack: Stack) -> None:
    def scores(function: str) -> dict[str, float]:
        answer = send(stack, in_json(parameters={"function_to_apply": function, "top_k": 100}))
        return {entry["label"]: entry["score"] for entry in answer.json()}

    logits, softmax, sigmoid = scores("none"), scores("softmax"), scores("sigmoid")
    assert len(logits) == len(softmax) == len(sigmoid) == 10
    assert max(logits.values()) > 1
    assert min(logits.values()) < 0
    total = sum(math.exp(value) for value in logits.values())
    assert softmax == pytest.approx({label: math.exp(value) / total for label, value in logits.items()}, abs=1e-6)
    assert sigmoid == pytest.approx({label: 1 / (1 + math.exp(-value)) for label, value in logits.items()}, abs=1e-6)
    assert len(send(stack, in_json(parameters={"top_k": 2})).json()) == 2


@pytest.mark.parametrize("labels", [("cat", "dog"), ("cat",)])
@pytest.mark.parametrize(
    ("problem_type", "function"), [(ProblemType.SINGLE_LABEL, "softmax"), (ProblemType.MULTI_LABEL, "sigmoid")]
)
def test_the_function_is_the_models_own_and_the_number_of_labels_at_most_all(
    client: FlaskClient, container: Container, worker: Worker, labels: tuple[str, ...], problem_type: ProblemType,
    function: str,
) -> None:  # fmt: skip
    seen = worker(result=[["cat", 0.5]])
    change_digits(container, labels=labels, problem_type=problem_type)
    assert post(client).status_code == 200
    assert (seen[0].options.function_to_apply, seen[0].options.top_k) == (function, len(labels))


@pytest.mark.parametrize("path", [f"/models/{ALIAS}", f"/hf-inference/models/{ALIAS}"])
def test_an_id_with_an_owner_is_an_alias(client: FlaskClient, container: Container, worker: Worker, path: str) -> None:
    seen = worker(result=[["3", 1.0]])
    models.alias(container, "default", ALIAS, "digits")
    assert post(client, path).status_code == 200
    assert (seen[0].model, seen[0].wire) == ("digits", "huggingface")


@pytest.mark.parametrize(
    ("accepted", "packed"), [("gzip, deflate", "gzip"), ("identity", None), ("deflate, gzip;q=0", None)]
)
def test_a_large_answer_is_compressed_for_clients_that_accept_it(
    client: FlaskClient, worker: Worker, accepted: str, packed: str | None
) -> None:
    worker(result=[["a label of many letters " * 10, 0.1]] * 5)
    answer = post(client, Accept_Encoding=accepted)
    assert answer.headers.get("Content-Encoding") == packed
    assert answer.headers["Vary"] == "Accept-Encoding"
    data = gzip.decompress(answer.data) if packed else answer.data
    assert len(json.loads(data)) == 5


def test_a_small_answer_is_not_packed(client: FlaskClient, worker: Worker) -> None:
    worker(result=[["3", 1.0]])
    assert "Content-Encoding" not in post(client, Accept_Encoding="gzip").headers


def test_every_answer_has_an_id_and_it_is_the_caller_s_where_there_is_one(client: FlaskClient) -> None:
    assert post(client, body=b"x", X_Amzn_Trace_Id="trace-7").headers["x-request-id"] == "trace-7"
    assert client.get(MODEL).headers["x-request-id"] != client.get(MODEL).headers["x-request-id"]


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_is_there_says_so(client: FlaskClient, path: str) -> None:
    assert (client.get(path).status_code, client.get(path).json) == (200, {"ok": "ok"})
    assert client.head(path).status_code == 200


# -- models of the hub


@pytest.mark.parametrize("model_id", ["digits", ALIAS])
@pytest.mark.parametrize("query", ["", "?expand=inferenceProviderMapping", "?expand[]=inferenceProviderMapping"])
def test_the_hub_knows_what_kind_of_model_it_is_and_where(
    client: FlaskClient, container: Container, model_id: str, query: str
) -> None:
    models.alias(container, "default", ALIAS, "digits")
    answer = client.get(f"/api/models/{model_id}{query}")
    assert answer.status_code == 200
    assert answer.json["id"] == answer.json["modelId"] == model_id
    assert answer.json["pipeline_tag"] == "image-classification"
    assert "image-classification" in answer.json["tags"]
    assert answer.json["private"] is False
    mapping = {"status": "live", "providerId": model_id, "task": "image-classification"}
    assert answer.json["inferenceProviderMapping"] == {"hf-inference": mapping}


def test_the_model_of_a_tenant_is_private(client: FlaskClient, container: Container) -> None:
    models.add(container, "default", "mine", architecture="resnet18")
    assert client.get("/api/models/mine").json["private"] is True


def test_what_another_tenant_has_is_not_there(client: FlaskClient, container: Container) -> None:
    models.alias(container, "default", ALIAS, "digits")
    models.add(container, "default", "mine", architecture="resnet18")
    own = close_the_door(container)
    other = another_tenant(container)
    for model_id in (ALIAS, "mine"):
        for path in (f"/api/models/{model_id}", f"/models/{model_id}"):
            assert client.get(path, headers=own).status_code == 200
            assert_complaint(client.get(path, headers=other), 404, model_id)


# -- complaints


def assert_complaint(answer: TestResponse, status: int, *words: str) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/json")
    assert isinstance(answer.json["error"], str)
    for word in words:
        assert word in answer.json["error"]


NO_PICTURES = [
    b"",
    b"just some text",
    b"%PDF-1.7",
    b"8BPS\0\1" + bytes(100),
    b"{",
    b"[1, 2]",
    b"null",
    b"{}",
    b'{"parameters": {"top_k": 2}}',
    b'{"inputs": "%%%"}',
    b'{"inputs": "abc"}',
    b'{"inputs": ""}',
    b'{"inputs": null}',
    b'{"inputs": 7}',
    b'{"inputs": ["a"]}',
    b'{"inputs": {"a": "b"}}',
    b'{"inputs": "\\ud800"}',
    b'{"inputs": "https://example.org/duck.png"}',
    b'{"inputs": "data:image/png,abc"}',
    b'{"inputs": ' + b"[" * 100_000,
    b'{"inputs": "' + base64.b64encode(b"just some text") + b'"}',
    b'\xff\xfe{"inputs"',
    THREE[:20],
]


def test_what_is_no_picture_is_refused_in_the_words_of_the_wire(client: FlaskClient) -> None:
    for body in NO_PICTURES:
        answer = post(client, body=body)
        assert_complaint(answer, 400)
        assert answer.json["error"].startswith("cannot identify image file"), body
        assert "x-compute-time" not in answer.headers


def test_a_truncated_picture_is_the_caller_s_fault(stack: Stack) -> None:
    answer = send(stack, THREE[: len(THREE) // 2])
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
    assert answer.headers["x-compute-type"] == "cpu"
    assert "x-compute-images" not in answer.headers


def test_parameters_that_do_not_exist_are_refused(client: FlaskClient) -> None:
    wrong: list[Any] = [
        {"temperature": 1},
        {"top_k": 0},
        {"top_k": -1},
        {"top_k": "many"},
        {"top_k": 1.5},
        {"top_k": [2]},
        {"top_k": True},
        {"function_to_apply": "relu"},
        {"function_to_apply": ["softmax"]},
        [1],
        "top_k",
    ]
    for parameters in wrong:
        answer = post(client, body=in_json(parameters=parameters))
        assert_complaint(answer, 400)
        assert "x-compute-time" in answer.headers, parameters


def test_switches_must_be_true_or_false(client: FlaskClient) -> None:
    assert_complaint(post(client, x_use_cache="perhaps"), 400, "use_cache")
    assert_complaint(post(client, body=in_json(options={"wait_for_model": 3})), 400, "wait_for_model")
    assert_complaint(post(client, body=in_json(options=[1])), 400, "options")


@pytest.mark.parametrize("model_id", ["unknown", "google/unknown"])
def test_an_unknown_model_is_404(client: FlaskClient, model_id: str) -> None:
    for path in (f"/models/{model_id}", f"/hf-inference/models/{model_id}"):
        assert_complaint(post(client, path), 404, f"Model {model_id} does not exist")
        assert_complaint(client.get(path), 404, model_id)
    assert_complaint(client.get(f"/api/models/{model_id}"), 404, model_id)


@pytest.mark.parametrize("path", ["/models", "/models/a/b/c", "/hf-inference", "/hf-inference/x", "/api/models"])
def test_a_path_that_leads_nowhere_is_404_too(client: FlaskClient, path: str) -> None:
    assert_complaint(post(client, path), 404, path)


@pytest.mark.parametrize("path", [*PATHS, "/api/models/digits"])
def test_another_method_is_405_in_json(client: FlaskClient, path: str) -> None:
    answer = client.delete(path)
    assert_complaint(answer, 405)
    assert "GET" in answer.headers["Allow"]


def test_a_bad_token_and_none_are_answered_differently(
    client: FlaskClient, container: Container, worker: Worker
) -> None:
    worker(result=[["3", 1.0]])
    own = close_the_door(container)
    bad = post(client, Authorization="Bearer hf_wrong")
    assert_complaint(bad, 401, "Invalid credentials in Authorization header")
    none = post(client)
    assert_complaint(none, 401)
    assert none.json["error"] != bad.json["error"]
    for answer in (bad, none, client.get("/api/models/digits")):
        assert answer.headers["X-Error-Message"] == answer.json["error"]
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert post(client, **own).status_code == 200


def test_a_key_without_the_scope_is_403(client: FlaskClient, container: Container) -> None:
    close_the_door(container)
    _, text = keys.create(container, Caller("default", SCOPES), scopes=("models",))
    assert_complaint(post(client, Authorization=f"Bearer {text}"), 403, "infer")


def test_too_much_is_413(container: Container) -> None:
    client = with_settings(container, max_picture=len(THREE) - 1)
    assert_complaint(post(client), 413)
    assert_complaint(post(client, body=in_json()), 413)
    assert_complaint(post(client, body=b"{" + bytes(300_000)), 413)
    assert_complaint(post(with_settings(container, max_body=500), body=bytes(1000)), 413)


def test_a_picture_of_too_many_pixels_is_refused(container: Container) -> None:
    assert_complaint(post(with_settings(container, max_pixels=10)), 400, "10")


def test_too_many_requests_are_refused_in_the_words_of_the_wire(container: Container, worker: Worker) -> None:
    worker(result=[["3", 1.0]])
    client = with_settings(container, huggingface_rate="1/minute")
    assert post(client).status_code == 200
    refused = post(client)
    assert_complaint(refused, 429)
    assert refused.json["error"].startswith("Rate limit reached. ")
    assert refused.headers["RateLimit"].startswith('"api";r=0;t=')
    assert refused.headers["RateLimit-Policy"] == '"fixed window";"api";q=1;w=60'
    assert int(refused.headers["Retry-After"]) > 0


def test_a_full_queue_is_reported_in_the_words_of_the_wire(container: Container) -> None:
    client = with_settings(container, max_queued=1)
    post(client)
    answer = post(client)
    assert_complaint(answer, 429)
    assert answer.json["error"].startswith("Rate limit reached. ")


def test_a_fault_of_ours_says_nothing(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(jobs, "submit", fails)
    answer = post(client)
    assert (answer.status_code, answer.json) == (500, {"error": "unknown error"})
    assert answer.headers["x-compute-type"] == "cpu"


def test_a_picture_that_no_worker_survives_is_a_fault_of_ours(client: FlaskClient, worker: Worker) -> None:
    worker(error_code="poison", error="It killed three workers.")
    assert post(client).json == {"error": "unknown error"}


def test_a_picture_that_turns_out_broken_is_not(client: FlaskClient, worker: Worker) -> None:
    worker(error_code="broken_picture", error="The picture is damaged.")
    answer = post(client)
    assert_complaint(answer, 400, "The picture is damaged.")
    assert answer.headers["x-compute-type"] == "cpu"


# -- 503, at which one of the clients comes again at once


def test_a_model_that_is_loading_says_how_long_it_takes(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "PATIENCE", 0.01)
    change_digits(container, state=ModelState.CHECKING)
    with container.database.write() as uow:
        uow.key_values.set(CHECK_SECONDS, "12.5")
    answer = post(client)
    assert answer.status_code == 503
    assert answer.json == {"error": "Model digits is currently loading", "estimated_time": 12.5}
    assert isinstance(answer.json["estimated_time"], float)
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get(MODEL).status_code == 200


def test_a_model_that_becomes_ready_meanwhile_answers(
    client: FlaskClient, container: Container, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(result=[["3", 1.0]])
    change_digits(container, state=ModelState.CHECKING)

    async def checked(container: Container, version: ModelVersion, seconds: float) -> ModelVersion:
        assert seconds == common.PATIENCE
        change_digits(container, state=ModelState.READY)
        return digits(container)

    monkeypatch.setattr(models, "until_checked", checked)
    assert post(client).status_code == 200


@pytest.mark.parametrize(
    ("headers", "options", "waits"),
    [
        ({}, {}, False),
        ({"x_wait_for_model": "false"}, {}, False),
        ({"x_wait_for_model": "0"}, {}, False),
        ({"x_wait_for_model": "true"}, {}, True),
        ({"X_Wait_For_Model": "1"}, {}, True),
        ({}, {"wait_for_model": True}, True),
        ({}, {"wait_for_model": "true"}, True),
        ({"x_wait_for_model": "false"}, {"wait_for_model": True}, False),
    ],
)
def test_a_request_waits_for_its_model_if_it_asks_for_that(
    container: Container, patience: list[float], headers: dict[str, str], options: dict[str, Any], waits: bool
) -> None:
    change_digits(container, state=ModelState.CHECKING)
    client = with_settings(container, max_wait=33.0)
    assert post(client, body=in_json(options=options), **headers).status_code == 503
    assert patience == [33.0 if waits else common.PATIENCE]


def test_no_request_waits_when_all_places_are_taken(
    client: FlaskClient, container: Container, patience: list[float]
) -> None:
    change_digits(container, state=ModelState.CHECKING)
    limiter = client.application.extensions["inferq.waiting_places"]
    while limiter.acquire():
        pass
    assert post(client, x_wait_for_model="true").status_code == 503
    assert patience == []
    limiter.release()
    assert post(client, x_wait_for_model="true").status_code == 503
    assert patience == [container.settings.max_wait]
    assert limiter.acquire(), "the place was not given back"


def test_a_model_that_cannot_be_loaded_is_500_with_the_reason(client: FlaskClient, container: Container) -> None:
    change_digits(container, state=ModelState.REFUSED, reason="The weights are of another network.")
    assert_complaint(post(client), 500, "The weights are of another network.")


def test_a_model_whose_weights_cannot_be_fetched_is_404_with_the_reason(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(container: Container, version: ModelVersion, seconds: float) -> ModelVersion:
        return replace(version, state=ModelState.ABSENT, reason="The weights could not be fetched.")

    change_digits(container, state=ModelState.ABSENT)
    monkeypatch.setattr(models, "until_checked", unreachable)
    assert_complaint(post(client), 404, "The weights could not be fetched.")


def test_an_answer_after_which_clients_retry_at_once_is_delayed_during_an_outage(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> None:
        raise errors.Unavailable("Redis is away.")

    held: list[float] = []
    monkeypatch.setattr(jobs, "submit", away)
    monkeypatch.setattr(time, "sleep", held.append)
    assert_complaint(post(client), 503, "Redis is away.")
    assert held == [common.PATIENCE]
    limiter = client.application.extensions["inferq.held_threads"]
    while limiter.acquire():
        pass
    assert_complaint(post(client), 503)
    assert len(held) == 1


def test_a_picture_that_still_waits_is_not_sent_again(client: FlaskClient) -> None:
    answer = post(client)
    assert_complaint(answer, 504, "/v1/jobs/")


# -- the cache


def remember(container: Container, tenant: str = "default", picture: bytes = THREE) -> None:
    """Store logits in the result cache, as a worker does."""
    key = result_cache.key(tenant, digits(container).id, "classify", True, picture)
    result_cache.keep(container, {key: LOGITS})


def test_a_picture_that_was_seen_is_answered_without_a_job(
    client: FlaskClient, container: Container, worker: Worker
) -> None:
    seen = worker(result=[["3", 1.0]])
    remember(container)
    answer = post(client)
    assert (answer.status_code, answer.json[0]["label"], len(answer.get_json())) == (200, "3", 5)
    assert answer.headers["x-compute-type"] == "cache"
    assert answer.headers["x-compute-images"] == "1"
    assert answer.headers["x-compute-time"]
    assert seen == []


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_what_is_remembered_serves_every_function_and_number(stack: Stack, function: str) -> None:
    picture = a_picture_never_seen()
    parameters = {"top_k": 7, "function_to_apply": function}
    first = send(stack, picture)
    computed = send(stack, in_json(picture, parameters=parameters, options={"use_cache": False}))
    remembered = send(stack, in_json(picture, parameters=parameters))
    kinds = [answer.headers["x-compute-type"] for answer in (first, computed, remembered)]
    assert kinds == ["cpu", "cpu", "cache"]
    assert [entry["label"] for entry in remembered.json()] == [entry["label"] for entry in computed.json()]
    scores = [entry["score"] for entry in computed.json()]
    assert [entry["score"] for entry in remembered.json()] == pytest.approx(scores, rel=0, abs=1e-9)
    assert len(scores) == 7


@pytest.mark.parametrize(
    ("headers", "options", "uses"),
    [
        ({}, {}, True),
        ({"x_use_cache": "true"}, {}, True),
        ({"X_Use_Cache": "1"}, {}, True),
        ({}, {"use_cache": True}, True),
        ({"x_use_cache": "false"}, {}, False),
        ({"X_Use_Cache": "0"}, {}, False),
        ({}, {"use_cache": False}, False),
        ({}, {"use_cache": "false"}, False),
        ({"x_use_cache": "false"}, {"use_cache": True}, False),
    ],
)
def test_the_cache_is_used_unless_it_is_declined(
    client: FlaskClient,
    container: Container,
    worker: Worker,
    headers: dict[str, str],
    options: dict[str, Any],
    uses: bool,
) -> None:
    seen = worker(result=[["3", 1.0]])
    first = post(client, body=in_json(options=options), **headers)
    assert first.headers["x-compute-type"] == "cpu"
    (entry,) = container.queue.streams.claim(seen[0].version_id, "a worker", 1)
    assert entry.remember is uses
    remember(container)
    assert post(client, body=in_json(options=options), **headers).status_code == 200
    assert len(seen) == (1 if uses else 2)


def test_one_tenant_does_not_get_what_another_has_seen(
    client: FlaskClient, container: Container, worker: Worker
) -> None:
    worker(result=[["3", 1.0]])
    own = close_the_door(container)
    other = another_tenant(container)
    remember(container)
    assert post(client, **own).headers["x-compute-type"] == "cache"
    assert post(client, **other).headers["x-compute-type"] == "cpu"


def test_another_model_by_the_same_name_does_not_remember(
    client: FlaskClient, container: Container, worker: Worker
) -> None:
    worker(result=[["3", 1.0]])
    remember(container)
    own = models.add(container, "default", "digits", imported=ModelImport("uploads/1"))
    with container.database.write() as uow:
        uow.model_versions.save(replace(own, state=ModelState.READY, labels=tuple("0123456789")))
    assert post(client).headers["x-compute-type"] == "cpu"


def test_a_model_that_is_no_longer_served_is_not_answered_from_memory(
    client: FlaskClient, container: Container
) -> None:
    remember(container)
    change_digits(container, state=ModelState.REFUSED, reason="It was found out.")
    assert_complaint(post(client), 500, "It was found out.")


def test_parameters_are_checked_even_if_the_answer_is_known(client: FlaskClient, container: Container) -> None:
    remember(container)
    assert_complaint(post(client, body=in_json(parameters={"temperature": 1})), 400, "temperature")
    answer = post(client, body=in_json(parameters={"top_k": 2, "function_to_apply": "none"}))
    assert answer.json == [{"label": "3", "score": 9.5}, {"label": "5", "score": 4.75}]


def test_a_cache_that_is_off_costs_nothing_but_time(container: Container, worker: Worker) -> None:
    seen = worker(result=[["3", 1.0]])
    remember(container)
    assert post(with_settings(container, cache_entries=0)).headers["x-compute-type"] == "cpu"
    assert len(seen) == 1


def test_where_the_cache_is_away_the_queue_is_too_and_nothing_is_submitted(
    container: Container, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = worker(result=[["3", 1.0]])
    monkeypatch.setattr(common, "PATIENCE", 0.0)

    def away(slot: str) -> None:
        raise errors.Unavailable("Redis is away.")

    container.queue.result_slots.get = away  # type: ignore[method-assign]
    assert post(create_app(container).test_client()).status_code == 503
    assert not seen
