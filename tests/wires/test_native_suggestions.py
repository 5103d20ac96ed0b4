"""`/v1/models/{name}/seen-pictures` and `/suggestions`: requests and answers, on each kind of database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from shared.adapters.database.unit_of_work import Database
from shared.services import jobs, seen_pictures
from shared.services.seen_pictures import Sighting
from tests import dataset_fixtures
from tests.dataset_fixtures import Ground, picture
from tests.wires.described import described_client
from tests.wires.training_requests import complaint, form

SEEN, SUGGESTIONS = "/v1/models/fruits/seen-pictures", "/v1/models/fruits/suggestions"


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    """A model of the default tenant that was trained on its dataset `fruit`."""
    ground = dataset_fixtures.on(database, tmp_path)
    ground.trained(ground.dataset(tenant="default"))
    return ground


@pytest.fixture
def client(ground: Ground) -> FlaskClient:
    """A client whose requests and answers are compared with `/openapi.json`."""
    return described_client(ground.container)


def see(ground: Ground, client: FlaskClient, *numbers: int) -> str:
    """Send pictures in one job, and keep them as a worker does, the first as the most uncertain; return its id."""
    job = ""
    for place, number in enumerate(numbers):
        sent = client.post("/v1/jobs?model=fruits", **form(f"{number}.png", picture(number).data))
        assert sent.status_code == 202, sent.text
        job = sent.json["_id"]
        choice = seen_pictures.list_choices(ground.container, "fruits")["default"]
        (item,) = jobs.list_items(ground.container, jobs.get(ground.container, "default", job))
        version = jobs.get(ground.container, "default", job).version_id
        row = np.eye(8, dtype=np.float16)[number].tobytes()
        sighting = Sighting(
            item.job_id, 0, version, picture(number).data, "pear", 0.5, 0.9 - place / 10, False, None, row
        )
        seen_pictures.keep(ground.container, choice, [sighting])
    return job


def test_nothing_is_kept_until_the_tenant_says_so_and_nothing_is_left_when_it_takes_that_back(
    ground: Ground, client: FlaskClient
) -> None:
    assert client.get(SEEN).json == {
        "model": "fruits", "keeping": False, "most": None, "days": None, "since": None, "pictures": 0, "bytes": 0,
    }  # fmt: skip
    detail = complaint(client.post(SUGGESTIONS, json={}), 409, "conflict")
    assert detail.endswith(
        "PUT /v1/models/fruits/seen-pictures, or on the command line: inferq models keep-seen fruits"
    )

    chosen = client.put(SEEN, json={"most": 50}).json
    assert (chosen["keeping"], chosen["most"], chosen["days"], chosen["pictures"]) == (True, 50, 30, 0)
    see(ground, client, 1, 2)
    now = client.get(SEEN).json
    assert (now["pictures"], now["bytes"]) == (2, len(picture(1).data) + len(picture(2).data))
    assert client.put(SEEN, json={"most": 1, "days": 7}).json["pictures"] == 1

    assert client.delete(SEEN).status_code == 204
    assert client.get(SEEN).json["keeping"] is False
    assert ground.container.storage.list(f"seen/{ground.container.storage.list('seen')[0]}") == []


def test_suggestions_come_with_their_pictures_the_most_uncertain_first(ground: Ground, client: FlaskClient) -> None:
    client.put(SEEN, json={})
    job = see(ground, client, 1, 2, 3)
    found = client.post(SUGGESTIONS, json={"limit": 2}).json
    assert found["suggestions"][0]["name"] == "1.png"
    assert (found["model"], found["version"], found["candidates"], found["seen"]) == (
        "fruits", "1", 3, [{"version": "1", "pictures": 3}],
    )  # fmt: skip
    assert found["dataset"]["name"] == "fruit"
    assert len(found["suggestions"]) == 2
    assert client.post(SUGGESTIONS, json={"limit": 2}).json == found
    third = next(each for each in client.post(SUGGESTIONS, json={}).json["suggestions"] if each["name"] == "3.png")
    assert (third["label"], third["score"], third["why"], third["job"]) == ("pear", 0.5, ["uncertain"], job)

    shown = client.get(third["links"]["picture"])
    assert (shown.data, shown.mimetype) == (picture(3).data, "image/png")
    assert (shown.headers["X-Content-Type-Options"], shown.headers["Cache-Control"]) == ("nosniff", "private, no-cache")
    again = client.get(third["links"]["picture"], headers={"If-None-Match": shown.headers["ETag"]})
    assert again.status_code == 304


def test_a_suggestion_is_labelled_by_one_call_or_dismissed_by_one(ground: Ground, client: FlaskClient) -> None:
    client.put(SEEN, json={})
    see(ground, client, 1, 2)
    first, second = client.post(SUGGESTIONS, json={}).json["suggestions"]
    refused = client.post(first["links"]["self"], json={"label": "cat"})
    assert "has no label 'cat'; it has: pear, plum" in complaint(refused, 400, "bad_option")
    labelled = client.post(first["links"]["self"], json={"label": "plum"})
    assert (labelled.status_code, labelled.json["label"]["name"], labelled.json["source"]) == (201, "plum", "feedback")
    assert client.get(labelled.headers["Location"]).json["sha256"] == labelled.json["sha256"]
    assert client.delete(second["links"]["self"]).status_code == 204
    assert client.post(SUGGESTIONS, json={}).json["suggestions"] == []
    for call in (client.get(first["links"]["picture"]), client.delete(second["links"]["self"])):
        assert "labelled, dismissed or removed" in complaint(call, 404, "not_found")


def test_a_suggestion_gets_all_its_labels_if_its_dataset_has_several(ground: Ground, client: FlaskClient) -> None:
    client.put(SEEN, json={})
    see(ground, client, 1, 2)
    wanted = {"name": "bowls", "labels": ["pear", "plum"], "problem_type": "multi_label_classification"}
    assert client.post("/v1/datasets", json=wanted).status_code == 201
    both, none = client.post(SUGGESTIONS, json={}).json["suggestions"]
    for suggestion, labels in ((both, ["pear", "plum"]), (none, [])):
        added = client.post(suggestion["links"]["self"], json={"labels": labels, "dataset": "bowls"})
        assert (added.status_code, [label["name"] for label in added.json["labels"]]) == (201, labels)
    assert client.post(SUGGESTIONS, json={}).json["suggestions"] == []


def test_erasing_a_job_erases_its_suggestions(ground: Ground, client: FlaskClient) -> None:
    client.put(SEEN, json={})
    job = see(ground, client, 1)
    assert client.post(f"/v1/jobs/{job}/cancel").status_code == 200
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert client.post(SUGGESTIONS, json={}).json["suggestions"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("PUT", SEEN, {"most": 0}, "most must be a whole number, at least 1 and at most 20000, not 0"),
        ("PUT", SEEN, {"days": 366}, "days must be a whole number, at least 1 and at most 365, not 366"),
        ("PUT", SEEN, {"moist": 5}, "there is no option 'moist'; did you mean most?"),
        ("POST", SUGGESTIONS, {"limit": 101}, "limit must be a whole number, at least 1 and at most 100, not 101"),
        ("POST", f"{SUGGESTIONS}/x", {}, "name either the label that the picture shows"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(
    client: FlaskClient, method: str, path: str, body: dict[str, int], words: str
) -> None:
    assert words in complaint(client.open(path, method=method, json=body), 400, "bad_option")


def test_models_and_versions_that_do_not_exist_are_not_found(client: FlaskClient) -> None:
    client.put(SEEN, json={})
    assert "no version '9'; it has: 1" in complaint(client.post(SUGGESTIONS, json={"version": "9"}), 404, "not_found")
    for method, path in (("GET", "seen-pictures"), ("PUT", "seen-pictures"), ("POST", "suggestions")):
        answer = client.open(f"/v1/models/nothing/{path}", method=method, json={} if method != "GET" else None)
        assert "There is no model 'nothing'" in complaint(answer, 404, "not_found")
