"""The comparison with the peers: its arithmetic, its order, its report, and what it starts."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from threading import Thread

import pytest
import torch
from rich.console import Console

from bench import report as single_report
from bench.comparison import contestants, report
from bench.comparison.contestants import Own, Running
from bench.comparison.loads import overloaded
from bench.comparison.result import (
    ARCHIVE,
    DEVICES,
    DIGITS,
    DIGITS_POSTGRES,
    HARDLY,
    INFERQ,
    INFERQ_FAST,
    NO_OP,
    PHOTOS,
    PICTURES,
    Comparison,
    Once,
    Sample,
    Waiting,
)
from bench.comparison.rounds import QUICK, Effort, Rounds, order, sample
from bench.connection import Connection
from bench.load import Target, arrivals, arrive, burst
from bench.peers import PEERS, environments
from bench.peers.process import CannotStart
from bench.result import Percentiles
from bench.service import grouped
from bench.ways import peer, unfollowed
from inferq.stack.stack import StackOptions
from worker import families

pytestmark = pytest.mark.slow


def measured(rate: float, *, errors: int = 0, server: float = 10.0) -> Sample:
    latency = Percentiles(20.0, 30.0, 40.0, 100)
    return Sample(rate, latency, {"server": server, "valkey": 1.0, "client": 0.2}, 90_000_000, 0.0, errors)


@pytest.fixture
def result() -> Comparison:
    machine = {"date": "2026-01-02", "cores": 2, "device": "cpu", "cpu": "a processor", "python": "3.11.7",
               "torch": "2.15.0", "revision": "abc"}  # fmt: skip
    comparison = Comparison(machine, "mobilenet_v2", {}, {"litserve": "0.2"})
    for rate in (180.0, 200.0, 190.0):
        comparison.add(PICTURES, INFERQ, "2 × 1", 64, measured(rate))
    comparison.add(PICTURES, "LitServe", "2 × 1", 64, measured(100.0))
    comparison.add(PICTURES, "LitServe", "1 × 2", 64, measured(80.0))
    comparison.add(PICTURES, "LitServe", "1 × 2", 1, measured(40.0))
    comparison.add(PICTURES, "LitServe", "2 × 1", 1, measured(30.0))
    return comparison


def test_a_point_is_the_median_of_its_rounds_and_shows_their_spread(result: Comparison) -> None:
    own = result.points[0]
    assert (own.rate, own.spread, own.latency("p99")) == (190.0, (180.0, 200.0), 40.0)
    assert (own.cpu(), own.cpu("client")) == (11.0, 0.2)


def test_of_several_settings_the_better_one_counts_at_each_number_of_callers(result: Comparison) -> None:
    best = {point.callers: point.setting for point in result.best(PICTURES) if point.contestant == "LitServe"}
    assert best == {64: "2 × 1", 1: "1 × 2"}
    assert result.saturated(PICTURES) == {INFERQ: 190.0, "LitServe": 100.0}


def test_the_goals_compare_with_the_best_peer_and_with_a_server_that_does_nothing(result: Comparison) -> None:
    for contestant, rate in ((DIGITS, 900.0), (DIGITS_POSTGRES, 700.0), (NO_OP, 1000.0)):
        result.add(HARDLY, contestant, "2 × 1", 16, measured(rate))
    result.add(ARCHIVE, DIGITS, "2 × 1", 1, measured(6000.0))
    result.add(PICTURES, INFERQ_FAST, "2 × 1", 64, measured(250.0))
    goals = {goal.name: (round(goal.value, 3), goal.reached) for goal in result.goals()}
    assert goals == {
        "inferq ÷ best peer, saturated, pictures": (1.9, True),
        "inferq, fast ÷ best peer, saturated, pictures": (2.5, False),
        "inferq, digits ÷ LitServe, no-op": (0.9, False),
        "inferq, digits, PostgreSQL ÷ LitServe, no-op": (0.7, False),
        "archive, inferq, digits": (6000.0, True),
    }


def test_the_goals_of_the_other_loads_are_judged_when_they_were_measured(result: Comparison) -> None:
    result.points.clear()
    for devices, rate in ((1, 100.0), (8, 730.0)):
        result.add(DEVICES, INFERQ, str(devices), 32 * devices, measured(rate))
    result.once = [Once(DIGITS, 10, 12, 0, 0, 0), Once(DIGITS_POSTGRES, 10, 9, 1, 0, 0)]
    result.waiting = Waiting(1000, 20.0, 3, "TimeoutError", 260_000_000, 100_000_000)
    result.overload = overloaded(100.0, 500.0, {"answers": [], "seconds": 1.0, "arrived": 300, "waiting": 7})
    assert {goal.name: goal.reached for goal in result.goals()} == {
        "not answered exactly once, inferq, digits": True,
        "not answered exactly once, inferq, digits, PostgreSQL": False,
        "8 simulated devices ÷ 1": True,
        "goodput at 3× overload ÷ peak": False,
        "1,000 waiting clients, errors": False,
        "their API": False,
    }


def test_goodput_counts_only_answers_within_the_budget() -> None:
    answers = [[100.0, 200, False], [400.0, 200, False], [600.0, 200, False], [1.0, 202, False], [2.0, 503, True],
               [3.0, 429, False], [4.0, 0, False], [5.0, 503, True]]  # fmt: skip
    load = overloaded(4.0, 500.0, {"answers": answers, "seconds": 2.0, "arrived": 24, "waiting": 5})
    assert (load.offered, load.answered, load.good, load.share) == (12.0, 1.5, 1.0, 0.25)
    assert load.statuses == {"0": 1, "200": 3, "202": 1, "429": 1, "503": 2}
    assert load.guided == 0.5  # a connection that failed has no advice either
    assert load.p99_ms == 600.0


def test_without_refusals_there_is_no_share_of_them() -> None:
    load = overloaded(4.0, 500.0, {"answers": [[1.0, 200, False]], "seconds": 1.0, "arrived": 1, "waiting": 0})
    assert load.guided is None


def test_each_round_begins_with_another_contestant_and_every_second_one_runs_backwards() -> None:
    assert [order("abc", number) for number in range(4)] == [
        ["a", "b", "c"], ["a", "c", "b"], ["c", "a", "b"], ["c", "b", "a"],
    ]  # fmt: skip
    assert order([], 1) == []


def test_pictures_arrive_at_the_rate_and_at_the_same_times_in_every_run() -> None:
    first, second = (list(arrivals(1000.0, 5.0, 25.0)) for _ in range(2))
    assert first == second == sorted(first)
    assert first[0] > 5.0
    assert first[-1] < 25.0
    gaps = [later - earlier for earlier, later in pairwise(first)]
    assert fmean(gaps) == pytest.approx(0.001, rel=0.05)


@dataclass
class Scripted:
    """A contestant whose loads end as `rates` says; one that is out of rates cannot start."""

    name: str
    rates: list[float]
    setting: str = "2 × 1"
    sections: Sequence[str] = (PICTURES,)

    def visit(self, measure: Callable[[Running], None]) -> None:
        if not self.rates:
            raise CannotStart("no more")
        measure(Answering(self.rates.pop(0)))


class Answering(Running):
    """A service that answers at a rate."""

    def __init__(self, rate: float) -> None:
        object.__setattr__(self, "rate", rate)
        object.__setattr__(self, "pids", {})

    def ask(self, **question: object) -> dict[str, object]:
        latencies = [5.0] * round(self.rate * 2)  # type: ignore[attr-defined]
        return {"latencies": latencies, "seconds": 2.0, "cpu": {"server": 1.0}, "others": 0.0, "errors": 0,
                "first_errors": []}  # fmt: skip


def test_a_contestant_that_cannot_start_is_left_out_with_its_reason_and_the_others_go_on(result: Comparison) -> None:
    result.points.clear()
    effort = Effort(rounds=3, callers={PICTURES: (16,)})
    lines: list[str] = []
    rounds = Rounds(result, effort, {PICTURES: Path("pictures")}, lines.append)
    rounds.run([Scripted("steady", [10.0, 12.0, 11.0]), Scripted("broken", [20.0])])
    assert {point.contestant: (len(point.samples), point.rate) for point in result.points} == {
        "steady": (3, 11.0),
        "broken": (1, 20.0),
    }
    assert result.left_out == {"broken 2 × 1": "no more"}
    assert lines.count("left out: no more") == 1


def test_an_archive_counts_all_of_its_pictures_and_none_if_it_failed() -> None:
    done = {"latencies": [500.0], "seconds": 0.5, "cpu": {"api": 1.0}, "others": 0.0, "errors": 0, "first_errors": []}
    assert sample(done, Answering(1.0), pictures=5000).rate == 10_000.0
    failed = sample({**done, "latencies": [], "errors": 1, "first_errors": ["503"]}, Answering(1.0), pictures=5000)
    assert (failed.rate, failed.latency, failed.first_error) == (0.0, None, "503")


def test_the_report_shows_every_section_and_what_was_left_out(result: Comparison) -> None:
    result.left_out["Ray Serve 2 × 1"] = "no wheel for this Python"
    result.add(PHOTOS, "Mosec", "2 × 1", 16, measured(9.0, errors=2))
    result.add(DEVICES, INFERQ, "1", 32, measured(100.0))
    result.add(DEVICES, INFERQ, "8", 256, measured(750.0))
    result.waiting = Waiting(1000, 20.0, 0, "", 150_000_000, 100_000_000)
    result.overload = overloaded(100.0, 500.0, {"answers": [], "seconds": 1.0, "arrived": 300, "waiting": 7})
    result.once = [Once(DIGITS, 1234, 1300, 0, 0, 0)]
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(result, console)
    shown = console.export_text()
    assert "left out: Ray Serve 2 × 1: no wheel for this Python" in shown
    for words in ("medians of 3 rounds", "12-megapixel photos", "7.50", "3× the peak rate", "1,234 jobs answered"):
        assert words in shown


def test_a_comparison_is_written_once_below_the_table_of_the_other_results(result: Comparison, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Results of `inferq bench`\n\n| run |\n|---|\n| [older](older.json) |\n")
    for _ in range(2):
        data, picture = report.write(result, tmp_path)
    assert data.name == "2026-01-02-abc-2cores-cpu-mobilenet_v2-peers.json"
    assert picture.read_bytes().startswith(b"\x89PNG")
    stored = json.loads(data.read_text())
    assert (stored["points"][0]["rate"], stored["points"][0]["spread"]) == (190.0, [180.0, 200.0])
    assert stored["goals"][0]["reached"] is True
    lines = readme.read_text().splitlines()
    assert lines[:5] == ["# Results of `inferq bench`", "", "| run |", "|---|", "| [older](older.json) |"]
    assert readme.read_text().count(data.name) == 1
    assert lines[-1].startswith(f"| [{data.stem}]")
    assert single_report.first_table(lines) == lines.index("## Comparisons: `inferq bench --peers`")


def test_quick_comparisons_take_every_contestant_once() -> None:
    assert QUICK.rounds == 1
    assert list(QUICK.callers_of(PICTURES)) == [1, 16, 64]
    assert list(replace(QUICK, callers={PICTURES: (2,)}).callers_of(PICTURES)) == [2]


@pytest.fixture
def chunks() -> Iterator[str]:
    """A service that answers its first request in chunks, and the second with 503 and advice; then it hangs up."""
    answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 4\r\n\r\nbusy",
    ]
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                for answer in answers:
                    while not connection.recv(65536).endswith(b"picture"):
                        pass
                    for byte in range(0, len(answer), 9):
                        connection.sendall(answer[byte : byte + 9])

        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_connection_reads_bodies_in_pieces_and_chunks_and_keeps_the_head(chunks: str) -> None:
    async def ask() -> None:
        connection = Connection(chunks)
        assert await connection.ask("POST", "/", "", b"picture") == (200, b"hello, world")
        assert await connection.ask("POST", "/", "", b"picture") == (503, b"busy")
        assert b"\r\nretry-after: 2" in connection.head
        connection.close()

    asyncio.run(ask())


def test_a_connection_that_is_closed_without_an_answer_is_an_error(chunks: str) -> None:
    async def ask() -> None:
        connection = Connection(chunks)
        for _ in range(2):
            await connection.ask("POST", "/", "", b"picture")
        with pytest.raises((EOFError, OSError)):
            await connection.ask("POST", "/", "", b"picture")

    asyncio.run(ask())


class Recorder(Connection):
    """A connection that records what is sent, and answers each request with the next status."""

    def __init__(self, *statuses: int) -> None:
        super().__init__("http://127.0.0.1:9")
        self.statuses = list(statuses)
        self.sent: list[tuple[str, str, bytes]] = []

    async def ask(self, method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[int, bytes]:
        self.sent.append((path, headers, body))
        status = self.statuses.pop(0) if self.statuses else 200
        self.head = b"http/1.1 503 busy\r\nretry-after: 1" if status == 503 else b"http/1.1 200 ok"
        return status, b'{"_id":"7","status":"DONE"}'


@dataclass(frozen=True)
class Recorded(Target):
    """A target whose connections are one recorder."""

    recorder: Recorder = field(default_factory=Recorder)

    def connection(self) -> Connection:
        return self.recorder


def test_peers_get_the_picture_in_the_form_that_their_server_reads() -> None:
    async def send() -> list[tuple[str, str, bytes]]:
        recorder = Recorder()
        for each in PEERS:
            await peer(each.path, each.body)(recorder, b"picture")
        return recorder.sent

    sent = {each.name: request for each, request in zip(PEERS, asyncio.run(send()), strict=True)}
    assert sent["Mosec"][2] == sent["Ray Serve"][2] == sent["Flask + Celery"][2] == b"picture"
    assert json.loads(sent["LitServe"][2]) == {"image_data": "cGljdHVyZQ=="}
    assert b'name="images"' in sent["BentoML"][2]
    assert b"\r\n\r\npicture\r\n" in sent["BentoML"][2]


def test_a_burst_sends_one_picture_for_each_client_and_returns_the_jobs() -> None:
    target = Recorded("", "", unfollowed("m", 60), [b"picture"], Recorder(200, 503, 200))
    question = {"concurrency": 3, "pids": {}, "ids": True}
    answer = asyncio.run(burst(target, question))
    assert (len(answer["latencies"]), answer["errors"], answer["jobs"]) == (2, 1, ["7", "7"])


def test_an_open_loop_sends_whatever_is_answered_and_notes_the_advice() -> None:
    target = Recorded("", "", unfollowed("m", 60), [b"picture"], Recorder(*[503] * 10_000))
    answer = asyncio.run(arrive(target, {"rate": 500.0, "warmup": 0.0, "seconds": 0.2, "pids": {}}))
    assert answer["arrived"] > 0
    assert {(status, guided) for _, status, guided in answer["answers"]} == {(503, True)}


def test_the_environments_share_torch_and_none_of_the_packages_of_inferq(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERQ_BENCH_ENVS", str(tmp_path))
    folder = environments.base()
    linked = {link.name for link in folder.iterdir()}
    assert {"torch", "torchvision", "PIL", "safetensors", "numpy", "bench"} <= linked
    assert not {"flask", "celery", "click", "msgspec", "sqlalchemy", "openvino", "worker", "shared"} & linked
    code = "import bench.peers.servers.classifier, safetensors, PIL, importlib.util as u; print(u.find_spec('flask'))"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(folder)!r}); {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "None"


def test_a_requirement_that_does_not_exist_is_a_reason_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERQ_BENCH_ENVS", str(tmp_path))
    (tmp_path / "no-wheel.txt").write_text("nothing")
    with pytest.raises(environments.CannotInstall, match="wheel"):
        environments.create("broken", [str(tmp_path / "missing.whl")])


def test_workers_know_no_simulated_device_and_those_of_the_benchmark_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.devices.families import card

    assert "card" not in families.names()
    slept: list[float] = []
    monkeypatch.setenv("BENCH_CARD_RATE", "50")
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(Path(card.__file__).parent)])
    assert "card" in families.names()
    network = card.build("card", 10, 32)
    with torch.inference_mode():
        assert network(torch.zeros(5, 3, 32, 32)).shape == (5, 10)
    assert slept == [0.1]


def test_all_workers_are_one_part() -> None:
    pids = {"worker-1": 10, "worker-2": 11, "api": 12}
    assert grouped(pids) == {"worker": [10, 11], "api": [12]}


def test_every_visit_has_a_data_folder_and_a_database_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exist: list[str] = []
    visits: list[tuple[list[Path], str]] = []

    @contextmanager
    def database() -> Iterator[str]:
        exist.append(f"postgresql://database-{len(visits)}")
        yield exist[-1]
        exist.pop()

    def measure_own(options: StackOptions, *_: object, environment: dict[str, str], **__: object) -> None:
        visits.append((list(options.data.glob("*")), environment["DATABASE_URL"]))
        assert exist == [environment["DATABASE_URL"]]
        options.data.mkdir()
        (options.data / "pictures").touch()

    monkeypatch.setattr(contestants, "measure_own", measure_own)
    contestant = Own(DIGITS_POSTGRES, tmp_path / "data", 2, (HARDLY,), tmp_path, checks=print, database=database)

    contestant.visit(print)
    contestant.visit(print)

    assert visits == [([], "postgresql://database-0"), ([], "postgresql://database-1")]
    assert exist == []
