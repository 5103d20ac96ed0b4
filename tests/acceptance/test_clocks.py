"""Machines whose clocks differ by minutes work together: deadlines and heartbeats are judged by one clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests import preload, stacks
from tests.stacks import Stack


@pytest.fixture(scope="module", params=["120", "-120"], ids=["ahead", "behind"])
def skewed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose worker has a clock that is two minutes wrong."""
    folder = tmp_path_factory.mktemp("skewed")
    library = preload.compiled("skew", folder)
    wrong = {"LD_PRELOAD": str(library), "SKEW_PART": "worker", "SKEW_SECONDS": request.param}
    with stacks.running(folder / "data", "--workers", "1", **wrong) as stack:
        yield stack


@pytest.mark.long
def test_a_worker_with_a_wrong_clock_answers(skewed: Stack) -> None:
    for _ in range(3):
        job = skewed.submit(stacks.digits())
        assert skewed.finished(job["_id"], 20)["progress"]["done"] == 10


def test_a_worker_with_a_wrong_clock_lets_no_job_expire_early(skewed: Stack) -> None:
    job = skewed.submit(stacks.digits(), deadline="60")
    assert skewed.finished(job["_id"], 20)["status"] == "DONE"


def test_a_job_has_the_times_of_one_clock(skewed: Stack) -> None:
    job = skewed.submit(stacks.digits())
    done = skewed.finished(job["_id"], 20)
    created, started, finished = (
        datetime.fromisoformat(done[f"{what}_at"]) for what in ("created", "started", "finished")
    )
    # Each process is as exact as Redis answers fast; the clocks are wrong by 120 seconds.
    assert created - timedelta(seconds=5) <= started <= finished < created + timedelta(seconds=60)


def test_a_worker_with_a_wrong_clock_is_listed_while_it_runs_and_no_longer(skewed: Stack) -> None:
    (worker,) = skewed.get("/v1/workers")["workers"]
    assert f"-{skewed.pids()['worker-1']}-" in worker["id"]
    skewed.kill("worker-1")

    def gone() -> bool:
        return worker["id"] not in [each["id"] for each in skewed.get("/v1/workers")["workers"]]

    stacks.until(gone, 30, skewed.output)
