"""The SAP wire, as its documentation and its clients show it: requests and the answers that must come back."""

from __future__ import annotations

import base64
import io
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.jobs import Outcome, Status
from shared.domain.keys import SCOPES, Caller
from shared.services import jobs, keys
from tests import apps, stacks
from tests.stacks import Stack

V1 = (
    "/inference_sync",
    "/ml/imageclassifier/inference_sync",
    "/ml/prodimgclassifier/inference_sync",
    "/ml/featureextraction/inference_sync",
)
V2 = (
    "/ml/imageclassification/classification",
    "/mlfs/api/v2/image/classification",
    "/mlfs/api/v2/image/classification/models/digits/versions/1",
    "/api/v2/image/classification",
    "/api/v2/image/classification/models/digits/versions/1",
    "/ml/imagefeatureextraction/feature-extraction",
    "/mlfs/api/v2/image/feature-extraction",
    "/mlfs/api/v2/image/feature-extraction/models/digits/versions/1",
    "/api/v2/image/feature-extraction",
    "/api/v2/image/feature-extraction/models/digits/versions/1",
)
CLASSIFY_V1, CLASSIFY_V2 = V1[1], V2[3]
DIGITS = stacks.digits()
THREE = DIGITS[3]
NOT_AN_IMAGE = ("notes.png", b"just some text, whatever the name says")
INVALID_TYPE_V1 = {
    "error": "Error when uploading files:",
    "error_description": "Invalid file type",
    "status_code": 400,
}
INVALID_TYPE_V2 = {"error": {"code": "400", "message": "Error when uploading files:: Invalid file type"}}

File = tuple[str, bytes]


def post(client: FlaskClient, path: str, *files: File, **sent: Any) -> TestResponse:
    """Multipart `files`, and form fields or `headers`."""
    headers = sent.pop("headers", {})
    parts = [(io.BytesIO(content), name) for name, content in files]
    return client.post(path, data={"files": parts} | sent, headers=headers, content_type="multipart/form-data")


def send(stack: Stack, path: str, *files: File, **fields: str) -> httpx.Response:
    parts = [("files", (name, content)) for name, content in files]
    return httpx.post(stack.url + path, files=parts, data=fields, timeout=90)


def picture(width: int, height: int, format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("L", (width, height), 128).save(out, format)
    return out.getvalue()


def zipped(members: Sequence[File]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def tarred(members: Sequence[File], mode: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def with_settings(container: Container, **changed: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**changed))).test_client()


def close_the_door(container: Container) -> str:
    """Create a key, so that requests need one; return its text."""
    _, text = keys.create(container, Caller("default", SCOPES), scopes=SCOPES)
    return text


# -- answers


def best(prediction: dict[str, Any]) -> str:
    scores = [result["score"] for result in prediction["results"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1
    return str(prediction["results"][0]["label"])


@pytest.mark.parametrize("path", V1)
def test_every_path_of_2017_answers_in_its_style(stack: Stack, path: str) -> None:
    answer = send(stack, path, THREE, options='{"lang": "en"}')
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == {"_id", "predictions", "processed_time", "request", "status", "tenantName"}
    assert body["status"] == "DONE"
    assert body["tenantName"] == "default"
    assert body["request"] == {
        "files": ["digit_3.png"],
        "options": {"lang": "en"},
        "tenantName": "default",
        "texts": [],
    }
    assert body["processed_time"].endswith(" GMT")
    assert parsedate_to_datetime(body["processed_time"])
    assert_prediction(path, body["predictions"])


@pytest.mark.parametrize("path", V2)
def test_every_later_path_answers_in_its_style(stack: Stack, path: str) -> None:
    answer = send(stack, path, THREE)
    body = answer.json()
    assert answer.status_code == 200
    assert {"id", "predictions", "processedTime", "status"} <= set(body)
    assert not {"_id", "processed_time"} & set(body)
    assert body["status"] == "DONE"
    assert parsedate_to_datetime(body["processedTime"])
    assert_prediction(path, body["predictions"])


def assert_prediction(path: str, predictions: list[dict[str, Any]]) -> None:
    (prediction,) = predictions
    assert prediction["name"] == "digit_3.png"
    if "feature" not in path:
        assert set(prediction) == {"name", "results"}
        assert best(prediction) == "3"
        return
    assert set(prediction) == {"name", "featureVectors"}
    assert len(prediction["featureVectors"]) > 10
    assert all(isinstance(number, float) for number in prediction["featureVectors"])


def test_doubled_slashes_in_a_path_count_as_one(stack: Stack) -> None:
    assert send(stack, "//ml/imageclassification/classification", THREE).json()["status"] == "DONE"


def test_several_pictures_are_answered_in_upload_order(stack: Stack) -> None:
    upside_down = DIGITS[::-1]
    body = send(stack, CLASSIFY_V2, *upside_down).json()
    assert [prediction["name"] for prediction in body["predictions"]] == [name for name, _ in upside_down]
    assert [best(prediction) for prediction in body["predictions"]] == list("9876543210")


@pytest.mark.parametrize(
    "pack", [zipped, lambda m: tarred(m, "w"), lambda m: tarred(m, "w:gz")], ids=["zip", "tar", "tgz"]
)
@pytest.mark.parametrize("path", [CLASSIFY_V1, CLASSIFY_V2])
def test_a_flat_archive_is_answered_by_the_names_of_its_members(stack: Stack, path: str, pack: Any) -> None:
    body = send(stack, path, ("archive.bin", pack(DIGITS[:3]))).json()
    assert [prediction["name"] for prediction in body["predictions"]] == ["digit_0.png", "digit_1.png", "digit_2.png"]
    assert [best(prediction) for prediction in body["predictions"]] == ["0", "1", "2"]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("path", [CLASSIFY_V1, CLASSIFY_V2])
def test_the_documented_formats_are_taken_under_any_name(client: FlaskClient, path: str, format: str) -> None:
    assert post(client, path, ("whatever.xyz", picture(20, 20, format))).status_code == 202


def test_one_broken_picture_among_several_keeps_its_place_with_the_reason(stack: Stack) -> None:
    name, content = DIGITS[1]
    answer = send(stack, CLASSIFY_V2, DIGITS[0], (name, content[: len(content) // 2]), DIGITS[2])
    predictions = answer.json()["predictions"]
    assert (answer.status_code, answer.json()["status"]) == (200, "DONE")
    assert [best(predictions[0]), best(predictions[2])] == ["0", "2"]
    assert predictions[1]["name"] == "digit_1.png"
    assert predictions[1]["results"] == []
    assert "damaged" in predictions[1]["error"]


def test_a_single_broken_picture_is_refused_with_the_id_of_its_job(stack: Stack) -> None:
    name, content = THREE
    broken = (name, content[: len(content) // 2])
    first, second = send(stack, CLASSIFY_V1, broken), send(stack, CLASSIFY_V2, broken)
    assert (first.status_code, second.status_code) == (400, 400)
    assert first.json()["error"] == "Error when uploading files:"
    assert "damaged" in first.json()["error_description"]
    assert first.json()["status_code"] == 400
    assert second.json()["error"]["message"].startswith("Error when uploading files:: The picture is damaged")
    polled = httpx.get(f"{stack.url}/jobs/{first.json()['_id']}").json()
    assert (polled["status"], polled["error"]) == ("FAILED", "Error when uploading files:")
    polled = httpx.get(f"{stack.url}{CLASSIFY_V2}/jobs/{second.json()['id']}").json()
    assert (polled["status"], polled["error"]) == ("FAILED", second.json()["error"])


# -- submit, then poll


@pytest.mark.parametrize("path", ["/jobs", *(f"{path}/jobs" for path in V1)])
def test_a_job_of_2017_is_queued_and_then_done(stack: Stack, path: str) -> None:
    answer = send(stack, path, THREE)
    body = answer.json()
    assert answer.status_code == 202
    assert body["status"] == "QUEUED"
    assert answer.headers["location"] == f"{path}/{body['_id']}"
    done = finished(stack, answer.headers["location"], {"QUEUED", "RUNNING"})
    assert done["_id"] == body["_id"]
    assert done["request"] == body["request"]
    assert done["processed_time"].endswith(" GMT")
    assert_prediction(path, done["predictions"])


@pytest.mark.parametrize("path", V2)
def test_a_later_job_is_pending_and_then_done(stack: Stack, path: str) -> None:
    answer = send(stack, f"{path}/jobs", THREE)
    body = answer.json()
    assert answer.status_code == 202
    assert body["status"] == "PENDING"
    assert "predictions" not in body
    done = finished(stack, f"{path}/jobs/{body['id']}", {"PENDING", "RUNNING"})
    assert done["id"] == body["id"]
    assert_prediction(path, done["predictions"])


def finished(stack: Stack, path: str, unfinished: set[str]) -> dict[str, Any]:
    """Poll until the job has ended and return the answer; only these statuses may be seen before."""
    seen: list[dict[str, Any]] = []

    def done() -> bool:
        seen.append(httpx.get(stack.url + path).raise_for_status().json())
        return bool(seen[-1]["status"] == "DONE")

    stacks.until(done, 30)
    assert {body["status"] for body in seen[:-1]} <= unfinished
    return seen[-1]


def test_a_wait_that_runs_out_is_answered_with_the_job(client: FlaskClient) -> None:
    first, second = post(client, CLASSIFY_V1, THREE), post(client, CLASSIFY_V2, THREE)
    assert (first.status_code, first.json["status"]) == (202, "QUEUED")
    assert (second.status_code, second.json["status"]) == (202, "PENDING")
    assert first.headers["Location"] == f"{CLASSIFY_V1}/jobs/{first.json['_id']}"
    assert client.get(first.headers["Location"]).json == first.json
    assert client.get(second.headers["Location"]).json == second.json
    assert second.headers["Retry-After"]


def test_a_job_that_runs_says_so_in_both_styles(client: FlaskClient, container: Container) -> None:
    job_id = post(client, "/jobs", THREE).json["_id"]
    with container.database.write() as uow:
        uow.jobs.start({job_id}, container.now())
    assert client.get(f"/jobs/{job_id}").json["status"] == "RUNNING"
    assert client.get(f"{CLASSIFY_V2}/jobs/{job_id}").json["status"] == "RUNNING"


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED])
def test_a_job_that_was_ended_has_failed_with_the_reason(
    client: FlaskClient, container: Container, status: Status
) -> None:
    job_id = post(client, "/jobs", THREE).json["_id"]
    with container.database.write() as uow:
        uow.jobs.end([job_id], status, container.now())
    first, second = client.get(f"/jobs/{job_id}"), client.get(f"{CLASSIFY_V2}/jobs/{job_id}")
    assert first.status_code == second.status_code == 200
    assert first.json["status"] == second.json["status"] == "FAILED"
    assert status.lower() in first.json["error_description"]
    assert status.lower() in second.json["error"]["message"]
    assert first.json["predictions"] == [
        {"name": "digit_3.png", "results": [], "error": first.json["error_description"]}
    ]


def test_a_fault_of_ours_is_shown_as_such_in_the_job(client: FlaskClient, container: Container) -> None:
    job_id = post(client, "/jobs", THREE).json["_id"]
    with container.database.write() as uow:
        uow.jobs.start({job_id}, container.now())
    jobs.finish(container, [Outcome(job_id, 0, error_code="poison", error="It killed three workers.")])
    body = client.get(f"{CLASSIFY_V2}/jobs/{job_id}").json
    assert body["error"] == {"code": "500", "message": "It killed three workers."}


# -- names


@pytest.mark.parametrize(
    "name", ['du"ck".png', '"quoted" 猫.png', 'a;b="c".png', "größe.jpg", "plain.png", 'says \\"hi\\".png']
)
def test_names_arrive_whole_even_with_quotes_that_are_not_escaped(client: FlaskClient, name: str) -> None:
    body = (
        f'--XX\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + THREE[1] + b"\r\n--XX--\r\n"  # fmt: skip
    answer = client.post("/jobs", data=body, content_type="multipart/form-data; boundary=XX")
    assert answer.json["request"]["files"] == [name.replace('\\"', '"')]


# -- errors: the wire's own words


def test_what_is_no_image_is_refused_in_the_observed_words(client: FlaskClient) -> None:
    first, second = post(client, CLASSIFY_V1, NOT_AN_IMAGE), post(client, CLASSIFY_V2, NOT_AN_IMAGE)
    assert (first.status_code, first.json) == (400, INVALID_TYPE_V1)
    assert (second.status_code, second.json) == (400, INVALID_TYPE_V2)


def test_a_format_that_the_wire_does_not_know_is_no_image_to_it(client: FlaskClient) -> None:
    webp = ("picture.png", picture(20, 20, "WEBP"))
    assert post(client, "/ml/prodimgclassifier/inference_sync", webp).json == INVALID_TYPE_V1
    assert post(client, CLASSIFY_V2, webp).json == INVALID_TYPE_V2
    packed = post(client, CLASSIFY_V2, ("a.zip", zipped([("a.png", webp[1])]))).json["error"]["message"]
    assert packed.startswith(f"{INVALID_TYPE_V2['error']['message']}: 'a.png' ")


@pytest.mark.parametrize("member", ["folder/digit.png", "/absolute.png", "__MACOSX/._digit.png"])
def test_an_archive_with_folders_is_refused_in_the_observed_words(client: FlaskClient, member: str) -> None:
    archive = ("pictures.zip", zipped([DIGITS[0], (member, THREE[1])]))
    first, second = post(client, CLASSIFY_V1, archive), post(client, CLASSIFY_V2, archive)
    message = "Invalid request: Absolute path, or hierarchy in archive file is not allowed"
    assert (first.status_code, second.status_code) == (400, 400)
    assert second.json == {"error": {"code": "400", "message": message}}
    assert (first.json["error"], first.json["status_code"]) == ("Invalid Archive Input", 400)
    assert "flat archives" in first.json["error_description"]
    assert member.rpartition("/")[0] in first.json["error_description"]


def test_an_archive_must_come_alone(client: FlaskClient) -> None:
    archive = ("pictures.zip", zipped(DIGITS[:2]))
    for files in ([archive, THREE], [THREE, archive]):
        first, second = post(client, CLASSIFY_V1, *files), post(client, CLASSIFY_V2, *files)
        assert (first.status_code, first.json["error"]) == (400, "Invalid Archive Input")
        assert (second.status_code, second.json["error"]["code"]) == (400, "400")
        assert "only file" in second.json["error"]["message"]


@pytest.mark.parametrize("size", [(1024, 20), (20, 1024)])
def test_a_side_of_1024_pixels_is_refused_by_the_paths_of_2017_only(client: FlaskClient, size: tuple[int, int]) -> None:
    for path in (*V1, "/jobs"):
        answer = post(client, path, ("big.png", picture(*size)))
        assert (answer.status_code, answer.json["status_code"]) == (400, 400)
        assert "under 1024" in answer.json["error_description"]
    assert post(client, CLASSIFY_V2, ("big.png", picture(*size))).status_code == 202


def test_a_side_of_1023_pixels_is_taken_and_the_limit_can_be_switched_off(
    client: FlaskClient, container: Container
) -> None:
    assert post(client, CLASSIFY_V1, ("fits.png", picture(1023, 20))).status_code == 202
    unlimited = with_settings(container, sap_max_side=0)
    assert post(unlimited, CLASSIFY_V1, ("big.png", picture(1024, 20))).status_code == 202


def test_a_request_without_a_file_says_which_part_is_missing(client: FlaskClient) -> None:
    sent: dict[str, Any]
    for sent in ({"data": {"options": "{}"}}, {"data": THREE[1]}, {"json": {"inputs": []}}, {}):
        first, second = client.post(CLASSIFY_V1, **sent), client.post(CLASSIFY_V2, **sent)
        assert (first.status_code, second.status_code) == (400, 400)
        assert "`files`" in first.json["error_description"]
        assert "`files`" in second.json["error"]["message"]


@pytest.mark.parametrize("options", ["{", "[]", '"text"'])
def test_options_must_be_a_json_object(client: FlaskClient, options: str) -> None:
    assert "options" in post(client, CLASSIFY_V1, THREE, options=options).json["error_description"]
    answer = post(client, CLASSIFY_V2, THREE, options=options)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "400")


@pytest.mark.parametrize("name", ["model", "modelName", "version", "modelVersion"])
def test_a_model_in_the_query_is_refused_with_the_path_that_names_it(client: FlaskClient, name: str) -> None:
    answer = post(client, f"/inference_sync?{name}=birds", THREE)
    assert answer.status_code == 400
    assert answer.json["error_description"].startswith(f"{name} in the query chooses no model on this wire")
    v2 = post(client, f"/api/v2/image/feature-extraction?{name}=birds", THREE)
    assert "/api/v2/image/feature-extraction/models/NAME/versions/VERSION" in v2.json["error"]["message"]
    assert client.get("/v1/jobs").json["jobs"] == []


def test_an_unknown_url_is_answered_in_the_form_of_its_prefix(client: FlaskClient) -> None:
    for path in ("/api/v2/image/nothing", "/mlfs/api/v2/nothing", "/ml/imageclassification/nothing"):
        answer = client.post(path)
        assert (answer.status_code, answer.json["error"]["code"]) == (404, "404")
        assert answer.json["error"]["message"].startswith("URL does not exist")
    assert client.get("/inference_sync/nothing").json["status_code"] == 404
    gateway = client.post("/ml/object-detection")
    assert gateway.json["fault"]["detail"]["errorcode"] == "messaging.runtime.RouteFailed"


@pytest.mark.parametrize("path", [*V1, *V2])
def test_a_wrong_method_is_answered_in_json(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 405
    assert (answer.json["status_code"] if path in V1 else answer.json["error"]["code"]) in (405, "405")


def test_an_unknown_model_version_or_job_is_not_found(client: FlaskClient) -> None:
    base = "/api/v2/image/classification/models"
    for path in (f"{base}/nothing/versions/1", f"{base}/digits/versions/77"):
        answer = post(client, path, THREE)
        assert (answer.status_code, answer.json["error"]["code"]) == (404, "404")
        assert "model" in answer.json["error"]["message"].lower()
    assert client.get(f"{CLASSIFY_V2}/jobs/0190-nothing").json["error"]["code"] == "404"
    assert client.get("/jobs/0190-nothing").json["status_code"] == 404


def test_a_model_that_is_not_deployed_yet_says_when_to_come_again(client: FlaskClient) -> None:
    answer = post(client, "/api/v2/image/classification/models/resnet50/versions/1", THREE)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "503")
    assert int(answer.headers["Retry-After"]) > 0


def test_products_are_classified_by_the_model_of_the_setting(container: Container) -> None:
    client = with_settings(container, sap_product_model="shop")
    answer = post(client, "/ml/prodimgclassifier/inference_sync", THREE)
    assert answer.status_code == 404
    assert answer.json["error_description"].startswith("There is no model 'shop'; there are: digits")
    assert post(client, CLASSIFY_V1, THREE).status_code == 202


def test_a_body_that_is_too_large_is_413(container: Container) -> None:
    client = with_settings(container, max_body=500)
    assert post(client, CLASSIFY_V2, ("a.png", bytes(1000))).json["error"]["code"] == "413"
    assert post(client, CLASSIFY_V1, ("a.png", bytes(1000))).json["status_code"] == 413


def test_too_many_requests_are_refused_by_the_gateway(container: Container) -> None:
    client = with_settings(container, max_queued=2)
    post(client, CLASSIFY_V1, THREE)
    answer = post(client, CLASSIFY_V1, *DIGITS[:2])
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert set(answer.json["fault"]) == {"faultstring", "detail"}


# -- keys and tokens


@pytest.mark.parametrize("path", ["/inference_sync", "/jobs", CLASSIFY_V1, V2[0], V2[1]])
def test_a_wrong_key_is_refused_by_the_gateway_of_the_sandbox(
    client: FlaskClient, container: Container, path: str
) -> None:
    close_the_door(container)
    answer = post(client, path, THREE, headers={"APIKey": "wrong"})
    assert answer.status_code == 401
    assert answer.json == {
        "fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}
    }
    missing = post(client, path, THREE, headers={"APIKey": "null"})
    assert (missing.status_code, set(missing.get_json())) == (401, {"fault"})


def test_a_wrong_token_is_refused_by_the_tenant_host(client: FlaskClient, container: Container) -> None:
    close_the_door(container)
    answer = post(client, CLASSIFY_V2, THREE, headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json["error"]["code"]) == (401, "401")


@pytest.mark.parametrize(
    "headers",
    [
        {"APIKey": "{}"},
        {"apikey": "{}"},
        {"Authorization": "Bearer {}"},
        {"APIKey": "Bearer {}"},
        {"APIKey": "{}", "Authorization": "null"},
        {"APIKey": "null", "Authorization": "Bearer {}"},
        {"APIKey": "wrong", "Authorization": "Bearer {}"},
    ],
)
def test_a_key_is_found_wherever_clients_put_it(
    client: FlaskClient, container: Container, headers: dict[str, str]
) -> None:
    key = close_the_door(container)
    sent = {name: value.format(key) for name, value in headers.items()}
    assert post(client, CLASSIFY_V1, THREE, headers=sent).status_code == 202


def basic(secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"client:{secret}".encode()).decode()}


def test_a_key_as_client_secret_is_exchanged_for_a_token_that_works(client: FlaskClient, container: Container) -> None:
    key = close_the_door(container)
    form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": key}
    by_get = client.get("/oauth/token?grant_type=client_credentials", headers=basic(key))
    for answer in (by_get, client.post("/oauth/token", data=form)):
        assert answer.status_code == 200
        assert set(answer.get_json()) == {"access_token", "token_type", "expires_in", "scope", "jti"}
        assert answer.json["token_type"] == "bearer"
        token = f"Bearer {answer.json['access_token']}"
        assert post(client, CLASSIFY_V2, THREE, headers={"Authorization": token}).status_code == 202


def test_a_wrong_client_secret_gets_no_token(client: FlaskClient, container: Container) -> None:
    close_the_door(container)
    refused = {"error": "unauthorized", "error_description": "Bad credentials"}
    form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "wrong"}
    for answer in (
        client.get("/oauth/token", headers=basic("wrong")),
        client.post("/oauth/token", data=form),
        client.post("/oauth/token"),
    ):
        assert (answer.status_code, answer.json) == (401, refused)


def test_another_kind_of_grant_is_refused_as_such(client: FlaskClient) -> None:
    answer = client.post("/oauth/token", data={"grant_type": "password", "client_secret": "x"})
    assert (answer.status_code, answer.json["error"]) == (400, "unsupported_grant_type")


def test_a_token_of_the_open_door_is_taken_back(client: FlaskClient) -> None:
    token = client.get("/oauth/token?grant_type=client_credentials", headers=basic("anything")).json["access_token"]
    assert post(client, CLASSIFY_V2, THREE, headers={"Authorization": f"Bearer {token}"}).status_code == 202


def test_one_tenant_does_not_see_the_job_of_another(client: FlaskClient, container: Container) -> None:
    job_id = post(client, "/jobs", THREE).json["_id"]
    close_the_door(container)
    _, key = keys.create(container, Caller("default", SCOPES), tenant="other")
    assert client.get(f"/jobs/{job_id}", headers={"APIKey": key}).status_code == 404
