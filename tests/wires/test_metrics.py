"""`/metrics`: valid text, of all processes, that names nobody's models but the caller's; and `Server-Timing`."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from werkzeug.test import EnvironBuilder

from api import server_timing
from api.load_shedding import GIVEN_AGAIN, HOLDS_FOR
from shared import errors
from shared.container import Container
from shared.domain import metrics as declared
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import ModelVersion
from shared.services import jobs, keys, maintenance, metrics, models
from tests import stacks
from tests.needed import missing
from tests.stacks import Stack, until
from tests.wires.test_checklist import EVERY_WIRE, PICTURE, Wire

OPERATOR = Caller("default", SCOPES)


def scraped(client: FlaskClient, **headers: str) -> list[Sample]:
    """Return the samples of a scrape, after what this process has counted is stored."""
    client.application.extensions["inferq"].queue.counts.store()
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """Return the sum of the samples with these labels."""
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


def rows(samples: list[Sample], name: str) -> list[tuple[Mapping[str, str], float]]:
    return [(sample.labels, sample.value) for sample in samples if sample.name == name]


def private(container: Container, tenant: str, name: str) -> ModelVersion:
    """Store a model of a tenant."""
    digits = models.get_version(container, "default", "digits")
    version = replace(digits, id=str(uuid.uuid4()), tenant=tenant, name=name, is_default=True)
    with container.database.write() as uow:
        uow.model_versions.add(version)
    return version


def answered(container: Container, version: ModelVersion, count: int) -> None:
    labels, owner = metrics.labels_of(version)
    for _ in range(count):
        container.queue.counts.add(declared.PICTURES, (*labels, "done", ""), owner=owner)
        container.queue.counts.observe(declared.FORWARD_SECONDS, 0.002, labels, owner)


# -- requests


def test_requests_are_counted_by_the_template_of_their_route_and_never_by_its_path(client: FlaskClient) -> None:
    before = scraped(client)
    for number in range(3):
        client.get(f"/v1/jobs/secret-{number}")
    client.post("/v2/vision/predict", data={"modelId": "digits"})
    samples = scraped(client)
    job = {"wire": "native", "method": "GET", "route": "/v1/jobs/<job_id>"}
    assert value(samples, "inferq_requests_total", **job, status="404") == 3
    assert value(samples, "inferq_request_seconds_count", **job) == 3
    assert value(samples, "inferq_requests_total", wire="einstein_vision", route="/v2/vision/predict") == 1
    assert (
        value(samples, "inferq_requests_total", route="/metrics")
        == value(before, "inferq_requests_total", route="/metrics") + 1
    )
    assert "secret-" not in client.get("/metrics").text


def test_callers_cannot_invent_labels(client: FlaskClient) -> None:
    for path in ("/nothing/1", "/nothing/2", "/v2/nothing"):
        client.get(path)
    client.open("/v1/jobs", method="BREW")
    samples = scraped(client)
    unknown = [labels for labels, _ in rows(samples, "inferq_requests_total") if labels["route"] == "(unknown)"]
    assert {labels["method"] for labels in unknown} == {"(unknown)"}
    assert len(unknown) == 3  # two wires with 404, and 405
    text = client.get("/metrics").text
    assert "nothing" not in text
    assert "BREW" not in text


def test_a_refusal_that_the_server_gives_again_is_counted_each_time(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overloaded(*_: Any, **__: Any) -> None:
        error = errors.Overloaded("Too much waits.")
        error.holds = True
        raise error

    monkeypatch.setattr(jobs, "submit", overloaded)
    environ = EnvironBuilder("/v1/classify", method="POST", data=PICTURE, content_type="image/png").get_environ()
    environ |= client.environ_base
    client.application(environ, lambda *_: lambda _: None)
    assert HOLDS_FOR in environ
    environ[GIVEN_AGAIN]()
    samples = scraped(client)
    assert value(samples, "inferq_requests_total", route="/v1/classify", status="503") == 2


def test_the_time_of_a_request_begins_where_the_server_says_it_arrived(client: FlaskClient) -> None:
    client.get("/healthz")
    before = value(scraped(client), "inferq_request_seconds_sum", route="/healthz")
    client.get("/healthz", environ_overrides={"inferq.arrived": -1e9})
    assert value(scraped(client), "inferq_request_seconds_sum", route="/healthz") - before > 1e9


# -- the text


def test_what_alarms_count_is_shown_before_it_has_happened(client: FlaskClient) -> None:
    samples = scraped(client)
    failed = {labels["kind"]: number for labels, number in rows(samples, "inferq_webhook_attempts_total")
              if labels["outcome"] == "failed"}  # fmt: skip
    assert failed == {"job": 0, "training": 0, "drift": 0}
    assert rows(samples, "inferq_training_seconds_count") == [
        ({"outcome": outcome}, 0) for outcome in ("cancelled", "done", "failed")
    ]


def test_the_text_is_what_prometheus_asks_for(client: FlaskClient, container: Container) -> None:
    for metric in declared.COUNTED:
        labels = tuple(f'a "label"\\ of\n{number}' for number in range(len(metric.labels)))
        if metric.buckets:
            container.queue.counts.observe(metric, metric.buckets[0], labels)
        else:
            container.queue.counts.add(metric, labels)
    about = {"pictures": 42, "device": "cuda", "engine": "torch", "memory": 5, "card_memory": {"used": 2, "total": 3}}
    container.queue.workers.heartbeat("worker-1", about, 60)
    samples = scraped(client)
    for metric in declared.COUNTED:
        name = f"{metric.name}_count" if metric.buckets else f"{metric.name}_total"
        assert value(samples, name) >= 1, name
    assert value(samples, "inferq_device_memory_bytes", worker="worker-1") == 3
    assert value(samples, "inferq_worker_info", worker="worker-1", device="cuda", engine="torch") == 1
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool, of the package prometheus,")
    text = client.get("/metrics").data
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_histogram_rises_to_its_count(client: FlaskClient) -> None:
    client.get("/healthz")
    buckets = [number for labels, number in rows(scraped(client), "inferq_request_seconds_bucket")
               if labels["route"] == "/healthz"]  # fmt: skip
    assert len(buckets) == len(declared.REQUEST_SECONDS.buckets) + 1
    assert buckets == sorted(buckets)
    assert buckets[-1] == 1


# -- whose models


def test_the_models_of_others_are_one_without_a_name(client: FlaskClient, container: Container) -> None:
    for tenant, name, count in (("anna", "fruit", 3), ("anna", "trees", 1), ("bert", "birds", 5)):
        answered(container, private(container, tenant, name), count)
    answered(container, models.get_version(container, "default", "digits"), 7)
    keys.create(container, OPERATOR, scopes=SCOPES)
    _, secret = keys.create(container, OPERATOR, tenant="anna", scopes=["infer"])
    hidden, own = scraped(client), scraped(client, Authorization=f"Bearer {secret}")
    for name in ("inferq_pictures_total", "inferq_forward_seconds_count"):
        assert {labels["model"]: number for labels, number in rows(hidden, name)} == {"(private)": 9, "digits": 7}
        assert {labels["model"]: number for labels, number in rows(own, name)} == {
            "(private)": 5, "digits": 7, "fruit": 3, "trees": 1,
        }  # fmt: skip


def test_the_sum_of_what_is_hidden_does_not_fall_by_rounding(client: FlaskClient, container: Container) -> None:
    keys.create(container, OPERATOR, scopes=SCOPES)
    _, secret = keys.create(container, OPERATOR, tenant="anna", scopes=["infer"])
    own, others = (metrics.labels_of(private(container, tenant, tenant)) for tenant in ("anna", "bert"))
    for labels, owner in (others, own, own, own):
        container.queue.counts.observe(declared.FORWARD_SECONDS, 0.1, labels, owner)
        hidden = scraped(client, Authorization=f"Bearer {secret}")
        assert value(hidden, "inferq_forward_seconds_sum", model="(private)") == 0.1


def test_no_number_falls_when_a_model_is_removed(client: FlaskClient, container: Container) -> None:
    version = private(container, "anna", "fruit")
    answered(container, version, 3)
    keys.create(container, OPERATOR, scopes=SCOPES)
    _, secret = keys.create(container, OPERATOR, tenant="anna", scopes=["infer"])
    header = {"Authorization": f"Bearer {secret}"}
    answered(container, private(container, "bert", "birds"), 5)
    assert value(scraped(client, **header), "inferq_pictures_total", model="fruit") == 3
    with container.database.write() as uow:
        uow.model_versions.delete([version.id])
    gone = scraped(client, **header)
    assert {labels["model"]: number for labels, number in rows(gone, "inferq_pictures_total")} == {"(private)": 5}
    assert value(scraped(client), "inferq_pictures_total", model="(private)") == 8


# -- what ends without a batch


def test_jobs_that_are_cancelled_and_that_expire_are_counted(client: FlaskClient, container: Container) -> None:
    def submitted(**options: Any) -> str:
        text = client.post("/v1/jobs", data={"files": (io.BytesIO(PICTURE), "a.png"), **options}).json["_id"]
        return str(text)

    cancelled = submitted()
    for _ in range(2):  # the second changes nothing
        client.post(f"/v1/jobs/{cancelled}/cancel")
    assert client.get(f"/v1/jobs/{cancelled}").json["status"] == "CANCELLED"
    late = submitted(deadline="1")
    later = replace(container, now=lambda: container.now() + 3600)
    maintenance.expire_late(later)
    assert client.get(f"/v1/jobs/{late}").json["status"] == "EXPIRED"
    samples = scraped(client)
    assert value(samples, "inferq_jobs_total", model="digits", outcome="cancelled") == 1
    assert value(samples, "inferq_jobs_total", model="digits", outcome="expired") == 1
    assert value(samples, "inferq_deadline_margin_seconds_bucket", model="digits", le="0.0") == 1


# -- Server-Timing


def never_seen() -> bytes:
    """Return the picture with a text of its own in it, which no cache has."""
    file, text = io.BytesIO(), PngInfo()
    text.add_text("Comment", uuid.uuid4().hex)
    Image.open(io.BytesIO(PICTURE)).save(file, "PNG", pnginfo=text)
    return file.getvalue()


@EVERY_WIRE
def test_an_answer_that_was_waited_for_tells_its_steps(stack: Stack, wire: Wire) -> None:
    answer = wire.send(stack, never_seen())
    if wire.path == "/v1/images/upload":  # it stores the picture, and another call classifies it
        assert "Server-Timing" not in answer.headers
        answer = httpx.post(f"{stack.url}/v1/images/{answer.json()['id']}/classify", timeout=90)
    assert answer.status_code == wire.success, answer.text
    steps = dict(re.findall(r"(\w+);dur=(\d+\.\d)(?:, |$)", answer.headers["Server-Timing"]))
    assert list(steps) == ["queue", "decode", "infer", "store", "total"]
    whole = answer.elapsed.total_seconds() * 1000
    assert 0 < float(steps["total"]) < whole + 50  # two processes and Redis do not agree to the millisecond
    assert float(steps["decode"]) + float(steps["infer"]) <= float(steps["total"]) + 1


def test_an_answer_that_was_not_waited_for_tells_no_steps(stack: Stack) -> None:
    files = {"files": ("seven.png", never_seen())}
    begun = httpx.post(f"{stack.url}/v1/jobs", files=files, timeout=90)
    assert "Server-Timing" not in begun.headers
    job = f"{stack.url}/v1/jobs/{begun.json()['_id']}"
    until(lambda: httpx.get(job).json()["terminal"], 30)
    assert "Server-Timing" not in httpx.get(job).headers


def test_the_steps_are_those_of_the_timeline(client: FlaskClient, container: Container) -> None:
    begun = client.post("/v1/jobs", data={"files": (io.BytesIO(PICTURE), "a.png")}).json["_id"]
    job = jobs.get(container, "default", begun)
    assert server_timing.milliseconds(job) == {}
    first = {
        "claimed_at": job.created_at + 0.5,
        "stored_at": job.created_at + 0.9,
        "decode_ms": 10.0,
        "forward_ms": 300,
    }
    second = {"claimed_at": job.created_at + 2, "stored_at": job.created_at + 3, "decode_ms": 5.0, "forward_ms": 900}
    done = replace(job, timeline=[first, second], finished_at=job.created_at + 3)
    steps = server_timing.milliseconds(done)
    assert {name: round(step, 3) for name, step in steps.items()} == {
        "queue": 500.0, "decode": 15.0, "infer": 1200.0, "store": 185.0, "total": 3000.0,
    }  # fmt: skip


# -- a running stack


def test_what_a_stack_has_done_is_in_its_metrics(stack: Stack) -> None:
    def shown() -> list[Sample]:
        text = httpx.get(f"{stack.url}/metrics").text
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    before = value(shown(), "inferq_pictures_total", model="digits", outcome="done")
    for _, data in stacks.digits()[:3]:
        assert httpx.post(f"{stack.url}/v1/classify?model=digits", content=data,
                          headers={"Content-Type": "image/png"}, timeout=90).status_code == 200  # fmt: skip
    until(lambda: value(shown(), "inferq_pictures_total", model="digits", outcome="done") >= before + 3, 30)
    samples = shown()
    for name in ("wait", "decode", "forward", "store"):
        assert value(samples, f"inferq_{name}_seconds_count", model="digits") > 0, name
    about = {"wire": "native", "route": "/v1/classify", "status": "200"}
    until(lambda: value(shown(), "inferq_requests_total", **about) >= 3, 30)
