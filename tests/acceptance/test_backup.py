"""A service is backed up, destroyed and restored by the commands of docs/operations/backup.md, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from shared.adapters import pauses
from shared.container import Container
from shared.domain.jobs import Job, Outcome, Status, Submission
from shared.services import job_pictures, jobs, maintenance
from tests import page_runner, stacks
from tests.conftest import POSTGRES, container_on, postgres_url
from tests.dataset_fixtures import picture
from tests.needed import missing
from tests.page_runner import ROOT
from tests.stacks import Stack

pytestmark = pytest.mark.long

BACK_UP, RESTORE, DUMP, FILL = page_runner.codes((ROOT / "docs" / "operations" / "backup.md").read_text(), "bash")


def run(commands: str, **variables: str | Path) -> None:
    """Run commands of the page; fail if one of them does."""
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    done = subprocess.run(
        ["bash", "-e", "-c", commands], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_a_stack_had_accepted_is_there_after_a_restore_and_goes_on(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    with stacks.running(data, "--workers", "1") as stack:
        done = stack.finished(stack.submit(stacks.digits())["_id"], 60)
        image = uploaded(stack)
        os.kill(stack.pids()["worker-1"], signal.SIGSTOP)  # so that the next job is unfinished, and the API answers
        waiting = [stack.submit(stacks.digits())["_id"] for _ in range(3)]
        run(BACK_UP, DATA=data, BACKUP=backup)
        unknown = stack.submit(stacks.digits()[:1])["_id"]
        stack.kill_everything()
    shutil.rmtree(data)

    run(RESTORE, DATA=data, BACKUP=backup)

    with stacks.running(data, "--workers", "1") as stack:
        assert stack.get(f"/v1/jobs/{done['_id']}")["predictions"] == done["predictions"]
        for job_id in waiting:
            ended = stack.finished(job_id, 60)
            assert ended["status"] == "DONE"
            assert labels(ended) == labels(done)
        assert httpx.get(f"{stack.url}/v1/images/{image}/download").content == stacks.digits()[7][1]
        assert httpx.get(f"{stack.url}/v1/jobs/{unknown}").status_code == 404


def uploaded(stack: Stack) -> str:
    """Store a picture and return its id."""
    name, data = stacks.digits()[7]
    answer = httpx.post(f"{stack.url}/v1/images/upload", data={"name": "seven"}, files={"image": (name, data)})
    return str(answer.raise_for_status().json()["id"])


def labels(job: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    """Return the best label of each picture."""
    return [prediction["results"][0]["label"] for prediction in job["predictions"]]


@pytest.fixture
def server(postgres: Callable[[str], None]) -> dict[str, str]:
    """The variables by which PostgreSQL's commands find the server of the tests."""
    url = sa.make_url(POSTGRES)
    where = {"PGHOST": url.host, "PGPORT": str(url.port or 5432), "PGUSER": url.username, "PGPASSWORD": url.password}
    found = {name: str(value) for name, value in where.items() if value}
    if not shutil.which("pg_dump"):
        missing("pg_dump")
    ours = re.findall(r"\d+", subprocess.check_output(["pg_dump", "--version"], text=True))[0]
    engine = sa.create_engine(POSTGRES.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        theirs = str(connection.scalar(sa.text("SHOW server_version_num")))[:-4]
    engine.dispose()
    if int(ours) < int(theirs):
        pytest.skip(f"pg_dump {ours} cannot read a server of version {theirs}")
    return found


@pytest.fixture
def database(postgres: Callable[[str], None], empty_database: str) -> Iterator[str]:
    """The name of a database with the schema."""
    name = f"inferq_test_{uuid.uuid4().hex[:12]}"
    postgres(f"CREATE DATABASE {name} TEMPLATE {empty_database}")
    yield name
    postgres(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def submitted(container: Container, count: int) -> Job:
    job, _ = pauses.run(
        jobs.submit(container, "anna", Submission([picture(number) for number in range(count)], "digits"))
    )
    return job


def answered(container: Container, job: Job) -> Job:
    """Record an answer for all that waits of the job's version, as a worker does, from pictures that can be read."""
    entries = container.queue.streams.claim(job.version_id, "worker", 100)
    assert all(job_pictures.read(container, entry) for entry in entries)
    outcomes = [Outcome(entry.job_id, entry.position, [[f"label {entry.position}", 0.9]]) for entry in entries]
    jobs.finish(container, outcomes, entries)
    return jobs.get(container, "anna", job.id)


@pytest.mark.postgres
def test_a_database_of_postgresql_comes_back_with_every_job_and_redis_is_filled_from_it(
    postgres: Callable[[str], None], server: dict[str, str], database: str, tmp_path: Path
) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    backup.mkdir()
    with container_on(postgres_url(database), data) as container:
        done = answered(container, submitted(container, 3))
        waiting = submitted(container, 4)
        run(DUMP, DATABASE=database, BACKUP=backup, **server)
        shutil.copytree(data / "blobs", backup / "blobs")
    postgres(f"DROP DATABASE {database} WITH (FORCE)")
    shutil.rmtree(data)

    run(FILL, DATABASE=database, BACKUP=backup, **server)
    shutil.copytree(backup / "blobs", data / "blobs")

    with container_on(postgres_url(database), data) as restored:
        assert done.status is Status.DONE
        assert jobs.get(restored, "anna", done.id) == done
        assert [item.result for item in jobs.list_items(restored, done)] == [[[f"label {n}", 0.9]] for n in range(3)]
        assert jobs.get(restored, "anna", waiting.id) == waiting
        later = replace(restored, now=lambda: time.time() + 60)
        maintenance.reconcile(later, maintenance.reconcile(later))
        ended = answered(restored, waiting)
        assert (ended.status, ended.done, ended.failed) == (Status.DONE, 4, 0)
