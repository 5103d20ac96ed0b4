"""The native wire: retrying and erasing a job, and the dead letters of all jobs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.jobs import Outcome
from shared.services import jobs


def png(colour: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def submitted(client: FlaskClient, pictures: int = 2, **rest: Any) -> str:
    files = [(io.BytesIO(png(number)), f"{number}.png") for number in range(pictures)]
    answer = client.post("/v1/jobs", data={"files": files}, content_type="multipart/form-data", **rest)
    return str(answer.json["_id"])


def run(container: Container, *failing: int, code: str = "poison") -> None:
    """Run all that waits, as a worker does; the pictures at these positions fail."""
    for version_id in container.queue.streams.version_ids():
        entries = container.queue.streams.claim(version_id, "worker", 100)
        begun = jobs.begin(container, entries)
        bad = [Outcome(e.job_id, e.position, error_code=code, error="It crashed.") for e in begun]
        good = [Outcome(e.job_id, e.position, [["seven", 0.75]]) for e in begun]
        chosen = [bad[n] if entry.position in failing else good[n] for n, entry in enumerate(begun)]
        jobs.finish(container, chosen, entries)


def complaint(answer: TestResponse, status: int, code: str) -> str:
    assert (answer.status_code, (answer.json or {}).get("code")) == (status, code), answer.text
    return str(answer.json["detail"])


def test_a_retried_job_is_queued_and_keeps_its_answers(client: FlaskClient, container: Container) -> None:
    job_id = submitted(client)
    run(container, 1)
    assert '"retries"' not in client.get(f"/v1/jobs/{job_id}").text

    answer = client.post(f"/v1/jobs/{job_id}/retry")

    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{job_id}")
    assert (answer.json["status"], answer.json["terminal"], answer.json["retries"]) == ("QUEUED", False, 1)
    assert answer.json["progress"] == {"total": 2, "done": 1, "failed": 0}
    assert answer.headers["Retry-After"]
    run(container)
    again = client.get(f"/v1/jobs/{job_id}").json
    assert (again["status"], again["progress"]["done"]) == ("DONE", 2)


def test_a_job_that_fails_in_the_same_way_again_has_changed(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    run(container, 1)
    mark = client.get(path).headers["ETag"]
    client.post(f"{path}/retry")
    run(container, 1)
    assert client.get(path, headers={"If-None-Match": mark}).status_code == 200


def test_a_job_without_a_failed_picture_is_not_retried(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    assert "has ended" in complaint(client.post(f"{path}/retry"), 409, "conflict")
    run(container)
    assert "No picture" in complaint(client.post(f"{path}/retry"), 409, "conflict")


def test_an_ended_job_is_erased_by_delete_and_one_that_waits_is_cancelled(
    client: FlaskClient, container: Container
) -> None:
    waiting, done = (f"/v1/jobs/{submitted(client)}" for _ in range(2))
    answer = client.delete(waiting)
    assert (answer.status_code, answer.json["status"]) == (200, "CANCELLED")
    run(container)

    for path in (waiting, done):
        answer = client.delete(path)
        assert (answer.status_code, answer.data) == (204, b"")
        for ask in (client.get, client.delete):
            complaint(ask(path), 404, "not_found")
    assert client.get("/v1/jobs").json["jobs"] == []
    assert list(container.storage.tree("jobs")) == []


def test_dead_letters_are_listed_in_pages_with_their_reason(client: FlaskClient, container: Container) -> None:
    first, second = submitted(client), submitted(client, 1)
    run(container, 0)
    assert client.get("/v1/dead-letters?limit=1").json["dead_letters"] == [
        {
            "job_id": second, "position": 0, "name": "0.png", "reason": "poison", "message": "It crashed.",
            "model": {"name": "digits", "version": "1"},
            "created_at": client.get(f"/v1/jobs/{second}").json["created_at"],
        }
    ]  # fmt: skip
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page: dict[str, Any] = client.get(f"/v1/dead-letters?limit=1&cursor={cursor}").json or {}
        seen += [letter["job_id"] for letter in page["dead_letters"]]
        cursor = page["next"]
    assert seen == [second, first]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("reason=poison", 1),
        ("reason=gone", 0),
        ("model=digits", 1),
        ("model=other", 0),
        ("since=2020-01-31T12:00:00Z", 1),
        ("until=2020-01-31T12:00:00Z", 0),
    ],
)
def test_a_replay_runs_what_the_same_filters_list(
    client: FlaskClient, container: Container, query: str, found: int
) -> None:
    job_id = submitted(client)
    run(container, 1)
    assert len(client.get(f"/v1/dead-letters?{query}").json["dead_letters"]) == found

    name, _, value = query.partition("=")
    answer = client.post("/v1/dead-letters/replay", json={name: value})

    assert (answer.status_code, answer.json) == (200, {"jobs": found, "pictures": found, "skipped": 0, "next": None})
    assert client.get(f"/v1/jobs/{job_id}").json["status"] == ("QUEUED" if found else "DONE")


def test_a_replay_without_a_body_replays_all_and_takes_filters_in_the_query(
    client: FlaskClient, container: Container
) -> None:
    submitted(client)
    run(container, 1)
    assert client.post("/v1/dead-letters/replay?reason=gone").json["jobs"] == 0
    assert client.post("/v1/dead-letters/replay").json["jobs"] == 1


@pytest.mark.parametrize("send", ["get", "post"])
@pytest.mark.parametrize(
    ("query", "says"),
    [("since=yesterday", "RFC 3339"), ("cursor=x", "cursor must be"), ("resaon=x", "did you mean reason?")],
)
def test_a_bad_filter_is_refused_by_list_and_replay(client: FlaskClient, send: str, query: str, says: str) -> None:
    path = "/v1/dead-letters" + ("/replay" if send == "post" else "")
    ask: Callable[[str], TestResponse] = getattr(client, send)
    assert says in complaint(ask(f"{path}?{query}"), 400, "bad_option")


def test_a_tenant_sees_and_replays_its_own_dead_letters_only(client: FlaskClient, container: Container) -> None:
    owner = bearer(client.post("/v1/keys", json={"name": "owner"}))
    anna, bert = (bearer(client.post("/v1/keys", json={"tenant": name}, headers=owner)) for name in ("anna", "bert"))
    job_id = submitted(client, headers=anna)
    run(container, 1)
    assert client.get("/v1/dead-letters", headers=bert).json["dead_letters"] == []
    assert client.post("/v1/dead-letters/replay", headers=bert).json["jobs"] == 0
    assert client.get(f"/v1/jobs/{job_id}", headers=anna).json["status"] == "DONE"
    assert len(client.get("/v1/dead-letters", headers=anna).json["dead_letters"]) == 1


def bearer(answer: TestResponse) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json['key']}"}
