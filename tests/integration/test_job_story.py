"""The story of a job, from the API through a worker to its webhook: as one trace, and as lines of the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from inferq.stack import log_lines
from shared import errors, logs
from shared.adapters.database import tables
from shared.adapters.queue.queue import Queue
from shared.container import Container, start_tracing
from shared.services import job_traces, jobs, maintenance, models
from shared.settings import Settings
from tests import apps
from tests.stacks import digits, until
from tests.trace_collector import Collector, ReceivedSpan, collecting
from tests.webhook_receivers import Receiver, deliver, receiving
from tests.workers import checked_container, registered
from worker import consumer
from worker.process import WorkerProcess

pytestmark = pytest.mark.slow
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Service:
    """An API, a worker and a deliverer in this process, with traces on and a receiver of webhooks."""

    def __init__(self, worker: WorkerProcess, client: FlaskClient, collector: Collector, hook: Receiver) -> None:
        self.container, self.worker, self.client = worker.container, worker, client
        self.collector, self.hook = collector, hook

    def submit(self, *pictures: bytes, deadline: str = "", **headers: str) -> Any:
        files = [(io.BytesIO(data), f"{number}.png") for number, data in enumerate(pictures)]
        options = {"model": "digits", "webhook": self.hook.url} | ({"deadline": deadline} if deadline else {})
        return self.client.post(
            "/v1/jobs",
            data={"files": files, **options},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def run(self) -> None:
        """Run what waits, and call back what has ended."""
        consumer.consume(self.worker, self.version_id)
        deliver(self.container)

    @property
    def version_id(self) -> str:
        return models.get_ready_version(self.container, "default", "digits").id

    def later(self, seconds: float) -> Container:
        """Return the container as it is then."""
        return replace(self.container, now=lambda: self.container.now() + seconds)

    def lose_the_queue(self) -> None:
        """Empty Redis, and have maintenance push again what SQL has."""
        self.container.queue.connection.redis.flushall()
        maintenance.push_again(self.later(10), self.version_id)

    def of_the_caller(self) -> dict[str, list[ReceivedSpan]]:
        """Return name -> the spans in the trace of CALLER; none are recorded afterwards."""
        named = dict[str, list[ReceivedSpan]]()
        for span in self.spans():
            if span.trace == CALLER.split("-")[1]:
                named.setdefault(span.name, []).append(span)
        return named

    def spans(self) -> list[ReceivedSpan]:
        """Return all spans so far; none are recorded afterwards."""
        self.container.tracing.close()
        return self.collector.spans


@pytest.fixture
def service(checked: Path, tmp_path: Path) -> Iterator[Service]:
    with ExitStack() as stack:
        queue = Queue(Settings(prefix="story:", lease=0.5), fakeredis.FakeRedis(decode_responses=True))
        stack.callback(queue.close)
        plain = stack.enter_context(checked_container(checked, tmp_path, queue))
        collector, hook = stack.enter_context(collecting()), stack.enter_context(receiving())
        settings = plain.settings.changed(otlp_endpoint=collector.url, webhook_private=True, process_name="test")
        container = replace(plain, settings=settings, tracing=start_tracing(settings, plain.now))
        stack.callback(container.tracing.close)
        # An app of its own: the endpoint is among its settings, and so it differs from those of other tests.
        client = apps.over(container).test_client()
        yield Service(stack.enter_context(registered(container)), client, collector, hook)


def test_one_job_is_one_trace_from_the_api_through_the_worker_to_the_webhook(service: Service) -> None:
    answer = service.submit(digits()[0][1], digits()[1][1], traceparent=CALLER)
    service.run()
    spans = service.spans()
    job_id = answer.json["_id"]
    ours = {span.name: span for span in spans if span.trace == "0af7651916cd43dd8448eb211c80319c"}

    assert service.collector.paths == {"/v1/traces"}
    assert set(ours) == {"POST /v1/jobs", "accept", "queue", "run", "decode", "forward", "store", "webhook"}
    assert {name: next((other.name for other in ours.values() if other.id == span.parent), span.parent)
            for name, span in ours.items()} == {
        "POST /v1/jobs": "b7ad6b7169203331",  # the span of the caller
        "accept": "POST /v1/jobs", "queue": "accept", "run": "accept", "webhook": "accept",
        "decode": "run", "forward": "run", "store": "run",
    }  # fmt: skip
    request, run = ours["POST /v1/jobs"], ours["run"]
    assert request.kind == 2
    assert request.attributes.items() >= {
        "http.request.method": "POST", "http.route": "/v1/jobs", "url.path": "/v1/jobs",
        "http.response.status_code": 202, "inferq.request": answer.headers["X-Request-Id"],
    }.items()  # fmt: skip
    assert (ours["accept"].attributes["inferq.job"], ours["accept"].attributes["inferq.pictures"]) == (job_id, 2)
    assert (run.attributes["inferq.job"], run.attributes["inferq.worker"]) == (job_id, service.worker.id)
    (batch,) = [span for span in spans if span.name == "batch"]
    assert batch.links == ((run.trace, run.id),)
    assert batch.trace != run.trace
    assert batch.attributes["inferq.batch"] == run.attributes["inferq.batch"]


def test_the_times_of_a_trace_follow_each_other(service: Service) -> None:
    service.submit(digits()[0][1])
    service.run()
    spans = {span.name: span for span in service.spans()}
    assert all(span.began <= span.ended for span in spans.values())
    began = [spans[name].began for name in ("POST /v1/jobs", "accept", "queue", "run", "forward", "store", "webhook")]
    assert [round(time / 1e6) for time in began] == sorted(round(time / 1e6) for time in began)


def test_the_receiver_of_a_webhook_gets_the_trace(service: Service) -> None:
    service.submit(digits()[0][1], traceparent=CALLER)
    service.run()
    ((headers, _),) = service.hook.calls
    (webhook,) = [span for span in service.spans() if span.name == "webhook"]
    assert headers["traceparent"] == f"00-{webhook.trace}-{webhook.id}-01"
    assert webhook.trace == CALLER.split("-")[1]
    assert webhook.attributes["http.response.status_code"] == 200


def test_no_failure_of_tracing_keeps_an_answer_or_its_picture_on_the_queue(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("spans cannot be made")

    answer, queue = service.submit(digits()[0][1], traceparent=CALLER), service.container.queue
    version = models.get_ready_version(service.container, "default", "digits")
    monkeypatch.setattr(service.container.tracing, "add", fail)
    service.lose_the_queue()
    consumer.consume(service.worker, version.id)
    assert service.client.get(f"/v1/jobs/{answer.json['_id']}").json["status"] == "DONE"
    assert queue.streams.count_unfinished(version.id, "default") == 0


def test_a_batch_of_two_jobs_has_a_link_to_each_of_them(service: Service) -> None:
    ids = [service.submit(digits()[number][1]).json["_id"] for number in range(2)]
    service.run()
    spans = service.spans()
    runs = {span.attributes["inferq.job"]: span for span in spans if span.name == "run"}
    (batch,) = [span for span in spans if span.name == "batch"]
    assert set(runs) == set(ids)
    assert len({span.trace for span in runs.values()}) == 2
    assert set(batch.links) == {(span.trace, span.id) for span in runs.values()}


def test_a_request_that_its_caller_does_not_trace_is_not_traced(service: Service) -> None:
    service.submit(digits()[0][1], traceparent=CALLER[:-1] + "0")
    service.run()
    ((headers, _),) = service.hook.calls
    assert "traceparent" not in headers
    assert service.spans() == []


def test_a_request_that_fails_is_a_span_that_fails(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("shared.services.jobs.queue_limits.admit", broken)
    service.submit(digits()[0][1])
    spans = {span.name: span for span in service.spans()}
    assert spans["POST /v1/jobs"].is_error
    assert spans["POST /v1/jobs"].attributes["http.response.status_code"] == 500
    assert spans["accept"].is_error


def test_tracing_that_is_off_sends_nothing_and_puts_nothing_on_the_stream(container: Container) -> None:
    assert not container.tracing.is_on
    client = apps.over(container).test_client()
    answer = client.post(
        "/v1/jobs", data={"files": (io.BytesIO(digits()[0][1]), "a.png"), "model": "digits"},
        headers={"traceparent": CALLER},
    )  # fmt: skip
    version = models.get_ready_version(container, "default", "digits")
    (entry,) = container.queue.streams.claim(version.id, "worker", 1)
    assert (entry.job_id, entry.trace) == (answer.json["_id"], "")
    assert "c" not in entry.pack()


# what goes wrong


def numbered(spans: list[ReceivedSpan], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(span.attributes.get(f"inferq.{name}") for name in names) for span in spans]


def test_a_picture_whose_worker_was_killed_goes_on_in_its_trace_as_the_next_attempt(service: Service) -> None:
    service.submit(digits()[0][1], traceparent=CALLER)
    service.container.queue.streams.claim(service.version_id, "a worker that is killed", 10)
    until(lambda: service.container.queue.streams.has_expired(service.version_id), 10)
    service.run()
    spans = service.of_the_caller()
    for name in ("queue", "run"):
        assert numbered(spans[name], "push", "attempt") == [(1, 2)], name
    assert len(spans["webhook"]) == 1


def test_a_job_that_the_queue_has_lost_goes_on_in_its_trace_with_the_number_of_the_push(service: Service) -> None:
    job_id = service.submit(digits()[0][1], digits()[1][1], traceparent=CALLER).json["_id"]
    service.lose_the_queue()
    service.lose_the_queue()
    service.run()
    spans = service.of_the_caller()
    (accept,) = spans["accept"]
    assert numbered(spans["queue_again"], "job", "push", "pictures") == [(job_id, 2, 2), (job_id, 3, 2)]
    for name in ("queue", "run"):
        assert numbered(spans[name], "push", "attempt") == [(3, 1)], name
    assert {span.parent for name in ("queue_again", "queue", "run", "webhook") for span in spans[name]} == {accept.id}


def test_a_push_that_a_full_redis_refuses_is_neither_counted_nor_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit(digits()[0][1], digits()[1][1], traceparent=CALLER).json["_id"]

    def refuse(*_: Any) -> None:
        raise errors.QueueFull

    with monkeypatch.context() as patched:
        patched.setattr(service.container.queue.streams, "push", refuse)
        with pytest.raises(errors.QueueFull):
            service.lose_the_queue()
    service.lose_the_queue()
    assert numbered(service.of_the_caller()["queue_again"], "job", "push", "pictures") == [(job_id, 2, 2)]


def test_a_cancelled_job_ends_its_trace_with_a_span_that_links_the_request(service: Service) -> None:
    job_id = service.submit(digits()[0][1], digits()[1][1], traceparent=CALLER).json["_id"]
    service.client.post(f"/v1/jobs/{job_id}/cancel")
    service.client.post(f"/v1/jobs/{job_id}/cancel")  # this one changes nothing
    service.run()
    spans = service.of_the_caller()
    (cancel,), (accept,) = spans["cancel"], spans["accept"]
    request = next(span for span in service.collector.named("POST /v1/jobs/<job_id>/cancel"))
    assert cancel.links == ((request.trace, request.id),)
    assert (cancel.parent, cancel.attributes, cancel.is_error) == (accept.id, {"inferq.job": job_id}, False)
    assert numbered(spans["queue"], "dropped") == [(True,)]
    assert "run" not in spans
    assert service.collector.named("batch") == []
    assert [span.trace for span in service.collector.named("webhook")] == [accept.trace]


@pytest.mark.parametrize("seen_by", ["maintenance", "worker"])
def test_an_expired_job_ends_its_trace_with_a_span_that_has_failed(service: Service, seen_by: str) -> None:
    service.submit(digits()[0][1], traceparent=CALLER, deadline="1")
    if seen_by == "maintenance":
        maintenance.expire_late(service.later(10))
    service.worker.container = service.later(10)
    service.run()
    deliver(service.later(20))
    spans = service.of_the_caller()
    (expire,) = spans["expire"]
    assert expire.is_error
    assert expire.parent == spans["accept"][0].id
    assert "run" not in spans
    assert len(spans["webhook"]) == 1


def test_a_job_whose_last_pictures_are_too_late_ends_its_trace_as_expired_too(service: Service) -> None:
    service.submit(digits()[0][1], digits()[1][1], traceparent=CALLER, deadline="1")
    (first, *_) = service.container.queue.streams.claim(service.version_id, "another worker", 10)
    jobs.begin(service.container, [first])  # it is RUNNING
    until(lambda: service.container.queue.streams.has_expired(service.version_id), 10)
    service.worker.container = service.later(10)
    service.run()
    assert [span.is_error for span in service.of_the_caller()["expire"]] == [True]


def test_a_job_whose_model_cannot_be_loaded_ends_its_trace_as_failed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such layer")

    service.submit(digits()[0][1], traceparent=CALLER)
    monkeypatch.setattr(service.worker.engine, "load", fail)
    service.run()
    spans = service.of_the_caller()
    assert [span.is_error for span in spans["fail"]] == [True]
    assert len(spans["webhook"]) == 1


def test_each_attempt_of_a_callback_is_a_span_with_its_number_although_redis_was_emptied(service: Service) -> None:
    service.submit(digits()[0][1], traceparent=CALLER)
    service.hook.status = 503
    service.run()
    service.container.queue.connection.redis.flushall()
    service.hook.status = 200
    deliver(service.later(3600))
    webhooks = service.of_the_caller()["webhook"]
    assert numbered(webhooks, "attempt") == [(1,), (2,)]
    assert [span.is_error for span in webhooks] == [True, False]
    traced = [headers["traceparent"].split("-")[2] for headers, _ in service.hook.calls]
    assert traced == [span.id for span in webhooks]


def test_a_job_that_is_retried_goes_on_in_the_trace_of_that_request(service: Service) -> None:
    job_id = service.submit(digits()[1][1][:-30], traceparent=CALLER).json["_id"]
    service.run()
    again = "00-11111111111111111111111111111111-2222222222222222-01"
    service.client.post(f"/v1/jobs/{job_id}/retry", headers={"traceparent": again})
    service.lose_the_queue()
    service.run()
    names = [span.name for span in service.spans() if span.trace == again.split("-")[1]]
    assert {"queue_again", "run", "webhook"} <= set(names)
    assert [span.trace for span in service.collector.named("webhook")] == [CALLER.split("-")[1], again.split("-")[1]]


def test_the_trace_of_a_job_that_an_older_process_has_erased_is_removed(service: Service) -> None:
    kept, erased = (service.submit(digits()[0][1], traceparent=CALLER).json["_id"] for _ in range(2))
    with service.container.database.engine.begin() as connection:
        connection.execute(sa.delete(tables.items).where(tables.items.c.job_id == erased))
        connection.execute(sa.delete(tables.jobs).where(tables.jobs.c.id == erased))
    maintenance.drop_traces(service.container)
    assert [*job_traces.find(service.container, [kept, erased])] == [kept]


def test_the_trace_of_a_job_goes_with_the_job(service: Service) -> None:
    job_id = service.submit(digits()[0][1], traceparent=CALLER).json["_id"]
    service.run()
    assert job_traces.find(service.container, [job_id])
    service.client.delete(f"/v1/jobs/{job_id}")
    assert not job_traces.find(service.container, [job_id])


def test_tracing_that_is_off_asks_the_database_nothing(client: FlaskClient, container: Container) -> None:
    statements: list[str] = []
    sa.event.listen(
        container.database.engine, "before_cursor_execute", lambda *about: statements.append(about[2])
    )  # fmt: skip
    ids = [client.post("/v1/jobs", data={"files": (io.BytesIO(digits()[0][1]), "a.png")}).json["_id"] for _ in range(2)]
    client.post(f"/v1/jobs/{ids[0]}/cancel")
    container.queue.connection.redis.flushall()
    later = replace(container, now=lambda: container.now() + 10)
    assert maintenance.push_again(later, models.get_ready_version(container, "default", "digits").id) == 1
    assert len(statements) > 5
    assert [statement for statement in statements if "job_traces" in statement] == []


# the log


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What this process writes into its log, in each format."""
    settings = Settings(log_format=request.param, process_name="test")
    about = logs.configuration(settings)["formatters"]["lines"]
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter({"text": logs.TextLines, "json": logs.JsonLines}[request.param](about["process"]))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel("INFO")
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def told(text: str, tmp_path: Path, word: str) -> list[log_lines.Line]:
    """Return what `inferq logs WORD` makes of these lines."""
    file = tmp_path / "test.log"
    file.write_text(text)
    return [line for _, _, shown in log_lines.story({"test": [file]}, word) if (line := log_lines.read(shown))]


def test_a_job_is_told_by_its_lines_from_the_request_to_the_webhook(
    service: Service, written: io.StringIO, tmp_path: Path
) -> None:
    other = service.submit(digits()[2][1], X_Request_Id="another").json["_id"]
    answer = service.submit(digits()[0][1], digits()[1][1][:-30], X_Request_Id="order-7/a")
    service.run()
    job_id = answer.json["_id"]
    story = told(written.getvalue(), tmp_path, job_id)

    assert answer.headers["X-Request-Id"] == "order-7/a"
    assert [line.message.split(" ")[0] for line in story] == ["accepted", "claimed", "1", "ran", "ended", "callback"]
    accepted, claimed, failed, ran, ended, called = story
    assert accepted.ids == {"request": "order-7/a", "tenant": "default", "job": job_id}
    assert accepted.message == "accepted 2 pictures for digits version 1 by native"
    assert claimed.jobs == ran.jobs == {other, job_id}
    assert claimed.message == "claimed 3 pictures"
    assert "failed by broken_picture: " in failed.message
    assert failed.ids["batch"] == claimed.ids["batch"] == ran.ids["batch"] == ended.ids["batch"]
    assert ran.message.startswith("ran 2 answered, 1 failed in ")
    assert ended.message == "ended as DONE, 1 answered, 1 failed"
    assert called.message.startswith("callback delivered, try 1")
    assert told(written.getvalue(), tmp_path, "order-7/a") == story


def test_the_reason_of_a_refusal_is_told_with_the_request(
    service: Service, written: io.StringIO, tmp_path: Path
) -> None:
    answer = service.submit(b"no picture", X_Request_Id="order-8")
    (line,) = told(written.getvalue(), tmp_path, "order-8")
    assert answer.status_code == 400
    assert line.message.startswith("POST /v1/jobs refused: 400 not_a_picture: ")
    assert line.ids["request"] == "order-8"


def test_no_line_holds_a_secret_or_what_is_in_a_picture(service: Service, written: io.StringIO) -> None:
    logging.getLogger().setLevel("DEBUG")
    key, secret, query, about = f"iq_{'k' * 43}", f"whsec_{'aGVsbG8g' * 4}", "signature=5ec4e7", "meta-5ec4e7"
    refused = service.client.get(f"/v1/models?{query}", headers={"Authorization": f"Bearer {key}"})
    accepted = service.client.post(
        "/v1/jobs",
        data={
            "files": (io.BytesIO(digits()[0][1] + b"5ec4e7-trailer"), "a.png"), "model": "digits",
            "webhook": json.dumps({"url": f"{service.hook.url}?{query}", "secret": secret}),
            "metadata": json.dumps({"about": about}),
        },
    )  # fmt: skip
    assert refused.status_code in (400, 401)
    assert accepted.status_code == 202, accepted.text
    service.hook.status = 500
    service.run()
    text = written.getvalue()
    assert "callback of job" in text
    assert [word for word in (key, secret, "5ec4e7") if word in text] == []
