"""Every accepted picture is answered once, though processes are killed, restarted and Redis is flushed meanwhile."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import bench
from tests import stacks
from tests.stacks import Stack


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacks.running(tmp_path_factory.mktemp("hurt") / "data", "--workers", "2") as running:
        yield running


def archive(pictures: int) -> bytes:
    """Return a tar of so many digits, whose names contain the right labels."""
    out = io.BytesIO()
    digits = stacks.digits()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(pictures):
            _, data = digits[number % 10]
            info = tarfile.TarInfo(f"{number:05d}-is-{number % 10}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def all_right(stack: Stack, job: dict[str, object], pictures: int) -> None:
    """Check that every picture has exactly one outcome, and the right one."""
    assert (job["status"], job["progress"]) == ("DONE", {"total": pictures, "done": pictures, "failed": 0})
    lines = httpx.get(f"{stack.url}/v1/jobs/{job['_id']}/results?format=csv", timeout=60).text.splitlines()[1:]
    best = [line.split(",") for line in lines if line.split(",")[3] == "1"]
    assert Counter(row[0] for row in best) == Counter(str(number) for number in range(pictures))
    assert all(row[1].split("-is-")[1][0] == row[4] for row in best)


def until_it_runs(stack: Stack, job_id: str) -> None:
    stacks.until(lambda: stack.get(f"/v1/jobs/{job_id}")["progress"]["done"] > 0, 30, stack.output)


def holding(stack: Stack, part: str) -> int:
    """Return how many pictures the part has claimed and not acknowledged, according to Redis."""
    redis, name = stack.redis(), f"-{stack.pids()[part]}-"
    pending = [redis.xpending(stream, "workers") for stream in redis.scan_iter("inferq:lane:*")]
    consumers = [consumer for about in pending for consumer in about["consumers"]]
    return sum(consumer["pending"] for consumer in consumers if name in consumer["name"].decode())


def freeze_in_mid_batch(stack: Stack, part: str) -> None:
    """Stop the part's process at a moment at which it holds pictures."""

    def frozen() -> bool:
        pid = stack.pids()[part]
        os.kill(pid, signal.SIGSTOP)
        if holding(stack, part):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    stacks.until(frozen, 30, stack.output)


@pytest.mark.parametrize("part", ["worker-1", "worker-2"])
def test_a_worker_that_is_stopped_leaves_the_registry_before_its_process_ends(own_stack: Stack, part: str) -> None:
    pid = own_stack.pids()[part]

    def registered() -> bool:
        return any(f"-{pid}-" in worker["id"] for worker in own_stack.get("/v1/workers")["workers"])

    stacks.until(registered, 30, own_stack.output)
    os.kill(pid, signal.SIGTERM)
    stacks.until(lambda: own_stack.pids()[part] != pid, 30, own_stack.output)  # the supervisor has seen its end
    assert not registered()


def test_the_pictures_of_a_worker_that_was_killed_in_mid_batch_are_taken_over_and_run_once(own_stack: Stack) -> None:
    job = own_stack.submit([("many.tar", archive(3000))])
    freeze_in_mid_batch(own_stack, "worker-1")
    own_stack.kill("worker-1")
    all_right(own_stack, own_stack.finished(job["_id"], 60), 3000)


def test_a_picture_that_kills_every_worker_fails_as_poison_and_the_fleet_lives_on(tmp_path: Path) -> None:
    inside = str(Path(bench.__file__).parent / "chaos" / "inside")
    settings: dict[str, Any] = {"PYTHONPATH": inside, "INFERQ_BENCH_POISON": "this one kills", "INFERQ_LEASE": "2"}
    with stacks.running(tmp_path / "data", "--workers", "2", **settings) as stack:
        name, data = stacks.digits()[0]
        job = stack.submit([*stacks.digits() * 2, (name, data + b"this one kills")])
        done = stack.finished(job["_id"], 90)
        assert done["progress"] == {"total": 21, "done": 20, "failed": 1}
        assert done["predictions"][20]["error"]["code"] == "poison"
        again = stack.submit(stacks.digits())
        assert stack.finished(again["_id"], 30)["progress"]["done"] == 10


def test_both_workers_killed_at_once_lose_nothing(own_stack: Stack) -> None:
    job = own_stack.submit([("many.tar", archive(2000))])
    until_it_runs(own_stack, job["_id"])
    own_stack.kill("worker-1")
    own_stack.kill("worker-2")
    all_right(own_stack, own_stack.finished(job["_id"], 60), 2000)


def test_a_flushed_redis_is_filled_again_by_the_maintenance(own_stack: Stack) -> None:
    job = own_stack.submit([("many.tar", archive(3000))])
    until_it_runs(own_stack, job["_id"])
    own_stack.redis().flushall()
    all_right(own_stack, own_stack.finished(job["_id"], 60), 3000)
    again = own_stack.submit(stacks.digits()[:1])
    assert own_stack.finished(again["_id"], 15)["status"] == "DONE"


def test_a_killed_redis_comes_back_with_what_it_held(own_stack: Stack) -> None:
    job = own_stack.submit([("many.tar", archive(2000))])
    until_it_runs(own_stack, job["_id"])
    own_stack.kill("valkey")
    all_right(own_stack, own_stack.finished(job["_id"], 60), 2000)


def test_a_killed_api_is_started_again_and_knows_its_jobs(own_stack: Stack) -> None:
    job = own_stack.submit([("many.tar", archive(1000))])
    own_stack.kill("api")
    all_right(own_stack, own_stack.finished(job["_id"], 60), 1000)


def test_callers_that_wait_when_the_api_is_stopped_are_told_their_job(own_stack: Stack) -> None:
    _, data = stacks.digits()[7]
    stacks.until(lambda: "worker-2" in own_stack.pids(), 30, own_stack.output)
    workers = [own_stack.pids()["worker-1"], own_stack.pids()["worker-2"]]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(2) as callers:
            native = callers.submit(httpx.post, f"{own_stack.url}/v1/classify", content=data, timeout=60)
            other = callers.submit(httpx.post, f"{own_stack.url}/models/digits", content=data, timeout=60)
            waiting = f"{own_stack.url}/v1/jobs?status=QUEUED"
            stacks.until(lambda: len(httpx.get(waiting).json()["jobs"]) == 2, 30, own_stack.output)
            os.kill(own_stack.pids()["api"], signal.SIGTERM)
            answer, complaint = native.result(), other.result()
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{answer.json()['_id']}")
    assert complaint.status_code == 504
    for location in (answer.headers["Location"], complaint.headers["Location"]):
        stacks.until(lambda at=location: answers(own_stack, at), 60, own_stack.output)  # type: ignore[misc]


def answers(stack: Stack, location: str) -> bool:
    """Return whether the API, which starts again, has the job DONE."""
    try:
        return bool(stack.get(location)["status"] == "DONE")
    except httpx.HTTPError:
        return False


def children(pid: int) -> list[str]:
    return [child for each in Path(f"/proc/{pid}/task").glob("*/children") for child in each.read_text().split()]


def test_a_killed_maintenance_process_is_started_again(own_stack: Stack) -> None:
    before = own_stack.pids()["maintenance"]
    assert children(before) == []  # that would go on without it
    own_stack.kill("maintenance")
    stacks.until(lambda: own_stack.pids().get("maintenance", before) != before, 30)
    job = own_stack.submit(stacks.digits())
    assert own_stack.finished(job["_id"], 30)["status"] == "DONE"


def test_everything_killed_at_once_and_a_stack_stopped_by_ctrl_c_finish_after_the_next_start(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "data")
    stack.start("--workers", "1")
    job = stack.submit([("many.tar", archive(3000))])
    stack.kill_everything()
    stack.start("--workers", "1")
    try:
        all_right(stack, stack.finished(job["_id"], 60), 3000)
        job = stack.submit([("many.tar", archive(3000))])
    finally:
        assert stack.stop() == 0
    stack.start("--workers", "1")
    try:
        all_right(stack, stack.finished(job["_id"], 60), 3000)
    finally:
        assert stack.stop() == 0
