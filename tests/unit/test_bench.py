"""The arithmetic and the report of the benchmark."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console

from bench import material, report
from bench.connection import Connection
from bench.result import AGAIN, ALONE, BESIDE, FIRST, Limit, Percentiles, Result, Row, Step
from bench.training_load import LOADED, TrainingLoad
from bench.ways import Refused, Way, follow, submit_then_poll, synchronous
from inferq.client import Client
from inferq.client.datasets import Datasets
from inferq.client.models import Models
from inferq.client.trainings import Trainings
from inferq.errors import InferqError, InferqHTTPError
from shared.schemas.datasets import Dataset
from shared.schemas.trainings import Training
from tests.unit.answers import answer, training_answer

pytestmark = pytest.mark.slow


@pytest.fixture
def result() -> Result:
    def row(way: str, concurrency: int, rate: float) -> Row:
        latency = Percentiles(20.0, 30.0, 40.0, 100)
        return Row(way, concurrency, rate, latency, 3.5, {"worker": 8.0, "api": 4.0}, {"worker": 1.0, "api": 0.5})

    machine = {
        "date": "2026-01-02", "cores": 2, "device": "cpu", "cpu": "a processor", "python": "3.11.7", "torch": "2.15.0",
        "revision": "abc",
    }  # fmt: skip
    sent = {"pictures": 32, "sizes": "640x480", "mean_bytes": 55_000.0, "archive": 1000, "taught": 100,
            "taught_labels": 5}  # fmt: skip
    return Result(
        machine, "mobilenet_v2", 2, sent,
        limit=Limit({1: 150.0, 8: 240.0}, 8, [210.0, 190.0], Percentiles(9.0, 10.0, 11.0, 100), 9.0, [0.0, 0.05]),
        idle={"warm": Percentiles(18.0, 20.0, 22.0, 100), "bell": Percentiles(25.0, 27.0, 30.0, 15)},
        rows=[row("synchronous", 1, 50.0), row("synchronous", 16, 150.0), row("one archive", 1, 170.0)],
        api=[{"rss": 90_000_000, "torch": False}],
        queued={"pictures": 100_000, "bytes": 20_000_000, "seconds": 4.0},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], (7.0, 7.0, 7.0)),
        ([3.0, 1.0, 2.0, 4.0], (2.0, 4.0, 4.0)),
        ([float(value) for value in range(100, 0, -1)], (50.0, 95.0, 99.0)),
    ],
)
def test_percentiles_are_values_that_were_measured(values: list[float], expected: tuple[float, ...]) -> None:
    percentiles = Percentiles.of(values)
    assert (percentiles.p50, percentiles.p95, percentiles.p99) == expected
    assert percentiles.count == len(values)


def test_there_are_no_percentiles_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Percentiles.of([])


def test_goals_are_judged_against_the_limit_of_the_same_run(result: Result) -> None:
    goals = {goal.name: (round(goal.value, 3), goal.reached) for goal in result.goals()}
    assert goals == {
        "p50 added on an idle system, back to back": (9.0, True),
        "p50 added on an idle system, a notification for each": (16.0, False),
        "share of the in-process limit, synchronous": (0.75, False),
        "share of the in-process limit, one archive": (0.85, True),
        "API process": (90.0, True),
        "API processes with torch": (0, True),
        "Redis, 100,000 queued pictures": (20.0, True),
    }


def test_what_was_not_measured_is_not_judged(result: Result) -> None:
    result.limit, result.api, result.queued = None, [], {}
    assert result.goals() == []
    assert result.added("warm") is None


def taught(result: Result) -> Result:
    """The result of a run with trainings."""
    stages = {"waiting": 0.1, "features": 4.0, "head": 0.5, "fine_tuning": 30.0, "testing": 0.5, "total": 36.0}
    result.teaching = [
        Step(LOADED, 1.5, {"trainer": 0.9}, 0.0),
        Step(FIRST, 37.0, {"trainer": 33.0}, 0.3, stages, "fine-tuned", 0.9),
        Step(AGAIN, 66.0, {"trainer": 29.0}, 0.0, stages | {"features": 0.0}, "head", 0.9),
    ]
    result.rows = [replace(row, cpu_ms={**row.cpu_ms, "trainer": 0.1}) for row in result.rows]
    alone = replace(result.rows[1], way=ALONE)
    result.rows += [alone, replace(alone, way=BESIDE, rate=120.0, cpu_ms={**alone.cpu_ms, "trainer": 6.0})]
    return result


def test_the_first_training_is_judged_and_the_second_is_shown(result: Result) -> None:
    goals = {goal.name: (goal.value, goal.unit, goal.reached) for goal in taught(result).goals()}
    assert goals["100 pictures of 5 labels trained"] == (37.0, "s", True)
    console = Console(width=160, record=True, file=io.StringIO())
    report.show(result, console)
    shown = console.export_text()
    assert "again, features kept" in shown
    assert "reach 0.80 of the rate before" in shown


def test_the_goal_for_a_training_is_that_of_one_base(result: Result) -> None:
    taught(result).model = "vgg16"
    assert all("trained" not in goal.name for goal in result.goals())


def test_a_training_is_no_cpu_of_the_pictures_that_others_send_meanwhile(result: Result) -> None:
    alone, beside = taught(result).rows[-2:]
    assert result.cpu_share(alone) == result.cpu_share(beside) == 0.75
    assert result.beside == 0.8
    assert result.noise == 0.3


def test_a_result_is_written_as_json_and_plot_and_listed_once(result: Result, tmp_path: Path) -> None:
    for _ in range(2):
        data, picture = report.write(result, tmp_path)
    assert data.name == "2026-01-02-abc-2cores-cpu-mobilenet_v2.json"
    assert picture.read_bytes().startswith(b"\x89PNG")
    stored = json.loads(data.read_text())
    assert stored["limit"]["mean"] == 200.0
    assert [row["share_of_limit"] for row in stored["rows"]] == [0.25, 0.75, 0.85]
    assert stored["rows"][0]["cpu_share_of_limit"] == 0.75
    assert (tmp_path / "README.md").read_text().count(data.name) == 1


def test_the_seconds_of_a_training_are_in_the_list_and_in_the_json(result: Result, tmp_path: Path) -> None:
    data, _ = report.write(taught(result), tmp_path)
    stored = json.loads(data.read_text())
    assert [step["seconds"] for step in stored["teaching"]] == [1.5, 37.0, 66.0]
    assert stored["rate_beside_training"] == 0.8
    head, line, row = (tmp_path / "README.md").read_text().splitlines()[2:]
    assert head.count("|") == line.count("|") == row.count("|")
    assert "| 37 | 0.3 |" in row


def test_a_run_beside_busy_neighbours_says_so(result: Result) -> None:
    result.rows[0] = replace(result.rows[0], others=0.9)
    assert result.noise == 0.9
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(result, console)
    assert "used up to 0.9 cores" in console.export_text()


def test_the_tables_fit_into_a_pipe_and_say_what_was_missed(result: Result) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    report.show(result, console)
    shown = console.export_text()
    assert "one archive" in shown
    assert shown.count("✗ missed") == 2


def test_the_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    drawn = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        drawn.append([path.read_bytes() for path in material.pictures(tmp_path / name, 3)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


def test_the_labelled_pictures_all_differ_and_lie_in_a_folder_for_each_label(tmp_path: Path) -> None:
    material.labelled(tmp_path / "labelled.tar", each=2)
    with tarfile.open(tmp_path / "labelled.tar") as tar:
        files = {name: tar.extractfile(name) for name in tar.getnames()}
        pictures = {name: file.read() for name, file in files.items() if file}
    assert sorted({name.partition("/")[0] for name in pictures}) == [f"tint {number}" for number in range(5)]
    assert len(set(pictures.values())) == 10
    assert all(data.startswith(b"\xff\xd8") for data in pictures.values())


class Server(Client):
    """A server whose trainings end as `endings` says, one after another."""

    def __init__(self, *endings: str) -> None:
        super().__init__("http://127.0.0.1:9")
        self.requests: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.datasets = LoadedDatasets(self.removed)
        self.trainings = ScriptedTrainings([*endings], self.requests)
        self.models = RemovedModels(self.removed)


class LoadedDatasets(Datasets):
    """Datasets that are READY when they are read."""

    def __init__(self, removed: list[str]) -> None:
        self._removed = removed

    def create(self, name: str, *_: object, **__: object) -> Dataset:
        return answer(Dataset, id=1, name=name, state="LOADING")

    def get(self, dataset: int | str) -> Dataset:
        return answer(Dataset, id=dataset, state="READY")

    def remove(self, dataset: int | str) -> None:
        self._removed.append(f"dataset {dataset}")


class ScriptedTrainings(Trainings):
    """Trainings that end as `endings` says when they are followed."""

    def __init__(self, endings: list[str], requests: list[dict[str, Any]]) -> None:
        self._endings = endings
        self._requests = requests
        self._statuses: dict[str, str] = {}

    def start(self, dataset: int | str, name: str, **parameters: Any) -> Training:
        training_id = f"training {len(self._statuses) + 1}"
        self._statuses[training_id] = "RUNNING"
        self._requests.append({"dataset": dataset, "name": name, **parameters})
        return training_answer("RUNNING", id=training_id, name=name)

    def stream(self, training_id: str) -> Iterator[Training]:
        yield self.get(training_id)
        self._statuses[training_id] = self._endings.pop(0)
        yield self.get(training_id)

    def get(self, training_id: str) -> Training:
        return training_answer(
            self._statuses[training_id], id=training_id, error="no memory", curve=[{"epoch": 1}],
            evidence={"seconds": {"head": 0.5}, "method": "head", "accuracy": 0.9},
            created_at="2026-01-02T03:04:05.000Z", started_at="2026-01-02T03:04:05.250Z",
        )  # fmt: skip

    def cancel(self, training_id: str) -> Training:
        if self._statuses[training_id] != "RUNNING":
            raise InferqHTTPError(409, "conflict", "It has ended.")
        self._statuses[training_id] = "CANCELLED"
        return self.get(training_id)


class RemovedModels(Models):
    """Models that record only which of them are removed."""

    def __init__(self, removed: list[str]) -> None:
        self._removed = removed

    def remove(self, name: str, version: str = "") -> None:
        self._removed.append(name)


def test_lessons_leave_neither_models_nor_the_dataset_nor_a_training_behind(tmp_path: Path) -> None:
    server = Server("DONE", "DONE")
    with server, TrainingLoad(server, "base", {}, tmp_path) as lessons:
        assert lessons.load().what == LOADED
        step = lessons.train(FIRST)
        assert (step.stages, step.method, step.accuracy) == ({"head": 0.5, "waiting": 0.25}, "head", 0.9)
        lessons.train(AGAIN)
        with lessons.training() as running:
            assert running()
        assert not running()
    assert server.removed == ["base-taught-1", "base-taught-2", "dataset 1"]
    assert all(request["base"] == "base" and request["dataset"] == 1 for request in server.requests)


def test_a_dataset_that_cannot_be_removed_does_not_take_the_report_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dataset: int | str) -> None:
        raise InferqHTTPError(409, "conflict", "The dataset is being loaded.")

    server = Server("DONE")
    monkeypatch.setattr(server.datasets, "remove", refuse)
    with server, TrainingLoad(server, "base", {}, tmp_path) as lessons:
        lessons.load()
    assert server.removed == []


def test_a_training_that_fails_ends_the_benchmark_with_its_reason(tmp_path: Path) -> None:
    server = Server("FAILED")
    with server, TrainingLoad(server, "base", {}, tmp_path) as lessons:
        lessons.load()
        with pytest.raises(InferqError, match="no memory"):
            lessons.train(FIRST)
    assert server.removed == ["dataset 1"]


POLLED: list[str] = []


@pytest.fixture
def service() -> Iterator[str]:
    """A service that answers a submission with 202, and its first poll with DONE."""

    POLLED.clear()

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(202, b'{"_id":"7","status":"QUEUED","terminal":false}')

        def do_GET(self) -> None:
            POLLED.append(self.path)
            self._say(200, b'{"_id":"7","status":"DONE","terminal":true}')

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("way", [synchronous, submit_then_poll])
def test_the_load_follows_a_job_to_its_end(service: str, way: Callable[[str], Way]) -> None:
    async def send() -> None:
        connection = Connection(service, "")
        await way("a model")(connection, b"picture")
        connection.close()

    asyncio.run(send())
    assert POLLED == ["/v1/jobs/7"]


def test_an_answer_that_is_not_done_is_an_error_of_the_load(service: str) -> None:
    async def ask() -> None:
        connection = Connection(service, "")
        try:
            await follow(connection, 200, b'{"_id":"7","status":"FAILED","terminal":true}')
        finally:
            connection.close()

    with pytest.raises(Refused, match="FAILED"):
        asyncio.run(ask())
