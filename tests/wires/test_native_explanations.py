"""The native wire: `explain` in every way in, the link to the heat map, and the heat maps of a running stack."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared.container import Container
from shared.domain.jobs import Outcome
from shared.services import explanations, jobs
from tests.stacks import Stack, digits

NAME, PICTURE = digits()[7]


def form(**fields: str) -> dict[str, Any]:
    files = {"files": (io.BytesIO(PICTURE), NAME)}
    return {"data": files | fields, "content_type": "multipart/form-data"}


def in_json(**fields: Any) -> dict[str, Any]:
    return {"json": {"inputs": [{"base64": base64.b64encode(PICTURE).decode()}]} | fields}


def raw(**fields: str) -> dict[str, Any]:
    return {"data": PICTURE, "content_type": "image/png", "query_string": fields}


WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "form": lambda: form(explain="true"),
    "form, query": lambda: form() | {"query_string": {"explain": "1"}},
    "JSON": lambda: in_json(explain=True),
    "JSON, query": lambda: in_json() | {"query_string": {"explain": "true"}},
    "raw": lambda: raw(explain="true"),
}


def finished(container: Container, job_id: str, result: Any, error: str = "") -> None:
    jobs.finish(container, [Outcome(job_id, 0, result, error=error)])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_answer_is_explained_in_every_way_in(
    client: FlaskClient, container: Container, way: Callable[[], dict[str, Any]]
) -> None:
    job = client.post("/v1/jobs", **way()).json
    assert job["request"]["options"]["explain"] is True
    path = f"/v1/jobs/{job['_id']}/explanations/0"
    assert client.get(path).status_code == 404
    explanations.store(container, {(job["_id"], 0): PICTURE})
    finished(container, job["_id"], [["7", 0.9], ["1", 0.1]])

    (prediction,) = client.get(f"/v1/jobs/{job['_id']}").json["predictions"]

    assert prediction["explanation"] == {"label": "7", "method": "grad-cam", "link": path}
    line = client.get(f"/v1/jobs/{job['_id']}/results").get_json(force=True)
    assert line["explanation"] == prediction["explanation"]
    shown = client.get(path)
    assert (shown.status_code, shown.mimetype, shown.data) == (200, "image/png", PICTURE)


def test_the_label_to_explain_may_be_named_alone(client: FlaskClient, container: Container) -> None:
    job = client.post("/v1/jobs", **in_json(explain_label="3")).json
    assert job["request"]["options"] | {"explain": True, "explain_label": "3"} == job["request"]["options"]
    finished(container, job["_id"], [["7", 0.9]])
    (prediction,) = client.get(f"/v1/jobs/{job['_id']}").json["predictions"]
    assert prediction["explanation"]["label"] == "3"


def test_an_answer_that_cannot_be_explained_says_why(client: FlaskClient, container: Container) -> None:
    job = client.post("/v1/jobs", **in_json(explain=True)).json
    finished(container, job["_id"], [["7", 0.9]], "It has no map.")
    done = client.get(f"/v1/jobs/{job['_id']}").json
    assert done["status"] == "DONE"
    assert done["predictions"][0]["explanation"] == {"reason": "It has no map."}
    assert done["predictions"][0]["results"] == [{"label": "7", "score": 0.9}]


@pytest.mark.parametrize("explain", [False, "false", ""])
def test_without_the_wish_nothing_is_explained(client: FlaskClient, container: Container, explain: Any) -> None:
    job = client.post("/v1/jobs", **in_json(explain=explain)).json
    finished(container, job["_id"], [["7", 0.9]])
    done = client.get(f"/v1/jobs/{job['_id']}").json
    assert "explanation" not in done["predictions"][0]
    assert "explain" not in done["request"]["options"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"explain": "perhaps"}, "explain"),
        ({"explain": True, "task": "features"}, "features have none"),
        ({"explain_label": "eight"}, "has no label 'eight'"),
        ({"explained": True}, "did you mean explain?"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_words(client: FlaskClient, fields: dict[str, Any], words: str) -> None:
    answer = client.post("/v1/jobs", **in_json(**fields))
    assert (answer.status_code, answer.json["code"]) == (400, "bad_option")
    assert words in answer.json["detail"]


def test_a_job_of_too_many_pictures_is_refused(client: FlaskClient) -> None:
    inputs = [base64.b64encode(PICTURE).decode()] * 101
    answer = client.post("/v1/jobs", json={"inputs": inputs, "explain": True})
    assert (answer.status_code, answer.json["code"]) == (400, "too_many_files")
    assert "at most 100 pictures" in answer.json["detail"]


@pytest.mark.long
def test_a_running_stack_explains_its_answers_until_the_job_is_erased(stack: Stack) -> None:
    files = [("files", (f"{number}.png", data)) for number, (_, data) in enumerate(digits()[:6])]
    fields = {"model": "digits", "explain": "true"}
    job = httpx.post(f"{stack.url}/v1/classify", files=files, data=fields, timeout=60).raise_for_status().json()
    if not job["terminal"]:
        job = stack.finished(job["_id"], 60)
    for number, prediction in enumerate(job["predictions"]):
        given = prediction["explanation"]
        assert given["label"] == prediction["results"][0]["label"] == str(number)
        png = httpx.get(stack.url + given["link"]).raise_for_status()
        image = Image.open(io.BytesIO(png.content))
        assert (image.format, image.size) == ("PNG", Image.open(io.BytesIO(digits()[number][1])).size)
    assert httpx.delete(f"{stack.url}/v1/jobs/{job['_id']}").status_code == 204
    assert httpx.get(stack.url + job["predictions"][0]["explanation"]["link"]).status_code == 404
