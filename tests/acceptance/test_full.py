"""A stack whose Redis or whose disk is full: every part survives, new work is refused, and all goes on when there is
room."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
import redis

from tests import stacks
from tests.stacks import Stack, digits, until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacks.running(tmp_path_factory.mktemp("full") / "data", "--workers", "1", INFERQ_LEASE="2") as running:
        yield running


def post(stack: Stack, number: int = 1) -> httpx.Response:
    files = [("files", digits()[number])]
    return httpx.post(f"{stack.url}/v1/jobs", files=files, timeout=60)


def status(stack: Stack, job_id: str) -> str:
    return str(stack.get(f"/v1/jobs/{job_id}")["status"])


# Redis


@pytest.fixture
def server(own_stack: Stack) -> Iterator[redis.Redis]:
    server = own_stack.redis()
    yield server
    server.config_set("maxmemory", 0)
    until(lambda: httpx.get(f"{own_stack.url}/readyz").status_code == 200, 30, own_stack.output)


@contextlib.contextmanager
def frozen(stack: Stack, part: str) -> Iterator[None]:
    pid = stack.pids()[part]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_new_work_is_refused_while_redis_is_full_and_what_waits_is_run(own_stack: Stack, server: redis.Redis) -> None:
    pids = own_stack.pids()
    own_stack.finished(post(own_stack).json()["_id"], 60)
    with frozen(own_stack, "worker-1"):
        waiting = [post(own_stack, number).json()["_id"] for number in range(5)]
        server.config_set("maxmemory", 1)
    for job_id in waiting:
        assert own_stack.finished(job_id, 60)["status"] == "DONE"
    refused = post(own_stack)
    assert (refused.status_code, refused.json().get("code")) == (503, "queue_full"), refused.text
    assert refused.headers["Retry-After"]
    time.sleep(5)  # longer than a lease, and than the retries of a part that would exit
    assert own_stack.pids() == pids
    server.config_set("maxmemory", 0)
    until(lambda: post(own_stack).status_code == 202, 20, own_stack.output)
    assert own_stack.finished(post(own_stack).json()["_id"], 30)["status"] == "DONE"


def test_a_worker_that_starts_while_redis_is_full_runs_what_waits(own_stack: Stack, server: redis.Redis) -> None:
    with frozen(own_stack, "worker-1"):
        waiting = [post(own_stack, number).json()["_id"] for number in range(5)]
        server.config_set("maxmemory", 1)
        own_stack.kill("worker-1")
    for job_id in waiting:
        assert own_stack.finished(job_id, 90)["status"] == "DONE"
