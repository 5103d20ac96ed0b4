"""The Python client against a small real HTTP server."""

from __future__ import annotations

import io
import json
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from inferq.client import Client
from inferq.client.submission import Options
from inferq.client.trainings import Parameters
from inferq.errors import BadAnswer, InferqError, InferqHTTPError, StillRunning, Unavailable, Unreachable
from shared.schemas.jobs import JobOptions, JobPage
from shared.schemas.keys import CurrentKey, KeyList, NewKey
from shared.schemas.models import Alias, AliasList
from shared.schemas.trainings import TrainingParameters
from shared.schemas.workers import Queue
from tests.unit.answers import complete, job, version
from tests.unit.toy_server import Answer, ToyRequest, ToyServer


@pytest.fixture
def client(server: ToyServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_submit_sends_files_and_options_and_does_not_wait(server: ToyServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "duck.png").write_bytes(b"quack")
    server.on("POST /v1/jobs", (202, {"Location": "/v1/jobs/j1"}, job("QUEUED")))

    submitted = client.jobs.submit(
        tmp_path / "duck.png", ("cat.png", b"meow"), top_k=3, metadata={"who": "me"}, model=None
    )

    assert (submitted.id, submitted.status, submitted.terminal) == ("j1", "QUEUED", False)
    request = server.requests[0]
    assert request.headers["prefer"] == "respond-async"
    assert b'name="files"; filename="duck.png"' in request.body
    assert b"quack" in request.body
    assert b'name="files"; filename="cat.png"' in request.body
    assert b'name="top_k"\r\n\r\n3' in request.body
    assert b'{"who": "me"}' in request.body
    assert b'name="model"' not in request.body


def test_a_url_is_fetched_by_the_server_and_files_beside_it_are_sent_in_the_same_json(
    server: ToyServer, client: Client
) -> None:
    server.on("POST /v1/jobs", (202, {}, job("QUEUED")))
    client.jobs.submit("https://example.org/a.jpg", ("b.jpg", b"meow"), top_k=3, metadata={"n": 1})
    assert json.loads(server.requests[0].body) == {
        "inputs": [{"url": "https://example.org/a.jpg"}, {"name": "b.jpg", "base64": "bWVvdw=="}],
        "top_k": 3, "metadata": {"n": 1},
    }  # fmt: skip


def test_an_idempotency_key_travels_as_a_header(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/jobs", (202, {}, job("QUEUED")))
    client.jobs.submit(b"x", idempotency_key="once")
    assert server.requests[0].headers["idempotency-key"] == "once"


def test_classify_returns_labels_and_per_picture_errors(server: ToyServer, client: Client) -> None:
    predictions = [
        {"name": "a", "results": [{"label": "drake", "score": 0.93}]},
        {"name": "b", "error": {"code": "broken_picture", "message": "The image is damaged."}},
    ]
    server.on("POST /v1/classify", (200, {}, job("DONE", predictions=predictions)))

    good, bad = client.jobs.classify(b"x", b"y").predictions

    assert (good.results[0].label, good.results[0].score, good.error) == ("drake", 0.93, None)
    assert bad.error
    assert (bad.results, bad.error.code, bad.error.message) == ([], "broken_picture", "The image is damaged.")


def test_a_classify_answered_with_202_goes_on_waiting_for_the_same_job(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/classify", (202, {}, job("RUNNING")))
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE")))
    assert client.jobs.classify(b"x").status == "DONE"
    assert server.requests[1].headers["prefer"].startswith("wait=")


def test_waiting_trusts_terminal_more_than_statuses_it_knows(server: ToyServer, client: Client) -> None:
    server.on(
        "GET /v1/jobs/j1",
        (200, {"Retry-After": "0"}, job("PONDERING", terminal=False)),
        (200, {}, job("SUBLIMATED", terminal=True)),
    )
    assert client.jobs.wait("j1").status == "SUBLIMATED"


def test_waiting_ends_with_the_id_when_the_time_is_over(server: ToyServer, client: Client) -> None:
    server.on("GET /v1/jobs/j1", (200, {}, job("RUNNING")))
    with pytest.raises(StillRunning, match=r"j1 is RUNNING after 0\.05 s; wait for it with: inferq jobs wait j1"):
        client.jobs.wait("j1", timeout=0.05)


def test_a_classify_that_takes_too_long_names_the_time_that_was_given(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/classify", (202, {}, job("RUNNING")))
    server.on("GET /v1/jobs/j1", (200, {}, job("RUNNING")))
    with pytest.raises(StillRunning, match=r"after 0\.05 s"):
        client.jobs.classify(b"x", timeout=0.05)


def test_a_get_is_repeated_when_the_service_is_away_for_a_moment(server: ToyServer, client: Client) -> None:
    away: Answer = (503, {"Retry-After": "0"}, {"title": "Unavailable", "code": "unavailable", "detail": "Soon."})
    server.on("GET /v1/jobs/j1", away, away, (200, {}, job("DONE")))
    assert client.jobs.get("j1").status == "DONE"
    assert len(server.requests) == 3


def test_a_get_gives_up_when_the_service_stays_away(server: ToyServer, client: Client) -> None:
    server.on("GET /v1/queue", (503, {"Retry-After": "0"}, {"code": "unavailable", "detail": "The database is away."}))
    with pytest.raises(InferqHTTPError, match="The database is away") as caught:
        client.workers.queue()
    assert caught.value.status == 503


def test_a_post_that_is_no_submit_is_never_repeated(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/jobs/j1/retry", (503, {"Retry-After": "0"}, {"code": "unavailable", "detail": "Soon."}))
    with pytest.raises(Unavailable):
        client.jobs.retry("j1")
    assert len(server.requests) == 1


def test_a_problem_document_becomes_an_error_with_status_code_and_detail(client: Client) -> None:
    with pytest.raises(InferqHTTPError) as caught:
        client.jobs.get("none")
    assert (caught.value.status, caught.value.code, str(caught.value)) == (404, "not_found", "There is nothing here.")


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[1]", b""])
def test_an_error_page_of_a_proxy_is_an_error_too(server: ToyServer, client: Client, body: bytes) -> None:
    server.on("GET /v1/queue", (502, {}, body))
    with pytest.raises(InferqHTTPError, match="502"):
        client.workers.queue()


def test_a_server_that_is_not_there_is_named(server: ToyServer) -> None:
    with Client("http://127.0.0.1:1") as nowhere, pytest.raises(Unreachable, match="reached at http://127") as caught:
        nowhere.models.list()
    assert "httpx." not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://somewhere", "http://[", "http://here:x", "nonsense"])
def test_what_is_no_http_url_is_refused_as_such(url: str) -> None:
    with pytest.raises(Unreachable, match="is not a URL"):
        Client(url)


def test_loopback_is_never_reached_through_a_proxy(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.on("GET /v1/queue", (200, {}, complete(Queue, waiting=3)))
    with Client(server.url) as client:
        assert client.workers.queue().waiting == 3


def test_jobs_are_read_through_as_many_pages_as_it_takes(server: ToyServer, client: Client) -> None:
    def page(request: ToyRequest) -> Answer:
        more = "cursor=two" not in request.path
        return 200, {}, complete(JobPage, jobs=[{"status": "DONE"}, {"status": "FAILED"}], next="two" if more else None)

    server.on("GET /v1/jobs", page)
    assert len(client.jobs.list()) == 4
    assert [job.status for job in client.jobs.list(limit=3)] == ["DONE", "FAILED", "DONE"]


def test_the_key_is_sent_as_a_bearer_token(server: ToyServer) -> None:
    server.on("GET /v1/keys", (200, {}, complete(KeyList, keys=[{"id": "k"}])))
    with Client(server.url + "/", "secret") as client:
        assert [key.id for key in client.keys.list()] == ["k"]
    assert server.requests[0].headers["authorization"] == "Bearer secret"


def test_a_key_knows_what_it_may_do(server: ToyServer, client: Client) -> None:
    server.on("GET /v1/keys/current", (200, {}, complete(CurrentKey, scopes=["infer"])))
    assert client.keys.current().scopes == ["infer"]


def test_an_expiry_of_0_is_sent_and_not_taken_for_none(client: Client, server: ToyServer) -> None:
    server.on("POST /v1/keys", (201, {}, complete(NewKey, id="k1")))
    client.keys.create(expires=0)
    assert json.loads(server.requests[-1].body)["expires"] == 0


def test_url_and_key_come_from_the_environment_where_none_is_given(
    server: ToyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERQ_URL", server.url)
    monkeypatch.setenv("INFERQ_KEY", "mine")
    server.on("GET /v1/queue", (200, {}, complete(Queue)))
    for configured in (Client(), Client(server.url, key="other"), Client(key="")):
        with configured as client:
            client.workers.queue()
    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == ["Bearer mine", "Bearer other", None]


def test_results_arrive_line_by_line(server: ToyServer, client: Client) -> None:
    server.on("GET /v1/jobs/j1/results", (200, {}, b'{"name": "a"}\n{"name": "b"}\n'))
    assert list(client.jobs.results("j1")) == ['{"name": "a"}', '{"name": "b"}']
    assert server.requests[0].path.endswith("?format=ndjson")


def test_results_of_an_unknown_job_are_an_error_not_lines(client: Client) -> None:
    with pytest.raises(InferqHTTPError, match="There is nothing here"):
        list(client.jobs.results("none"))


def test_a_cancel_answers_with_the_job(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/jobs/j1/cancel", (200, {}, job("CANCELLED", progress={"total": 9, "done": 4})))
    cancelled = client.jobs.cancel("j1")
    assert (cancelled.status, cancelled.progress.done, cancelled.progress.total) == ("CANCELLED", 4, 9)


def test_an_answer_is_written_as_the_server_wrote_it(server: ToyServer, client: Client) -> None:
    answer = job("FAILED", tenant_name="acme", error="expired", metadata={"who": "me"}, predictions=[{"name": "a"}])
    server.on("GET /v1/jobs/j1", (200, {}, answer))
    assert client.jobs.get("j1").to_json() == answer


@pytest.mark.parametrize("lacking", ["_id", "terminal", "tenantName"])
def test_an_answer_that_lacks_a_field_is_an_error_that_names_it(
    server: ToyServer, client: Client, lacking: str
) -> None:
    answer = job("DONE")
    del answer[lacking]
    server.on("GET /v1/jobs/j1", (200, {}, answer))
    with pytest.raises(BadAnswer, match=f"not that of this version of inferq: .*`{lacking}`"):
        client.jobs.get("j1")


def test_a_field_of_another_type_is_an_error_that_says_where_it_is(server: ToyServer, client: Client) -> None:
    server.on("GET /v1/jobs", (200, {}, {"jobs": [job("DONE") | {"progress": {"total": "9"}}], "next": None}))
    with pytest.raises(BadAnswer, match=re.escape("$.jobs[0].progress.total")):
        client.jobs.list()


def test_a_job_of_an_older_server_without_a_link_to_its_pictures_is_read(server: ToyServer, client: Client) -> None:
    older = job("DONE")
    older["links"] = {"self": "/v1/jobs/j1", "results": "/v1/jobs/j1/results", "events": "/v1/jobs/j1/events"}
    server.on("GET /v1/jobs/j1", (200, {}, older))
    assert client.jobs.get("j1").links.pictures == ""


def test_results_that_end_early_are_an_error_that_may_pass(server: ToyServer, client: Client) -> None:
    last = {"error": {"code": "incomplete", "message": "The results end here; ask again."}}
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE", progress={"total": 2, "done": 2})))
    server.on("GET /v1/jobs/j1/results", (200, {}, last))
    with pytest.raises(Unreachable, match="The results end here; ask again"):
        [*client.jobs.predictions(client.jobs.get("j1"))]


def test_fields_that_a_newer_server_has_are_ignored(server: ToyServer, client: Client) -> None:
    newer = job("DONE") | {"mood": "good", "model": {"name": "m", "version": "1", "colour": "red"}}
    server.on("GET /v1/jobs/j1", (200, {}, newer))
    assert client.jobs.get("j1").to_json() == job("DONE")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b"[]", b'{"_id": "\xff"}'])
def test_what_is_no_answer_of_the_service_is_reported_as_such(server: ToyServer, client: Client, body: bytes) -> None:
    server.on("GET /v1/jobs/j1", (200, {}, body))
    with pytest.raises(BadAnswer, match="not that of this version of inferq"):
        client.jobs.get("j1")


def test_import_sends_weights_and_labels_as_files(server: ToyServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"tensors")
    (tmp_path / "l.txt").write_text("duck\ngoose\n")
    server.on("POST /v1/models", (202, {}, version("checking")))

    client.models.upload(
        "birds", architecture="resnet18", weights=tmp_path / "w.safetensors", labels=tmp_path / "l.txt", version="1"
    )
    imported = client.models.upload(
        "birds", architecture="resnet18", weights=tmp_path / "w.safetensors", labels="imagenet"
    )
    assert (imported.name, imported.version, imported.state) == ("birds", "1", "checking")

    first, second = server.requests
    assert b'name="weights"; filename="w.safetensors"' in first.body
    assert b"tensors" in first.body
    assert b'name="labels"; filename="l.txt"' in first.body
    assert b'name="version"\r\n\r\n1' in first.body
    assert b'name="labels"\r\n\r\nimagenet' in second.body
    assert b'name="version"' not in second.body


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"threshold": "0.4"}, b'name="threshold"\r\n\r\n0.4\r\n'),
        ({"threshold": 0.4}, b'name="threshold"\r\n\r\n0.4\r\n'),
        ({"threshold": [0.4, 0.7]}, b'name="threshold"\r\n\r\n0.4,0.7\r\n'),
        ({"labels": ["duck", "goose"]}, b'name="labels"\r\n\r\n["duck", "goose"]\r\n'),
        ({"labels": {"0": "duck", "1": "goose"}}, b'name="labels"\r\n\r\n{"0": "duck", "1": "goose"}\r\n'),
        ({"version": 2, "threshold": None, "checks": None, "preprocessing": None}, b'name="version"\r\n\r\n2\r\n'),
        ({"labels": "FOLDER/l.txt"}, b'name="labels"; filename="l.txt"'),
        ({"labels": "duck\ngoose"}, b'name="labels"\r\n\r\nduck\ngoose\r\n'),
        ({"preprocessing": {"resize": 256}}, b'name="preprocessing"\r\n\r\n{"resize": 256}\r\n'),
        ({"checks": [("FOLDER/l.txt", "duck")]}, b'name="check"; filename="l.txt"'),
    ],
)
def test_an_import_takes_its_options_as_people_write_them(
    server: ToyServer, client: Client, tmp_path: Path, options: dict[str, Any], sent: bytes
) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"tensors")
    (tmp_path / "l.txt").write_text("duck\ngoose\n")
    server.on("POST /v1/models", (202, {}, version("checking")))
    given = json.loads(json.dumps(options).replace("FOLDER", str(tmp_path)))
    client.models.upload("birds", str(tmp_path / "w.safetensors"), **given)
    assert sent in server.requests[0].body


@pytest.mark.parametrize(
    ("option", "hint"), [("arch", "architecture"), ("label", "did you mean labels?"), ("resize", "in preprocessing")]
)
def test_an_unknown_option_of_an_import_is_refused(client: Client, tmp_path: Path, option: str, hint: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"tensors")
    with pytest.raises(InferqError, match=hint):
        client.models.upload("birds", tmp_path / "w.safetensors", **{option: 1})  # type: ignore[arg-type]


def test_an_alias_keeps_its_slash_in_the_path(server: ToyServer, client: Client) -> None:
    answer = complete(Alias, alias="google/vit-base", model="vit")
    server.on("PUT /v1/aliases/google/vit-base", (201, {}, answer))
    server.on("GET /v1/aliases", (200, {}, complete(AliasList, aliases=[answer])))
    server.on("DELETE /v1/aliases/google/vit-base", (204, {}, b""))
    assert client.models.set_alias("google/vit-base", "vit").to_json() == answer
    assert json.loads(server.requests[0].body) == {"model": "vit"}
    assert [alias.to_json() for alias in client.models.list_aliases()] == [answer]
    client.models.remove_alias("google/vit-base")
    assert server.requests[-1].method == "DELETE"


PUBLIC = "-----BEGIN PUBLIC KEY-----\nMIIBIjAN+/=\nBgkqhkiG\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("kind", ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"])
def test_a_public_key_is_registered_for_an_account(server: ToyServer, client: Client, kind: str) -> None:
    pem = PUBLIC.replace("PUBLIC KEY", kind).replace("\n", "\r\n")
    server.on("POST /v1/keys", (201, {}, complete(NewKey, id="k1", account="anna@example.org")))
    registered = client.keys.register("anna@example.org", pem, scopes=["infer"])
    assert (registered.id, registered.account, registered.key) == ("k1", "anna@example.org", "")
    sent = {"account": "anna@example.org", "public_key": pem, "scopes": ["infer"]}
    assert json.loads(server.requests[0].body) == sent


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PUBLIC.replace("PUBLIC", "PRIVATE"), "private key, keep it"),
        (PUBLIC.replace("PUBLIC", "RSA PRIVATE"), "private key, keep it"),
        (PUBLIC.replace("PUBLIC", "ENCRYPTED PRIVATE"), "private key, keep it"),
        (PUBLIC.replace("PUBLIC", "OPENSSH PRIVATE"), "private key, keep it"),
        (PUBLIC + PUBLIC.replace("PUBLIC", "PRIVATE"), "private key, keep it"),
        ("PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 14\nAAAA", "private key, keep it"),
        ('{"kty": "RSA", "d": "c2VjcmV0"}', "no public key"),
        (PUBLIC + '{"d": "c2VjcmV0"}', "no public key"),
        (PUBLIC.replace("END PUBLIC", "END RSA PUBLIC"), "no public key"),
        ("\ufffd\ufffd", "no public key"),
        ("", "no public key"),
    ],
)
def test_nothing_but_a_public_key_ever_leaves_the_machine(
    server: ToyServer, client: Client, text: str, says: str
) -> None:
    with pytest.raises(InferqError, match=says):
        client.keys.register("anna@example.org", text)
    assert server.requests == []


def test_names_with_slashes_stay_one_part_of_the_path(server: ToyServer, client: Client) -> None:
    server.on("DELETE /v1/models/a%2Fb/versions/1", (204, {}, b""))
    client.models.remove("a/b", "1")
    assert server.requests[0].method == "DELETE"


def test_options_and_parameters_are_those_of_the_requests() -> None:
    assert set(Options.__annotations__) == {field.name for field in structs.fields(JobOptions)}
    assert set(Parameters.__annotations__) == {field.name for field in structs.fields(TrainingParameters)}


@pytest.mark.parametrize("picture", [["a.png", "b.png"], io.StringIO("x"), 7])
def test_what_is_no_picture_is_refused_before_anything_is_sent(server: ToyServer, client: Client, picture: Any) -> None:
    with pytest.raises(InferqError, match=r"picture 1 (must be a path, a URL, bytes, a tuple|is a file in text mode)"):
        client.jobs.classify(picture)
    assert server.requests == []


def test_a_search_sends_one_picture_and_returns_what_was_found(server: ToyServer, client: Client) -> None:
    hit = {"similarity": 0.5, "name": "a.png", "dataset_id": 7, "example_id": 2, "label": "duck"}
    similar = {"hits": [hit], "searched": 1, "of": 2}
    server.on("POST /v1/images/search", (200, {}, job("DONE", predictions=[{"name": "x", "similar": similar}])))
    found = client.jobs.search(b"quack", dataset="birds", limit=3).predictions[0].similar
    assert found is not None
    assert ([near.label for near in found.hits], found.searched, found.of) == (["duck"], 1, 2)
    (request,) = server.requests
    for name, value in (("dataset", "birds"), ("limit", "3"), ("images", "false")):
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in request.body
    assert b'name="model"' not in request.body


def test_a_search_that_takes_long_is_polled(server: ToyServer, client: Client) -> None:
    server.on("POST /v1/images/search", (202, {}, job("QUEUED")))
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE")))
    assert client.jobs.search(b"quack").status == "DONE"
