"""A stack whose Redis or whose disk is full: every part survives, new work is refused, and all goes on when there is
room."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests import stacks
from tests.stacks import Stack, digits, until

pytestmark = pytest.mark.long


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


def test_new_work_is_refused_while_redis_is_full_and_what_waits_is_run(own_stack: Stack, server: redis.Redis) -> None:
    pids = own_stack.pids()
    own_stack.finished(post(own_stack).json()["_id"], 60)
    with own_stack.halted("worker-1"):
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
    with own_stack.halted("worker-1"):
        waiting = [post(own_stack, number).json()["_id"] for number in range(5)]
        server.config_set("maxmemory", 1)
        own_stack.kill("worker-1")
    for job_id in waiting:
        assert own_stack.finished(job_id, 90)["status"] == "DONE"


# the disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of our own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave not a byte on the disk."""
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def pictures(count: int) -> list[tuple[str, Any]]:
    return [("files", digits()[number % 10]) for number in range(count)]


def test_a_stack_survives_a_full_disk_and_goes_on_when_there_is_room(disk: Path) -> None:
    with stacks.running(disk / "data", "--workers", "1", INFERQ_LEASE="2") as stack:
        before = stack.finished(post(stack).json()["_id"], 60)
        with stack.halted("worker-1"):
            waiting = [post(stack, number).json()["_id"] for number in range(3)]
            fill(disk)
        answers = []
        for count in (1, 4) * 5:
            answers.append(httpx.post(f"{stack.url}/v1/jobs", files=pictures(count), timeout=60))
            fill(disk)
        refused = [answer for answer in answers if answer.status_code != 202]
        assert refused
        assert {(answer.status_code, "answer" in answer.text or "full" in answer.text) for answer in refused} == {
            (503, True)
        }
        waiting += [
            answer.json()["_id"] for answer in answers if answer.status_code == 202
        ]  # SQLite had some room left
        assert stack.get(f"/v1/jobs/{before['_id']}")["status"] == "DONE"
        stack.kill("worker-1")  # its new process id cannot be written
        time.sleep(5)
        assert stack._process is not None
        assert stack._process.poll() is None, stack.output()
        (disk / "filler").unlink()
        for job_id in waiting:
            assert stack.finished(job_id, 60)["status"] == "DONE"
        until(lambda: post(stack).status_code == 202, 30, stack.output)
        assert (
            stack.finished(httpx.post(f"{stack.url}/v1/jobs", files=pictures(4)).json()["_id"], 60)["status"] == "DONE"
        )
        until(lambda: all(Path(f"/proc/{pid}").exists() for pid in stack.pids().values()), 10)
        log = (disk / "data" / "logs" / "api.log").read_text()
        assert "Traceback" not in log
