"""A stack of the revision before, killed in mid work, is started by this one on the same data folder and loses nothing.

Its state was recorded from the old code; tests/upgrade/record.py says how, tests/upgrade/snapshot.py what it is.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import safetensors.torch
import sqlalchemy as sa
import torch
from alembic.script import ScriptDirectory

from migrations.__main__ import configuration
from tests import stacks
from tests.stacks import Stack
from tests.upgrade import snapshot
from tests.upgrade.record import HOOK

pytestmark = pytest.mark.long

TRACER = 1234.5
"""A loss that no epoch has: where it is on a curve, the curve was continued and not begun again."""


class Callbacks(ThreadingHTTPServer):
    """An HTTP server that counts the bodies that are posted to it, by job."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.jobs: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/called-back"


class _Receiver(BaseHTTPRequestHandler):
    server: Callbacks

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.jobs[body.get("_id") or body["data"]["_id"]] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write no log of requests into the test's output."""


@dataclass
class Upgraded:
    """The present stack on the old one's data folder."""

    stack: Stack
    callbacks: Callbacks
    keys: dict[str, str]
    ids: dict[str, Any]
    answers: dict[str, dict[str, Any]]
    """Tenant -> path -> what the old stack answered there."""
    pictures: list[tuple[str, bytes]]
    """(name, PNG) of each digit, as they were sent to the old stack."""

    def ask(self, path: str, tenant: str = "owner", method: str = "GET", **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[tenant]}", "Prefer": "wait=2"} | body.pop("headers", {})
        return httpx.request(method, self.stack.url + path, headers=headers, timeout=90, **body).raise_for_status()

    def ended(self, path: str, tenant: str = "owner") -> dict[str, Any]:
        answer: dict[str, Any] = {}

        def terminal() -> bool:
            answer.update(self.ask(path, tenant).json())
            return bool(answer["terminal"])

        stacks.until(terminal, 90, lambda: f"{answer}\n{self.stack.output()}")
        return answer


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    data = tmp_path_factory.mktemp("upgraded") / "data"
    callbacks = Callbacks()
    recorded = snapshot.restore(data, (HOOK, callbacks.url))
    trace(data / "blobs" / "checkpoints" / recorded["ids"]["trainings"]["running"])
    settings = {"INFERQ_WEBHOOK_PRIVATE": "true", "INFERQ_LEASE": "2"}
    with stacks.running(data, "--workers", "1", trainer=True, **settings) as stack:
        digits = snapshot.pictures(data, recorded["ids"]["done"])
        yield Upgraded(stack, callbacks, recorded["keys"], recorded["ids"], recorded["answers"], digits)
    callbacks.shutdown()
    callbacks.server_close()


def trace(checkpoint: Path) -> None:
    """Put the tracer into the first epoch of a checkpoint."""
    tensors = safetensors.torch.load(checkpoint.read_bytes())
    notes = json.loads(bytes(tensors["notes"].tolist()))
    assert [point["epoch"] for point in notes["curve"]] == [1]
    notes["curve"][0]["train_loss"] = TRACER
    tensors["notes"] = torch.frombuffer(bytearray(json.dumps(notes).encode()), dtype=torch.uint8)
    checkpoint.write_bytes(safetensors.torch.save(tensors))


RENAMED = {"withheld": "requires_deployment"}
"""Field of the recorded answers -> what it is called now; trainings also have `id` where they had `_id`."""


def timeless(answer: Any, like: Any) -> Any:
    """Return the fields of an answer that `like` has, without times, which are moved when the state is restored."""
    if isinstance(like, dict):
        names = [name for name in like if not name.endswith(("_at", "_time"))]
        return {name: timeless(_named(answer, name), like[name]) for name in names}
    if isinstance(like, list):
        assert len(answer) == len(like)
        return [timeless(*pair) for pair in zip(answer, like, strict=True)]
    return answer


def _named(answer: dict[str, Any], name: str) -> Any:
    if name in answer:
        return answer[name]
    return answer["id" if name == "_id" else RENAMED[name]]


def labels(job: dict[str, Any]) -> dict[str, list[str]]:
    """Picture -> the labels of its answers, the best first."""
    return {
        prediction["name"]: [result["label"] for result in prediction["results"]] for prediction in job["predictions"]
    }


def test_the_database_is_of_this_revision(upgraded: Upgraded) -> None:
    engine = sa.create_engine(f"sqlite:///{upgraded.stack.data}/inferq.db")
    with engine.connect() as connection:
        stands = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
    engine.dispose()
    assert stands == ScriptDirectory.from_config(configuration("sqlite://")).get_current_head()


@pytest.mark.parametrize("queued", ["claimed", "low", "anna"])
def test_every_picture_that_waited_is_answered_as_the_old_stack_would_have(upgraded: Upgraded, queued: str) -> None:
    tenant, pictures = ("anna" if queued == "anna" else "owner"), (20 if queued == "claimed" else 10)

    job = upgraded.ended(f"/v1/jobs/{upgraded.ids['queued'][queued]}", tenant)

    assert (job["status"], job["progress"]) == ("DONE", {"total": pictures, "done": pictures, "failed": 0})
    before = upgraded.answers["owner"][f"/v1/jobs/{upgraded.ids['done']}"]
    assert labels(job) == labels(before)


def test_nothing_of_them_is_left_in_the_queue(upgraded: Upgraded) -> None:
    for queued in ("claimed", "low"):
        upgraded.ended(f"/v1/jobs/{upgraded.ids['queued'][queued]}")
    upgraded.ended(f"/v1/jobs/{upgraded.ids['queued']['anna']}", "anna")
    server = upgraded.stack.redis()

    def empty() -> bool:
        return not any(server.xlen(stream) for stream in server.scan_iter("inferq:lane:*"))

    stacks.until(empty, 10)


def test_the_training_begins_again_and_the_one_behind_it_follows(upgraded: Upgraded) -> None:
    """The pictures that judge are others than in 0.1, so that its epochs may have learned from them."""
    resumed = upgraded.ended(f"/v1/trainings/{upgraded.ids['trainings']['running']}")
    following = upgraded.ended(f"/v1/trainings/{upgraded.ids['trainings']['waiting']}")

    for ended, name in ((resumed, "mine"), (following, "next")):
        assert (ended["status"], ended["model"]) == ("DONE", {"name": name, "version": "1"}), ended
        assert [point["epoch"] for point in ended["curve"]] == list(range(1, 101))
    assert resumed["curve"][0]["train_loss"] != TRACER
    eight = {"files": upgraded.pictures[8]}
    job = upgraded.ask("/v1/classify", method="POST", files=eight, data={"model": "mine"}).json()
    assert labels(job)["8.png"][0] == "eight"


def test_callbacks_that_were_due_arrive_once(upgraded: Upgraded) -> None:
    due = {upgraded.ids["done"]: 1, upgraded.ids["cancelled"]: 1}
    stacks.until(lambda: dict(upgraded.callbacks.jobs) == due, 30, lambda: str(upgraded.callbacks.jobs))


def test_what_was_stored_is_answered_as_before(upgraded: Upgraded) -> None:
    for tenant, answers in upgraded.answers.items():
        for path, before in answers.items():
            answer = upgraded.ask(path, tenant)
            now = answer.json() if isinstance(before, dict) else answer.text
            assert timeless(now, before) == timeless(before, before), path


def test_a_stored_image_is_the_same_and_is_classified(upgraded: Upgraded) -> None:
    path = f"/v1/images/{upgraded.ids['image']}"
    assert upgraded.ask(f"{path}/download").content == upgraded.pictures[7][1]
    assert upgraded.ask(f"{path}/classify", method="POST").status_code == 201


def test_a_request_with_the_idempotency_key_of_before_gets_the_job_of_before(upgraded: Upgraded) -> None:
    files = [("files", picture) for picture in upgraded.pictures[:2]]
    answer = upgraded.ask("/v1/jobs", "anna", "POST", files=files, headers={"Idempotency-Key": "once"})
    assert (answer.json()["_id"], answer.headers["Idempotent-Replayed"]) == (upgraded.ids["theirs"], "true")


def test_doors_that_were_closed_stay_closed(upgraded: Upgraded) -> None:
    assert httpx.get(f"{upgraded.stack.url}/v1/jobs", timeout=30).status_code == 401
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        upgraded.ask(f"/v1/jobs/{upgraded.ids['done']}", "anna")
