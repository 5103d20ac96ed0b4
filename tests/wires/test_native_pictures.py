"""The native wire: the pictures of a job with their outcomes, in pages, and the first picture of each job in a list."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from api.dialects.native.routes import job_pictures
from inferq.client import Client
from shared.container import Container
from shared.domain.jobs import Outcome
from shared.domain.rejection import Doubt, Verdict
from shared.imaging import thumbnails
from shared.services import jobs
from tests import stacks
from tests.picture_files import truncated_png


def png(colour: int = 0, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((side, side), colour + 1).save(file, "PNG")
    return file.getvalue()


def submitted(client: FlaskClient, *pictures: bytes, **fields: str) -> str:
    files = [(io.BytesIO(data), f"{number}.png") for number, data in enumerate(pictures)]
    answer = client.post("/v1/jobs", data={"files": files, **fields}, content_type="multipart/form-data")
    return str(answer.json["_id"])


def run(container: Container, failing: set[int], count: int = 100) -> None:
    """Run what waits, as a worker does; the pictures at these positions fail."""
    for version_id in container.queue.streams.version_ids():
        entries = jobs.begin(container, container.queue.streams.claim(version_id, "worker", count))
        outcomes = [
            Outcome(entry.job_id, entry.position, error_code="poison", error="It crashed.")
            if entry.position in failing
            else Outcome(entry.job_id, entry.position, [["seven", 0.75], ["one", 0.25]])
            for entry in entries
        ]
        jobs.finish(container, outcomes, entries)


def refused(answer: TestResponse, status: int, code: str) -> str:
    """Check the error of an answer, and return what it says."""
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
    return str(answer.json["detail"])


def listed(client: FlaskClient, job_id: str, **query: Any) -> list[dict[str, Any]]:
    """Return all pictures of a job, from as many pages as there are."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(f"/v1/jobs/{job_id}/pictures", query_string={"cursor": cursor, **query}).json
        found += page["pictures"]
        cursor = page["next"]
    return found


def test_pictures_are_listed_in_pages_with_their_outcomes_while_others_wait(
    client: FlaskClient, container: Container
) -> None:
    job_id = submitted(client, *map(png, range(7)))
    run(container, {1}, count=4)
    found = listed(client, job_id, limit=2)
    assert [each["position"] for each in found] == list(range(7))
    assert [each.get("status", "") for each in found] == [""] * 4 + ["QUEUED"] * 3
    assert found[0]["results"][0] == {"label": "seven", "score": 0.75}
    assert found[1]["error"] == {"code": "poison", "message": "It crashed."}


def test_only_the_failed_pictures_are_listed_if_those_are_wanted(client: FlaskClient, container: Container) -> None:
    job_id = submitted(client, *map(png, range(7)))
    run(container, {1, 4, 6})
    assert [each["position"] for each in listed(client, job_id, failed="true", limit=2)] == [1, 4, 6]
    assert len(listed(client, job_id, failed="false")) == 7


def test_a_list_of_pictures_agrees_with_the_streamed_results(client: FlaskClient, container: Container) -> None:
    job_id = submitted(client, *map(png, range(5)))
    run(container, {2})
    streamed = client.get(f"/v1/jobs/{job_id}/results").text.splitlines()
    assert [client.application.json.loads(line) for line in streamed] == listed(client, job_id, limit=2)


@pytest.mark.parametrize("side", [8, 200], ids=["kept with its item", "kept in a blob"])
def test_a_picture_comes_back_as_it_was_sent(client: FlaskClient, side: int) -> None:
    pictures = [png(number, side) for number in range(2)]
    job_id = submitted(client, *pictures)
    for position, data in enumerate(pictures):
        answer = client.get(f"/v1/jobs/{job_id}/pictures/{position}")
        assert (answer.data, answer.mimetype) == (data, "image/png")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "private" in answer.headers["Cache-Control"]
        again = client.get(f"/v1/jobs/{job_id}/pictures/{position}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def jpeg_of(answer: TestResponse) -> Image.Image:
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    return Image.open(io.BytesIO(answer.data))


def test_a_picture_of_any_format_is_fetched_small_as_a_jpeg(client: FlaskClient) -> None:
    tiff = io.BytesIO()
    Image.new("CMYK", (900, 300), (0, 255, 255, 0)).save(tiff, "TIFF")
    job_id = submitted(client, png(7, 200), tiff.getvalue())
    path = f"/v1/jobs/{job_id}/pictures"
    assert jpeg_of(client.get(f"{path}/0/thumbnail?side=50")).size == (50, 50)
    assert jpeg_of(client.get(f"{path}/1/thumbnail")).size == (320, 107)
    refused(client.get(f"{path}/1/thumbnail?side=5000"), 400, "bad_option")
    refused(client.get(f"{path}/2/thumbnail"), 404, "not_found")


def test_a_small_picture_is_not_made_again_for_whom_has_it(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/jobs/{submitted(client, png(1, 200))}/pictures/0/thumbnail"
    first = client.get(path)
    assert "private" in first.headers["Cache-Control"]
    monkeypatch.setattr(thumbnails, "draw", None)
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])


def test_a_damaged_picture_has_no_small_one_but_is_there_itself(client: FlaskClient) -> None:
    damaged = truncated_png()
    path = f"/v1/jobs/{submitted(client, damaged)}/pictures/0"
    none = client.get(f"{path}/thumbnail")
    assert (none.status_code, none.data) == (204, b"")
    assert client.get(path).data == damaged


def test_one_picture_is_made_small_at_a_time_and_others_come_back_later(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/jobs/{submitted(client, png(1, 200))}/pictures/0/thumbnail"
    monkeypatch.setattr(job_pictures, "PATIENCE", 0.05)
    with client.application.extensions["inferq.thumbnail_places"].taken():
        answer = client.get(path)
        refused(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "1"
    jpeg_of(client.get(path))


def test_what_is_not_there_is_said_by_its_number(client: FlaskClient) -> None:
    job_id = submitted(client, png())
    assert "has no picture 7; it has 1" in refused(client.get(f"/v1/jobs/{job_id}/pictures/7"), 404, "not_found")
    refused(client.get("/v1/jobs/nowhere/pictures"), 404, "not_found")
    refused(client.get("/v1/jobs/nowhere/pictures/0"), 404, "not_found")
    refused(client.get(f"/v1/jobs/{job_id}/pictures?cursor=abc"), 400, "bad_option")
    refused(client.get(f"/v1/jobs/{job_id}/pictures?failed=perhaps"), 400, "bad_option")


def test_a_picture_goes_with_its_job(client: FlaskClient, container: Container) -> None:
    job_id = submitted(client, png())
    run(container, set())
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    refused(client.get(f"/v1/jobs/{job_id}/pictures/0"), 404, "not_found")


def test_a_job_in_a_list_shows_its_first_picture(client: FlaskClient, container: Container) -> None:
    single, answered = submitted(client, png(1)), submitted(client, png(2), png(3))
    run(container, set())
    waits, features = submitted(client, png(4)), submitted(client, png(5), task="features")
    rows = {job["_id"]: job.get("first") for job in client.get("/v1/jobs").json["jobs"]}
    assert rows[answered] == rows[single] == {"name": "0.png", "label": "seven", "score": 0.75}
    assert rows[waits] == {"name": "0.png"}
    assert rows[features] is None


def test_the_first_picture_of_a_job_says_its_error_or_its_doubt(client: FlaskClient, container: Container) -> None:
    submitted(client, png(1))
    run(container, {0})
    assert client.get("/v1/jobs").json["jobs"][0]["first"] == {"name": "0.png", "error": "It crashed."}
    doubted = submitted(client, png(2))
    (version_id,) = container.queue.streams.version_ids()
    entries = container.queue.streams.claim(version_id, "worker", 10)
    verdict = Verdict(Doubt.LOW_SCORE)
    jobs.finish(container, [Outcome(doubted, 0, [["one", 0.2]], verdict=verdict)], entries)
    (first, _) = client.get("/v1/jobs").json["jobs"]
    assert (first["_id"], first["first"]["doubt"]) == (doubted, "low_score")


def test_the_client_reads_pictures_and_their_outcomes(stack: stacks.Stack) -> None:
    with Client(stack.url) as client:
        names, data = zip(*stacks.digits()[:3], strict=True)
        job = client.jobs.classify(*zip(names, data, strict=True), model="digits")
        found = client.jobs.pictures(job.id, limit=2)
        assert [(each.position, each.name, each.results[0].label) for each in found] == [
            (number, names[number], str(number)) for number in range(2)
        ]
        assert client.jobs.pictures(job.id, failed=True) == []
        assert client.jobs.picture(job.id, 2) == data[2]
        assert Image.open(io.BytesIO(client.jobs.thumbnail(job.id, 2, side=16))).size == (16, 16)
        assert client.workers.history().tenants == "all"
