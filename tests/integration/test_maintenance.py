"""Maintenance: whatever failed halfway is repaired, once, and nothing else is touched."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import uuid6
from PIL import Image

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain.jobs import AnswerOptions, Item, Job, Outcome, Status, Submission
from shared.domain.models import ModelState, ModelVersion
from shared.domain.pictures import Limits, Picture
from shared.domain.stored_images import new_id
from shared.domain.stream_entry import StreamEntry
from shared.imaging import images
from shared.services import jobs, maintenance, stored_images
from tests.stacks import until
from worker import delivery

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)


@dataclass
class House:
    """The container of conftest with a clock that can be put forward, and the tasks that were sent."""

    container: Container
    sent: list[tuple[str, ...]]

    def later(self, seconds: float) -> Container:
        """The container, `seconds` from now."""
        return replace(self.container, now=lambda: time.time() + seconds)

    def submit(self, pictures: int = 3, **about: Any) -> Job:
        job, _ = jobs.submit(self.container, "anna", Submission([a_picture(n) for n in range(pictures)], **about))
        return job

    def again(self, job: Job) -> Job:
        return jobs.get(self.container, "anna", job.id)

    def claim(self, job: Job, count: int) -> list[StreamEntry]:
        return self.container.queue.streams.claim(job.version_id, "worker", count)

    def run(self, job: Job, count: int) -> None:
        """As a worker would: claim, begin, finish, acknowledge."""
        entries = self.claim(job, count)
        keep = jobs.begin(self.container, entries)
        jobs.finish(self.container, [Outcome(entry.job_id, entry.position, [["a", 1.0]]) for entry in keep])
        self.container.queue.streams.acknowledge(entries)

    def flush(self) -> None:
        self.container.queue.connection.redis.flushall()


@pytest.fixture
def house(container: Container) -> House:
    sent: list[tuple[str, ...]] = []

    def send_task(task: str, *arguments: str) -> bool:
        sent.append((task, *arguments))
        return True

    container.queue.notifications.send_task = send_task  # type: ignore[method-assign]
    settings = container.settings.changed(lease=0.2, webhook_private=True)
    container.queue.connection.settings = settings
    return House(replace(container, settings=settings), sent)


def a_picture(number: int = 0) -> Picture:
    file = io.BytesIO()
    Image.new("L", (8, 8), number).save(file, "PNG")
    return images.check(f"{number}.png", file.getvalue(), LIMITS)


# what Redis has lost


def test_after_a_flush_what_is_unfinished_is_queued_again_and_nothing_else(house: House) -> None:
    job, done = house.submit(4), house.submit(1)
    house.run(job, 2)
    house.run(done, 9)
    assert house.again(job).left == 4 - house.again(job).done
    left = [(job.id, item.position) for item in unfinished(house, job)]
    house.flush()
    later = house.later(10)

    missing = maintenance.reconcile(later)
    assert missing == (frozenset({job.version_id}) if left else frozenset())
    assert house.container.queue.streams.present(job.version_id) == set()  # only a difference that stays is acted on
    maintenance.reconcile(later, missing)

    assert house.container.queue.streams.present(job.version_id) == set(left)
    assert len(house.container.queue.streams.present(job.version_id)) == house.again(job).left


def unfinished(house: House, job: Job) -> list[Item]:
    with house.container.database.read() as uow:
        return uow.jobs.unfinished_items(job.id)


def test_pushing_again_leaves_out_what_is_still_there(house: House) -> None:
    there, lost = house.submit(2), house.submit(3, priority="high")
    house.container.queue.connection.redis.delete(
        house.container.queue.streams._stream(lost.version_id, "high", "anna")
    )
    held = house.claim(there, 1)

    assert maintenance.push_again(house.later(10), there.version_id) == 3

    claimed = house.claim(there, 99)
    everything = sorted((entry.job_id, entry.position) for entry in held + claimed)
    assert everything == sorted([(there.id, n) for n in range(2)] + [(lost.id, n) for n in range(3)])
    assert maintenance.push_again(house.later(10), there.version_id) == 0


def test_what_is_pushed_again_carries_the_options_of_its_job(house: House) -> None:
    options = AnswerOptions(task="features", top_k=2, function_to_apply="none", exif=False)
    job = house.submit(1, options=options, priority="low")
    (before,) = house.claim(job, 1)
    house.flush()
    maintenance.push_again(house.later(10), job.version_id)
    claimed: list[StreamEntry] = []

    def some() -> bool:
        claimed.extend(house.claim(job, 1))
        return bool(claimed)

    until(some, 5)
    assert replace(claimed[0], id="", attempts=1) == replace(before, id="", attempts=1)


def test_a_job_that_may_still_be_on_its_way_is_left_alone(house: House) -> None:
    job = house.submit(2)
    house.flush()
    assert maintenance.push_again(house.container, job.version_id) == 0


def test_nothing_is_missing_while_everything_is_there(house: House) -> None:
    job = house.submit(5)
    assert maintenance.count_missing(house.container) == frozenset()
    house.claim(job, 2)
    assert maintenance.count_missing(house.container) == frozenset()
    house.flush()
    assert maintenance.count_missing(house.container) == {job.version_id}


def test_cancelled_jobs_are_not_queued_again(house: House) -> None:
    job = house.submit(2)
    jobs.cancel(house.container, "anna", job.id)
    house.flush()
    assert maintenance.count_missing(house.container) == frozenset()
    assert maintenance.push_again(house.later(10), job.version_id) == 0


# bells


def test_work_that_no_bell_tells_of_is_rung_for(house: House) -> None:
    job = house.submit(1)
    house.container.queue.notifications.clear(job.version_id)
    house.sent.clear()

    maintenance.notify_waiting(house.container)
    maintenance.notify_waiting(house.container)

    assert house.sent == [("drain", job.version_id)]


def test_work_that_a_silent_worker_holds_is_rung_for_when_its_lease_is_over(house: House) -> None:
    job = house.submit(1)
    house.claim(job, 1)
    house.container.queue.notifications.clear(job.version_id)
    house.sent.clear()
    until(lambda: house.container.queue.streams.has_expired(job.version_id), 10)
    maintenance.notify_waiting(house.container)
    assert house.sent == [("drain", job.version_id)]


def test_an_empty_stream_is_not_rung_for(house: House) -> None:
    job = house.submit(1)
    house.run(job, 1)
    house.container.queue.notifications.clear(job.version_id)
    house.sent.clear()
    maintenance.notify_waiting(house.container)
    assert house.sent == []


# deadlines, old jobs, blobs


def test_jobs_past_their_deadline_expire_without_a_worker(house: House) -> None:
    late, running, kept = (house.submit(1, deadline=time.time() + 50) for _ in range(3))
    with house.container.database.write() as uow:
        uow.jobs.start({running.id}, time.time())
    maintenance.expire_late(house.container)
    assert house.again(late).status is Status.QUEUED

    jobs.cancel(house.container, "anna", kept.id)
    maintenance.expire_late(house.later(100))

    assert [house.again(job).status for job in (late, running, kept)] == ["EXPIRED", "RUNNING", "CANCELLED"]


def test_old_jobs_go_with_their_pictures_and_younger_ones_stay(house: House) -> None:
    old, waiting = house.submit(1, priority="high"), house.submit(1)
    house.run(old, 1)
    maintenance.drop_old_jobs(house.container)
    assert house.again(old).status is Status.DONE

    maintenance.drop_old_jobs(house.later(house.container.settings.keep_jobs + 60))

    with pytest.raises(errors.NotFound):
        house.again(old)
    with pytest.raises(FileNotFoundError):
        house.container.storage.read(old.blob)
    assert house.again(waiting).status is Status.QUEUED
    assert house.container.storage.read(waiting.blob)


def test_only_orphans_that_are_old_enough_are_removed(house: House) -> None:
    kept = house.submit(1)
    now = time.time()
    ids = {"old": id_made_at(now - 7200), "young": str(uuid6.uuid7())}
    keys = {name: house.container.storage.dated("jobs", job_id, now) for name, job_id in ids.items()}
    for key in keys.values():
        house.container.storage.write(key, b"orphan")

    maintenance.collect_garbage(house.container)

    assert house.container.storage.read(kept.blob)
    assert house.container.storage.read(keys["young"]) == b"orphan"
    with pytest.raises(FileNotFoundError):
        house.container.storage.read(keys["old"])


def test_the_bytes_of_an_image_that_was_never_stored_are_removed_after_an_hour(house: House) -> None:
    container, now = house.container, time.time()
    kept = stored_images.store(replace(container, now=lambda: now - 7200), "anna", "live", a_picture())
    ids = {"old": new_id(now - 7200), "young": new_id(now), "foreign": "notes.txt"}
    keys = {name: container.storage.dated("images", image_id, now) for name, image_id in ids.items()}
    for key in keys.values():
        container.storage.write(key, b"orphan")

    maintenance.collect_garbage(container)

    assert container.storage.read(kept.blob)
    assert container.storage.read(keys["young"]) == container.storage.read(keys["foreign"]) == b"orphan"
    with pytest.raises(FileNotFoundError):
        container.storage.read(keys["old"])


def test_the_pictures_of_a_stored_job_stay_however_old_it_is(house: House) -> None:
    job_id = id_made_at(time.time() - 7200)
    key = house.container.storage.dated("jobs", job_id, time.time())
    house.container.storage.write(key, b"pictures")
    job = replace(house.submit(1), id=job_id, blob=key)
    with house.container.database.write() as uow:
        uow.jobs.add(job, [])
    maintenance.collect_garbage(house.container)
    assert house.container.storage.read(key) == b"pictures"


def test_images_of_the_stage_test_go_when_their_time_is_over_and_live_ones_stay(house: House) -> None:
    live, test = (stored_images.store(house.container, "anna", stage, a_picture()) for stage in ("live", "test"))
    keep = house.container.settings.keep_test_images
    maintenance.collect_garbage(house.later(keep - 60))
    assert stored_images.get(house.container, "anna", "test", test.id) == test

    maintenance.collect_garbage(house.later(keep + 60))

    with pytest.raises(errors.NotFound):
        stored_images.get(house.container, "anna", "test", test.id)
    assert house.container.storage.list(live.blob.rpartition("/")[0]) == [live.blob]
    assert stored_images.get(house.container, "anna", "live", live.id) == live


def test_an_image_whose_removal_broke_off_is_removed_by_the_next_sweep(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = stored_images.store(house.container, "anna", "test", a_picture())
    later = house.later(house.container.settings.keep_test_images + 60)

    def away() -> Any:
        raise errors.Unavailable

    monkeypatch.setattr(later.database, "write", away)
    with pytest.raises(errors.Unavailable):
        maintenance.drop_test_images(later)
    monkeypatch.undo()
    assert stored_images.get(house.container, "anna", "test", test.id) == test  # by the row the rest is found again

    maintenance.drop_test_images(later)

    with pytest.raises(errors.NotFound):
        stored_images.get(house.container, "anna", "test", test.id)
    assert house.container.storage.list(test.blob.rpartition("/")[0]) == []


def id_made_at(when: float) -> str:
    """A UUIDv7 of that time."""
    new_id = uuid6.uuid7().hex
    digits = f"{int(when * 1000):012x}{new_id[12:]}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# models


def with_version(house: House, state: ModelState, **about: Any) -> ModelVersion:
    version = ModelVersion(
        str(uuid6.uuid7()), "anna", f"m{time.time_ns()}", "1", "", "digits", state, time.time(), **about
    )
    with house.container.database.write() as uow:
        uow.model_versions.add(version)
    return version


def test_versions_that_nobody_checks_are_sent_to_a_worker_again(house: House) -> None:
    for state in (ModelState.READY, ModelState.REFUSED, ModelState.ABSENT):
        with_version(house, state)
    forgotten, in_hands = with_version(house, ModelState.CHECKING), with_version(house, ModelState.CHECKING)
    house.container.queue.locks.acquire(f"check:{in_hands.id}", 60)
    house.sent.clear()
    maintenance.recheck_models(house.container)
    assert house.sent == [("check", forgotten.id)]


def test_refused_models_are_forgotten_after_a_day(house: House) -> None:
    refused, ready = with_version(house, ModelState.REFUSED), with_version(house, ModelState.READY)
    maintenance.collect_garbage(house.later(3600))
    assert versions(house) >= {refused.id, ready.id}
    maintenance.collect_garbage(house.later(100_000))
    assert refused.id not in versions(house)
    assert ready.id in versions(house)


def versions(house: House) -> set[str]:
    with house.container.database.read() as uow:
        return {version.id for version in uow.model_versions.visible("anna")}


# one step that fails


def test_one_step_that_fails_does_not_keep_the_others_from_running(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = house.submit(1, deadline=time.time() + 50)

    def broken(container: Container) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(maintenance, "notify_waiting", broken)
    maintenance.reconcile(house.later(100))
    assert house.again(late).status is Status.EXPIRED


def test_a_sweep_without_a_database_or_a_queue_ends_without_an_error(house: House) -> None:
    away = replace(house.container, database=Database("postgresql://nobody@127.0.0.1:9/none"))
    assert maintenance.reconcile(away) == frozenset()


# callbacks


@pytest.fixture
def hook() -> Iterator[Any]:
    """A server that is called back: what it got in `calls`, what it answers in `status`."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.calls.append((dict(self.headers), body))  # type: ignore[attr-defined]
            self.send_response(server.status)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.calls, server.status = [], 200  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_port}/hook"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_ended_job_calls_back_once_and_signed(house: House, hook: Any) -> None:
    job = house.submit(1, webhook=hook.url, webhook_secret="s3cret", metadata={"order": 7})
    house.run(job, 1)
    assert ("deliver",) in house.sent

    delivery.deliver(house.container)
    delivery.deliver(house.later(10_000))

    ((headers, body),) = hook.calls
    event = json.loads(body)
    assert event["type"] == "job.done"
    assert event["data"] == {
        "_id": job.id,
        "status": "DONE",
        "terminal": True,
        "progress": {"total": 1, "done": 1, "failed": 0},
        "metadata": {"order": 7},
    }
    sent = {name.lower(): value for name, value in headers.items()}
    signed = f"{job.id}.{sent['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
    assert sent["webhook-id"] == job.id
    assert sent["webhook-signature"] == f"v1,{digest}"


def test_a_failed_callback_is_tried_again_until_it_is_given_up(house: House, hook: Any) -> None:
    hook.status = 500
    job = house.submit(1, webhook=hook.url)
    house.run(job, 1)
    ahead = 0.0
    for _ in range(9):
        delivery.deliver(house.later(ahead))
        ahead += 4000
    assert len(hook.calls) == 7
    assert house.again(job).status is Status.DONE


def test_the_sweep_calls_the_deliverer_while_something_is_due(house: House, hook: Any) -> None:
    job = house.submit(1, webhook=hook.url)
    house.run(job, 1)
    house.sent.clear()
    maintenance.notify_webhooks(house.container)
    assert house.sent == [("deliver",)]

    delivery.deliver(house.container)
    house.sent.clear()
    maintenance.notify_webhooks(house.later(10_000))
    assert house.sent == []


def test_a_callback_to_a_private_address_is_not_sent(house: House, hook: Any) -> None:
    strict = replace(house.container, settings=house.container.settings.changed(webhook_private=False))
    job = house.submit(1, webhook=hook.url)
    house.run(job, 1)
    delivery.deliver(strict)
    assert hook.calls == []
    with strict.database.read() as uow:
        assert [due.attempts for due in uow.webhook_deliveries.due(time.time() + 60)] == [1]


# the quota


def test_the_quota_refuses_what_would_pass_it_and_stores_nothing(house: House) -> None:
    small = replace(house.container, settings=house.container.settings.changed(max_queued=5))
    first, _ = jobs.submit(small, "anna", Submission([a_picture(n) for n in range(3)]))
    with pytest.raises(errors.TooManyRequests) as caught:
        jobs.submit(small, "anna", Submission([a_picture(n) for n in range(3)]))
    assert caught.value.retry_after
    folder = small.storage.dated("jobs", "", time.time()).rstrip("/")
    assert small.storage.list(folder) == [first.blob]

    jobs.submit(small, "bert", Submission([a_picture(n) for n in range(3)]))
    house.run(first, 9)
    jobs.submit(small, "anna", Submission([a_picture(n) for n in range(3)]))


def test_the_quota_is_reached_by_its_last_picture_and_passed_by_the_next(house: House) -> None:
    small = replace(house.container, settings=house.container.settings.changed(max_queued=5))
    jobs.submit(small, "anna", Submission([a_picture(n) for n in range(4)]))
    jobs.submit(small, "anna", Submission([a_picture(4)]))
    with pytest.raises(errors.TooManyRequests, match="5 pictures of yours wait"):
        jobs.submit(small, "anna", Submission([a_picture(5)]))
